"""A rule of learning that was itself learned in small grids beats A2C in grids that it has never
seen (Oh et al., 2020, arXiv:2007.08794, section 4).

Rules are learned in 5x5 tabular grids with two objects. They and A2C then train agents from
nothing, for one lifetime each, in other grids of that kind; A2C with the best of several step
sizes and weights of the value, chosen in grids of their own. Then the same rules
train agents in larger grids and, with networks in place of tables, in grids whose objects lie
elsewhere in each episode.
"""

import itertools
import json
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import jax
import numpy as np

from spinward.algorithms.a2c import A2C
from spinward.algorithms.lpg import LPG, rule_of
from spinward.algorithms.lpg_meta import LPGMeta
from spinward.core import Key, Memory, Metrics, Policy, Spec, Transition, config, replace
from spinward.envs.grids import Grid, random_features
from spinward.experience.rollout import Rollout
from spinward.experiments.reproduction import Reproduction, Row, row_of, trained
from spinward.loop import Parts, system
from spinward.networks.rule import Rule
from spinward.networks.table import TabularActorCritic
from spinward.program import compiled
from spinward.rewards.environment import Environment
from spinward.run import plot
from spinward.run.files import discard, write_atomically
from spinward.run.learned import read, save
from spinward.run.run import Run

UPDATES, ENVS, STEPS = 200, 16, 20  # of a lifetime, of an agent, of its environments per update
SIZES = {"laptop": (5, 400, 32), "paper": (10, 5000, 512)}  # seeds, steps of a rule, grids
SOME = 16  # grids of a choice, and elsewhere
META = LPGMeta(tabular=True, sgd=True, agent_lr=(40.0,), critic_lr=0.05, lifetime=UPDATES)
TABLES = LPG(envs=ENVS, rollout=STEPS, tabular=True, sgd=True, lr=40.0)
NETWORKS = LPG(envs=ENVS, rollout=STEPS, lr=5e-3)
ACTOR = A2C(
    envs=ENVS, rollout=STEPS, gamma=0.95, lam=0.95, normalise=True, entropy_coef=0.003,
    network=TabularActorCritic.init,
)  # fmt: skip
# Of A2C: step sizes, and weights of the value.
TRIES = tuple(itertools.product((10.0, 20.0, 40.0, 80.0), (0.025, 0.05, 0.1)))
LARGE = Grid(7, 7, 3)
TRANSFER = 5.0  # how many times a random agent's reward a rule has to earn elsewhere
RULE = (
    "the rule: in held-out grids the learned rules' agents earn more at the end of a lifetime than "
    "A2C's in the same grids (the interval of the ratio lies above 1), and elsewhere they earn "
    "five times what a random agent does"
)


class Earned(NamedTuple):
    """Mean reward per step in each grid [grid]."""

    last: np.ndarray  # over the last tenth of a lifetime
    whole: np.ndarray
    curve: np.ndarray  # [update], over all grids


def run(scale: str, seeds: int | None, out: Path) -> Reproduction:
    usual, steps, grids = SIZES[scale]
    count = seeds or usual
    rules, runs = learned_rules(count, steps, out)
    best = tuned()
    held = jax.random.PRNGKey(2)
    a2c = [lifetimes(best, Grid(), grids, jax.random.fold_in(held, s)) for s in range(count)]
    ours = [
        lifetimes(TABLES, Grid(), grids, jax.random.fold_in(held, s), rule)
        for s, rule in enumerate(rules)
    ]
    idle = lifetimes(replace(TABLES, lr=0.0), Grid(), grids, held, rules[0])
    settings = f"lr {best.lr:g}, value {best.value_coef:g}"
    ratios = [a / b for a, b in zip(lasts(ours), lasts(a2c), strict=True)]
    rows = [
        random_row("held-out grids, reward per step", idle),
        row_of(f"held-out grids, A2C ({settings})", lasts(a2c)),
        row_of("held-out grids, learned rules", lasts(ours)),
        row_of("... rules over A2C, in the same grids", ratios),
        row_of("... over the whole lifetime, A2C", whole(a2c)),
        row_of("... over the whole lifetime, learned rules", whole(ours)),
        row_of("share of grids in which the rule earns more", shares(ours, a2c)),
    ]
    times = elsewhere(rules, rows)
    _, entropy = curves(runs, "prediction_entropy")
    rows.append(row_of("entropy of predictions at the end (uniform: 2.079)", entropy[:, -1]))
    at, reward = curves(runs, "reward")
    content = {"steps": at.tolist(), "rules": reward.tolist(), "a2c": whole(a2c),
               "lifetime": {"a2c": mean_curve(a2c), "rules": mean_curve(ours)}}  # fmt: skip
    (out / "curves").mkdir(parents=True, exist_ok=True)
    write_atomically(out / "curves" / "lpg.json", (json.dumps(content) + "\n").encode())
    discard(out / "rule")
    save(out / "rule", rule=rules[0])
    pictures = [out / "meta_training.png", out / "lifetime.png"]
    draw(content, pictures, count)
    better = rows[3].low > 1.0
    verdict = "reproduced" if better and min(times) >= TRANSFER else "not reproduced"
    return Reproduction("lpg", scale, rows, verdict, RULE, pictures)


