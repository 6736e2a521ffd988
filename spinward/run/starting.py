"""The agents of one run as the beginning of another: from logged data on to an environment."""

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from spinward.core import TrainState, replace
from spinward.errors import SettingsError
from spinward.run import folders
from spinward.run.assemble import Assembled, assemble
from spinward.run.config import from_config, read_config
from spinward.run.experiment import Experiment


def begun(made: Assembled, shard: Experiment, state: TrainState) -> TrainState:
    """A new run's state, with the agents of the run that its experiment begins with, if any."""
    if not shard.start:
        return state
    return replace(state, agent=jax.tree.map(jnp.asarray, agents(made, shard)))


def agents(made: Assembled, shard: Experiment) -> Any:
    """The agents [seed] that the seeds of a shard begin with: each with the other run's of the same
    seed, counted around where the other has no such.

    Raises:
        SettingsError: the other run has another algorithm, or other networks.
        DamagedFileError: its newest checkpoint is damaged.
    """
    path = Path(shard.start).resolve()
    config = read_config(path / "config.json")
    other = assemble(from_config(config, False, path / "config.json"))
    ours, theirs = (type(x.algorithm).__name__ for x in (made, other))
    if ours != theirs:
        raise SettingsError(f"start={shard.start}: it trained {theirs}; {ours} cannot begin there")
    folders.verify(path, config)
    found = other.agents(path, [each.path for each in folders.chosen(path)])
    wanted = jax.eval_shape(lambda k: made.algorithm.init(k, made.agent_spec), jax.random.key(0))
    check_same(shard.start, found, wanted)
    at = (shard.seed - other.experiment.seed + np.arange(shard.seeds)) % other.experiment.seeds
    return jax.tree.map(lambda x: x[at], found)


def check_same(name: str, found: Any, wanted: Any) -> None:
    """Raises SettingsError where agents [seed] have not the shapes of the wanted one."""
    structures: list[Any] = [jax.tree.structure(x) for x in (found, wanted)]
    same = structures[0] == structures[1]
    shapes = [(x.shape[1:], y.shape) for x, y in zip(*map(jax.tree.leaves, (found, wanted)))]  # noqa: B905
    different = [pair for pair in shapes if pair[0] != pair[1]]
    if different or not same:
        told = f": {different[0][0]} there, {different[0][1]} here" if different else ""
        raise SettingsError(f"start={name}: its networks have other shapes{told}")
