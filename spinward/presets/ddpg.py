"""Settings of DDPG."""

from spinward.presets.control import by_lengths

PRESETS = by_lengths({"noise": 0.9})
