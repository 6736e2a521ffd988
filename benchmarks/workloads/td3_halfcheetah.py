"""TD3 on MuJoCo's HalfCheetah beside SB3 and SBX: how many updates does a CPU-second hold?"""

from benchmarks.workload import Workload
from benchmarks.workloads import sac_halfcheetah

SETTINGS = {
    **sac_halfcheetah.SETTINGS,
    "steps": 2,
    "updates": 2,
    "delay": 2,
    "noise": 0.1,
    "target_noise": 0.2,
    "noise_limit": 0.5,
}
NOTES = ("Two updates for every two env steps, so steps are updates.", *sac_halfcheetah.NOTES[1:])
WORKLOAD = Workload(
    name="td3_halfcheetah",
    question="TD3 with 2x256, HalfCheetah-v5, 1 seed",
    algorithm="td3",
    settings=SETTINGS,
    env_steps=4_000,
    quick_env_steps=1_000,
    sides=sac_halfcheetah.WORKLOAD.sides,
    notes=NOTES,
)
