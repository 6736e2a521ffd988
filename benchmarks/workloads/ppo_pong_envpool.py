"""PPO on Pong from pixels, both sides on EnvPool, beside the same update in plain PyTorch."""

from benchmarks.workload import OURS, TORCH, Side, Workload

SETTINGS = {
    "envs": 8,
    "steps": 128,
    "lr": 2.5e-4,
    "gamma": 0.99,
    "lam": 0.95,
    "clip": 0.1,
    "value_coef": 0.5,
    "entropy_coef": 0.01,
    "max_grad_norm": 0.5,
    "epochs": 4,
    "minibatches": 4,
}
WORKLOAD = Workload(
    name="ppo_pong_envpool",
    question="PPO, Pong-v5 on EnvPool with the network of Nature's DQN, 1 seed",
    algorithm="ppo",
    settings=SETTINGS,
    env_steps=8_192,
    quick_env_steps=3_072,
    sides=(
        Side("spinward", OURS, "envpool:Pong-v5", beside="torch"),
        Side("torch", TORCH, "Pong-v5"),
    ),
    notes=(
        "Learning is what is left of training when the cost of stepping the same envs at random, "
        "measured in the same process, is taken off.",
    ),
)
