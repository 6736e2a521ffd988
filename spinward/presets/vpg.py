"""Settings of the vanilla policy gradient."""

from spinward.presets.classic import FEW, LONG, SHORT, WHOLE_EPISODE
from spinward.presets.kinds import CONTINUOUS, IMAGES
from spinward.presets.preset import STEPS, Preset

SWING = {"rollout": 256, "lr": 1e-2, "gamma": 0.95, "normalise_reward": True}
HILL = {**WHOLE_EPISODE, "lr": 1e-2}
NUMBERS = {"normalise_obs": True, "normalise_reward": True}
DISCRETE = {"lr": 1e-2, "normalise_obs": True}
ANNEALED = {"anneal_steps": STEPS}

PRESETS = (
    Preset("image", ANNEALED, obs=IMAGES),
    Preset("few-episodes", HILL | ANNEALED, action=CONTINUOUS, limits=LONG, episodes=2 * FEW),
    Preset("short-episodes", SWING | ANNEALED, action=CONTINUOUS, limits=SHORT),
    Preset("continuous", NUMBERS | ANNEALED, action=CONTINUOUS),
    Preset("discrete", DISCRETE | ANNEALED),
)
