"""SAC on Pendulum beside SB3 and SBX, and what three further seeds cost."""

from benchmarks.workload import OURS, Side, Workload
from benchmarks.workloads.sac_halfcheetah import NOTES, SB3, SETTINGS

SIDES = (
    Side("spinward", OURS, "Pendulum-v1", beside="sbx"),
    Side("spinward, 4 seeds", OURS, "Pendulum-v1", seeds=4),
    Side("sbx", SB3, "Pendulum-v1", variant="sbx"),
    Side("sb3", SB3, "Pendulum-v1", variant="sb3"),
)
WORKLOAD = Workload(
    name="sac_pendulum",
    question="SAC with 2x256, Pendulum-v1, 1 seed and 4 in one program",
    algorithm="sac",
    settings=SETTINGS,
    env_steps=4_000,
    quick_env_steps=1_000,
    sides=SIDES,
    notes=(*NOTES, "Ours steps a Pendulum in JAX."),
)
