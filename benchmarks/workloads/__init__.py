"""One file per workload: the settings that every side of it shares, written down once."""

from benchmarks.workload import Workload
from benchmarks.workloads import (
    dqn_cartpole_gym,
    dqn_cartpole_jax,
    ppo_cartpole_10seeds,
    ppo_cartpole_gym,
    ppo_cartpole_jax,
    ppo_halfcheetah,
    ppo_pong_envpool,
)

ALL: dict[str, Workload] = {
    module.WORKLOAD.name: module.WORKLOAD
    for module in (
        ppo_cartpole_jax,
        ppo_cartpole_10seeds,
        ppo_cartpole_gym,
        dqn_cartpole_jax,
        dqn_cartpole_gym,
        ppo_halfcheetah,
        ppo_pong_envpool,
    )
}
