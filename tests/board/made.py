"""Small folders that look like runs, made without training. It is no test file."""

import hashlib
import json

from spinward.store import checkpoint

SCRIPT = "<script>alert(1)</script>'\"&<img src=x onerror=alert(2)>"


def config(env="CartPole-v1", seeds=2, steps=1000, **more):
    return {
        "format": 1,
        "algorithm": {"class": "spinward.algorithms.ppo:PPO", "fields": {"lr": 0.001, "envs": 8}},
        "env": env, "steps": steps, "seeds": seeds, "seed": 0,
        "reward": {"class": "spinward.rewards.environment:Environment", "fields": {}},
        "data": "", "evaluate_every": 0, "evaluate_env": "", "stop_at": None, "inputs": {},
        "versions": {"spinward": "0.1.0"},
    } | more  # fmt: skip


def line(point, seeds=1, value=None, **more):
    returns = [float(10 * point + seed) if value is None else value for seed in range(seeds)]
    return {"iteration": point, "env_steps": 100 * point, "episodes": [1] * seeds,
            "episode_return": returns, "loss": [0.5] * seeds, **more}  # fmt: skip


def make(folder, name, points=10, shards=2, saved=False, **settings):
    """A run of so many log points; each shard has one seed."""
    run = folder / name
    content = config(seeds=shards, **settings)
    run.mkdir(parents=True)
    (run / "config.json").write_text(json.dumps(content))
    for i in range(shards):
        shard = run / "shards" / str(i)
        shard.mkdir(parents=True)
        (shard / "lock").touch()
        lines = [json.dumps(line(p + 1, value=10.0 * (p + 1) + i)) + "\n" for p in range(points)]
        (shard / "metrics.jsonl").write_text("".join(lines))
        times = [{"env_steps": 100 * (p + 1), "seconds": 0.5 * (p + 1)} for p in range(points)]
        (shard / "times.jsonl").write_text("".join(json.dumps(t) + "\n" for t in times))
        if saved:
            save(run, shard, points)
    return run


def make_search(folder, name, scores=(1.0, 3.0, None), asked=4, answered=False, **more):
    """A search with trials of these scores, of two seeds each."""
    path = folder / name
    path.mkdir(parents=True)
    (path / "lock").touch()
    question = {"format": 1, "experiment": config(), "trials": asked, "trial_batch": 8,
                "space": {"lr": "1e-4:1e-2:log"}, "evaluate_episodes": 0, "confirm": 5}  # fmt: skip
    (path / "tune.json").write_text(json.dumps(question | more))
    lines = [{"number": i, "settings": {"lr": 0.001 * (i + 1), "hidden": [8, 8]},
              "per_seed": [None if x is None else x + d for d in (-0.5, 0.5)],
              "reason": "" if x is not None else "loss: not finite", "steps": [], "returns": []}
             for i, x in enumerate(scores)]  # fmt: skip
    (path / "trials.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    if answered:
        side = {"value": 2.5, "low": 2.0, "high": 3.25}
        answer = {"trial": 1, "settings": {}, "seeds": [1000], "best": side, "start": side}
        (path / "best.json").write_text(json.dumps(answer))
    return path


def save(run, shard, iteration):
    """A checkpoint that vouches for the log and the settings as they are."""
    import numpy as np

    log = (shard / "metrics.jsonl").read_bytes()
    info = {
        "log_bytes": len(log), "log_sha256": hashlib.sha256(log).hexdigest(),
        "config_file_sha256": hashlib.sha256((run / "config.json").read_bytes()).hexdigest(),
    }  # fmt: skip
    checkpoint.save(shard / "checkpoints", iteration, {"x": np.zeros(3)}, info)
    (shard / "saved").write_text(f"{iteration}\n")
