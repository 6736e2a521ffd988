"""Settings that are known to work, by the kind of environment; flags and arguments override them.

Each is one table of what differs from an algorithm's defaults. `docs/algorithms/` says where they
come from and what they reach.
"""

import dataclasses
from typing import Any

from spinward.core import Box
from spinward.envs import ids
from spinward.envs.imagined import TERMINAL
from spinward.experiments import text_presets
from spinward.experiments.paper_presets import NAMED
from spinward.rewards.clipped import Clipped
from spinward.rewards.environment import Environment

PPO_CLASSIC = {"envs": 8, "rollout": 64, "epochs": 5, "lr": 1e-3}
PPO_CONTINUOUS = {
    "envs": 64,
    "rollout": 32,
    "minibatches": 32,
    "epochs": 10,
    "recompute": True,
    "lr": 3e-4,
    "log_std": -0.5,
    "entropy_coef": 0.0,
    "normalise_obs": True,
    "normalise_reward": True,
}
PPO_SMALL_CONTINUOUS = {
    "envs": 4,
    "rollout": 1024,
    "minibatches": 64,
    "epochs": 10,
    "lr": 1e-3,
    "gamma": 0.95,
    "entropy_coef": 0.0,
}
PPO_MINATAR = {"envs": 64, "rollout": 128, "minibatches": 8, "lr": 1e-3, "hidden": (128,)}
PPO_ATARI = {"envs": 8, "rollout": 128, "clip": 0.1, "hidden": (512,)}
DQN_CLASSIC = {
    "envs": 10,
    "updates": 2,
    "lr": 1e-3,
    "capacity": 500_000,
    "warmup": 5_000,
    "target_every": 1,
    "tau": 0.005,
    "huber": 1000.0,
    "explore_steps": 100_000,
    "hidden": (64, 64),
    "activation": "swish",
}
DQN_MINATAR = {
    "envs": 8,
    "updates": 2,
    "batch": 32,
    "lr": 2.5e-4,
    "eps": 3.125e-4,
    "huber": 1000.0,  # a lost life is an error above 1, which the line makes light of
    "capacity": 100_000,
    "warmup": 5_000,
    "target_every": 250,
    "explore_steps": 100_000,
    "hidden": (128,),
}
DQN_ATARI = {**DQN_MINATAR, "hidden": (512,), "lr": 6.25e-5, "eps": 1.5e-4}

