"""Gradient steps: descend on a loss, clip, and follow schedules."""

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import optax
from jax import Array

from spinward.core import Metrics, replace, static, struct
from spinward.errors import SettingsError
from spinward.trees import name_of

Loss = Callable[..., tuple[Array, Metrics]]
PRIORITIES = "priorities"  # among the metrics of a loss: [batch], of what it was computed from


@struct
class Learner:
    """A model and the state of its optimiser."""

    model: Any
    opt_state: Any
    frozen: tuple[str, ...] = static(default=())  # leaves of the model that stay

    @classmethod
    def init(cls, model: Any, optimiser: optax.GradientTransformation) -> "Learner":
        return cls(model, optimiser.init(model))


def descend(
    loss: Loss, optimiser: optax.GradientTransformation, learner: Learner, *args: Any
) -> tuple[Learner, Metrics]:
    """One gradient step on `loss(model, *args) -> (scalar, metrics)`."""
    result, grads = jax.value_and_grad(loss, has_aux=True)(learner.model, *args)
    return apply_gradients(optimiser, learner, result, grads)


def descend_on_sum(
    loss: Loss, optimiser: optax.GradientTransformation, learner: Learner, *args: Any
) -> tuple[Learner, Metrics]:
    """`descend` on the sum of `loss` over the leading axis of `args`, and of its metrics likewise.

    Gradients are accumulated one after another, so that each computation fits a CPU's cache.
    """
    gradient = jax.value_and_grad(loss, has_aux=True)

    def add(total: Any, part: tuple[Any, ...]) -> tuple[Any, None]:
        return jax.tree.map(jnp.add, total, gradient(learner.model, *part)), None

    shapes = jax.eval_shape(gradient, learner.model, *jax.tree.map(lambda x: x[0], args))
    zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes)
    (result, grads), _ = jax.lax.scan(add, zeros, args)
    return apply_gradients(optimiser, learner, result, grads)


def apply_gradients(
    optimiser: optax.GradientTransformation,
    learner: Learner,
    result: tuple[Array, Metrics],
    grads: Any,
) -> tuple[Learner, Metrics]:
    """`learner` after one step along `grads`, and the metrics of `result`: a loss and its
    metrics."""
    value, metrics = result
    grads = without(grads, learner.frozen)
    updates, opt_state = optimiser.update(grads, learner.opt_state, learner.model)
    model = optax.apply_updates(learner.model, without(updates, learner.frozen))
    grad_norm = optax.tree_utils.tree_get(opt_state, "grad_norm")
    learner = Learner(model, opt_state, learner.frozen)
    return learner, {**metrics, "loss": value, "grad_norm": grad_norm}


def split_priorities(metrics: Metrics) -> tuple[Any, ...]:
    """The metrics of an update without the priorities, and the priorities if there are any."""
    rest = {name: value for name, value in metrics.items() if name != PRIORITIES}
    return (rest, metrics[PRIORITIES]) if PRIORITIES in metrics else (rest,)


def without(updates: Any, frozen: tuple[str, ...]) -> Any:
    """`updates` with zeros for the leaves of these names."""
    if not frozen:
        return updates
    return jax.tree_util.tree_map_with_path(
        lambda path, x: jnp.zeros_like(x) if name_of(path) in frozen else x, updates
    )


def freeze(agent: Any, parts: tuple[str, ...]) -> Any:
    """An agent whose learners leave the parts of these names as they are; see `in_part`.

    Raises:
        SettingsError: a part is none of what learners learn.
    """
    if not parts:
        return agent
    known: set[str] = set()

    def frozen(path: Any, node: Any) -> Any:
        if not isinstance(node, Learner):
            return node
        names = [name_of(at) for at, _ in jax.tree_util.tree_leaves_with_path(node.model)]
        whole = {name: f"{name_of(path)}.model.{name}" for name in names}
        known.update(part for part in parts if any(in_part(n, part) for n in whole.values()))
        kept = [n for n in names if any(in_part(whole[n], part) for part in parts)]
        return replace(node, frozen=tuple(kept))

    agent = jax.tree_util.tree_map_with_path(
        frozen, agent, is_leaf=lambda node: isinstance(node, Learner)
    )
    if missing := [part for part in parts if part not in known]:
        raise SettingsError(f"freeze={missing[0]}: no learner of this agent has such a part")
    return agent


ALIASES = {"policy": "actor"}


def in_part(name: str, part: str) -> bool:
    """Whether the leaf of an agent belongs to a part: a run of components of its name. `policy` is
    another word for `actor`."""
    words = (part, ALIASES.get(part, part))
    return any(f".{word}." in f".{name}." for word in words)


class ClipState(NamedTuple):
    grad_norm: Array  # before clipping


def adam(
    lr: float | Array, max_grad_norm: float | Array = jnp.inf, eps: float = 1e-8
) -> optax.GradientTransformation:
    """Adam on gradients clipped to a global norm, which is kept for `descend` to report.

    All parameters are flattened to one vector, which saves a dozen small kernels on CPU.
    """

    return with_clipping(max_grad_norm, optax.adam(lr, eps=eps))


def rmsprop(
    lr: float | Array, max_grad_norm: float | Array, decay: float = 0.99, eps: float = 1e-5
) -> optax.GradientTransformation:
    """RMSProp as in TensorFlow, for which A3C's settings were published: the mean square starts at
    1 and `eps` is under the root. Gradients are clipped as in `adam`."""
    return with_clipping(
        max_grad_norm, optax.rmsprop(lr, decay, eps, initial_scale=1.0, eps_in_sqrt=True)
    )


def with_clipping(
    max_grad_norm: float | Array, optimiser: optax.GradientTransformation, flat: bool = True
) -> optax.GradientTransformation:
    """`optimiser` on gradients clipped to a global norm, which is kept for `descend` to report. It
    sees one vector, or with `flat=False` the leaves."""

    def clip(grads: Any, state: ClipState, params: Any = None) -> tuple[Any, ClipState]:
        grads, norm = clip_by_global_norm(grads, max_grad_norm)
        return grads, ClipState(norm)

    first = optax.GradientTransformation(lambda params: ClipState(jnp.float32(0.0)), clip)
    chained = optax.chain(first, optimiser)
    return optax.flatten(chained) if flat else chained


def clip_by_global_norm(grads: Any, max_norm: float | Array) -> tuple[Any, Array]:
    """`grads` clipped to a global norm, and their norm before."""
    norm = optax.global_norm(grads)
    scale = jnp.minimum(1.0, max_norm / jnp.maximum(norm, 1e-12))
    return jax.tree.map(lambda g: g * scale, grads), norm


def linear_schedule(start: float | Array, at: Array, over: int) -> float | Array:
    """`start` falling linearly to 0 while `at` goes from 0 to `over`; constant if `over` is 0."""
    return start * jnp.maximum(1.0 - at / float(over), 0.0) if over else start


class Annealed(Protocol):
    """The settings of an algorithm whose step size falls with the env steps taken."""

    @property
    def envs(self) -> int: ...
    @property
    def rollout(self) -> int: ...
    @property
    def anneal_steps(self) -> int: ...


def annealed(settings: Annealed, value: float | Array, updates: Array) -> float | Array:
    """`value` after so many `updates`, each of one rollout: it falls linearly to 0 over the
    `anneal_steps` of the settings, or stays constant if they are 0."""
    steps = updates * float(settings.rollout * settings.envs)  # as whole numbers they overflow
    return linear_schedule(value, steps, settings.anneal_steps)
