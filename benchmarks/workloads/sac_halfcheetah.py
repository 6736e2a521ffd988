"""SAC on MuJoCo's HalfCheetah beside SB3 and SBX: how many updates does a CPU-second hold?"""

from benchmarks.workload import OURS, Side, Workload

SB3 = "benchmarks.peers.with_sb3_control"
SETTINGS = {
    "envs": 1,
    "steps": 1,
    "updates": 1,
    "batch": 256,
    "capacity": 100_000,
    "warmup": 1_000,
    "lr": 3e-4,
    "gamma": 0.99,
    "tau": 0.005,
    "hidden": (256, 256),
    "activation": "relu",
}
NOTES = (
    "One update for each env step, so steps are updates; the temperature is learned on all sides.",
    "SB3 and SBX step Gymnasium's env in a DummyVecEnv.",
)
WORKLOAD = Workload(
    name="sac_halfcheetah",
    question="SAC with 2x256, HalfCheetah-v5, 1 seed",
    algorithm="sac",
    settings=SETTINGS,
    env_steps=4_000,
    quick_env_steps=1_000,
    sides=(
        Side("spinward (EnvPool)", OURS, "envpool:HalfCheetah-v5", beside="sbx"),
        Side("spinward (Gymnasium)", OURS, "gymnasium:HalfCheetah-v5", beside="sbx"),
        Side("sbx", SB3, "HalfCheetah-v5", variant="sbx"),
        Side("sb3", SB3, "HalfCheetah-v5", variant="sb3"),
    ),
    notes=NOTES,
)
