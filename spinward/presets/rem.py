"""Settings of REM."""

from spinward.presets.preset import Preset
from spinward.presets.q_learning import DOPAMINE, SQUARED, by_kind

SQUARE = {"huber": SQUARED}
ONLINE = {"eps": 3.125e-5, "heads": 4, "separate": True, "mixed_acting": True}

PRESETS = (
    *by_kind(SQUARE, SQUARE, SQUARE | {"lr": 5e-5}),
    Preset("dopamine", DOPAMINE | {"heads": 200}, asked=True),
    Preset("rem-online", DOPAMINE | ONLINE, asked=True),
)
