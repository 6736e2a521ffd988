"""Where the first value that is not finite came from."""

from collections.abc import Iterator
from typing import Any

import jax
import numpy as np

from spinward.core import MASK, Metrics, OwnLoop, TrainState, UserReward
from spinward.loop import Parts, Stage, stages, system


def explain(parts: Parts, state: TrainState) -> str:
    """Repeats the iteration that broke one seed, from the state before it, stage by stage.

    The first of observation, reward, loss, gradient and parameter that is not finite is named.
    """
    for path in unfinite(state.agent):
        return f"parameter agent{path}"
    if isinstance(parts.algorithm, OwnLoop):  # whose stages are its own
        return in_metrics(system(parts).step(state)[1]) or "a parameter after the update"
    for stage in stages(parts, state):
        if found := in_stage(stage):
            return (stage.name == "label" and failure(parts.reward)) or found
    for path in unfinite(stage.state.agent):
        return f"parameter agent{path} after the update"
    for path in unfinite((stage.state.source, stage.state.reward)):
        return f"state{path}"
    return "a value that is finite when the iteration is repeated by itself"


def in_stage(stage: Stage) -> str:
    """What is not finite in a stage of an iteration, if anything."""
    if stage.name == "update":
        return in_metrics(stage.metrics)
    if stage.batch.reward.ndim > 2:  # samples are [updates, window, batch], and of older steps
        steps = jax.tree.map(lambda x: x.reshape(-1, 1, *x.shape[3:]), stage.batch)
        found = in_batch(steps).partition(" in env ")[0]
        found = found and f"a replayed {found}"
    else:
        found = in_batch(stage.batch)
    return found or (in_metrics(stage.metrics) if stage.name == "label" else "")


def failure(reward: Any) -> str:
    """What a reward that calls anybody's code says of its last failure."""
    return reward.failure() if isinstance(reward, UserReward) else ""


def in_batch(batch: Any) -> str:
    """The first bad entry of observations and rewards, by time."""
    found = []
    names = (("obs", "observation"), ("reward", "reward"), ("next_obs", "next observation"))
    for order, (field, name) in enumerate((*names, ("action", "action"))):
        for path, leaf in jax.tree_util.tree_leaves_with_path(getattr(batch, field)):
            bad = ~np.isfinite(np.asarray(leaf, np.float64))
            if bad.any():
                step, *rest = np.argwhere(bad)[0].tolist()
                env, entry = rest[0], "".join(f"[{i}]" for i in rest[1:])
                value = np.asarray(leaf)[bad][0]
                part = jax.tree_util.keystr(path)
                found.append(
                    (step, order, f"{name}{part}{entry} is {value} in env {env} at step {step}")
                )
    if isinstance(batch.obs, dict) and MASK in batch.obs:
        stuck = ~np.asarray(batch.obs[MASK]).astype(bool).any(-1)
        if stuck.any():
            step, env = np.argwhere(stuck)[0].tolist()
            found.append((step, -1, f"{MASK} allows no action in env {env} at step {step}"))
    return min(found)[2] if found else ""


def in_metrics(metrics: Metrics) -> str:
    """The loss or the gradient, whichever broke first in an update's minibatches."""
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
