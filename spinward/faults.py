"""Where the first value that is not finite came from."""

from collections.abc import Iterator
from functools import partial
from typing import Any

import jax
import numpy as np

from spinward.core import MASK, Metrics, Policy, Replayed, TrainState
from spinward.loop import Parts, system


def explain(parts: Parts, state: TrainState) -> str:
    """Repeats the iteration that broke one seed, from the state before it, part by part.

    The first of observation, reward, loss, gradient and parameter that is not finite is named.
    """
    for path in unfinite(state.agent):
        return f"parameter agent{path}"
    algorithm, source, reward = parts
    if hasattr(algorithm, "system"):  # whose loop has another shape, and parts of its own
        return in_metrics(system(parts).step(state)[1]) or "a parameter after the update"
    _, k_run, k_learn = jax.random.split(state.key, 3)
    k_label, k_update = jax.random.split(k_learn)
    policy = Policy(partial(algorithm.act, state.agent), partial(algorithm.memory, state.agent))
    experience, batch, _ = source.collect(state.source, policy, k_run)
    if isinstance(source, Replayed):  # what is new comes from the source within
        _, k_fresh = source.split(k_run)
        _, new, _ = source.source.collect(state.source.source, policy, k_fresh)
        if found := in_batch(new):
            return found
    if isinstance(source, Replayed):  # samples are [updates, window, batch], and of older steps
        samples = jax.tree.map(lambda x: x.reshape(-1, 1, *x.shape[3:]), batch)
        if found := in_batch(samples):
            return f"a replayed {found.partition(' in env ')[0]}"
    elif found := in_batch(batch):
        return found
    judge, batch, judged = reward.label(state.reward, batch, k_label)
    if found := in_batch(batch) or in_metrics(judged):
        return because(reward) or found
    agent, improved = algorithm.update(state.agent, batch, k_update)
    if found := in_metrics(improved):
        return found
    for path in unfinite(agent):
        return f"parameter agent{path} after the update"
    for path in unfinite((experience, judge)):
        return f"state{path}"
    return "a value that is finite when the iteration is repeated by itself"


def because(reward: Any) -> str:
    """What a reward that calls anybody's code says of its last failure."""
    return reward.because() if hasattr(reward, "because") else ""


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
