"""Recurrent PPO by sb3-contrib (PyTorch) on Gymnasium's envs: an LSTM for policy and value each.

Training time starts once the first update is done, as it does for the other peers.
"""

import gymnasium
import numpy as np
import sb3_contrib
from stable_baselines3.common.env_util import make_vec_env

from benchmarks import measure
from benchmarks.peers.with_sb3 import Clock


def main() -> None:
    ask = measure.request()
    chosen = ask.settings
    env = make_vec_env(ask.env, n_envs=chosen["envs"], seed=ask.seed)
    rollout = chosen["envs"] * chosen["steps"]
    *before, units = chosen["hidden"]
    if before or chosen["recurrent"] != "lstm":
        raise SystemExit(f"sb3-contrib has one LSTM first; hidden={chosen['hidden']}")
    learner = sb3_contrib.RecurrentPPO(
        "MlpLstmPolicy",
        env,
        learning_rate=chosen["lr"],
        n_steps=chosen["steps"],
        batch_size=rollout // chosen["minibatches"],
        n_epochs=chosen["epochs"],
        gamma=chosen["gamma"],
        gae_lambda=chosen["lam"],
        clip_range=chosen["clip"],
        ent_coef=chosen["entropy_coef"],
        vf_coef=chosen["value_coef"],
        max_grad_norm=chosen["max_grad_norm"],
        policy_kwargs={"lstm_hidden_size": units, "net_arch": []},
        seed=ask.seed,
        device="cpu",
    )
    clock = Clock(rollout)
    learner.learn(ask.env_steps, callback=clock)
    total = measure.spent()
    if clock.started is None:
        raise SystemExit(f"env_steps={ask.env_steps} ends before the first update is done")
    measure.report(
        "sb3-contrib",
        total=total,
        started=clock.started,
        train=measure.between(clock.started, total),
        env_steps=learner.num_timesteps,
        env_steps_train=learner.num_timesteps - clock.started_at,
        final_return=float(np.mean([episode["r"] for episode in learner.ep_info_buffer])),
        return_kind="last 100 training episodes",
        gymnasium=gymnasium.__version__,
    )
    env.close()


if __name__ == "__main__":
    main()
