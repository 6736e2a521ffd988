"""A2C by Stable-Baselines3 and TRPO by sb3-contrib (PyTorch) on Gymnasium's envs.

Training time starts once the first update is done, as it does for the other peers.
"""

import sys
from typing import Any

import gymnasium
import numpy as np

from benchmarks import measure
from benchmarks.peers.with_sb3 import Clock, activation, environment


def shared(ask: measure.Request) -> dict[str, Any]:
    chosen = ask.settings
    hidden = list(chosen["hidden"])
    return {
        "learning_rate": chosen["lr"],
        "n_steps": chosen["steps"],
        "gamma": chosen["gamma"],
        "gae_lambda": chosen["lam"],
        "policy_kwargs": {
            "net_arch": {"pi": hidden, "vf": hidden},
            "activation_fn": activation(chosen["activation"], "sb3"),
        },
        "seed": ask.seed,
        "device": "cpu",
    }


def a2c(ask: measure.Request, env: Any) -> Any:
    from stable_baselines3 import A2C

    chosen = ask.settings
    return A2C(
        "MlpPolicy",
        env,
        vf_coef=chosen["value_coef"],
        ent_coef=chosen["entropy_coef"],
        max_grad_norm=chosen["max_grad_norm"],
        **shared(ask),
    )


def trpo(ask: measure.Request, env: Any) -> Any:
    from sb3_contrib import TRPO

    chosen = ask.settings
    return TRPO(
        "MlpPolicy",
        env,
        batch_size=chosen["envs"] * chosen["steps"] // chosen["minibatches"],
        n_critic_updates=chosen["epochs"],
        target_kl=chosen["kl_limit"],
        cg_damping=chosen["damping"],
        cg_max_steps=chosen["iterations"],
        line_search_shrinking_factor=chosen["shrink"],
        line_search_max_iter=chosen["tries"],
        **shared(ask),
    )


def main() -> None:
    ask = measure.request()
    env = environment(ask, subprocess=ask.variant.endswith("subproc"))
    learner = {"a2c": a2c, "trpo": trpo}[ask.algorithm](ask, env)
    clock = Clock(ask.settings["envs"] * ask.settings["steps"])
    learner.learn(ask.env_steps, callback=clock)
    total = measure.spent()
    if clock.started is None:
        sys.exit(f"env_steps={ask.env_steps} ends before the first update is done")
    measure.report(
        ask.variant,
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