def learned_rules(seeds: int, steps: int, out: Path) -> tuple[list[Rule], list[Run]]:
    """The rules of runs, which are gone on with if they were stopped. Each seed is a run: side by
    side their lives are more than a cache holds, and take half as long again."""
    length = steps * META.source(partial(Rollout, Grid())).stride
    meta, runs, rules = replace(META, anneal_steps=length), [], []
    for seed in range(seeds):
        name = f"lpg-meta-{seed}"
        run = trained(meta, "Grid-Small", length, 1, out, name, seed=seed, shards=1, logs=50)
        runs.append(run)
        rules.append(rule_of(*read(run.path), str(run.path)).rule)
    return rules, runs


def curves(runs: list[Run], name: str) -> tuple[np.ndarray, np.ndarray]:
    """Steps, and a metric of all runs [run, point]."""
    found = [run.curves(name) for run in runs]
    return found[0][0], np.concatenate([values for _, values in found])


def tuned() -> A2C:
    """A2C with the settings that earn the most at the end, in grids for choosing them."""
    tries = [replace(ACTOR, lr=lr, value_coef=value) for lr, value in TRIES]
    key = jax.random.PRNGKey(1)
    return max(tries, key=lambda a: lifetimes(a, Grid(), SOME, key).last.mean())


def elsewhere(rules: list[Rule], rows: list[Row]) -> list[float]:
    """How many times a random agent's reward the rules earn in worlds of other kinds."""
    times = []
    for name, algorithm, env in (
        ("7x7 grids, three objects", TABLES, LARGE),
        ("scattered objects, networks", NETWORKS, random_features()),
    ):
        key = jax.random.PRNGKey(4)
        idle = lifetimes(replace(algorithm, lr=0.0), env, SOME, key, rules[0])
        found = [lifetimes(algorithm, env, SOME, key, rule).last.mean() for rule in rules]
        rows += [random_row(name, idle), row_of(f"{name}: rules", found)]
        times.append(float(np.mean(found) / idle.last.mean()))
    return times


def lifetimes(algorithm: Any, env: Grid, grids: int, key: Key, rule: Rule | None = None) -> Earned:
    """What agents earn that are trained from nothing, each in a grid of its own."""
    reward = np.asarray(compiled(live, 0)(algorithm, env, rule, jax.random.split(key, grids)))
    tenth = max(1, UPDATES // 10)
    return Earned(reward[:, -tenth:].mean(1), reward.mean(1), reward.mean(0))


def live(algorithm: Any, env: Grid, rule: Rule | None, keys: Key) -> Any:
    """Mean reward per step [grid, update] of one agent for each of `keys`."""

    def one(key: Key) -> Any:
        k_task, k_life = jax.random.split(key)
        closed = system(
            Parts(algorithm, Earning(Rollout(env.drawn(k_task), ENVS, STEPS)), Environment())
        )
        state = closed.init(k_life)
        if rule is not None:
            state = replace(state, agent=replace(state.agent, rule=rule))
        return jax.lax.scan(lambda s, _: closed.step(s), state, length=UPDATES)[1]["earned"]

    return jax.vmap(one)(keys)


@config
class Earning:
    """A rollout that says what each of its steps earned on average."""

    source: Any  # a Rollout
    on_device: ClassVar[bool] = True

    @property
    def spec(self) -> Spec:
        return self.source.spec

    @property
    def stride(self) -> int:
        return self.source.stride

    def init(self, key: Key, memory: Memory) -> Any:
        return self.source.init(key, memory)

    def collect(self, state: Any, policy: Policy, key: Key) -> tuple[Any, Transition, Metrics]:
        state, batch, ran = self.source.collect(state, policy, key)
        return state, batch, {**ran, "earned": batch.reward.mean()}


def random_row(name: str, idle: Earned) -> Row:
    return Row(f"{name}: random agent", float(idle.last.mean()), np.nan, np.nan)


def lasts(earned: list[Earned]) -> list[float]:
    return [float(e.last.mean()) for e in earned]


def whole(earned: list[Earned]) -> list[float]:
    return [float(e.whole.mean()) for e in earned]


def shares(ours: list[Earned], theirs: list[Earned]) -> list[float]:
    return [float((a.last > b.last).mean()) for a, b in zip(ours, theirs, strict=True)]


def mean_curve(earned: list[Earned]) -> list[float]:
    return np.mean([e.curve for e in earned], 0).round(5).tolist()


def draw(content: dict[str, Any], paths: list[Path], seeds: int) -> None:
    at, reward, a2c = (np.array(content[key]) for key in ("steps", "rules", "a2c"))
    curves = [
        plot.Curve("agents of the rules, all ages", at, reward),
        plot.Curve("A2C, over a lifetime", at, np.repeat(a2c[:, None], len(at), 1)),
    ]
    plot.save(plot.figure(curves, f"reward per step while {seeds} rules are learned"), paths[0])
    updates = np.arange(1, UPDATES + 1) * ENVS * STEPS
    life = [
        plot.Curve(name, updates, np.array(content["lifetime"][key])[None])
        for name, key in (("learned rules", "rules"), ("A2C", "a2c"))
    ]
    plot.save(plot.figure(life, "reward per step in the course of a lifetime"), paths[1])
