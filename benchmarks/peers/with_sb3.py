"""PPO and DQN by Stable-Baselines3 (PyTorch) and by SBX (its twin in JAX) on Gymnasium's envs.

Training time starts once the first updates are done, so that imports, compilation and the filling
of the replay buffer are start-up, and ends when `learn` returns.
"""

import sys
from typing import Any

import gymnasium
import numpy as np
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.env_util import make_atari_env, make_vec_env
from stable_baselines3.common.vec_env import (
    DummyVecEnv,
    SubprocVecEnv,
    VecEnv,
    VecFrameStack,
    VecNormalize,
)

from benchmarks import measure

SETTLED_STEPS = 1_000  # of DQN with updates, after its warm-up, before the clock starts


class Clock(BaseCallback):
    """Remembers what had been spent when the first updates were done."""

    def __init__(self, from_step: int) -> None:
        super().__init__()
        self.from_step = from_step
        self.started: measure.Cost | None = None
        self.started_at = 0

    def _on_rollout_start(self) -> None:
        if self.started is None and self.num_timesteps >= self.from_step:
            self.started, self.started_at = measure.spent(), self.num_timesteps

    def _on_step(self) -> bool:
        return True


def library(variant: str) -> Any:
    """SB3 or SBX. Imported here, so that neither pays for the other."""
    if variant == "sbx":
        import sbx

        return sbx
    import stable_baselines3

    return stable_baselines3


def activation(name: str, variant: str) -> Any:
    if variant == "sbx":
        from flax import linen

        return getattr(linen, name)
    from torch import nn

    return {"tanh": nn.Tanh, "relu": nn.ReLU}[name]


def environment(ask: measure.Request, subprocess: bool) -> VecEnv:
    if stack := ask.settings.get("stack"):  # of an Atari game's newest images
        import ale_py

        gymnasium.register_envs(ale_py)
        kept = {"terminal_on_life_loss": False}
        games = make_atari_env(ask.env, ask.settings["envs"], ask.seed, wrapper_kwargs=kept)
        return VecFrameStack(games, stack)
    env = make_vec_env(
        ask.env,
        n_envs=ask.settings["envs"],
        seed=ask.seed,
        vec_env_cls=SubprocVecEnv if subprocess else DummyVecEnv,
    )
    if ask.settings.get("normalise_obs"):
        env = VecNormalize(env, gamma=ask.settings["gamma"])
    return env


def ppo(ask: measure.Request, env: VecEnv, variant: str) -> tuple[Any, int]:
    """The learner, and the step at which its first update is done."""
    chosen = ask.settings
    rollout = chosen["envs"] * chosen["steps"]
    hidden = list(chosen["hidden"])
    learner = library(variant).PPO(
        "MlpPolicy",
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
        policy_kwargs={
            "net_arch": {"pi": hidden, "vf": hidden},
            "activation_fn": activation(chosen["activation"], variant),
        },
        seed=ask.seed,
        device="cpu",
    )
    return learner, rollout


def dqn(ask: measure.Request, env: VecEnv, variant: str) -> tuple[Any, int]:
    """The learner, and the step at which updates are under way."""
    chosen = ask.settings
    pixels = "stack" in chosen  # whose network is Nature's, of which `hidden` is the last layer
    network = {
        "net_arch": list(chosen["hidden"]),
        "activation_fn": activation(chosen["activation"], variant),
    }
    learner = library(variant).DQN(
        "CnnPolicy" if pixels else "MlpPolicy",
        env,
        learning_rate=chosen["lr"],
        buffer_size=chosen["capacity"],
        learning_starts=chosen["warmup"],
        batch_size=chosen["batch"],
        tau=1.0,
        gamma=chosen["gamma"],
        train_freq=chosen["steps"],
        gradient_steps=chosen["updates"],
        target_update_interval=chosen["target_every"],
        exploration_fraction=chosen["anneal_steps"] / ask.env_steps,
        exploration_final_eps=chosen["epsilon"],
        policy_kwargs={"net_arch": []} if pixels else network,
        seed=ask.seed,
        device="cpu",
    )
    return learner, chosen["warmup"] + SETTLED_STEPS


def main() -> None:
    ask = measure.request()
    variant, _, vector = ask.variant.partition("-")
    env = environment(ask, subprocess=vector == "subproc")
    learner, first_update = {"ppo": ppo, "dqn": dqn}[ask.algorithm](ask, env, variant)
    clock = Clock(first_update)
    learner.learn(ask.env_steps, callback=clock)
    total = measure.spent()
    if clock.started is None:
        sys.exit(f"env_steps={ask.env_steps} ends before the first update is done")
    episodes = [episode["r"] for episode in learner.ep_info_buffer]
    measure.report(
        ask.variant,
        total=total,
        started=clock.started,
        train=measure.between(clock.started, total),
        env_steps=learner.num_timesteps,
        env_steps_train=learner.num_timesteps - clock.started_at,
        final_return=float(np.mean(episodes)),
        return_kind="last 100 training episodes",
        gymnasium=gymnasium.__version__,
    )
    env.close()


if __name__ == "__main__":
    main()
