"""DQN on Gymnasium's CartPole beside SB3 and SBX: what does replay on the host cost?"""

from benchmarks.workload import OURS, SB3, Side, Workload

SETTINGS = {
    "envs": 1,
    "steps": 4,
    "capacity": 100_000,
    "batch": 64,
    "updates": 1,
    "warmup": 1_000,
    "lr": 1e-3,
    "gamma": 0.99,
    "max_grad_norm": 10.0,
    "target_every": 1_000,  # env steps, copied whole
    "huber": 1.0,
    "epsilon": 0.05,
    "anneal_steps": 10_000,
    "double": False,
    "hidden": (64, 64),
    "activation": "relu",
}
WORKLOAD = Workload(
    name="dqn_cartpole_gym",
    question="DQN, Gymnasium's CartPole-v1, 1 seed",
    algorithm="dqn",
    settings=SETTINGS,
    env_steps=50_000,
    quick_env_steps=20_000,
    sides=(
        Side("spinward", OURS, "gymnasium:CartPole-v1", beside="sb3"),
        Side("sb3", SB3, "CartPole-v1", variant="sb3"),
        Side("sbx", SB3, "CartPole-v1", variant="sbx"),
    ),
    notes=("SB3 and SBX step a DummyVecEnv. SBX clips no gradient.",),
)
