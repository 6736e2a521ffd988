"""Settings that are known to work on a small task of text; a real model has the defaults."""

from typing import Any

GRAMMAR: dict[str, dict[str, Any]] = {
    "SFT": {"batch": 128, "lr": 2e-3, "context": 16, "rollout": 10},
    "RewardModel": {"lr": 3e-4, "rollout": 10},
    "DPO": {"batch": 128, "lr": 5e-5, "beta": 0.3, "sft_coef": 1.0, "rollout": 10},
    "PPOTokens": {"envs": 256, "rollout": 10, "lr": 5e-4, "kl_coef": 0.1, "lam": 1.0},
    "GRPO": {"envs": 256, "rollout": 10, "lr": 5e-4, "kl_coef": 0.1},
}

COUPLETS: dict[str, dict[str, Any]] = {
    "SFT": {"batch": 128, "lr": 2e-3, "context": 16, "rollout": 6, "family": "gpt2"},
    "RewardModel": {"lr": 3e-4, "rollout": 6},
    "DPO": {"batch": 128, "lr": 5e-5, "beta": 0.3, "sft_coef": 1.0, "rollout": 6},
    "PPOTokens": {"envs": 256, "rollout": 6, "lr": 5e-4, "kl_coef": 0.3, "lam": 1.0},
    "GRPO": {
        "envs": 256, "rollout": 6, "lr": 1.5e-3, "scaled": False, "kl_in": "reward", "kl_coef": 0.3,
    },
}  # fmt: skip
TASKS = {"Grammar": GRAMMAR, "Couplets": COUPLETS}


def table(kind: Any, env_name: str) -> dict[str, Any]:
    """What to change in the defaults of `kind` for a task."""
    return dict(TASKS.get(env_name, {}).get(kind.__name__, {}))
