"""Kills workers of Ray with SIGKILL at random moments, and holds asynchronous against synchronous.

    python -m campaigns.workers [--kills 25] [--seeds 8] [--steps 200000] [--seed 0]

First, environments whose every step has a name of its own: whatever is killed, each step is had
whole and once. Then A2C on CartPole, learning from its workers as they come (A3C), from all of them
together, and without workers: the first return has to lie in the interval of the second.
"""

import argparse
import dataclasses
import json
import os
import random
import signal
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np

import spinward
from spinward.core import Box, Discrete, Policy, Spec, Step

ENVS, STEPS, WORKERS, SEEDS = 8, 16, 2, 2
RESULT = Path("results/workers.json")


@dataclasses.dataclass(frozen=True)
class Named:
    """Each environment sees a name of its own, drawn from its seed, and counts its steps."""

    @property
    def spec(self) -> Spec:
        return Spec(Box((2,)), Discrete(2))

    def open(self, envs: int) -> "NamedStepper":
        return NamedStepper()


class NamedStepper:
    def reset(self, seeds: np.ndarray) -> np.ndarray:
        self.name, self.time = seeds % (1 << 24), np.zeros(len(seeds))
        return self.obs()

    def obs(self) -> np.ndarray:
        return np.stack([self.name, self.time], 1).astype(np.float32)

    def step(self, action: np.ndarray) -> Step:
        time.sleep(0.002)
        self.time = self.time + 1
        no, one = np.zeros(len(self.time), bool), np.ones(len(self.time), np.float32)
        return Step(self.obs(), one, no, no, self.obs(), one)

    def close(self) -> None:
        """Holds nothing."""


def whole(batch: Any) -> bool:
    """Whether each row of a batch is one environment's steps, one after another."""
    first = batch.obs[:, :1]
    own = (batch.obs[..., 0] == first[..., 0]).all()
    steps = batch.obs[..., 1] - first[..., 1] == np.arange(STEPS)[:, None]
    return bool(own and steps.all() and (batch.next_obs[..., 1] == batch.obs[..., 1] + 1).all())


def names(batch: Any) -> list[tuple[int, float, float]]:
    seed = np.broadcast_to(np.arange(SEEDS)[:, None, None], batch.reward.shape)
    columns = (seed, batch.obs[..., 0], batch.obs[..., 1])
    return list(zip(*(x.reshape(-1).tolist() for x in columns), strict=True))


def kill_at_random(source: Any, kills: int, draw: random.Random) -> None:
    """SIGKILL for the process of one worker after another, while the run goes on."""
    for _ in range(kills):
        time.sleep(draw.uniform(0.2, 1.5))
        actor = source.pool.actors[draw.randrange(WORKERS)]
        try:
            pid = source.pool.ray.get(actor.__ray_call__.remote(lambda self: os.getpid()))
            time.sleep(draw.uniform(0.0, 0.1))  # into the next batch
            os.kill(pid, signal.SIGKILL)
        except (source.pool.lost.RayActorError, ProcessLookupError):
            continue  # it was being replaced


def killed(kills: int, first_come: bool, draw: random.Random) -> dict[str, Any]:
    import jax

    from spinward.algorithms.a2c import A2C
    from spinward.experience.workers import Workers

    algorithm = A2C(envs=ENVS, rollout=STEPS)
    source = Workers(ENVS, STEPS, Named, algorithm, WORKERS, first_come)
    keys = jax.vmap(jax.random.PRNGKey)(np.arange(SEEDS))
    agent = jax.vmap(lambda k: algorithm.init(k, source.spec))(keys)
    policy: Any = Policy(lambda *x: x[0], lambda envs: (), agent)  # type: ignore[arg-type,return-value]
    source.init(keys, ())
    killer = threading.Thread(target=kill_at_random, args=(source, kills, draw))
    killer.start()
    seen, batches, torn = [], 0, 0
    try:
        while killer.is_alive() or batches % WORKERS:
            k_batch = jax.vmap(lambda k, i=batches: jax.random.fold_in(k, i))(keys)
            _, batch, _ = source.collect((), policy, k_batch)
            batches, torn = batches + 1, torn + (not whole(batch))
            seen += names(batch)
    finally:
        killer.join()
        source.close()
    expected = batches * SEEDS * STEPS * source.spec.envs
    return {
        "first_come": first_come,
        "deaths": source.pool.losses,
        "batches": batches,
        "torn": torn,
        "steps": len(seen),
        "steps_missing": expected - len(seen),
        "steps_twice": len(seen) - len(set(seen)),
    }


def returns(seeds: int, steps: int) -> dict[str, Any]:
    """The last tenth's training returns of A2C; as they come, an update is of half as many envs."""
    from spinward.algorithms.a2c import A2C
    from spinward.evaluation.statistics import described

    settings: dict[str, Any] = {"rollout": 16, "lr": 5e-3, "lam": 0.95, "entropy_coef": 0.01,
                                "normalise_obs": True, "anneal_steps": steps}  # fmt: skip
    ways: dict[str, tuple[int, dict[str, Any]]] = {
        "one process": (8, {"shards": 1}),
        "workers, all together": (8, {"workers": WORKERS}),
        "workers, first come": (8 * WORKERS, {"workers": WORKERS, "first_come": True}),
    }
    found = {}
    for name, (envs, more) in ways.items():
        with tempfile.TemporaryDirectory() as folder:
            algorithm = A2C(envs=envs, **settings)
            run = spinward.train(algorithm, "CartPole-v1", steps, seeds, out=folder, **more)
            final = run.final()
            lag = [p["lag"] for p in run.points if "lag" in p]
        found[name] = {**described(final), "per_seed": final.tolist(),
                       "lag": float(np.mean(lag)) if lag else 0.0}  # fmt: skip
        print(name, {k: v for k, v in found[name].items() if k != "per_seed"}, flush=True)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--kills", type=int, default=25, help="of each of the two ways")
    parser.add_argument("--seeds", type=int, default=8)
    parser.add_argument("--steps", type=int, default=200_000, help="of each seed; 0: only kills")
    parser.add_argument("--seed", type=int, default=0, help="of the moments of the kills")
    ask = parser.parse_args()
    from spinward.run import device

    device.prepare()
    draw, said = random.Random(ask.seed), []
    for first_come in (False, True):
        said.append(killed(ask.kills, first_come, draw))
        print(said[-1], flush=True)
    ok = all(not (x["torn"] or x["steps_missing"] or x["steps_twice"]) for x in said)
    result = {"date": time.strftime("%Y-%m-%d"), "kills": said, "whole_and_once": ok}
    if ask.steps:
        result["returns"] = found = returns(ask.seeds, ask.steps)
        twin, late = found["workers, all together"], found["workers, first come"]
        result["within"] = twin["low"] <= late["value"] <= twin["high"]
    RESULT.write_text(json.dumps(result, indent=1) + "\n")
    raise SystemExit(0 if ok and result.get("within", True) else 1)


if __name__ == "__main__":
    main()
