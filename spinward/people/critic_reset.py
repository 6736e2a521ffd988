"""Forgets values of an earlier reward: the critics begin anew when the learned reward takes the
place of the unsupervised one (Lee et al., 2021, arXiv:2106.05091, section 4.3)."""

from typing import Any

import jax
import numpy as np

from spinward.core import Key
from spinward.errors import SettingsError
from spinward.trees import name_of

CRITIC, MODEL, TARGET = "critic.", "critic.model.", "target."


def of_critic(names: list[str]) -> set[str]:
    """Of the names of an agent's leaves, those of its critics, of their optimiser and targets."""
    models = [name.removeprefix(MODEL) for name in names if name.startswith(MODEL)]
    targets = {
        name for name in names
        if name.startswith(TARGET) and any(name.endswith(f".{model}") for model in models)
    }  # fmt: skip
    return targets | {name for name in names if name.startswith(CRITIC)}


def check(algorithm: Any, spec: Any) -> None:
    """Raises SettingsError for an algorithm whose critics are no part of their own."""
    agent = jax.eval_shape(lambda key: algorithm.init(key, spec), jax.random.key(0))
    if not of_critic(names_of(agent)):
        raise SettingsError(
            f"{type(algorithm).__name__} has no critics apart from its policy that "
            "reward.reset_critic could reset: use sac, td3 or ddpg"
        )


def names_of(agent: Any) -> list[str]:
    return [name_of(path) for path, _ in jax.tree_util.tree_leaves_with_path(agent)]


def reset(agents: Any, algorithm: Any, spec: Any, seed: int, key: Key) -> Any:
    """Agents [seed, ...] of which one has critics that have learned nothing."""
    fresh = jax.tree.leaves(algorithm.init(key, spec))
    leaves, tree = jax.tree.flatten(agents)
    parts = of_critic(names_of(agents))
    new = []
    for name, old, begun_anew in zip(names_of(agents), leaves, fresh, strict=True):
        if name in parts:
            old = np.array(old)
            old[seed] = begun_anew
        new.append(old)
    return jax.tree.unflatten(tree, new)