SMALL_WORLD = {  # and a small model of it
    "rollout": 100,
    "capacity": 20_000,
    "model_hidden": (64, 64),
    "minibatches": 30,
    "epochs": 30,
    "imagined": 16,
    "horizon": 60,
}
MODELLED: dict[str, dict[str, Any]] = {  # by the start of an environment's name
    "Pendulum": SMALL_WORLD,
    # It falls slowly: within 60 imagined steps few actions show what they lead to.
    "InvertedPendulum": {**SMALL_WORLD, "updates": 40, "horizon": 200},
    "Reacher": {
        **SMALL_WORLD,
        "model_hidden": (128, 128),
        "epochs": 60,
        "updates": 40,
        "imagined": 20,
        "horizon": 50,
        "log_std": -0.5,
    },
}
LEARNED_RULES: dict[str, dict[str, Any]] = {  # where states are counted
    "LPG": {"tabular": True, "descent": "rmsprop", "lr": 10.0},
    "LPGMeta": {"tabular": True, "descent": "sgd", "agent_lr": (40.0,), "critic_lr": 0.05},
}
WHOLE_EPISODE = {  # where a goal is seldom seen, updates between two sights of it unlearn to look
    "envs": 1,
    "rollout": 1000,
    "minibatches": 10,
    "normalise_obs": True,
    "normalise_reward": True,
}
A2C_CHOICES = {
    "envs": 16,
    "lr": 2e-3,
    "lam": 0.95,
    "entropy_coef": 0.01,  # without, one seed of sixteen never sees Acrobot's goal
    "normalise_obs": True,
}
PENDULUM, CLIMB = "Pendulum-v1", "MountainCarContinuous-v0"
FAMILY: dict[str, dict[str, dict[str, Any]]] = {  # for vectors with choices, with numbers, by name
    "VPG": {
        "choices": {"lr": 1e-2, "normalise_obs": True},
        "numbers": {"normalise_obs": True, "normalise_reward": True},
        PENDULUM: {"rollout": 256, "lr": 1e-2, "gamma": 0.95, "normalise_reward": True},
        CLIMB: {**WHOLE_EPISODE, "lr": 1e-2},
    },
    "A2C": {
        "choices": A2C_CHOICES,
        "Acrobot-v1": {**A2C_CHOICES, "lr": 3e-3},
        "numbers": {
            "envs": 16,
            "rollout": 8,
            "lr": 3e-3,
            "lam": 0.9,
            "normalise": True,
            "normalise_obs": True,
            "normalise_reward": True,
        },
        PENDULUM: {
            "rollout": 16,
            "lr": 2e-3,
            "lam": 0.9,
            "gamma": 0.92,
            "decay": 0.95,
            "entropy_coef": 0.03,  # without, half of the seeds stay with what they found first
            "normalise": True,
            "normalise_obs": True,
            "normalise_reward": True,
        },
    },
    "TRPO": {
        "choices": {
            "envs": 4,
            "rollout": 256,
            "minibatches": 8,
            "max_grad_norm": 0.5,
            "normalise_obs": True,
        },
        "numbers": {
            "envs": 64,
            "rollout": 16,
            "log_std": -0.5,
            "normalise_obs": True,
            "normalise_reward": True,
        },
        PENDULUM: {
            "envs": 4,
            "rollout": 1024,
            "minibatches": 64,
            "epochs": 15,
            "kl_limit": 0.05,
            "gamma": 0.95,
            "lam": 0.9,
            "lr": 3e-3,
        },
        CLIMB: WHOLE_EPISODE,
    },
    "PPOPenalty": {
        "choices": {
            "envs": 4,
            "rollout": 256,
            "minibatches": 16,
            "lr": 1e-3,
            "entropy_coef": 0.01,
            "normalise_obs": True,
        },
        "numbers": {
            "rollout": 256,
            "minibatches": 32,
            "normalise_obs": True,
            "normalise_reward": True,
        },
        PENDULUM: {"envs": 4, "rollout": 1024, "minibatches": 64, "lr": 1e-3, "gamma": 0.95},
        CLIMB: {**WHOLE_EPISODE, "lr": 5e-4, "lam": 0.9, "entropy_coef": 0.01},
    },
}
PPO_CLIMB = {**WHOLE_EPISODE, "lr": 5e-4, "lam": 0.9, "epochs": 10}
Q_LEARNERS = ("DQN", "C51", "QRDQN", "EnsembleDQN", "REM")
BESIDE_CLASSIC: dict[str, dict[str, Any]] = {
    "DQN": {"n_step": 3, "capacity": 100_000},  # 3 for 1: 493 for 353 in CartPole; docs/log.md
    "C51": {"n_step": 3, "atoms": 101, "low": -100.0, "high": 100.0},
    "QRDQN": {  # an update for each step: 500 in CartPole after 50,000; few quantiles suffice
        "envs": 8,
        "updates": 8,
        "batch": 64,
        "lr": 2e-3,
        "tau": 0.01,
        "n_step": 3,
        "quantiles": 10,
    },
    "EnsembleDQN": {"n_step": 3},
    "REM": {"n_step": 3},
}
BESIDE_MINATAR = {  # eps as Dopamine has it; whether 20 is enough, `mass_at_ends` says
    "C51": {"eps": 3.125e-4, "low": -2.0, "high": 20.0},
    "QRDQN": {"eps": 3.125e-4},
    "EnsembleDQN": {"eps": 3.125e-4},
    "REM": {"eps": 3.125e-4},
}
CONTROL = ("DDPG", "TD3", "SAC")
CONTROL_CLASSIC = {"warmup": 1_000, "lr": 1e-3, "hidden": (64, 64)}
CONTROL_VALLEY = {  # a car leaves it by pushes that last
    **CONTROL_CLASSIC,
    "rollout": 8,
    "updates": 8,
    "gamma": 0.999,
    "tau": 0.01,
    "correlation": 0.99,
}
SAC_VALLEY = {  # the temperature would fall before the goal is found; the zoo fixes it too
    "batch": 512,
    "lr": 3e-4,
    "gamma": 0.9999,
    "alpha": 0.1,
    "learn_alpha": False,
}
SAC_DISCRETE_CLASSIC = {
    "updates": 4,
    "lr": 1e-3,
    "tau": 0.005,
    "hidden": (64, 64),
    "entropy_share": 0.3,
    "correlation": 0.9,  # without, one seed of ten sees Acrobot's goal in 100,000 steps
}


