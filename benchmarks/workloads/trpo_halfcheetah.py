"""TRPO on MuJoCo's HalfCheetah beside sb3-contrib, with the same number of products and tries."""

from benchmarks.workload import OURS, Side, Workload

SB3 = "benchmarks.peers.with_sb3_actor_critic"
SETTINGS = {
    "envs": 8,
    "steps": 256,
    "lr": 1e-3,
    "gamma": 0.99,
    "lam": 0.95,
    "kl_limit": 0.01,
    "damping": 0.1,
    "iterations": 15,
    "shrink": 0.8,
    "tries": 10,
    "epochs": 10,
    "minibatches": 16,
    "hidden": (64, 64),
    "activation": "tanh",
    "normalise_obs": True,
    "normalise_reward": True,
}
WORKLOAD = Workload(
    name="trpo_halfcheetah",
    question="TRPO, HalfCheetah-v5, 1 seed",
    algorithm="trpo",
    settings=SETTINGS,
    env_steps=40_960,
    quick_env_steps=10_240,
    sides=(
        Side("spinward (EnvPool)", OURS, "envpool:HalfCheetah-v5", beside="sb3-contrib"),
        Side("spinward (Gymnasium)", OURS, "HalfCheetah-v5", beside="sb3-contrib"),
        Side("sb3-contrib", SB3, "HalfCheetah-v5", variant="sb3"),
        Side("sb3-contrib, subprocesses", SB3, "HalfCheetah-v5", variant="sb3-subproc"),
    ),
    notes=(
        "sb3-contrib steps Gymnasium's env in a DummyVecEnv or a SubprocVecEnv.",
        "Both fit the value by 10 passes over minibatches of 128.",
    ),
)
