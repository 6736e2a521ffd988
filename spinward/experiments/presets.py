"""Settings that are known to work, by the kind of environment; flags and arguments override them.

Each is one table of what differs from an algorithm's defaults. `docs/algorithms/` says where they
come from and what they reach.
"""

from typing import Any

from spinward.core import Box
from spinward.envs import ids
from spinward.rewards.clipped import Clipped
from spinward.rewards.environment import Environment

PPO_CLASSIC = {"envs": 8, "rollout": 64, "epochs": 5, "lr": 1e-3}
PPO_CONTINUOUS = {
    "envs": 8,
    "rollout": 256,
    "minibatches": 32,
    "epochs": 10,
    "lr": 3e-4,
    "entropy_coef": 0.0,
    "normalise_obs": True,
    "normalise_reward": True,
}
PPO_SMALL_CONTINUOUS = {
    **PPO_CONTINUOUS,
    "envs": 4,
    "rollout": 128,
    "minibatches": 8,
    "lr": 1e-3,
    "gamma": 0.9,
}
PPO_MINATAR = {"envs": 64, "rollout": 128, "minibatches": 8, "lr": 1e-3, "hidden": (128,)}
PPO_ATARI = {"envs": 8, "rollout": 128, "clip": 0.1, "hidden": (512,)}
DQN_CLASSIC = {
    "envs": 10,
    "updates": 2,
    "lr": 1e-3,
    "capacity": 500_000,
    "warmup": 5_000,
    "target_every": 1,
    "tau": 0.005,
    "huber": 1000.0,
    "explore_steps": 100_000,
    "hidden": (64, 64),
    "activation": "swish",
}
DQN_MINATAR = {
    "envs": 8,
    "updates": 2,
    "batch": 32,
    "lr": 2.5e-4,
    "capacity": 100_000,
    "warmup": 5_000,
    "target_every": 250,
    "explore_steps": 100_000,
    "hidden": (128,),
}
DQN_ATARI = {**DQN_MINATAR, "hidden": (512,), "lr": 6.25e-5}


def preset(kind: Any, env_name: str, steps: int) -> tuple[dict[str, Any], Any]:
    """What to change in `kind`'s defaults for an environment, and the reward to learn from."""
    spec = ids.make(env_name).spec
    shape = spec.obs.shape if isinstance(spec.obs, Box) else ()
    small, large = len(shape) == 3 and shape[0] < 36, len(shape) == 3 and shape[0] >= 36
    reward = Clipped() if large else Environment()
    table: dict[str, Any] = {}
    if kind.__name__ == "PPO":
        table = PPO_MINATAR if small else PPO_ATARI if large else PPO_CLASSIC
        if isinstance(spec.action, Box) and not (small or large):
            table = PPO_SMALL_CONTINUOUS if env_name == "Pendulum-v1" else PPO_CONTINUOUS
        table = {**table, "anneal_steps": steps}
    if kind.__name__ == "DQN":
        table = DQN_MINATAR if small else DQN_ATARI if large else {**DQN_CLASSIC}
        if not (small or large):
            table = {**table, "anneal_steps": steps, "capacity": min(max(steps, 10_000), 500_000)}
    return dict(table), reward
