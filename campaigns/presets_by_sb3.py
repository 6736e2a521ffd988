"""One seed by Stable-Baselines3 with its own defaults, in JSON; run by `.venv-bench`'s Python.

With the algorithm `random` nothing is learned, and actions are drawn from the space.
"""

import json
import sys
import time
from typing import Any

import gymnasium
import numpy as np
import stable_baselines3
import torch
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.monitor import Monitor


class Random:
    """Acts by chance, with the methods that `evaluate_policy` asks for."""

    def __init__(self, space: Any, seed: int) -> None:
        self.space = space
        self.space.seed(seed)

    def predict(self, obs: Any, *_: Any, **__: Any) -> tuple[np.ndarray, None]:
        return np.array([self.space.sample() for _ in range(len(obs))]), None


def learned(ask: dict[str, Any], env: Any) -> Any:
    if ask["algorithm"] == "random":
        return Random(env.action_space, ask["seed"])
    kind = getattr(stable_baselines3, ask["algorithm"].upper())
    return kind("MlpPolicy", env, seed=ask["seed"], device="cpu").learn(ask["steps"])


def main() -> None:
    ask = json.loads(sys.argv[1])
    torch.set_num_threads(1)
    made = (Monitor(gymnasium.make(ask["env"], **ask["kwargs"])) for _ in range(2))
    env, fresh = made
    before_s = time.process_time()
    policy = learned(ask, env)
    cpu_s = time.process_time() - before_s
    fresh.reset(seed=ask["seed"] + 1_000_000)
    returns, _ = evaluate_policy(policy, fresh, ask["episodes"], return_episode_rewards=True)
    versions = {"stable_baselines3": stable_baselines3.__version__, "torch": torch.__version__}
    answer = {"returns": [float(r) for r in returns], "cpu_s": cpu_s, "versions": versions}
    print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
