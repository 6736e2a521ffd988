"""What DDPG, TD3 and SAC share."""

from typing import Any

from spinward.presets.classic import CLIMB, PENDULUM
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


def classic(hill: dict[str, Any]) -> tuple[Preset, ...]:
    """Presets of two classic tasks, with what an algorithm has of its own in the second."""
    return (
        Preset("pendulum", SWING, tasks=PENDULUM),
        Preset("mountain-car-continuous", HILL | hill, tasks=CLIMB),
    )
