"""One file per workload: the settings that every side of it shares, written down once."""

from benchmarks.workload import Workload
from benchmarks.workloads import (
    a2c_halfcheetah,
    c51_pong,
    dqn_cartpole_gym,
    dqn_cartpole_jax,
    dqn_pong,
    grpo_tokens,
    ppo_cartpole_10seeds,
    ppo_cartpole_gym,
    ppo_cartpole_jax,
    ppo_halfcheetah,
    ppo_pong_envpool,
    qr_dqn_pong,
    recurrent_ppo,
    sac_halfcheetah,
    sac_pendulum,
    sac_two_seeds,
    td3_halfcheetah,
    td3_pendulum,
    trpo_halfcheetah,
)

ALL: dict[str, Workload] = {
    module.WORKLOAD.name: module.WORKLOAD
    for module in (
        ppo_cartpole_jax,
        ppo_cartpole_10seeds,
        ppo_cartpole_gym,
        dqn_cartpole_jax,
        dqn_cartpole_gym,
        dqn_pong,
        c51_pong,
        qr_dqn_pong,
        ppo_halfcheetah,
        ppo_pong_envpool,
        recurrent_ppo,
        a2c_halfcheetah,
        trpo_halfcheetah,
        sac_halfcheetah,
        sac_pendulum,
        sac_two_seeds,
        td3_halfcheetah,
        td3_pendulum,
        grpo_tokens,
    )
}
