"""Settings of C51."""

from spinward.presets.preset import Preset
from spinward.presets.q_learning import DOPAMINE, by_kind

STEP = {"lr": 2.5e-4, "eps": 3.125e-4}

PRESETS = (
    *by_kind(
        {"atoms": 101, "low": -100.0, "high": 100.0},
        {"low": -2.0, "high": 20.0},  # whether 20 is enough, `mass_at_ends` says
        STEP,
    ),
    Preset("dopamine", DOPAMINE | STEP | {"atoms": 51, "low": -10.0, "high": 10.0}, asked=True),
)
