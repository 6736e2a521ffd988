"""PPO on a CartPole in JAX beside rejax, one seed: how fast is the compiled loop?"""

from benchmarks.workload import OURS, REJAX, Side, Workload

SETTINGS = {  # rejax's configs/gymnax/cartpole.yaml
    "envs": 5,
    "steps": 100,
    "lr": 7.5e-4,
    "gamma": 0.99,
    "lam": 0.95,
    "clip": 0.2,
    "value_coef": 0.5,
    "entropy_coef": 0.01,
    "max_grad_norm": 0.5,
    "epochs": 5,
    "minibatches": 5,
    "hidden": (64, 64),
    "activation": "tanh",
}
NOTES = (
    "rejax clips gradients element by element and its value loss too; evaluation is off.",
    "rejax steps gymnax's CartPole, Spinward its own.",
)
WORKLOAD = Workload(
    name="ppo_cartpole_jax",
    question="PPO, CartPole-v1 in JAX, 1 seed",
    algorithm="ppo",
    settings=SETTINGS,
    env_steps=1_000_000,
    quick_env_steps=100_000,
    sides=(
        Side("spinward", OURS, "CartPole-v1", beside="rejax"),
        Side("rejax", REJAX, "CartPole-v1"),
    ),
    notes=NOTES,
)
