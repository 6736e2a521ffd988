"""Settings of MBPO: small worlds with small networks, and what ends an episode in others (Janner et
al., 2019, their code)."""

from spinward.models.imagined import hopper, inverted_pendulum, walker2d
from spinward.presets.preset import OfSteps, Preset

SMALL_WORLD = {
    "rollout": 100,
    "updates": 1_000,
    "warmup": 500,
    "capacity": OfSteps(1, 1_000),
    "models": 5,
    "elites": 3,
    "model_hidden": (64, 64),
    "epochs": 20,
    "imagined": 6_000,
    "kept": 2,
    "lr": 1e-3,
    "hidden": (64, 64),
    "learn_terminal": False,
}
MUJOCO = {"entropy_per_action": -1.0 / 3.0, "learn_terminal": False}

PRESETS = (
    Preset("pendulum", SMALL_WORLD, tasks=("Pendulum-v1",)),
    Preset(
        "inverted-pendulum",
        {"entropy_per_action": -0.05, "updates": 2_500, "warmup": 500, "learn_terminal": False}
        | {"terminal": inverted_pendulum},
        tasks=("InvertedPendulum*",),
    ),
    Preset("hopper", MUJOCO | {"terminal": hopper}, tasks=("Hopper*",)),
    Preset("walker2d", {"learn_terminal": False, "terminal": walker2d}, tasks=("Walker2d*",)),
)
