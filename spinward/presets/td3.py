"""Settings of TD3."""

from spinward.presets.control import classic

PRESETS = classic({"noise": 0.9})
