"""How far a model can be trusted: its error over several steps, how honest its spread is, and where
its members disagree."""

import jax
import jax.numpy as jnp
from jax import Array

from spinward.core import Metrics, Transition
from spinward.learning.minibatches import mean
from spinward.models.dynamics import Dynamics, Member, inputs_of
from spinward.models.fitting import FitData, held_out_loss

CENTRAL = 0.9  # probability of the interval whose coverage is measured
HALF_WIDTH = 1.6448536269514722  # of that interval of a normal distribution, in deviations

DIVERGED = 100.0  # squared error of normalised targets: ten deviations, on average


def or_diverged(error: Array) -> Array:
    """`error`, or infinity where the model has diverged, which ends a run. The mean of
    all targets, as a prediction, has an error of about 1."""
    return jnp.where(error > DIVERGED, jnp.inf, error)


def member_errors(model: Dynamics, steps: FitData) -> Array:
    """The squared error [members] of normalised targets, on held-out rows."""
    inputs, targets, known = steps.held_out()
    return held_out_loss(model.members, model.inputs(inputs), model.targets(targets), known)[1]


def coverage(model: Dynamics, steps: FitData) -> Array:
    """The share of held-out numbers within the central 90 % of what a member predicts. A share
    below .9 shows a model that is too sure."""
    inputs, targets, known = steps.held_out()
    mean_of, log_var = jax.vmap(Member.__call__, (0, None))(model.members, model.inputs(inputs))
    errors = jnp.abs(model.targets(targets) - mean_of)
    inside = (errors <= HALF_WIDTH * jnp.exp(0.5 * log_var)).mean((0, 2))
    return mean(inside, known)


def disagreement(model: Dynamics, obs: Array, action: Array) -> Array:
    """The standard deviation over members of their mean predictions [row], averaged over normalised
    targets."""
    x = model.inputs(inputs_of(obs, action))
    means = jax.vmap(lambda member: member(x)[0])(model.members)
    return means.std(0).mean(-1)


def followed(model: Dynamics, first: Array, actions: Array) -> Array:
    """What each member [member, time, row, dim] imagines after `first` [row, dim] under given
    actions [time, row, dim], where it follows its own mean predictions."""

    def follow(member: Member) -> Array:
        def step(obs: Array, action: Array) -> tuple[Array, Array]:
            change = model.targets.undone(member(model.inputs(inputs_of(obs, action)))[0])
            return (obs + change[..., 1:],) * 2

        return jax.lax.scan(step, first, actions)[1]

    return jax.vmap(follow)(model.members)


def open_loop_error(model: Dynamics, windows: Transition) -> Array:
    """The root of the mean square error [time] after each step of real windows [time, row], where
    members follow their own mean predictions under the real actions. Errors are in deviations of
    the observations; steps after the end of an episode do not count."""
    std = model.inputs.std[: windows.obs.shape[-1]]
    seen = followed(model, windows.obs[0], windows.action)
    errors = jnp.square((seen - windows.next_obs) / std).mean((0, -1))
    whole = (jnp.cumsum(windows.done, 0) - windows.done == 0) & (windows.weight > 0)
    weight = jnp.cumprod(whole.astype(jnp.float32), 0)
    return jnp.sqrt(jax.vmap(mean)(errors, weight))


def diagnosed(model: Dynamics, fitted: Dynamics, steps: FitData, windows: Transition) -> Metrics:
    """Metrics of `model`, from real windows [time, row], and the coverage of the `fitted` one, from
    the held-out steps of its fit."""
    errors = open_loop_error(model, windows)
    return {
        "model_coverage": coverage(fitted, steps),
        "model_disagreement": mean(
            disagreement(model, windows.obs[0], windows.action[0]), windows.weight[0]
        ),
        "model_step_error": errors[0],
        "model_open_loop_error": errors[-1],
    }
