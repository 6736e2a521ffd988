"""Spinward: learning to act as one loop. Run the policy, evaluate what it did, improve it."""

import importlib
from typing import Any

__version__ = "0.1.0"
__all__ = [
    "A2C",
    "AWAC",
    "BC",
    "BCQ",
    "C51",
    "CQL",
    "DDPG",
    "DPO",
    "DQN",
    "GRPO",
    "IQL",
    "LPG",
    "MBMPO",
    "NGU",
    "PPO",
    "QRDQN",
    "R2D2",
    "REM",
    "RND",
    "SAC",
    "SFT",
    "STOP",
    "TD3",
    "TD3BC",
    "TRPO",
    "VPG",
    "BCQDiscrete",
    "CQLDiscrete",
    "Clipped",
    "Count",
    "EnsembleDQN",
    "Experiment",
    "LPGMeta",
    "PPOPenalty",
    "PPOTokens",
    "RewardModel",
    "RewardModelScore",
    "Run",
    "SACDiscrete",
    "load",
    "train",
]

PLACES = {
    "A2C": "algorithms.a2c",
    "AWAC": "algorithms.awac",
    "BC": "algorithms.bc",
    "BCQ": "algorithms.bcq",
    "BCQDiscrete": "algorithms.bcq_discrete",
    "C51": "algorithms.c51",
    "CQL": "algorithms.cql",
    "CQLDiscrete": "algorithms.cql_discrete",
    "Clipped": "rewards.clipped",
    "Count": "rewards.count",
    "DDPG": "algorithms.ddpg",
    "DPO": "algorithms.dpo",
    "DQN": "algorithms.dqn",
    "EnsembleDQN": "algorithms.ensemble_dqn",
    "Experiment": "run.experiment",
    "GRPO": "algorithms.grpo",
    "IQL": "algorithms.iql",
    "LPG": "algorithms.lpg",
    "LPGMeta": "algorithms.lpg_meta",
    "MBMPO": "algorithms.mb_mpo",
    "NGU": "algorithms.ngu",
    "PPO": "algorithms.ppo",
    "PPOPenalty": "algorithms.ppo_penalty",
    "PPOTokens": "algorithms.ppo_tokens",
    "QRDQN": "algorithms.qr_dqn",
    "R2D2": "algorithms.r2d2",
    "REM": "algorithms.rem",
    "Preferences": "rewards.preferences",
    "RND": "rewards.rnd",
    "RewardModel": "algorithms.reward_model",
    "RewardModelScore": "rewards.reward_model_score",
    "Run": "run.run",
    "SAC": "algorithms.sac",
    "SACDiscrete": "algorithms.sac_discrete",
    "SFT": "algorithms.sft",
    "STOP": "run.drive",
    "TD3": "algorithms.td3",
    "TD3BC": "algorithms.td3_bc",
    "TRPO": "algorithms.trpo",
    "VPG": "algorithms.vpg",
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
