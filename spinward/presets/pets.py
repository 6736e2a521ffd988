"""Settings of PETS: small worlds with a small model and fewer plans, and what ends an episode in
others."""

from spinward.models.imagined import hopper, inverted_pendulum, walker2d
from spinward.presets.preset import Preset

SMALL_WORLD = {
    "capacity": 20_000,
    "model_hidden": (64, 64),
    "minibatches": 30,
    "epochs": 30,
    "learn_terminal": False,
    "horizon": 20,
    "plans": 100,
    "elites": 10,
    "iterations": 4,
    "particles": 5,
}

PRESETS = (
    Preset("pendulum", SMALL_WORLD, tasks=("Pendulum*",)),
    Preset(
        "inverted-pendulum",
        {"learn_terminal": False, "terminal": inverted_pendulum},
        tasks=("InvertedPendulum*",),
    ),
    Preset("hopper", {"learn_terminal": False, "terminal": hopper}, tasks=("Hopper*",)),
    Preset("walker2d", {"learn_terminal": False, "terminal": walker2d}, tasks=("Walker2d*",)),
)
