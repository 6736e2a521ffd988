"""Settings of agents that a learned rule updates, where states are counted."""

from spinward.presets.kinds import TABLE
from spinward.presets.preset import Preset

PRESETS = (Preset("table", {"tabular": True, "descent": "rmsprop", "lr": 10.0}, obs=(TABLE,)),)
