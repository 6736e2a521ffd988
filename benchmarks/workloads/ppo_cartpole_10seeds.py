"""Ten seeds of PPO on a CartPole in JAX beside rejax: how long does the whole command take?"""

from benchmarks.workload import OURS, REJAX, Side, Workload
from benchmarks.workloads.ppo_cartpole_jax import NOTES, SETTINGS

WORKLOAD = Workload(
    name="ppo_cartpole_10seeds",
    question="PPO, CartPole-v1 in JAX, 10 seeds in one program, whole command",
    algorithm="ppo",
    settings=SETTINGS,
    env_steps=500_000,
    quick_env_steps=50_000,
    sides=(
        Side("spinward", OURS, "CartPole-v1", seeds=10, beside="rejax"),
        Side("rejax", REJAX, "CartPole-v1", seeds=10),
    ),
    cores=2,
    notes=(*NOTES, "Two cores may be used. Wall time of the whole command is the figure."),
)
