"""Settings that are known to work on a small task of text; a real model has the defaults."""

from typing import Any

GRAMMAR: dict[str, dict[str, Any]] = {
    "SFT": {"batch": 128, "lr": 2e-3, "context": 16, "rollout": 10},
    "RewardModel": {"lr": 3e-4, "rollout": 10},
    "DPO": {"batch": 128, "lr": 5e-5, "beta": 0.3, "sft_coef": 1.0, "rollout": 10},
    "PPOTokens": {"envs": 256, "rollout": 10, "lr": 5e-4, "kl_coef": 0.1, "lam": 1.0},
    "GRPO": {"envs": 256, "rollout": 10, "lr": 5e-4, "kl_coef": 0.1},
}


def table(kind: Any, env_name: str) -> dict[str, Any]:
    """What to change in the defaults of `kind` for a task."""
    return dict(GRAMMAR.get(kind.__name__, {})) if env_name == "Grammar" else {}
