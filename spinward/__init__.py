"""Spinward: learning to act as one loop. Run the policy, evaluate what it did, improve it."""

import importlib
from typing import Any

__version__ = "0.1.0"
__all__ = ["BC", "DQN", "PPO", "Clipped", "Experiment", "Run", "load", "train"]

PLACES = {
    "BC": "algorithms.bc",
    "DQN": "algorithms.dqn",
    "PPO": "algorithms.ppo",
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
