"""TD3 on Pendulum beside SB3 and SBX, and what three further seeds cost."""

from benchmarks.workload import Workload
from benchmarks.workloads.sac_pendulum import SIDES
from benchmarks.workloads.td3_halfcheetah import NOTES, SETTINGS

WORKLOAD = Workload(
    name="td3_pendulum",
    question="TD3 with 2x256, Pendulum-v1, 1 seed and 4 in one program",
    algorithm="td3",
    settings=SETTINGS,
    env_steps=4_000,
    quick_env_steps=1_000,
    sides=SIDES,
    notes=(*NOTES, "Ours steps a Pendulum in JAX."),
)
