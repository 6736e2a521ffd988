"""C51 on Pong from pixels beside Dopamine."""

from benchmarks.workload import DOPAMINE, OURS, Side, Workload
from benchmarks.workloads.dqn_pong import SETTINGS

WORKLOAD = Workload(
    name="c51_pong",
    question="C51 of 51 atoms, Pong from pixels, 1 seed",
    algorithm="c51",
    settings={**SETTINGS, "eps": 3.125e-4, "atoms": 51, "low": -10.0, "high": 10.0},
    env_steps=6_000,
    quick_env_steps=3_000,
    sides=(
        Side("spinward", OURS, "envpool:Pong-v5", beside="dopamine"),
        Side("dopamine", DOPAMINE, "Pong-v5"),
    ),
    notes=(
        "An update for every four steps, so a fourth of the steps are updates.",
        "Both step EnvPool. Dopamine's convolutions pad, so that its hidden layer reads 11 x 11 x "
        "64 features where ours, as Nature's, reads 7 x 7 x 64. It clips no gradient.",
    ),
)
