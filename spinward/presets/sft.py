"""Settings of supervised fine-tuning on two small tasks of text; a real model has the defaults."""

from spinward.presets.preset import Preset

GRAMMAR = {"batch": 128, "lr": 2e-3, "context": 16, "rollout": 10}
COUPLETS = {"batch": 128, "lr": 2e-3, "context": 16, "rollout": 6, "family": "gpt2"}

PRESETS = (
    Preset("grammar", GRAMMAR, tasks=("Grammar",)),
    Preset("couplets", COUPLETS, tasks=("Couplets",)),
)
