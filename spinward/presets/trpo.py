"""Settings of TRPO, whose only step size is the value's, which does not fall."""

from spinward.presets.classic import FEW, LONG, MEMORY, SHORT, T_MAZE, WHOLE_EPISODE
from spinward.presets.kinds import CONTINUOUS, NO_IMAGES
from spinward.presets.preset import Preset

DISCRETE = {
    "envs": 4,
    "rollout": 256,
    "minibatches": 8,
    "max_grad_norm": 0.5,
    "gamma": 0.999,
    "lam": 0.98,
    "normalise_obs": True,
    "normalise_reward": True,
}
NUMBERS = {
    "envs": 64,
    "rollout": 16,
    "log_std": -0.5,
    "normalise_obs": True,
    "normalise_reward": True,
}
SWING = {
    "envs": 4,
    "rollout": 1024,
    "minibatches": 64,
    "epochs": 15,
    "kl_limit": 0.05,
    "gamma": 0.95,
    "lam": 0.9,
    "lr": 3e-3,
}

PRESETS = (
    Preset("few-episodes", WHOLE_EPISODE, NO_IMAGES, CONTINUOUS, limits=LONG, episodes=FEW),
    Preset("short-episodes", SWING, NO_IMAGES, CONTINUOUS, limits=SHORT),
    Preset("continuous", NUMBERS, obs=NO_IMAGES, action=CONTINUOUS),
    Preset("memory", MEMORY, tasks=T_MAZE, asked=True),
    Preset("discrete", DISCRETE, obs=NO_IMAGES),
)
