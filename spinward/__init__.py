"""Spinward: learning to act as one loop. Run the policy, evaluate what it did, improve it."""

import importlib
from typing import Any

__version__ = "0.1.0"
__all__ = [
    "A2C",
    "BC",
    "C51",
    "DDPG",
    "DQN",
    "PPO",
    "QRDQN",
    "REM",
    "SAC",
    "TD3",
    "TRPO",
    "VPG",
    "Clipped",
    "EnsembleDQN",
    "Experiment",
    "PPOPenalty",
    "Run",
    "SACDiscrete",
    "load",
    "train",
]

PLACES = {
    "A2C": "algorithms.a2c",
    "BC": "algorithms.bc",
    "C51": "algorithms.c51",
    "DDPG": "algorithms.ddpg",
    "DQN": "algorithms.dqn",
    "EnsembleDQN": "algorithms.ensemble_dqn",
    "PPO": "algorithms.ppo",
    "PPOPenalty": "algorithms.ppo_penalty",
    "QRDQN": "algorithms.qr_dqn",
    "REM": "algorithms.rem",
    "SAC": "algorithms.sac",
    "SACDiscrete": "algorithms.sac_discrete",
    "TD3": "algorithms.td3",
    "TRPO": "algorithms.trpo",
    "VPG": "algorithms.vpg",
    "Clipped": "rewards.clipped",
    "Experiment": "run.experiment",
    "Run": "run.run",
    "load": "run.run",
    "train": "run.run",
}


def __getattr__(name: str) -> Any:
    """Public names are imported when they are first used, so that `import spinward` is quick."""
    if name not in PLACES:
        raise AttributeError(f"module 'spinward' has no attribute {name!r}")
    return getattr(importlib.import_module(f"spinward.{PLACES[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *PLACES])
