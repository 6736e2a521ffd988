"""An actor-critic with an LSTM learns from pixels to find its way in mazes it has never seen
(Mnih et al., 2016, arXiv:1602.01783, section 5.6).

The paper's Labyrinth is a 3-D engine; `Maze` is its task in cells: apples, a portal that takes one
anywhere, and another maze in every episode. Returns are of mazes that were held out. A policy
without a memory stands beside it, and the asynchronous way where Ray is installed.
"""

import importlib.util
from pathlib import Path
from typing import Any

import jax
import numpy as np

from spinward.algorithms.a2c import A2C
from spinward.core import Policy, replace
from spinward.envs.maze import Maze
from spinward.experience.rollout import Rollout
from spinward.experiments.reproduction import Reproduction, Row, first_seed, row_of, trained
from spinward.report import plot
from spinward.run.run import Run

STEPS = {"laptop": 1_000_000, "paper": 20_000_000}
SEEDS = {"laptop": 5, "paper": 5}
ENOUGH = 5  # seeds of a verdict
EPISODES = 64  # of each seed
RANDOM_TIMES = 5.0  # how many times a random policy's return has to be reached
AGENT = A2C(
    envs=16,
    rollout=20,
    lr=3e-3,
    decay=0.95,
    gamma=0.98,
    entropy_coef=0.01,
    normalise=True,
    normalise_reward=True,
    shared=True,
    hidden=(128,),
    recurrent="lstm",
)
WAYS: dict[str, tuple[Any, dict[str, Any]]] = {
    "LSTM": (AGENT, {"shards": 1}),
    "without a memory": (replace(AGENT, recurrent=""), {"shards": 1}),
    "LSTM, asynchronous": (
        replace(AGENT, envs=32),
        {"workers": 2, "first_come": True},
    ),
}
RULE = (
    "the rule: in held-out mazes the LSTM's interval lies above five times a random policy's "
    "return, its mean above nine tenths of what it earns in those it learned in, and the interval "
    "of what it earns more than the agent without a memory, seed by seed in the same mazes, above "
    "0; without the last the maze does not ask for a memory"
)


def run(scale: str, seeds: int | None, out: Path) -> Reproduction:
    steps, count = STEPS[scale], seeds or SEEDS[scale]
    chance = MazeGames(None, Maze(held_out=True), 0)
    rows = [Row("random policy", chance.mean, np.nan, np.nan)]
    curves, held_out, learned_in = [], {}, {}
    for name, (algorithm, more) in WAYS.items():
        if "workers" in more and importlib.util.find_spec("ray") is None:
            continue
        slug = name.lower().replace(",", "").replace(" ", "-")
        learned = trained(
            replace(algorithm, anneal_steps=steps),
            "Maze",
            steps,
            count,
            out,
            f"maze-{slug}",
            **more,
        )
        curves.append(plot.Curve(name, *learned.curves()))
        held = [MazeGames(learned, Maze(held_out=True), seed) for seed in range(count)]
        seen = [MazeGames(learned, Maze(), seed) for seed in range(count)]
        held_out[name] = row_of(f"{name}: held-out mazes", [p.mean for p in held])
        learned_in[name] = row_of(f"{name}: mazes learned in", [p.mean for p in seen])
        rows += [
            held_out[name],
            learned_in[name],
            row_of(f"{name}: steps to the portal, first time", [p.first for p in held]),
            row_of(f"{name}: steps to the portal, again", [p.again for p in held]),
        ]
    picture = out / "curves.png"
    plot.save(plot.figure(curves, f"Maze, {count} seeds"), picture)
    gains = np.subtract(held_out["LSTM"].scores, held_out["without a memory"].scores)
    rows.append(row_of("LSTM less without a memory, in the same held-out mazes", gains))
    verdict = verdict_of(held_out["LSTM"], learned_in["LSTM"], rows[-1], chance.mean)
    return Reproduction("a3c-maze", scale, rows, *verdict, [picture])


def verdict_of(held_out: Row, learned_in: Row, gain: Row, chance: float) -> tuple[str, str]:
    """The verdict on the LSTM's returns and what it earns more than without a memory, and why."""
    if len(held_out.scores) < ENOUGH:
        return "cannot tell", f"{len(held_out.scores)} seeds, fewer than {ENOUGH} ({RULE})"
    if held_out.high < RANDOM_TIMES * chance:
        return "not reproduced", f"the LSTM does not find its way in mazes never seen ({RULE})"
    if held_out.measured < 0.9 * learned_in.measured:
        return "not reproduced", f"the LSTM earns less in mazes never seen ({RULE})"
    if held_out.low < RANDOM_TIMES * chance:
        return "cannot tell", f"the LSTM's interval has five times a random policy's ({RULE})"
    if gain.low <= 0.0:
        more = f"the LSTM earns {gain.measured:+.0f} than the agent without a memory"
        return "cannot tell", f"memory does not surely pay in this maze: {more} ({RULE})"
    return "reproduced", f"the LSTM earns {gain.measured:.0f} more than without a memory ({RULE})"


class MazeGames:
    """Whole episodes of a seed's policy as it acts in training, or of a random one."""

    def __init__(self, learned: Run | None, env: Maze, seed: int) -> None:
        source = Rollout(env, EPISODES, env.limit)  # every episode is cut off at its limit
        policy = random_policy(env) if learned is None else policy_of(learned, seed)
        keys = jax.random.split(jax.random.PRNGKey(first_seed() + seed))
        state = source.init(keys[0], policy.memory(EPISODES))
        _, batch, _ = source.collect(state, policy, keys[1])
        reward = np.asarray(batch.reward)  # [time, episode]
        self.mean = float(reward.sum(0).mean())
        portals = [np.flatnonzero(column >= 10.0) + 1 for column in reward.T]
        firsts = [times[0] for times in portals if len(times)]
        again = [step for times in portals for step in np.diff(times)]
        self.first = float(np.mean(firsts)) if firsts else np.nan
        self.again = float(np.mean(again)) if again else np.nan


def policy_of(learned: Run, seed: int) -> Policy:
    agents = learned.agents()
    agent = jax.tree.map(lambda x: x[seed], agents.agent)
    algorithm = agents.algorithm

    def act(obs: Any, memory: Any, key: Any) -> Any:
        return algorithm.act(agent, obs, memory, key)

    return Policy(act, lambda envs: algorithm.memory(agent, envs))


def random_policy(env: Maze) -> Policy:
    def act(obs: Any, memory: Any, key: Any) -> Any:
        return env.spec.action.sample(key, (obs.shape[0],)), memory, {}

    return Policy(act, lambda envs: ())
