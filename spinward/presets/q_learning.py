"""What the Q-learners share: DQN's settings by the kind of environment, and those of papers."""

from typing import Any

from spinward.presets.kinds import ATARI, IMAGE, SMALL_IMAGE
from spinward.presets.preset import STEPS, OfSteps, Preset

SQUARED = 1000.0  # the error beyond which Huber's loss is linear: the square throughout
CLASSIC = {
    "envs": 10,
    "updates": 2,
    "lr": 1e-3,
    "anneal_steps": STEPS,
    "capacity": OfSteps(1, 10_000, 500_000),
    "warmup": OfSteps(50, 1_000, 5_000),
    "target_every": 1,
    "tau": 0.005,
    "n_step": 3,
    "explore_steps": OfSteps(5, 1_000, 100_000),
    "hidden": (64, 64),
    "activation": "swish",
}
MINATAR = {
    "envs": 8,
    "updates": 2,
    "batch": 32,
    "lr": 2.5e-4,
    "eps": 3.125e-4,
    "capacity": 100_000,
    "warmup": 5_000,
    "target_every": 250,
    "explore_steps": 100_000,
    "hidden": (128,),
}
# Four environments side by side and one update for their four steps: an update every four steps.
PAPER_ATARI = {
    "envs": 4,
    "rollout": 1,
    "updates": 1,
    "batch": 32,
    "capacity": 1_000_000,
    "stack": 4,
    "max_grad_norm": 1e9,
    "hidden": (512,),
    "n_step": 1,
}
DOPAMINE = {  # Castro et al., 2018; Agarwal et al., 2020, where Dopamine has none
    **PAPER_ATARI,
    "warmup": 20_000,
    "lr": 5e-5,
    "eps": 3.125e-4,
    "epsilon": 0.01,
    "explore_steps": 250_000,
    "target_every": 2_000,
}


def by_kind(
    classic: dict[str, Any], minatar: dict[str, Any], pixels: dict[str, Any]
) -> tuple[Preset, ...]:
    """DQN's settings with what an algorithm has of its own on vectors and on two sizes of image."""
    large = {**MINATAR, "hidden": (512,), **pixels}
    return (
        Preset("small-image", MINATAR | minatar, obs=(SMALL_IMAGE,)),
        Preset("atari", large | {"stack": 4}, obs=(ATARI,)),  # which it shows, the newest last
        Preset("image", large, obs=(IMAGE,)),
        Preset("vector", CLASSIC | classic),
    )
