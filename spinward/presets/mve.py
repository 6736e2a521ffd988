"""Settings of MVE and STEVE: small worlds with small networks, and what ends an episode in
others."""

from spinward.models.imagined import hopper, inverted_pendulum, walker2d
from spinward.presets.preset import OfSteps, Preset

SMALL_WORLD = {
    "warmup": 500,
    "updates": 8,
    "capacity": OfSteps(1, 1_000),
    "model_hidden": (64, 64),
    "hidden": (64, 64),
    "learn_terminal": False,
}

PRESETS = (
    Preset("pendulum", SMALL_WORLD, tasks=("Pendulum-v1",)),
    Preset(
        "inverted-pendulum",
        {"learn_terminal": False, "terminal": inverted_pendulum},
        tasks=("InvertedPendulum*",),
    ),
    Preset("hopper", {"learn_terminal": False, "terminal": hopper}, tasks=("Hopper*",)),
    Preset("walker2d", {"learn_terminal": False, "terminal": walker2d}, tasks=("Walker2d*",)),
)
