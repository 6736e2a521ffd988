"""Settings of DDPG."""

from spinward.presets.control import classic

PRESETS = classic({"noise": 0.9})
