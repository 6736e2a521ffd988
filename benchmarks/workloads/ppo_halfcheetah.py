"""PPO on MuJoCo's HalfCheetah beside SB3 and SBX, on as many environments and on their one."""

from benchmarks.workload import OURS, SB3, Side, Workload
from benchmarks.workloads.ppo_cartpole_gym import SETTINGS as GYM_SETTINGS

SETTINGS = {**GYM_SETTINGS, "normalise_obs": True, "normalise_reward": True}
ONE = {"envs": 1, "steps": 2_048}  # the same batch from one environment, as is these peers' default
WORKLOAD = Workload(
    name="ppo_halfcheetah",
    question="PPO, HalfCheetah-v5, 1 seed",
    algorithm="ppo",
    settings=SETTINGS,
    env_steps=40_960,
    quick_env_steps=10_240,
    sides=(
        Side("spinward (EnvPool)", OURS, "envpool:HalfCheetah-v5", beside="sbx"),
        Side("spinward (Gymnasium)", OURS, "HalfCheetah-v5"),
        Side("sbx", SB3, "HalfCheetah-v5", variant="sbx"),
        Side("sb3", SB3, "HalfCheetah-v5", variant="sb3"),
        Side("sbx, 1 env", SB3, "HalfCheetah-v5", variant="sbx", settings=ONE),
        Side("sb3, 1 env", SB3, "HalfCheetah-v5", variant="sb3", settings=ONE),
    ),
    notes=(
        "SB3 and SBX step Gymnasium's env in a DummyVecEnv: 8, or the one that is their default, "
        "with as many steps, minibatches and updates in all.",
        "MuJoCo itself takes a step's time on either side, which no learner can save.",
    ),
)
