"""Settings of Ensemble-DQN."""

from spinward.presets.preset import Preset
from spinward.presets.q_learning import DOPAMINE, SQUARED, by_kind

SQUARE = {"huber": SQUARED}

PRESETS = (
    *by_kind(SQUARE, SQUARE, SQUARE | {"lr": 5e-5}),
    Preset("dopamine", DOPAMINE | {"heads": 200}, asked=True),
)
