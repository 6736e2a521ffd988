"""DQN on Pong from pixels beside SB3, with the network of Nature's DQN."""

from benchmarks.workload import OURS, SB3, Side, Workload

SETTINGS = {
    "envs": 1,
    "steps": 4,
    "stack": 4,
    "capacity": 10_000,
    "batch": 32,
    "updates": 1,
    "warmup": 1_000,
    "lr": 1e-4,
    "gamma": 0.99,
    "max_grad_norm": 10.0,
    "target_every": 1_000,  # env steps, copied whole
    "huber": 1.0,
    "epsilon": 0.01,
    "anneal_steps": 5_000,
    "double": False,
    "hidden": (512,),
    "activation": "relu",
    "reward_clip": True,
}
WORKLOAD = Workload(
    name="dqn_pong",
    question="DQN, Pong from pixels, 1 seed",
    algorithm="dqn",
    settings=SETTINGS,
    env_steps=6_000,
    quick_env_steps=3_000,
    sides=(
        Side("spinward", OURS, "envpool:Pong-v5", beside="sb3"),
        Side("sb3", SB3, "PongNoFrameskip-v4", variant="sb3"),
    ),
    notes=(
        "An update for every four steps, so a fourth of the steps are updates.",
        "Ours steps EnvPool, SB3 its own wrappers around ALE; what stepping at random costs is in "
        "neither taken off.",
    ),
)
