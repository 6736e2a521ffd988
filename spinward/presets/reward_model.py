"""Settings of a reward model on two small tasks of text; a real model has the defaults."""

from spinward.presets.preset import Preset

GRAMMAR = {"lr": 3e-4, "rollout": 10}
COUPLETS = {"lr": 3e-4, "rollout": 6}

PRESETS = (
    Preset("grammar", GRAMMAR, tasks=("Grammar",)),
    Preset("couplets", COUPLETS, tasks=("Couplets",)),
)
