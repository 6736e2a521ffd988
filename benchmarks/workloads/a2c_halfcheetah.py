"""A2C on MuJoCo's HalfCheetah beside SB3: what does a step cost when little is learned from it?"""

from benchmarks.workload import OURS, Side, Workload

SB3 = "benchmarks.peers.with_sb3_actor_critic"
SETTINGS = {
    "envs": 8,
    "steps": 5,
    "lr": 7e-4,
    "gamma": 0.99,
    "lam": 1.0,
    "value_coef": 0.5,
    "entropy_coef": 0.0,
    "max_grad_norm": 0.5,
    "hidden": (64, 64),
    "activation": "tanh",
    "normalise_obs": True,
    "normalise_reward": True,
}
WORKLOAD = Workload(
    name="a2c_halfcheetah",
    question="A2C, HalfCheetah-v5, 1 seed",
    algorithm="a2c",
    settings=SETTINGS,
    env_steps=40_960,
    quick_env_steps=10_240,
    sides=(
        Side("spinward (EnvPool)", OURS, "envpool:HalfCheetah-v5", beside="sb3"),
        Side("spinward (Gymnasium)", OURS, "HalfCheetah-v5", beside="sb3"),
        Side("sb3", SB3, "HalfCheetah-v5", variant="sb3"),
        Side("sb3, subprocesses", SB3, "HalfCheetah-v5", variant="sb3-subproc"),
    ),
    notes=(
        "SB3 steps Gymnasium's env in a DummyVecEnv or a SubprocVecEnv. SBX has no A2C.",
        "RMSProp with a decay of 0.99 on both sides.",
    ),
)
