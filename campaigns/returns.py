"""Trains at full length what users have scores for, and keeps the curves in `results/returns/`.

    python -m campaigns.returns [NAME...] [--seeds N] [--seed N] [--episodes N]

Settings were chosen on seeds below 1,000, so seeds begin there. Each result holds the commit, the
CPU seconds, the curve of every seed, the training returns over the last tenth, every greedy return,
and the score to reach with where that comes from. The score is reached if the greedy returns have
it by the statistic that is printed: the mean of fewer than 10 seeds, else the interquartile mean.
"""

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

RESULTS = Path("results/returns")


class Task(NamedTuple):
    algorithm: str
    env: str
    steps: int
    seeds: int
    target: float
    source: str
    preset: str = ""  # in place of the one for its kind


TASKS = {
    "ppo-cartpole": Task("ppo", "CartPole-v1", 500_000, 10, 490, "CleanRL 490.0, zoo 500"),
    "dqn-cartpole": Task("dqn", "CartPole-v1", 500_000, 10, 489, "CleanRL 488.7, zoo 500"),
    "ppo-acrobot": Task("ppo", "Acrobot-v1", 500_000, 10, -82, "baselines -81.8, CleanRL -86.4"),
    "dqn-acrobot": Task("dqn", "Acrobot-v1", 500_000, 10, -89, "CleanRL -91.5, in JAX -88.9"),
    "ppo-pendulum": Task("ppo", "Pendulum-v1", 100_000, 10, -172, "zoo -172.2, deterministic"),
    "ppo-mountaincar": Task(
        "ppo", "MountainCarContinuous-v0", 20_000, 10, 88, "zoo 88, one tuned run"
    ),
    "vpg-cartpole": Task("vpg", "CartPole-v1", 300_000, 10, 483, "SLM-Lab 483.3, REINFORCE"),
    "vpg-acrobot": Task("vpg", "Acrobot-v1", 500_000, 10, -100, "none published; ours"),
    "vpg-pendulum": Task("vpg", "Pendulum-v1", 500_000, 10, -250, "none published; ours"),
    "a2c-cartpole": Task("a2c", "CartPole-v1", 500_000, 10, 500, "zoo 500"),
    "a2c-acrobot": Task("a2c", "Acrobot-v1", 500_000, 10, -83.4, "zoo -83.4", "tuned"),
    "a2c-pendulum": Task("a2c", "Pendulum-v1", 1_000_000, 10, -163, "zoo -163, one tuned run"),
    "trpo-cartpole": Task("trpo", "CartPole-v1", 100_000, 10, 500, "zoo 500"),
    "trpo-acrobot": Task("trpo", "Acrobot-v1", 100_000, 10, -83.1, "zoo -83.1"),
    "trpo-pendulum": Task("trpo", "Pendulum-v1", 100_000, 10, -174.6, "zoo -174.6"),
    "penalty-cartpole": Task("ppo_penalty", "CartPole-v1", 150_000, 10, 450, "ours; PPO 490"),
    "penalty-acrobot": Task("ppo_penalty", "Acrobot-v1", 500_000, 10, -82, "as PPO"),
    "penalty-pendulum": Task("ppo_penalty", "Pendulum-v1", 100_000, 10, -172, "as PPO"),
    "trpo-mountaincar": Task("trpo", "MountainCarContinuous-v0", 50_000, 10, 88, "as PPO"),
    "penalty-mountaincar": Task(
        "ppo_penalty", "MountainCarContinuous-v0", 20_000, 10, 88, "as PPO"
    ),
    "a2c-mountaincar": Task(
        "a2c", "MountainCarContinuous-v0", 100_000, 10, 88, "none published; as PPO"
    ),
    "vpg-mountaincar": Task("vpg", "MountainCarContinuous-v0", 100_000, 10, 88, "as PPO"),
    "ppo-halfcheetah": Task(
        "ppo", "envpool:HalfCheetah-v4", 1_000_000, 3, 4540, "Tianshou 5784 - 1244"
    ),
    "ppo-hopper": Task("ppo", "envpool:Hopper-v4", 1_000_000, 3, 1908, "Tianshou 2609 - 701"),
    "ppo-walker2d": Task("ppo", "envpool:Walker2d-v4", 1_000_000, 3, 2832, "Tianshou 3589 - 757"),
    "trpo-halfcheetah": Task(
        "trpo", "envpool:HalfCheetah-v4", 1_000_000, 3, 3666, "Tianshou 4471 - 805"
    ),
    "trpo-hopper": Task("trpo", "envpool:Hopper-v4", 1_000_000, 3, 1094, "Spinning Up 1094"),
    "trpo-walker2d": Task("trpo", "envpool:Walker2d-v4", 1_000_000, 3, 3044, "Tianshou 3827 - 783"),
    "c51-cartpole": Task("c51", "CartPole-v1", 500_000, 10, 481, "CleanRL 481.2, in JAX 491.1"),
    "c51-acrobot": Task("c51", "Acrobot-v1", 500_000, 10, -87, "CleanRL -87.7"),
    "qrdqn-cartpole": Task("qr_dqn", "CartPole-v1", 50_000, 10, 500, "zoo 500, one tuned run"),
    "qrdqn-acrobot": Task("qr_dqn", "Acrobot-v1", 100_000, 10, -75, "zoo -69.1, one tuned run"),
    "ensemble-cartpole": Task("ensemble_dqn", "CartPole-v1", 500_000, 10, 489, "as DQN"),
    "ensemble-acrobot": Task("ensemble_dqn", "Acrobot-v1", 500_000, 10, -89, "as DQN"),
    "rem-cartpole": Task("rem", "CartPole-v1", 500_000, 10, 489, "as DQN"),
    "rem-acrobot": Task("rem", "Acrobot-v1", 500_000, 10, -89, "as DQN"),
    "ppo-mountaincar-v0": Task("ppo", "MountainCar-v0", 100_000, 10, -120, "ours: every seed"),
    "ppo-lunarlander": Task("ppo", "envpool:LunarLander-v3", 1_000_000, 10, 242, "zoo 242.1, v2"),
    "dqn-cartpole-short": Task("dqn", "CartPole-v1", 100_000, 10, 475, "ours: every seed"),
    "dqn-lunarlander": Task("dqn", "envpool:LunarLander-v3", 100_000, 10, 154, "zoo 154.4, v2"),
    "qrdqn-lunarlander": Task("qr_dqn", "envpool:LunarLander-v3", 100_000, 10, 70, "zoo 70.2, v2"),
    "trpo-lunarlander": Task("trpo", "envpool:LunarLander-v3", 200_000, 10, 133, "zoo 133.2, v2"),
    "a2c-lunarlander": Task("a2c", "envpool:LunarLander-v3", 200_000, 10, 156, "zoo 155.8, v2"),
    # 1,000 random steps come before each of these, and count where the score was had.
    "sac-pendulum": Task("sac", "Pendulum-v1", 19_000, 10, -157, "zoo -157.0 at 20k"),
    "td3-pendulum": Task("td3", "Pendulum-v1", 19_000, 10, -152, "zoo -151.9 at 20k"),
    "ddpg-pendulum": Task("ddpg", "Pendulum-v1", 19_000, 10, -152, "zoo -152.1 at 20k"),
    "sac-mountaincar": Task(
        "sac", "MountainCarContinuous-v0", 49_000, 10, 94, "zoo 94 at 50k", "tuned"
    ),
    "td3-mountaincar": Task(
        "td3", "MountainCarContinuous-v0", 299_000, 10, 93, "zoo 93 at 300k", "tuned"
    ),
    "sac-discrete-cartpole": Task("sac_discrete", "CartPole-v1", 100_000, 10, 475, "ours"),
    "sac-discrete-acrobot": Task("sac_discrete", "Acrobot-v1", 100_000, 10, -89, "as DQN"),
    "ppo-halfcheetah-v5": Task("ppo", "HalfCheetah-v5", 300_000, 1, 1000, "ours: it learns"),
    "ppo-halfcheetah-envpool": Task(
        "ppo", "envpool:HalfCheetah-v5", 1_000_000, 3, 4540, "Tianshou 5784 - 1244, v3"
    ),
    "ppo-pong": Task("ppo", "ALE/Pong-v5", 1_600_000, 1, 0, "ours: it learns"),
    "dqn-breakout": Task("dqn", "MinAtar-Breakout", 5_000_000, 2, 10, "MinAtar's own curves"),
}


