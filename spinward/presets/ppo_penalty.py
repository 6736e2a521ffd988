"""Settings of PPO with a penalty."""

from spinward.presets.classic import FEW, LONG, SHORT, WHOLE_EPISODE
from spinward.presets.kinds import CONTINUOUS, IMAGES
from spinward.presets.preset import STEPS, Preset

DISCRETE = {
    "envs": 4,
    "rollout": 256,
    "minibatches": 16,
    "lr": 1e-3,
    "entropy_coef": 0.01,
    "normalise_obs": True,
}
NUMBERS = {
    "rollout": 256,
    "minibatches": 32,
    "normalise_obs": True,
    "normalise_reward": True,
}
SWING = {"envs": 4, "rollout": 1024, "minibatches": 64, "lr": 1e-3, "gamma": 0.95}
HILL = {**WHOLE_EPISODE, "lr": 5e-4, "lam": 0.9, "entropy_coef": 0.01}
ANNEALED = {"anneal_steps": STEPS}

PRESETS = (
    Preset("image", ANNEALED, obs=IMAGES),
    Preset("few-episodes", HILL | ANNEALED, action=CONTINUOUS, limits=LONG, episodes=FEW),
    Preset("short-episodes", SWING | ANNEALED, action=CONTINUOUS, limits=SHORT),
    Preset("continuous", NUMBERS | ANNEALED, action=CONTINUOUS),
    Preset("discrete", DISCRETE | ANNEALED),
)
