"""Settings of MB-MPO: small worlds with a small model, and what ends an episode in others."""

from spinward.models.imagined import hopper, inverted_pendulum, walker2d
from spinward.presets.preset import Preset

SMALL_WORLD = {
    "rollout": 100,
    "capacity": 20_000,
    "model_hidden": (64, 64),
    "minibatches": 30,
    "epochs": 30,
    "imagined": 16,
    "horizon": 60,
}
# It falls slowly: within 60 imagined steps few actions show what they lead to.
POLE = {"updates": 40, "horizon": 200, "terminal": inverted_pendulum}
REACHER = {
    "model_hidden": (128, 128),
    "epochs": 60,
    "updates": 40,
    "imagined": 20,
    "horizon": 50,
    "log_std": -0.5,
}

PRESETS = (
    Preset("pendulum", SMALL_WORLD, tasks=("Pendulum*",)),
    Preset("inverted-pendulum", SMALL_WORLD | POLE, tasks=("InvertedPendulum*",)),
    Preset("reacher", SMALL_WORLD | REACHER, tasks=("Reacher*",)),
    Preset("hopper", {"terminal": hopper}, tasks=("Hopper*",)),
    Preset("walker2d", {"terminal": walker2d}, tasks=("Walker2d*",)),
)
