"""DQN on a CartPole in JAX beside rejax: how fast is it, and what does each further seed cost?"""

from benchmarks.workload import OURS, REJAX, Side, Workload

SETTINGS = {  # rejax's configs/gymnax/cartpole.yaml, without the duelling head
    "envs": 10,
    "steps": 1,
    "capacity": 50_000,
    "batch": 100,
    "updates": 5,
    "warmup": 5_000,
    "lr": 1e-3,
    "gamma": 0.99,
    "max_grad_norm": 10.0,
    "tau": 0.02,
    "target_every": 2,  # env steps: at each update
    "huber": 1e6,  # the loss is the square
    "epsilon": 0.05,
    "anneal_steps": 20_000,
    "double": True,
    "hidden": (64, 64),
    "activation": "swish",
}
WORKLOAD = Workload(
    name="dqn_cartpole_jax",
    question="DQN, CartPole-v1 in JAX, 1 seed and 10 seeds in one program",
    algorithm="dqn",
    settings=SETTINGS,
    env_steps=40_000,
    quick_env_steps=10_000,
    sides=(
        Side("spinward", OURS, "CartPole-v1", beside="rejax"),
        Side("rejax", REJAX, "CartPole-v1"),
        Side("spinward, 10 seeds", OURS, "CartPole-v1", seeds=10, beside="rejax, 10 seeds"),
        Side("rejax, 10 seeds", REJAX, "CartPole-v1", seeds=10),
    ),
    notes=(
        "rejax draws a batch without replacement, by a pass over the whole buffer.",
        "rejax clips gradients element by element.",
        "Slow-down per seed: CPU-seconds of 10 seeds over 10 times those of one.",
    ),
)
