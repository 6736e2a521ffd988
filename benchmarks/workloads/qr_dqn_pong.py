"""QR-DQN on Pong from pixels beside Dopamine."""

from benchmarks.workload import DOPAMINE, OURS, Side, Workload
from benchmarks.workloads.c51_pong import WORKLOAD as C51
from benchmarks.workloads.dqn_pong import SETTINGS

WORKLOAD = Workload(
    name="qr_dqn_pong",
    question="QR-DQN of 200 quantiles, Pong from pixels, 1 seed",
    algorithm="qr_dqn",
    settings={**SETTINGS, "eps": 3.125e-4, "quantiles": 200, "kappa": 1.0},
    env_steps=C51.env_steps,
    quick_env_steps=C51.quick_env_steps,
    sides=(
        Side("spinward", OURS, "envpool:Pong-v5", beside="dopamine"),
        Side("dopamine", DOPAMINE, "Pong-v5"),
    ),
    notes=C51.notes,
)
