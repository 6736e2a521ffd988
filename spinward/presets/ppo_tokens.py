"""Settings of PPO on tokens on two small tasks of text; a real model has the defaults."""

from spinward.presets.preset import Preset

GRAMMAR = {"envs": 256, "rollout": 10, "lr": 5e-4, "kl_coef": 0.1, "lam": 1.0}
COUPLETS = {"envs": 256, "rollout": 6, "lr": 5e-4, "kl_coef": 0.3, "lam": 1.0}

PRESETS = (
    Preset("grammar", GRAMMAR, tasks=("Grammar",)),
    Preset("couplets", COUPLETS, tasks=("Couplets",)),
)
