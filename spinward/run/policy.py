"""A trained policy as a function of NumPy arrays."""

from pathlib import Path
from typing import Any

import jax
import numpy as np

from spinward.core import Algorithm, Obs, Spec
from spinward.run import exporting


class TrainedPolicy:
    """`action = policy(obs)`, for one observation, in the environment's units.

    It keeps the memory of its network: call `reset` when an episode starts.
    """

    def __init__(self, algorithm: Algorithm, agent: Any, spec: Spec, explore: bool = False):
        self.algorithm, self.agent, self.spec, self.explore = algorithm, agent, spec, explore
        self.key = jax.random.PRNGKey(0)
        self.act = jax.jit(self._act)
        self.unit_action: np.ndarray | None = None  # the last one, in the policy's own scale
        self.reset()

    def reset(self, seed: int | None = None) -> None:
        self.memory = self.algorithm.memory(self.agent, 1)
        if seed is not None:
            self.key = jax.random.PRNGKey(seed)

    def __call__(self, obs: Obs) -> np.ndarray:
        obs = jax.tree.map(np.asarray, obs, is_leaf=lambda x: isinstance(x, list | tuple))
        action, self.memory, self.key = self.act(self.agent, obs, self.memory, self.key)
        self.unit_action = np.asarray(action)
        return np.asarray(self.spec.action.from_unit(self.unit_action))

    def save(self, out: str | Path, to: str = "stablehlo", **about: Any) -> dict[str, Any]:
        """Writes the policy to a new folder, as `stablehlo`, `onnx` or `npz`, checks it on 1,000
        observations, and returns its contract (see `run/exporting.py`). `about` goes into that."""
        actor = exporting.ExportedPolicy(self.algorithm, self.agent, self.spec)
        return exporting.save(actor, Path(out), to, about)

    def _act(self, agent: Any, obs: Obs, memory: Any, key: Any) -> tuple[Any, Any, Any]:
        key, k_act = jax.random.split(key)
        batch = jax.tree.map(lambda x: x[None], obs)
        action, memory, _ = self.algorithm.act(agent, batch, memory, k_act, self.explore)
        return action[0], memory, key
