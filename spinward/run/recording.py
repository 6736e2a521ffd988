"""Transitions of a trained policy on disk, as a data set."""

from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np

from spinward.core import Discrete, Policy, Transition, replace
from spinward.data import card
from spinward.data.card import Card
from spinward.data.checks import PROBABILITY
from spinward.data.layout import layout_of
from spinward.data.recorder import other_recording
from spinward.data.statistics import measured
from spinward.data.store import opened
from spinward.data.writer import Fields, Writer, created, ends
from spinward.envs.recorded import require_env
from spinward.experience.material import collected
from spinward.experience.vector import Vector
from spinward.run.run import Run

ENVS = 8
NAMES = ("obs", "action", "reward", "terminated", "truncated", "next_obs")


def record(
    run: Run, path: Path, steps: int, seed: int = 0, explore: bool = False, licence: str = ""
) -> int:
    """Writes `steps` transitions of a seed's policy to a data set: of the greedy policy, or with
    `explore` of the one that trains. Where the policy tells the probabilities of its discrete
    actions, they are a column."""
    agents = run.agents()
    require_env(agents.env)
    batch = played(run, agents, -(-steps // ENVS), seed, explore)
    fields, env, time = by_env(batch, steps)
    extras: dict[str, Any] = {}
    if explore and isinstance(agents.env.spec.action, Discrete) and "log_prob" in fields:
        fields[PROBABILITY] = np.exp(fields["log_prob"])
        extras = {PROBABILITY: ("float32", ())}
    last = ends(fields, other_recording(env, time))
    first = np.concatenate([[0], last[:-1] + 1])
    spec, experiment = agents.env.spec, run.experiment
    policy = "policy with exploration" if explore else "greedy policy"
    source = f"{policy} of {type(experiment.algorithm).__name__}, seed {experiment.seed + seed}"
    about = Card(spec.obs, spec.action, source, experiment.env.name, licence, "data record")
    with created(path) as folder:
        card.write(folder, about)
        Writer(folder, layout_of(spec, extras)).add(fields, last, env[first], time[first])
        card.write(folder, replace(about, statistics=measured(opened(folder))))
    return len(time)


def played(run: Run, agents: Any, steps: int, seed: int, explore: bool) -> Transition:
    """Steps [time, env] of a seed's policy."""
    source: Any = collected(agents.env, ENVS, steps, False)
    act = partial(agents.algorithm.act, explore=explore)
    memory = agents.algorithm.memory
    key, agent = jax.random.PRNGKey(seed), agents.agent
    agent = jax.tree.map(lambda x: x[seed], agent)
    if not isinstance(source, Vector):
        policy = Policy(partial(act, agent), partial(memory, agent))
        state = source.init(key, memory(agent, ENVS))
        return source.collect(state, policy, key)[1]  # type: ignore[no-any-return]
    agent = jax.tree.map(lambda x: x[None], agent)
    policy = Policy(
        partial(jax.jit(jax.vmap(act)), agent), partial(jax.vmap(memory, (0, None)), agent)
    )
    try:
        state = source.init(key[None], policy.memory(ENVS))
        _, batch, _ = source.collect(state, policy, key[None])
    finally:
        source.close()
    return jax.tree.map(lambda x: x[0], batch)  # type: ignore[no-any-return]


def by_env(batch: Transition, steps: int) -> tuple[Fields, np.ndarray, np.ndarray]:
    """The steps of env 0, then env 1, ..., as columns; the env and the time of each."""
    count = len(batch.reward)
    columns = {name: getattr(batch, name) for name in NAMES}
    columns |= {n: x for n, x in batch.extras.items() if n == "log_prob"}

    def flat(x: Any) -> np.ndarray:
        x = np.asarray(x)
        return np.swapaxes(x, 0, 1).reshape(-1, *x.shape[2:])[:steps]

    fields = {name: jax.tree.map(flat, value) for name, value in columns.items()}
    env = np.repeat(np.arange(ENVS, dtype=np.int32), count)[:steps]
    return fields, env, np.tile(np.arange(count), ENVS)[:steps]
