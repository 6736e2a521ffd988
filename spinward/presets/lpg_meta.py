"""Settings of the search for a learned rule, where states are counted."""

from spinward.presets.kinds import TABLE
from spinward.presets.preset import Preset

COUNTED = {"tabular": True, "descent": "sgd", "agent_lr": (40.0,), "critic_lr": 0.05}

PRESETS = (Preset("table", COUNTED, obs=(TABLE,)),)
