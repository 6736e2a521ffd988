"""A rule of learning that was itself learned in small grids beats A2C in grids that it has never
seen (Oh et al., 2020, arXiv:2007.08794, section 4).

Rules are learned in 5x5 tabular grids with two objects. They and A2C then train agents from
nothing, for one lifetime each, in other grids of that kind, the same for all. What an agent is
given beside its rule is chosen in grids of their own: of the rules a step size, of A2C that and the
weight of the value.
What counts is what a life earns, to which A2C is not made: so there is one that sees no ends,
and the verdict is over that one, which is like the rules.
Then the same rules train agents in larger grids and, in grids like their own, networks in place of
tables.
"""

import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from spinward.algorithms.a2c import A2C
from spinward.algorithms.lpg import LPG, rule_of
from spinward.algorithms.lpg_meta import LPGMeta
from spinward.core import Key, Memory, Metrics, Policy, Spec, Transition, config, replace
from spinward.envs.grids import Grid
from spinward.evaluation.statistics import t_quantile
from spinward.experience.material import source_for
from spinward.experience.rollout import Rollout
from spinward.experiments.reproduction import Reproduction, Row, first_seed, row_of, trained
from spinward.loop import Parts, system
from spinward.networks.rule import Rule
from spinward.networks.table import TabularActorCritic
from spinward.networks.towers import Separate
from spinward.programs.seeds import compiled
from spinward.report import plot
from spinward.rewards.environment import Environment
from spinward.run.run import Run
from spinward.store.files import discard, write_atomically
from spinward.store.parameters import read, save

