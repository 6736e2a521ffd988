"""Settings of PPO."""

from spinward.presets.classic import FEW, LONG, MEMORY, SHORT, T_MAZE, WHOLE_EPISODE
from spinward.presets.kinds import CONTINUOUS, IMAGES, SMALL_IMAGE
from spinward.presets.preset import STEPS, OfSteps, Preset

# Both are normalised, so that no scale of a task's rewards decides what the step size is worth.
DISCRETE = {
    "envs": 16,
    "rollout": OfSteps(1_600, 64, 256, multiple=64),
    "minibatches": OfSteps(6_400, 16, 64, multiple=16),  # of 64 steps each
    "epochs": 4,
    "lr": 1e-3,
    "gamma": 0.999,
    "lam": 0.98,
    "normalise_obs": True,
    "normalise_reward": True,
}
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
    Preset("small-image", MINATAR | ANNEALED, obs=(SMALL_IMAGE,)),
    Preset("image", PIXELS | ANNEALED, obs=IMAGES),
    Preset("few-episodes", HILL | ANNEALED, action=CONTINUOUS, limits=LONG, episodes=FEW),
    Preset("short-episodes", SWING | ANNEALED, action=CONTINUOUS, limits=SHORT),
    Preset("continuous", NUMBERS | ANNEALED, action=CONTINUOUS),
    Preset("memory", MEMORY | {"lr": 3e-3}, tasks=T_MAZE, asked=True),
    Preset("discrete", DISCRETE | ANNEALED),
)