def preset(kind: Any, env_name: str, steps: int) -> tuple[dict[str, Any], Any]:
    """What to change in `kind`'s defaults for an environment, and the reward to learn from."""
    if hasattr(kind, "start"):
        return text_presets.table(kind, env_name), Environment()
    spec = ids.make(env_name).spec
    shape = spec.obs.shape if isinstance(spec.obs, Box) else ()
    small, large = len(shape) == 3 and shape[0] < 36, len(shape) == 3 and shape[0] >= 36
    reward = Clipped() if large else Environment()
    table: dict[str, Any] = {}
    if kind.__name__ == "PPO":
        table = PPO_MINATAR if small else PPO_ATARI if large else PPO_CLASSIC
        if isinstance(spec.action, Box) and not (small or large):
            table = PPO_SMALL_CONTINUOUS if env_name == "Pendulum-v1" else PPO_CONTINUOUS
            table = PPO_CLIMB if env_name == CLIMB else table
        table = {**table, "anneal_steps": steps}
    if kind.__name__ in FAMILY:
        tables = FAMILY[kind.__name__]
        if not (small or large):
            kind_of_action = "numbers" if isinstance(spec.action, Box) else "choices"
            table = dict(tables.get(env_name, tables[kind_of_action]))
        if kind.__name__ != "TRPO":  # whose only step size is the value's
            table["anneal_steps"] = steps
    if kind.__name__ in Q_LEARNERS:
        table = q_learner(kind, env_name, steps, small, large)
    if kind.__name__ in CONTROL and env_name == "Pendulum-v1":
        table = {**CONTROL_CLASSIC, "capacity": max(steps, 1_000)}
    if kind.__name__ in CONTROL and env_name == "MountainCarContinuous-v0":
        own = SAC_VALLEY if kind.__name__ == "SAC" else {"noise": 0.9}
        table = {**CONTROL_VALLEY, **own, "capacity": max(steps, 1_000)}
    if kind.__name__ == "SACDiscrete" and not (small or large):
        table = SAC_DISCRETE_CLASSIC
    if kind.__name__ == "MBMPO":
        table = next((t for name, t in MODELLED.items() if env_name.startswith(name)), {})
        ends = [end for name, end in TERMINAL.items() if name in env_name]
        table = {**table, **({"terminal": ends[0]} if ends else {})}
    if kind.__name__ in LEARNED_RULES and shape == (1,) and spec.obs.dtype == "int32":
        table = LEARNED_RULES[kind.__name__]
    return dict(table), reward


def q_learner(kind: Any, env_name: str, steps: int, small: bool, large: bool) -> dict[str, Any]:
    """DQN's tables, as far as its relatives have the same settings, and what is theirs alone."""
    table: dict[str, Any] = DQN_MINATAR if small else DQN_ATARI if large else {**DQN_CLASSIC}
    if not (small or large):
        table = {
            **table,
            "anneal_steps": steps,
            "capacity": min(max(steps, 10_000), 500_000),
            "warmup": min(max(steps // 50, 1_000), 5_000),
            "explore_steps": min(max(steps // 5, 1_000), 100_000),
        }
    if large and env_name.startswith(("ALE/", "envpool:")):
        table = {**table, "stack": 4}  # which both show, the newest last
    beside = BESIDE_MINATAR if small else BESIDE_CLASSIC
    own = beside.get(kind.__name__, {})
    if large:
        own = {k: NAMED["dopamine"][kind.__name__][k] for k in ("lr", "eps")}
    fields = {field.name for field in dataclasses.fields(kind)}
    return {k: v for k, v in {**table, **own}.items() if k in fields}
