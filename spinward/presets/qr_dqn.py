"""Settings of QR-DQN."""

from spinward.presets.preset import Preset
from spinward.presets.q_learning import DOPAMINE, by_kind

VECTOR = {  # an update for each step: 500 in CartPole after 50,000; few quantiles suffice
    "envs": 8,
    "updates": 8,
    "batch": 64,
    "lr": 2e-3,
    "tau": 0.01,
    "quantiles": 10,
}

PRESETS = (
    *by_kind(VECTOR, {}, {"lr": 5e-5}),
    Preset("dopamine", DOPAMINE | {"quantiles": 200}, asked=True),
)
