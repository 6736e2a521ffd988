"""Settings of the vanilla policy gradient."""

from spinward.presets.classic import CLIMB, PENDULUM, WHOLE_EPISODE
from spinward.presets.kinds import CONTINUOUS, IMAGES
from spinward.presets.preset import STEPS, Preset

SWING = {"rollout": 256, "lr": 1e-2, "gamma": 0.95, "normalise_reward": True}
HILL = {**WHOLE_EPISODE, "lr": 1e-2}
NUMBERS = {"normalise_obs": True, "normalise_reward": True}
DISCRETE = {"lr": 1e-2, "normalise_obs": True}
ANNEALED = {"anneal_steps": STEPS}

PRESETS = (
    Preset("image", ANNEALED, obs=IMAGES),
    Preset("pendulum", SWING | ANNEALED, tasks=PENDULUM),
    Preset("mountain-car-continuous", HILL | ANNEALED, tasks=CLIMB),
    Preset("continuous", NUMBERS | ANNEALED, action=CONTINUOUS),
    Preset("discrete", DISCRETE | ANNEALED),
)
