"""Transitions of a trained policy on disk, as plain arrays."""

import io
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np

from spinward.core import Policy
from spinward.data.chunks import sealed
from spinward.errors import SettingsError
from spinward.experience.material import collected
from spinward.experience.vector import Vector
from spinward.run.run import Run
from spinward.store.files import write_atomically

ENVS = 8


def record(run: Run, path: Path, steps: int, seed: int = 0) -> int:
    """Writes `steps` transitions of a seed's greedy policy to an npz file."""
    if path.suffix != ".npz":
        raise SettingsError(f"{path}: expected a name that ends in .npz")
    agents = run.agents()
    source: Any = collected(agents.env, ENVS, -(-steps // ENVS), False)
    act = partial(agents.algorithm.act, explore=False)
    memory = agents.algorithm.memory
    key, agent = jax.random.PRNGKey(seed), agents.agent
    agent = jax.tree.map(lambda x: x[seed], agent)
    if not isinstance(source, Vector):
        policy = Policy(partial(act, agent), partial(memory, agent))
        state = source.init(key, memory(agent, ENVS))
        _, batch, _ = source.collect(state, policy, key)
    else:
        agent = jax.tree.map(lambda x: x[None], agent)
        policy = Policy(
            partial(jax.jit(jax.vmap(act)), agent), partial(jax.vmap(memory, (0, None)), agent)
        )
        try:
            state = source.init(key[None], policy.memory(ENVS))
            _, batch, _ = source.collect(state, policy, key[None])
        finally:
            source.close()
        batch = jax.tree.map(lambda x: x[0], batch)
    names = ("obs", "action", "reward", "terminated", "truncated", "next_obs")
    fields = {n: np.asarray(getattr(batch, n)) for n in names}
    rows: dict[str, Any] = {
        n: np.swapaxes(x, 0, 1).reshape(-1, *x.shape[2:])[:steps] for n, x in fields.items()
    }
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **rows)
    write_atomically(path, sealed(buffer.getvalue()))
    return len(rows["reward"])
