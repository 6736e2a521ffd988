"""Settings of PPO."""

from spinward.presets.classic import CLIMB, MEMORY, PENDULUM, T_MAZE, WHOLE_EPISODE
from spinward.presets.kinds import CONTINUOUS, IMAGES, SMALL_IMAGE
from spinward.presets.preset import STEPS, Preset

DISCRETE = {"envs": 8, "rollout": 64, "epochs": 5, "lr": 1e-3}
NUMBERS = {
    "envs": 64,
    "rollout": 32,
    "minibatches": 32,
    "epochs": 10,
    "recompute": True,
    "lr": 3e-4,
    "log_std": -0.5,
    "entropy_coef": 0.0,
    "normalise_obs": True,
    "normalise_reward": True,
}
SWING = {
    "envs": 4,
    "rollout": 1024,
    "minibatches": 64,
    "epochs": 10,
    "lr": 1e-3,
    "gamma": 0.95,
    "entropy_coef": 0.0,
}
HILL = {**WHOLE_EPISODE, "lr": 5e-4, "lam": 0.9, "epochs": 10}
MINATAR = {"envs": 64, "rollout": 128, "minibatches": 8, "lr": 1e-3, "hidden": (128,)}
PIXELS = {"envs": 8, "rollout": 128, "clip": 0.1, "hidden": (512,)}
ANNEALED = {"anneal_steps": STEPS}

PRESETS = (
    Preset("memory", MEMORY | {"lr": 3e-3}, tasks=T_MAZE),
    Preset("small-image", MINATAR | ANNEALED, obs=(SMALL_IMAGE,)),
    Preset("image", PIXELS | ANNEALED, obs=IMAGES),
    Preset("pendulum", SWING | ANNEALED, tasks=PENDULUM),
    Preset("mountain-car-continuous", HILL | ANNEALED, tasks=CLIMB),
    Preset("continuous", NUMBERS | ANNEALED, action=CONTINUOUS),
    Preset("discrete", DISCRETE | ANNEALED),
)
