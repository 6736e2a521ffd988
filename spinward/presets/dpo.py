"""Settings of DPO on two small tasks of text; a real model has the defaults."""

from spinward.presets.preset import Preset

GRAMMAR = {"batch": 128, "lr": 5e-5, "beta": 0.3, "sft_coef": 1.0, "rollout": 10}
COUPLETS = {"batch": 128, "lr": 5e-5, "beta": 0.3, "sft_coef": 1.0, "rollout": 6}

PRESETS = (
    Preset("grammar", GRAMMAR, tasks=("Grammar",)),
    Preset("couplets", COUPLETS, tasks=("Couplets",)),
)
