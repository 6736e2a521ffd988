"""Settings of SAC for discrete actions."""

from spinward.presets.kinds import NO_IMAGES
from spinward.presets.preset import Preset

CLASSIC = {
    "updates": 4,
    "lr": 1e-3,
    "tau": 0.005,
    "hidden": (64, 64),
    "entropy_share": 0.3,
    "correlation": 0.9,  # without, one seed of ten sees Acrobot's goal in 100,000 steps
}

PRESETS = (Preset("vector", CLASSIC, obs=NO_IMAGES),)