def keep(name: str, task: Task, run: Any, episodes: int, cpu_s: float) -> dict[str, Any]:
    from spinward.report import plot
    from spinward.report.results import curve, summary
    from spinward.run.provenance import commit

    steps, returns = run.curves()
    score = run.evaluate(episodes)
    greedy = {**score.to_json(), "returns": np.round(score.returns, 2).tolist()}
    shown = curve(run)._replace(name=name, expected=task.target)
    first, seeds = run.config["seed"], run.config["seeds"]
    title = f"{name}, {seeds} seed{'s' if seeds > 1 else ''}"
    plot.save(plot.figure([shown], title), RESULTS / f"{name}.png")
    finite = [[None if np.isnan(x) else round(float(x), 2) for x in row] for row in returns]
    result = {
        "name": name,
        "date": time.strftime("%Y-%m-%d"),
        "commit": commit(),
        "command": f"python -m campaigns.returns {name} --seeds {seeds} --seed {first}",
        "cpu_s": round(cpu_s, 1),
        "target": task.target,
        "source": task.source,
        "training": summary(run),
        "greedy": greedy,
        "reached": greedy["value"] >= task.target,
        "config": run.config,
        "steps": steps.tolist(),
        "returns": finite,
    }
    RESULTS.mkdir(parents=True, exist_ok=True)
    (RESULTS / f"{name}.json").write_text(json.dumps(result) + "\n")
    return result


