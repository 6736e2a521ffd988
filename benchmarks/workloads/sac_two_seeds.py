"""Two seeds of SAC on Pendulum where two cores are free: how long does the whole command take?"""

from benchmarks.workload import OURS, Side, Workload
from benchmarks.workloads.sac_halfcheetah import NOTES, SB3, SETTINGS

WORKLOAD = Workload(
    name="sac_two_seeds",
    question="SAC with 2x256, Pendulum-v1, 2 seeds on 2 cores, whole command",
    algorithm="sac",
    settings=SETTINGS,
    env_steps=10_000,
    quick_env_steps=1_000,
    sides=(
        Side("spinward", OURS, "Pendulum-v1", seeds=2, beside="sbx"),
        Side("sbx", SB3, "Pendulum-v1", seeds=2, variant="sbx"),
    ),
    cores=2,
    notes=(
        *NOTES,
        "Two cores may be used: ours trains a seed on each, SBX one after the other, with XLA's "
        "threads on both. Wall time of the whole command is the figure.",
    ),
)
