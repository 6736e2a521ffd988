"""Settings of GRPO on two small tasks of text; a real model has the defaults."""

from spinward.presets.preset import Preset

GRAMMAR = {"envs": 256, "rollout": 10, "lr": 5e-4, "kl_coef": 0.1}
COUPLETS = {
    "envs": 256,
    "rollout": 6,
    "lr": 1.5e-3,
    "scaled": False,
    "kl_in": "reward",
    "kl_coef": 0.3,
}

PRESETS = (
    Preset("grammar", GRAMMAR, tasks=("Grammar",)),
    Preset("couplets", COUPLETS, tasks=("Couplets",)),
)
