"""C51 and QR-DQN by Dopamine (JAX) on EnvPool's Atari, which hands it one image a step.

Training time starts once updates are under way. Its agents learn inside `step`, as its own runner
has them do; the images go through no other wrapper.
"""

import importlib
import importlib.metadata
import sys
import types
from typing import Any
from unittest import mock

import envpool
import numpy as np

from benchmarks import measure
from benchmarks.envpool_cost import envpool_cpu_s

SETTLED_STEPS = 1_000  # with updates, after the warm-up, before the clock starts
# What its modules import but these agents never use, and what does not install beside today's JAX.
for absent in ("baselines.common", "tensorflow_probability.substrates"):
    parent, _, _ = absent.partition(".")
    sys.modules[parent] = types.ModuleType(parent)
    sys.modules[absent] = module = types.ModuleType(absent)
    module.atari_wrappers = module.jax = mock.MagicMock()  # type: ignore[attr-defined]

AGENTS = {"c51": ("rainbow", "JaxRainbowAgent"), "qr_dqn": ("quantile", "JaxQuantileAgent")}


def agent(ask: measure.Request, actions: int) -> Any:
    import gin

    chosen = ask.settings
    folder, name = AGENTS[ask.algorithm]
    kind = getattr(importlib.import_module(f"dopamine.jax.agents.{folder}.{folder}_agent"), name)
    gin.bind_parameter("ReplayBuffer.batch_size", chosen["batch"])
    gin.bind_parameter("ReplayBuffer.max_capacity", chosen["capacity"])
    gin.bind_parameter("PrioritizedSamplingDistribution.max_capacity", chosen["capacity"])
    gin.bind_parameter("create_optimizer.learning_rate", chosen["lr"])
    gin.bind_parameter("create_optimizer.eps", chosen["eps"])
    own = {"vmax": chosen["high"]} if ask.algorithm == "c51" else {}
    return kind(
        actions,
        num_atoms=chosen["atoms" if ask.algorithm == "c51" else "quantiles"],
        gamma=chosen["gamma"],
        min_replay_history=chosen["warmup"],
        update_period=chosen["steps"],
        target_update_period=chosen["target_every"],
        epsilon_train=chosen["epsilon"],
        epsilon_decay_period=chosen["anneal_steps"],
        replay_scheme="uniform",
        seed=ask.seed,
        **own,
    )


def main() -> None:
    ask = measure.request()
    pool = envpool.make(
        ask.env, env_type="gymnasium", num_envs=1, num_threads=1, seed=ask.seed, stack_num=1
    )
    learner = agent(ask, int(pool.action_space.n))
    image, _ = pool.reset()
    action, returns = learner.begin_episode(image[0, 0]), [0.0]
    first = ask.settings["warmup"] + SETTLED_STEPS
    started = measure.spent()
    for step in range(ask.env_steps):
        if step == first:
            started = measure.spent()
        image, reward, terminated, truncated, _ = pool.step(np.array([int(action)]))
        returns[-1] += float(reward[0])
        clipped = float(np.sign(reward[0]))
        # After an end the next step of the pool is a reset, whatever the action.
        if terminated[0] or truncated[0]:
            learner.end_episode(clipped, bool(terminated[0]))
            image, _ = pool.step(np.array([0]))[:2]
            action = learner.begin_episode(image[0, 0])
            returns.append(0.0)
        else:
            action = learner.step(clipped, image[0, 0])
    total = measure.spent()
    trained = ask.env_steps - first
    measure.report(
        "dopamine",
        total=total,
        started=started,
        train=measure.between(started, total),
        env_steps=ask.env_steps,
        env_steps_train=trained,
        final_return=float(np.mean(returns[:-1])) if returns[1:] else None,
        return_kind="training episodes",
        env_cpu_s=envpool_cpu_s(ask.env, 1, trained),
        dopamine=importlib.metadata.version("dopamine-rl"),
    )


if __name__ == "__main__":
    main()
