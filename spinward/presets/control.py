"""What DDPG, TD3 and SAC share."""

from typing import Any

from spinward.presets.classic import CLIMB, SHORT
from spinward.presets.kinds import NO_IMAGES
from spinward.presets.preset import OfSteps, Preset

SWING = {"warmup": 1_000, "lr": 1e-3, "hidden": (64, 64), "capacity": OfSteps(1, 1_000)}
HILL = {  # a car leaves a valley by pushes that last
    **SWING,
    "rollout": 8,
    "updates": 8,
    "gamma": 0.999,
    "tau": 0.01,
    "correlation": 0.99,
}


def by_lengths(hill: dict[str, Any]) -> tuple[Preset, ...]:
    """Presets by the lengths of episodes, and the one that was tuned in a task, with what an
    algorithm has of its own there."""
    return (
        Preset("short-episodes", SWING, NO_IMAGES, limits=SHORT),
        Preset("mountain-car-continuous", HILL | hill, tasks=CLIMB, asked=True),
    )
