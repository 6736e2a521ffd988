"""One seed of SAC by Stable-Baselines3, told in JSON; run by the interpreter of `.venv-bench`."""

import json
import sys
import time

import gymnasium
import torch
from stable_baselines3 import SAC
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.monitor import Monitor


def main() -> None:
    told = json.loads(sys.argv[1])
    torch.set_num_threads(1)
    env = Monitor(gymnasium.make(told["env"]))
    model = SAC(
        "MlpPolicy",
        env,
        learning_rate=told["lr"],
        buffer_size=told["capacity"],
        learning_starts=told["warmup"],
        batch_size=told["batch"],
        tau=told["tau"],
        gamma=told["gamma"],
        policy_kwargs={"net_arch": told["hidden"]},
        seed=told["seed"],
        device="cpu",
    )
    before_s = time.process_time()
    model.learn(told["steps"])
    cpu_s = time.process_time() - before_s
    returns = [float(r) for r in env.get_episode_rewards()]
    steps = [int(n) for n in env.get_episode_lengths()]
    judge = Monitor(gymnasium.make(told["env"]))
    judge.reset(seed=told["seed"] + 1_000)
    greedy, _ = evaluate_policy(model, judge, told["episodes"])
    answer = {"returns": returns, "lengths": steps, "greedy": float(greedy), "cpu_s": cpu_s}
    print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
