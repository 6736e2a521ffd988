"""SAC and TD3 by Stable-Baselines3 (PyTorch) and by SBX (its twin in JAX) on Gymnasium's envs.

Training time starts once updates are under way, as it does for DQN; of several seeds, which are
trained one after another, with the updates of the first.
"""

import sys
from typing import Any

import gymnasium
import numpy as np

from benchmarks import measure
from benchmarks.peers.with_sb3 import Clock, activation, environment, library

SETTLED_STEPS = 200  # with updates, after the warm-up, before the clock starts


def control(ask: measure.Request, env: Any, seed: int) -> Any:
    chosen, variant = ask.settings, ask.variant
    more: dict[str, Any] = {}
    if ask.algorithm == "td3":
        sigma = np.full(env.action_space.shape, chosen["noise"], np.float32)
        from stable_baselines3.common.noise import NormalActionNoise

        more = {
            "action_noise": NormalActionNoise(0.0 * sigma, sigma),
            "policy_delay": chosen["delay"],
            "target_policy_noise": chosen["target_noise"],
            "target_noise_clip": chosen["noise_limit"],
        }
    return getattr(library(variant), ask.algorithm.upper())(
        "MlpPolicy",
        env,
        learning_rate=chosen["lr"],
        buffer_size=chosen["capacity"],
        learning_starts=chosen["warmup"],
        batch_size=chosen["batch"],
        tau=chosen["tau"],
        gamma=chosen["gamma"],
        train_freq=chosen["steps"],
        gradient_steps=chosen["updates"],
        policy_kwargs={
            "net_arch": list(chosen["hidden"]),
            "activation_fn": activation(chosen["activation"], variant),
        },
        seed=seed,
        device="cpu",
        **more,
    )


def main() -> None:
    ask = measure.request()
    env = environment(ask, subprocess=False)
    warmup = ask.settings["warmup"]
    clock = Clock(warmup + SETTLED_STEPS)
    steps = 0
    for seed in range(ask.seed, ask.seed + ask.seeds):
        learner = control(ask, env, seed)
        learner.learn(warmup + ask.env_steps, callback=clock if seed == ask.seed else None)
        steps += learner.num_timesteps
    total = measure.spent()
    if clock.started is None:
        sys.exit(f"env_steps={ask.env_steps} ends before updates are under way")
    measure.report(
        ask.variant,
        total=total,
        started=clock.started,
        train=measure.between(clock.started, total),
        env_steps=steps,
        env_steps_train=steps - clock.started_at,
        final_return=float(np.mean([episode["r"] for episode in learner.ep_info_buffer])),
        return_kind="last 100 training episodes",
        gymnasium=gymnasium.__version__,
    )
    env.close()


if __name__ == "__main__":
    main()