def trained(task: Task, seeds: int, seed: int) -> Any:
    import spinward as sw
    from spinward.presets.choice import preset
    from spinward.store import settings

    kind = settings.find("algorithms", task.algorithm)
    chosen, reward = preset(kind, task.env, task.steps, task.preset)
    count = seeds or task.seeds
    more: dict[str, Any] = {"reward": reward, "out": "runs/returns"}
    return sw.train(kind(**chosen), task.env, task.steps, count, seed, **more)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help=f"of {', '.join(TASKS)}; all if none")
    parser.add_argument("--seeds", type=int, default=0, help="in place of the task's own number")
    parser.add_argument("--seed", type=int, default=1000, help="the first of them")
    parser.add_argument("--episodes", type=int, default=100, help="greedy ones, of each seed")
    ask = parser.parse_args()
    if unknown := set(ask.names) - TASKS.keys():
        parser.error(f"unknown {', '.join(unknown)}; expected {', '.join(TASKS)}")
    RESULTS.mkdir(parents=True, exist_ok=True)
    missed = 0
    from spinward.evaluation.statistics import sentence
    from spinward.run.provenance import cpu_seconds

    for name in ask.names or TASKS:
        began_s = cpu_seconds()
        run = trained(TASKS[name], ask.seeds, ask.seed)
        result = keep(name, TASKS[name], run, ask.episodes, cpu_seconds() - began_s)
        missed += not result["reached"]
        print(
            f"{name:<14} training {sentence(result['training'])}  "
            f"greedy {sentence(result['greedy'])}  target {TASKS[name].target}  "
            f"{'reached' if result['reached'] else 'MISSED'}",
            flush=True,
        )
    return int(missed > 0)


if __name__ == "__main__":
    sys.exit(main())
