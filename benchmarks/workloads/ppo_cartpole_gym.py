"""PPO on Gymnasium's CartPole beside SB3 and SBX: what does an env on the host cost?"""

from benchmarks.workload import OURS, SB3, Side, Workload

SETTINGS = {
    "envs": 8,
    "steps": 256,
    "lr": 3e-4,
    "gamma": 0.99,
    "lam": 0.95,
    "clip": 0.2,
    "value_coef": 0.5,
    "entropy_coef": 0.0,
    "max_grad_norm": 0.5,
    "epochs": 10,
    "minibatches": 32,
    "hidden": (64, 64),
    "activation": "tanh",
}
WORKLOAD = Workload(
    name="ppo_cartpole_gym",
    question="PPO, Gymnasium's CartPole-v1, 1 seed",
    algorithm="ppo",
    settings=SETTINGS,
    env_steps=81_920,
    quick_env_steps=20_480,
    sides=(
        Side("spinward", OURS, "gymnasium:CartPole-v1", beside="sbx"),
        Side("sbx", SB3, "CartPole-v1", variant="sbx"),
        Side("sb3", SB3, "CartPole-v1", variant="sb3"),
    ),
    notes=("SB3 and SBX step a DummyVecEnv.",),
)
