"""Transitions of a trained policy on disk, as a data set."""

from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from spinward.core import Discrete, Policy, Spec, Transition, replace
from spinward.data import card
from spinward.data.card import Card
from spinward.data.checks import PROBABILITY
from spinward.data.layout import layout_of
from spinward.data.recorder import other_recording
from spinward.data.statistics import measured
from spinward.data.store import opened
from spinward.data.writer import Fields, Writer, created, ends
from spinward.envs.recorded import require_env
from spinward.errors import SettingsError
from spinward.experience.material import collected
from spinward.experience.vector import Vector
from spinward.run.run import Run
from spinward.store import files

ENVS = 8
NAMES = ("obs", "action", "reward", "terminated", "truncated", "next_obs")


def record(
    run: Run, path: Path, steps: int, seed: int = 0, explore: bool = False, licence: str = ""
) -> int:
    """Writes `steps` transitions of a seed's policy to a data set: of the greedy policy, or with
    `explore` of the one that trains. Where the policy tells the probabilities of its discrete
    actions, they are a column.

    Raises:
        SettingsError: fewer than one step, a seed that the run has not, or a path that exists.
    """
    seeds = run.experiment.seeds
    if steps < 1:
        raise SettingsError(f"steps={steps} must be at least 1")
    if not 0 <= seed < seeds:
        raise SettingsError(f"seed={seed} must be 0 to {seeds - 1}: the run has {seeds}")
    files.check_new(path)
    agents = run.agents()
    require_env(agents.env)
    agent = jax.tree.map(lambda x: x[seed], agents.agent)
    recording = played(agents.env, agents.algorithm, agent, steps, seed, explore)
    spec, experiment = agents.env.spec, run.experiment
    policy = "policy with exploration" if explore else "greedy policy"
    source = f"{policy} of {type(experiment.algorithm).__name__}, seed {experiment.seed + seed}"
    about = Card(spec.obs, spec.action, source, experiment.env.name, licence, "data record")
    with created(path) as folder:
        write(folder, about, [recording])
    return steps


class Recording(NamedTuple):
    """Steps of several environments, one after the other, as columns."""

    fields: Fields
    env: np.ndarray  # of each step
    time: np.ndarray  # of each step


def write(folder: Path, about: Card, recordings: list[Recording]) -> None:
    """Writes recordings as the data set in an empty folder."""
    known = all(PROBABILITY in each.fields for each in recordings)
    extras: dict[str, Any] = {PROBABILITY: ("float32", ())} if known else {}
    card.write(folder, about)
    writer = Writer(folder, layout_of(about.spec, extras))
    for i, (fields, env, time) in enumerate(recordings):
        last = ends(fields, other_recording(env, time))
        first = np.concatenate([[0], last[:-1] + 1])
        writer.add(fields, last, i * ENVS + env[first], time[first])
    card.write(folder, replace(about, statistics=measured(opened(folder))))


def played(
    env: Any, algorithm: Any, agent: Any, steps: int, seed: int, explore: bool = True
) -> Recording:
    """So many steps of an agent's policy."""
    count = -(-steps // ENVS)
    source: Any = collected(env, ENVS, count, False)
    act, memory, key = (
        partial(algorithm.act, explore=explore),
        algorithm.memory,
        jax.random.PRNGKey(seed),
    )
    if not isinstance(source, Vector):
        policy = Policy(partial(act, agent), partial(memory, agent))
        state = source.init(key, memory(agent, ENVS))
        return by_env(source.collect(state, policy, key)[1], steps, env.spec, explore)
    agent = jax.tree.map(lambda x: x[None], agent)
    policy = Policy(
        partial(jax.jit(jax.vmap(act)), agent), partial(jax.vmap(memory, (0, None)), agent)
    )
    try:
        state = source.init(key[None], policy.memory(ENVS))
        _, batch, _ = source.collect(state, policy, key[None])
    finally:
        source.close()
    return by_env(jax.tree.map(lambda x: x[0], batch), steps, env.spec, explore)


def by_env(batch: Transition, steps: int, spec: Spec, explore: bool) -> Recording:
    """The steps [time, env] of env 0, then env 1, ..., as columns. With `explore`, the probability
    of a choice is a column where the policy tells it."""
    count = len(batch.reward)
    columns = {name: getattr(batch, name) for name in NAMES}
    if explore and isinstance(spec.action, Discrete) and "log_prob" in batch.extras:
        columns[PROBABILITY] = np.exp(np.asarray(batch.extras["log_prob"]))

    def flat(x: Any) -> np.ndarray:
        x = np.asarray(x)
        return np.swapaxes(x, 0, 1).reshape(-1, *x.shape[2:])[:steps]

    fields = {name: jax.tree.map(flat, value) for name, value in columns.items()}
    env = np.repeat(np.arange(ENVS, dtype=np.int32), count)[:steps]
    return Recording(fields, env, np.tile(np.arange(count), ENVS)[:steps])