UPDATES, ENVS, STEPS = 500, 16, 20  # of a lifetime, of an agent, of its environments per update
SIZES = {"laptop": (5, 600, 128), "paper": (10, 5000, 512)}  # seeds, steps of a rule, grids
CHOICE, SOME = 32, 16  # grids of a choice, and of each kind elsewhere
META = LPGMeta(  # validated as they are compared: by what a life earns
    tabular=True, descent="sgd", agent_lr=(40.0,), critic_lr=0.05, lifetime=200,
    through_ends=True,
)  # fmt: skip
TABLES = LPG(envs=ENVS, rollout=STEPS, tabular=True, descent="rmsprop")  # as A2C's are
NETWORKS = LPG(envs=ENVS, rollout=STEPS, descent="sgd")
ACTOR = A2C(
    envs=ENVS, rollout=STEPS, gamma=0.95, lam=0.95, normalise=True, entropy_coef=0.003,
    network=TabularActorCritic.init,
)  # fmt: skip
DEEP_ACTOR = replace(ACTOR, network=Separate.init)
RATES = (5.0, 7.0, 10.0, 14.0, 20.0)  # step sizes of tables
DEEP_RATES, DEEP_ACTOR_RATES = (0.3, 1.0), (1e-2, 2e-2, 5e-2)  # and of networks
VALUES = (0.00625, 0.0125, 0.025)  # weights of A2C's value
LARGE, SEEN = Grid(7, 7, 3), Grid(tabular=False)
NAN = float("nan")
TRANSFER = 5.0  # how many times a random agent's reward a rule has to earn elsewhere
RULE = (
    "the rule: in held-out grids the learned rules' agents earn more at the end of a lifetime than "
    "those of the like A2C, which sees no ends, in the same grids (the interval of the ratio over "
    "rules lies above 1, and that of the difference grid by grid above 0), and elsewhere they earn "
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
    actor = best_of([replace(ACTOR, lr=r, value_coef=v) for r in RATES for v in VALUES], Grid())
    tables = best_of([replace(TABLES, lr=r) for r in RATES], Grid(), rules)
    held = Grid(), grids, key_of(2)  # the same grids for all
    a2c, endless = (lifetimes(actor, *held, endless=e) for e in (False, True))
    ours = [lifetimes(tables, *held, rule) for rule in rules]
    idle = lifetimes(replace(tables, lr=0.0), *held, rules[0])
    ahead = [(e.last > a2c.last).mean() for e in ours]
    rows = [
        of_one("held-out grids, reward per step: random agent", idle.last),
        of_one(f"held-out grids, A2C (lr {actor.lr:g}, value {actor.value_coef:g})", a2c.last),
        row_of(f"held-out grids, learned rules (lr {tables.lr:g})", lasts(ours)),
        row_of("... rules over A2C", lasts(ours) / a2c.last.mean()),
        of_one("held-out grids, A2C that sees no ends", endless.last),
        row_of("... rules over it", lasts(ours) / endless.last.mean()),
        of_one("... over the whole lifetime, A2C", a2c.whole),
        row_of("... over the whole lifetime, learned rules", [e.whole.mean() for e in ours]),
        row_of("share of grids in which the rule earns more", ahead),
        of_grids("... rules less A2C, grid by grid", paired(ours, a2c)),
        of_grids("... rules less A2C without ends, grid by grid", paired(ours, endless)),
    ]
    times = [elsewhere(rules, tables, actor, LARGE, "7x7 grids, three objects", rows)]
    networks = best_of([replace(NETWORKS, lr=r) for r in DEEP_RATES], SEEN, rules, SOME)
    deep = best_of([replace(DEEP_ACTOR, lr=r) for r in DEEP_ACTOR_RATES], SEEN, grids=SOME)
    times += [elsewhere(rules, networks, deep, SEEN, "networks in place of tables", rows)]
    _, entropy = curves(runs, "prediction_entropy")
    rows.append(row_of("entropy of predictions at the end (uniform: 2.079)", entropy[:, -1]))
    at, reward = curves(runs, "reward")
    content = {"steps": at.tolist(), "rules": reward.tolist(), "a2c": float(a2c.whole.mean()),
               "lifetime": {"a2c": rounded([a2c]), "rules": rounded(ours)}}  # fmt: skip
    (out / "curves").mkdir(parents=True, exist_ok=True)
    write_atomically(out / "curves" / "lpg.json", (json.dumps(content) + "\n").encode())
    discard(out / "rule")
    save(out / "rule", rule=rules[0])
    pictures = [out / "meta_training.png", out / "lifetime.png"]
    draw(content, pictures, count)
    return Reproduction("lpg", scale, rows, *verdict_of(rows[5], rows[10], min(times)), pictures)


def verdict_of(over_like: Row, paired: Row, times: float) -> tuple[str, str]:
    """The verdict on the ratio to the like A2C, on the difference grid by grid, and on how many
    times a random agent's reward the rules earn elsewhere; and why."""
    if times < TRANSFER:
        return "not reproduced", f"elsewhere {times:.1f} times a random agent's reward ({RULE})"
    if over_like.high < 1.0:
        return "not reproduced", f"the rules earn less than the like A2C ({RULE})"
    if over_like.low != over_like.low:
        return "cannot tell", f"one rule has no interval ({RULE})"
    ratio = f"{over_like.measured:.3f} of the like A2C's reward"
    if over_like.low > 1.0 and paired.low > 0.0:
        return "reproduced", f"{ratio} ({RULE})"
    if over_like.low > 1.0:
        return "cannot tell", f"{ratio}, but not surely more grid by grid ({RULE})"
    return "cannot tell", f"level with the like A2C: {ratio} ({RULE})"


def learned_rules(seeds: int, steps: int, out: Path) -> tuple[list[Rule], list[Run]]:
    """The rules of runs, which are gone on with if they were stopped. Each seed is a run: side by
    side their lives are more than a cache holds, and take half as long again."""
    length = steps * source_for(META.wants(Grid().spec), Grid()).stride
    meta, runs, rules = replace(META, anneal_steps=length), [], []
    for seed in range(seeds):
        name = f"lpg-meta-{seed}"
        run = trained(meta, "Grid-Small", length, 1, out, name, seed=seed, shards=1, logs=50)
        runs.append(run)
        rules.append(rule_of(*read(run.path), str(run.path)).rule)
    return rules, runs


def curves(runs: list[Run], name: str) -> tuple[np.ndarray, np.ndarray]:
    """Steps, and a metric of all runs [run, point]."""
    each = [run.curves(name) for run in runs]
    return each[0][0], np.concatenate([values for _, values in each])


def best_of(
    tries: list[Any], env: Grid, rules: Sequence[Rule | None] = (None,), grids: int = CHOICE
) -> Any:
    """The one that earns the most at the end of lifetimes, in grids for choosing."""
    key = key_of(1)

    def earned(algorithm: Any) -> float:
        return float(np.mean([lifetimes(algorithm, env, grids, key, r).last for r in rules]))

    return max(tries, key=earned)


def elsewhere(
    rules: list[Rule], ruled: LPG, actor: A2C, env: Grid, name: str, rows: list[Row]
) -> float:
    """How many times a random agent's reward the rules earn in a world of another kind."""
    key = key_of(4)
    idle = lifetimes(replace(ruled, lr=0.0), env, SOME, key, rules[0]).last.mean()
    rewards = [lifetimes(ruled, env, SOME, key, rule).last.mean() for rule in rules]
    rows += [
        of_one(f"{name}: random agent", idle),
        of_one(f"{name}: A2C (lr {actor.lr:g})", lifetimes(actor, env, SOME, key).last),
        row_of(f"{name}: rules (lr {ruled.lr:g})", rewards),
    ]
    return float(np.mean(rewards) / idle)


def lifetimes(
    algorithm: Any, env: Grid, grids: int, key: Key, rule: Rule | None = None, endless: bool = False
) -> Earned:
    """What agents earn that are trained from nothing, each in a grid of its own; `endless` ones
    see no end of an episode."""
    keys = jax.random.split(key, grids)
    reward = np.asarray(compiled(LIVE[endless], 0)(algorithm, env, rule, keys))
    tenth = max(1, UPDATES // 10)
    return Earned(reward[:, -tenth:].mean(1), reward.mean(1), reward.mean(0))


def live(endless: bool, algorithm: Any, env: Grid, rule: Rule | None, keys: Key) -> Any:
    """Mean reward per step [grid, update] of one agent for each of `keys`."""

    def one(key: Key) -> Any:
        k_task, k_life = jax.random.split(key)
        source = Earning(Rollout(env.sample_task(k_task), ENVS, STEPS), endless)
        closed = system(Parts(algorithm, source, Environment()))
        state = closed.init(k_life)
        if rule is not None:
            state = replace(state, agent=replace(state.agent, rule=rule))
        return jax.lax.scan(lambda s, _: closed.step(s), state, length=UPDATES)[1]["earned"]

    return jax.vmap(one)(keys)


LIVE = {endless: partial(live, endless) for endless in (False, True)}  # each compiled once


@config
class Earning:
    """A rollout that says what each of its steps earned on average."""

    source: Any  # a Rollout
    endless: bool  # as if each episode went on with the next one

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
        earned = batch.reward.mean()
        return state, going_on(batch) if self.endless else batch, {**ran, "earned": earned}


def going_on(batch: Transition) -> Transition:
    """Steps [time, env] that are followed by what was seen after them, which after an end is the
    next episode's beginning. It is not known in the last row, where ends stay."""
    over = batch.done & (jnp.arange(len(batch.reward)) < len(batch.reward) - 1)[:, None]
    later = jnp.roll(batch.obs, -1, 0)
    return replace(
        batch,
        next_obs=jnp.where(over[..., None], later, batch.next_obs),
        terminated=batch.terminated & ~over,
        truncated=batch.truncated & ~over,
    )


def key_of(use: int) -> Key:
    """A key for one use, which differs with the first seed."""
    return jax.random.fold_in(jax.random.PRNGKey(use), first_seed())


def paired(earned: list[Earned], reference: Earned) -> list[np.ndarray]:
    """What each rule earns more at the end of a lifetime [rule][grid]."""
    return [e.last - reference.last for e in earned]


def of_grids(what: str, more: list[np.ndarray]) -> Row:
    """The mean over rules in each grid, and its interval over grids."""
    scores = np.mean(more, 0)
    half = t_quantile(len(scores)) * scores.std(ddof=1) / np.sqrt(len(scores))
    mean = float(scores.mean())
    interval = f"95 % t interval of {len(scores)} grids"
    return Row(what, mean, mean - half, mean + half, None, interval, tuple(scores.tolist()))


def lasts(earned: list[Earned]) -> np.ndarray:
    """Of each rule [rule]."""
    return np.array([e.last.mean() for e in earned])


def of_one(what: str, earned: np.ndarray) -> Row:
    """The mean over all grids of what has no seeds to differ by, and its number in each grid."""
    scores = tuple(np.asarray(earned, float).tolist())
    return Row(what, float(earned.mean()), NAN, NAN, scores=scores)


def rounded(earned: list[Earned]) -> list[list[float]]:
    return [e.curve.round(5).tolist() for e in earned]


def draw(content: dict[str, Any], paths: list[Path], seeds: int) -> None:
    at, reward, a2c = (np.array(content[key]) for key in ("steps", "rules", "a2c"))
    curves = [
        plot.Curve("agents of the rules, all ages", at, reward),
        plot.Curve("A2C, over a lifetime", at, np.full((1, len(at)), a2c)),
    ]
    per_step = partial(plot.figure, values="reward per step")
    plot.save(per_step(curves, f"Agents while {seeds} rules are learned"), paths[0])
    updates = np.arange(1, UPDATES + 1) * ENVS * STEPS
    life = [
        plot.Curve(name, updates, np.array(content["lifetime"][key]))
        for name, key in (("learned rules", "rules"), ("A2C", "a2c"))
    ]
    plot.save(per_step(life, f"Agents of {seeds} rules in the course of a lifetime"), paths[1])
