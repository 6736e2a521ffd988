"""Settings of TRPO, whose only step size is the value's, which does not fall."""

from spinward.presets.classic import CLIMB, MEMORY, PENDULUM, T_MAZE, WHOLE_EPISODE
from spinward.presets.kinds import CONTINUOUS, PARTS, TABLE, VECTOR
from spinward.presets.preset import Preset

DISCRETE = {
    "envs": 4,
    "rollout": 256,
    "minibatches": 8,
    "max_grad_norm": 0.5,
    "normalise_obs": True,
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
NO_IMAGES = VECTOR, TABLE, PARTS

PRESETS = (
    Preset("memory", MEMORY, tasks=T_MAZE),
    Preset("pendulum", SWING, tasks=PENDULUM),
    Preset("mountain-car-continuous", WHOLE_EPISODE, tasks=CLIMB),
    Preset("continuous", NUMBERS, obs=NO_IMAGES, action=CONTINUOUS),
    Preset("discrete", DISCRETE, obs=NO_IMAGES),
)
