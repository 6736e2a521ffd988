"""Settings of ME-TRPO: small worlds with a small model, and what ends an episode in others."""

from spinward.models.imagined import hopper, inverted_pendulum, walker2d
from spinward.presets.preset import Preset

SMALL_WORLD = {
    "envs": 2,
    "capacity": 20_000,
    "model_hidden": (64, 64),
    "minibatches": 30,
    "epochs": 30,
    "imagined": 40,
    "learn_terminal": False,
    "kl_limit": 0.05,
    "gamma": 0.95,
    "lam": 0.9,
    "value_lr": 3e-3,
    "value_minibatches": 50,
}

PRESETS = (
    Preset("pendulum", SMALL_WORLD, tasks=("Pendulum*",)),
    Preset(
        "inverted-pendulum",
        {"horizon": 200, "learn_terminal": False, "terminal": inverted_pendulum},
        tasks=("InvertedPendulum*",),
    ),
    Preset("hopper", {"learn_terminal": False, "terminal": hopper}, tasks=("Hopper*",)),
    Preset("walker2d", {"learn_terminal": False, "terminal": walker2d}, tasks=("Walker2d*",)),
)
