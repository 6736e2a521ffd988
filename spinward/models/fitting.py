"""Stored steps for a model of the environment, and the model's fit to the steps.

Every fifth row is held out for good: a model is fitted until none of its members comes closer to
those rows than before, and each keeps the weights with which it was closest (Janner et al., 2019,
arXiv:1906.08253).
"""

from typing import Any, Protocol

import jax
import jax.numpy as jnp
import optax
from jax import Array

from spinward.core import Key, Metrics, Spec, Transition, replace, struct
from spinward.learning.steps import Learner, descend, with_clipping
from spinward.losses.dynamics import gaussian_error, log_likelihood
from spinward.models.dynamics import Dynamics, Member, VectorScale, inputs_of, targets_of
from spinward.trees import where

HELD_OUT = 5  # of so many rows one
BOUND_COEF = 0.01  # weight of the spread of the log-variance's bounds, as in Chua et al.'s code


class FitData(Protocol):
    """Rows that a model is fitted to, some of which are held out."""

    def taken(self, rows: Array) -> tuple[Array, Array]: ...
    def everything(self) -> tuple[Array, Array, Array]: ...
    def held_out(self) -> tuple[Array, Array, Array]: ...
    def sample(self, key: Key, shape: tuple[int, ...]) -> Array: ...


@struct
class Steps:
    """A ring of single steps [row, ...]."""

    obs: Array
    action: Array  # in [-1, 1] where the space has bounds, as the environment took it
    reward: Array
    next_obs: Array
    count: Array  # steps ever added
    terminated: Any = ()  # [row] where ends are learned

    @classmethod
    def init(cls, spec: Spec, capacity: int, ends: bool = False) -> "Steps":
        obs, action = spec.obs.shape, spec.action.shape  # type: ignore[union-attr]
        rows = [jnp.zeros((capacity, *shape)) for shape in (obs, action, (), obs)]
        terminated = jnp.zeros(capacity, bool) if ends else ()
        return cls(rows[0], rows[1], rows[2], rows[3], jnp.int32(0), terminated)

    @property
    def capacity(self) -> int:
        return self.reward.shape[0]

    @property
    def size(self) -> Array:
        return jnp.minimum(self.count, self.capacity)

    def add(self, batch: Transition, bounded: bool) -> "Steps":
        """The ring with the steps of a batch [time, env] that happened."""
        action = jnp.clip(batch.action, -1.0, 1.0) if bounded else batch.action
        fields = batch.obs, action, batch.reward, batch.next_obs
        new = [x.reshape(-1, *x.shape[2:]).astype(jnp.float32) for x in fields]
        happened = batch.weight.reshape(-1) > 0
        place = (self.count + jnp.cumsum(happened) - 1) % self.capacity
        at = jnp.where(happened, place, self.capacity)  # beyond the ring, which drops it
        rings = self.obs, self.action, self.reward, self.next_obs
        put = [ring.at[at].set(x, mode="drop") for ring, x in zip(rings, new, strict=True)]
        terminated = self.terminated
        if not isinstance(terminated, tuple):
            terminated = terminated.at[at].set(batch.terminated.reshape(-1), mode="drop")
        return Steps(put[0], put[1], put[2], put[3], self.count + happened.sum(), terminated)

    def taken(self, rows: Array) -> tuple[Array, Array]:
        """Inputs and targets of these rows."""
        obs, action, reward, next_obs = (
            jnp.take(x, rows, 0, mode="clip")
            for x in (self.obs, self.action, self.reward, self.next_obs)
        )
        return inputs_of(obs, action), targets_of(obs, reward, next_obs)

    def everything(self) -> tuple[Array, Array, Array]:
        """Inputs and targets of all rows, and which of these there are."""
        rows = jnp.arange(self.capacity)
        return *self.taken(rows), (rows < self.size).astype(jnp.float32)

    def held_out(self) -> tuple[Array, Array, Array]:
        """The same of held-out rows."""
        rows = jnp.arange(0, self.capacity, HELD_OUT)
        return *self.taken(rows), (rows < self.size).astype(jnp.float32)

    def sample(self, key: Key, shape: tuple[int, ...]) -> Array:
        """Rows that are not held out, sampled with replacement."""
        count = jnp.maximum(self.size - (self.size + HELD_OUT - 1) // HELD_OUT, 1)
        r = jax.random.randint(key, shape, 0, count)
        return r // (HELD_OUT - 1) * HELD_OUT + r % (HELD_OUT - 1) + 1

    def seen(self, key: Key) -> Array:
        """A random stored observation."""
        row = jax.random.randint(key, (), 0, jnp.maximum(self.size, 1))
        return jnp.take(self.obs, row, 0, mode="clip")


@struct
class Fit:
    """The state of a fit."""

    learner: Learner  # of the members
    best: Any  # the members as they were closest
    score: Array  # [members] their log-likelihood of held-out rows, in nats per number
    error: Array  # [members] and their squared error, of normalised targets
    grad_norm: Array  # mean over the gradient steps of the last epoch
    epochs: Array
    waited: Array  # epochs since one of them came closer

    @classmethod
    def init(cls, learner: Learner) -> "Fit":
        members = learner.model.least.shape[0]
        worst = jnp.full(members, -jnp.inf), jnp.full(members, jnp.inf)
        none = jnp.float32(0.0), jnp.int32(0), jnp.int32(0)
        return cls(learner, learner.model, *worst, *none)


def optimiser(lr: float | Array, decay: float | Array) -> optax.GradientTransformation:
    return with_clipping(jnp.inf, optax.adamw(lr, eps=1e-5, weight_decay=decay))


def fit(
    learner: Learner,
    model: Dynamics,
    steps: FitData,
    key: Key,
    lr: float | Array,
    decay: float | Array,
    batch: int,
    batches: int,
    epochs: int,
    patience: int,
) -> tuple[Learner, Dynamics, Metrics]:
    """`model` fitted to `steps`, in at most so many `epochs` of so many `batches` of each member.

    It ends when no member's error on held-out rows has fallen by a hundredth for `patience` epochs.
    Their likelihood is reported and not heeded: early on, a few rows decide it.
    """
    model, held = scaled(model, steps)
    members = model.members.least.shape[0]

    def epoch(state: Fit) -> Fit:
        keys = jax.random.split(jax.random.fold_in(key, state.epochs), batches)
        learner, metrics = jax.lax.scan(one_batch, state.learner, keys)
        state = replace(state, grad_norm=metrics["grad_norm"].mean())
        return closer(state, learner, *held_out_loss(learner.model, *held))

    def one_batch(learner: Learner, key: Key) -> tuple[Learner, Metrics]:
        inputs, targets = steps.taken(steps.sample(key, (members, batch)))
        data = model.inputs(inputs), model.targets(targets)
        return descend(loss, optimiser(lr, decay), learner, *data)

    def goes_on(state: Fit) -> Array:
        return (state.epochs < epochs) & (state.waited < patience)

    state = jax.lax.while_loop(goes_on, epoch, Fit.init(learner))
    learner = replace(state.learner, model=state.best)
    return learner, replace(model, members=state.best), fit_metrics(state)


def fit_metrics(state: Fit) -> Metrics:
    return {
        "model_likelihood": state.score.mean(),
        "model_error": state.error.mean(),
        "model_epochs": state.epochs,
        "model_grad_norm": state.grad_norm,
    }


def scaled(model: Dynamics, steps: FitData) -> tuple[Dynamics, tuple[Array, ...]]:
    """`model` with the scales of `steps`, and held-out rows: inputs, targets, which are there."""
    inputs, targets, known = steps.everything()
    model = replace(
        model, inputs=VectorScale.of(inputs, known), targets=VectorScale.of(targets, known)
    )
    inputs, targets, known = steps.held_out()
    return model, (model.inputs(inputs), model.targets(targets), known)


def closer(state: Fit, learner: Learner, score: Array, error: Array) -> Fit:
    """The fit after an epoch; members that improved are kept."""
    waited = jnp.where((error < 0.99 * state.error).any(), 0, state.waited + 1)
    then = state.best, state.score, state.error
    kept = where(error < state.error, (learner.model, score, error), then)
    return Fit(learner, kept[0], kept[1], kept[2], state.grad_norm, state.epochs + 1, waited)


def loss(members: Member, inputs: Array, targets: Array) -> tuple[Array, Metrics]:
    """Of all members [members, row, dim]; they share nothing, so that a sum serves them all."""
    mean, log_var = jax.vmap(Member.__call__)(members, inputs)
    errors = gaussian_error(mean, log_var, targets).mean(1).sum()
    return errors + BOUND_COEF * (members.most.sum() - members.least.sum()), {}


def held_out_loss(
    members: Member, inputs: Array, targets: Array, weight: Array
) -> tuple[Array, Array]:
    """The log-likelihood and squared error [members] of rows whose `weight` is 1."""
    mean, log_var = jax.vmap(Member.__call__, (0, None))(members, inputs)
    count = jnp.maximum(weight.sum(), 1.0)
    likelihood = (weight * log_likelihood(mean, log_var, targets)).sum(1) / count
    return likelihood, (weight * jnp.square(mean - targets).mean(-1)).sum(1) / count
