"""Settings of the advantage actor-critic."""

from spinward.presets.classic import SHORT, T_MAZE
from spinward.presets.kinds import CONTINUOUS, IMAGES
from spinward.presets.preset import STEPS, Preset

DISCRETE = {
    "envs": 16,
    "lr": 2e-3,
    "lam": 0.95,
    "entropy_coef": 0.01,  # without, one seed of sixteen never sees Acrobot's goal
    "normalise_obs": True,
}
NUMBERS = {
    "envs": 16,
    "rollout": 8,
    "lr": 3e-3,
    "lam": 0.9,
    "normalise": True,
    "normalise_obs": True,
    "normalise_reward": True,
}
SWING = {
    "rollout": 16,
    "lr": 2e-3,
    "lam": 0.9,
    "gamma": 0.92,
    "decay": 0.95,
    "entropy_coef": 0.03,  # without, half of the seeds stay with what they found first
    "normalise": True,
    "normalise_obs": True,
    "normalise_reward": True,
}
CORRIDOR = {  # as `spinward reproduce t-maze` has it
    "envs": 2,
    "rollout": 32,
    "lr": 2e-3,
    "normalise": True,
    "hidden": (32,),
    "recurrent": "lstm",
}
ANNEALED = {"anneal_steps": STEPS}

PRESETS = (
    Preset("image", ANNEALED, obs=IMAGES),
    Preset("short-episodes", SWING | ANNEALED, action=CONTINUOUS, limits=SHORT),
    Preset("continuous", NUMBERS | ANNEALED, action=CONTINUOUS),
    Preset("memory", CORRIDOR, tasks=T_MAZE, asked=True),
    Preset("acrobot", DISCRETE | {"lr": 3e-3} | ANNEALED, tasks=("Acrobot-v1",), asked=True),
    Preset("discrete", DISCRETE | ANNEALED),
)
