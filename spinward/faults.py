"""The origin of the first value that is not finite."""

from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from spinward.core import MASK, Metrics, OwnLoop, TrainState, UserReward
from spinward.loop import Parts, Stage, stages, system


def explain(parts: Parts, state: TrainState) -> str:
    """Repeats the iteration that broke one seed, from the state before it, stage by stage.

    The first of observation, reward, loss, gradient and parameter that is not finite is named.
    """
    for path in unfinite(state.agent):
        return f"parameter agent{path}"
    state = jax.tree.map(jnp.asarray, state)  # a saved state is of NumPy arrays, without `x.at`
    if isinstance(parts.algorithm, OwnLoop):  # has no stages
        return in_metrics(system(parts).step(state)[1]) or "a parameter after the update"
    for stage in stages(parts, state):
        if fault := in_stage(stage):
            return (stage.name == "label" and failure(parts.reward)) or fault
    for path in unfinite(stage.state.agent):
        return f"parameter agent{path} after the update"
    for path in unfinite((stage.state.source, stage.state.reward)):
        return f"state{path}"
    return "a value that is finite when the iteration is repeated by itself"


def in_stage(stage: Stage) -> str:
    """The first value of a stage that is not finite; empty if all are finite."""
    if stage.name == "update":
        return in_metrics(stage.metrics)
    if stage.batch.reward.ndim > 2:  # samples are [updates, window, batch], and of older steps
        steps = jax.tree.map(lambda x: x.reshape(-1, 1, *x.shape[3:]), stage.batch)
        fault = in_batch(steps).partition(" in env ")[0]
        fault = fault and f"a replayed {fault}"
    else:
        fault = in_batch(stage.batch)
    return fault or (in_metrics(stage.metrics) if stage.name == "label" else "")


def failure(reward: Any) -> str:
    """The last failure of a reward that calls a user's function."""
    return reward.failure() if isinstance(reward, UserReward) else ""


def in_batch(batch: Any) -> str:
    """The first bad entry of observations and rewards, by time."""
    faults = []
    names = (("obs", "observation"), ("reward", "reward"), ("next_obs", "next observation"))
    for order, (field, name) in enumerate((*names, ("action", "action"))):
        for path, leaf in jax.tree_util.tree_leaves_with_path(getattr(batch, field)):
            bad = ~np.isfinite(np.asarray(leaf, np.float64))
            if bad.any():
                step, *rest = np.argwhere(bad)[0].tolist()
                env, entry = rest[0], "".join(f"[{i}]" for i in rest[1:])
                value = np.asarray(leaf)[bad][0]
                part = jax.tree_util.keystr(path)
                faults.append(
                    (step, order, f"{name}{part}{entry} is {value} in env {env} at step {step}")
                )
    if isinstance(batch.obs, dict) and MASK in batch.obs:
        stuck = ~np.asarray(batch.obs[MASK]).astype(bool).any(-1)
        if stuck.any():
            step, env = np.argwhere(stuck)[0].tolist()
            faults.append((step, -1, f"{MASK} allows no action in env {env} at step {step}"))
    return min(faults)[2] if faults else ""


def in_metrics(metrics: Metrics) -> str:
    """The loss or the gradient, whichever first became non-finite in an update's minibatches."""
    bad = {k: ~np.isfinite(np.asarray(v, np.float64)).reshape(-1) for k, v in metrics.items()}
    first = {k: int(v.argmax()) for k, v in bad.items() if v.any()}
    if not first:
        return ""
    at = min(first.values())
    names = [k for k, v in first.items() if v == at]
    loss = [name for name in names if name != "grad_norm"]
    if not loss:
        return f"gradient (its norm is not finite) in minibatch {at}"
    return f"loss ({', '.join(loss)}) in minibatch {at}"


def unfinite(tree: Any) -> Iterator[str]:
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        x = np.asarray(leaf)
        if np.issubdtype(x.dtype, np.inexact) and not np.isfinite(x).all():
            yield jax.tree_util.keystr(path)
