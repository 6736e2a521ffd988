"""PPO on MuJoCo's HalfCheetah beside SB3 and SBX as their users run them."""

from benchmarks.workload import OURS, SB3, Side, Workload
from benchmarks.workloads.ppo_cartpole_gym import SETTINGS as GYM_SETTINGS

SETTINGS = {**GYM_SETTINGS, "normalise_obs": True, "normalise_reward": True}
WORKLOAD = Workload(
    name="ppo_halfcheetah",
    question="PPO, HalfCheetah-v5, 1 seed",
    algorithm="ppo",
    settings=SETTINGS,
    env_steps=40_960,
    quick_env_steps=10_240,
    sides=(
        Side("spinward (EnvPool)", OURS, "envpool:HalfCheetah-v5", beside="sbx"),
        Side("sbx", SB3, "HalfCheetah-v5", variant="sbx"),
        Side("sb3", SB3, "HalfCheetah-v5", variant="sb3"),
        Side("sbx, subprocesses", SB3, "HalfCheetah-v5", variant="sbx-subproc"),
        Side("sb3, subprocesses", SB3, "HalfCheetah-v5", variant="sb3-subproc"),
    ),
    notes=("SB3 and SBX step Gymnasium's env in a DummyVecEnv or a SubprocVecEnv.",),
)
