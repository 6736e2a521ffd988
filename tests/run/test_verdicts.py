"""Verdicts of experiments: by whole intervals, on fresh keys, and none without an interval."""

import ast
import dataclasses
import json
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest

from spinward.algorithms.trpo import TRPO
from spinward.core import Transition
from spinward.evaluation.statistics import estimate
from spinward.experiments import (
    a3c_maze,
    deadly_triad,
    lpg,
    ngu,
    over_optimisation,
    policy_gradient,
    ppo_mujoco,
    rhyme,
    t_maze,
    trpo_trust_region,
)
from spinward.experiments.reproduction import Row, row_of
from spinward.experiments.verdicts import above, all_of, below, within
from spinward.networks.distributions import Categorical

ROOT = Path(__file__).parents[2]
FILES = sorted((ROOT / "spinward/experiments").glob("*.py"))
NAN = float("nan")


def span(low, high, what="x", published=None, seeds=5):
    return Row(what, (low + high) / 2, low, high, published, scores=(0.0,) * seeds)


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [
        (1.1, 1.2, "reproduced"),
        (0.9, 1.2, "cannot tell"),
        (0.8, 0.9, "not reproduced"),
        (NAN, NAN, "cannot tell"),
    ],
)
def test_a_claim_holds_only_where_the_whole_interval_does(low, high, verdict):
    assert above(span(low, high), 1.0) == verdict
    assert below(span(-high, -low), -1.0) == verdict
    assert within(span(low + 1.0, high + 1.0, published=3.0), 1.0) == verdict


def test_a_claim_of_several_parts_fails_with_one_of_them():
    assert all_of("reproduced", "reproduced") == "reproduced"
    assert all_of("reproduced", "cannot tell") == "cannot tell"
    assert all_of("cannot tell", "not reproduced", "reproduced") == "not reproduced"


def statements(tree):
    """Simple statements, and the heads of compound ones."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign | ast.Return | ast.Expr | ast.AugAssign | ast.AnnAssign):
            yield ast.unparse(node)


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.stem)
def test_every_key_and_every_evaluation_of_an_experiment_follows_its_first_seed(path):
    if path.stem in ("controllers", "kitchens", "notifications"):  # whose callers name the seed
        return
    for said in statements(ast.parse(path.read_text())):
        if "PRNGKey" in said or ".evaluate(" in said or "default_rng" in said:
            given = path.stem in ("ope_coverage", "offline_tuning")  # whose callers add it
            assert "first_seed()" in said or given, said


@pytest.mark.parametrize(
    ("bounds", "mean", "verdict"),
    [
        ([(0.1, 0.2), (0.5, 0.9)], (0.0, 0.01), "reproduced"),
        ([(0.1, 0.2), (0.5, 1.1)], (0.0, 0.01), "cannot tell"),
        ([(0.1, 0.2), (1.2, 1.4)], (0.0, 0.01), "not reproduced"),
        ([(0.1, 0.2), (0.5, 0.9)], (0.0, 0.05), "cannot tell"),
        ([(0.1, 0.2), (0.5, 0.9)], (0.1, 0.2), "not reproduced"),
        ([(0.1, 0.2), (NAN, NAN)], (0.0, 0.01), "cannot tell"),
    ],
)
def test_the_forms_of_a_gradient_have_one_mean_and_less_variance(bounds, mean, verdict):
    falls = [span(*b, what="fall") for b in bounds]
    assert policy_gradient.verdict(falls, [span(*mean, what="mean")])[0] == verdict


@pytest.mark.parametrize("apart", [0.0, 0.3])
def test_the_interval_of_a_squared_mean_covers_the_truth_as_often_as_it_says(apart):
    """Of 5 policies, whose gradients have few large directions, as those of networks have."""
    rng = np.random.default_rng(0)
    mean, scale = apart / np.sqrt(20), 1.0 / np.arange(1, 21)
    x = rng.normal(mean, scale, size=(32, 5000, 20))
    found = np.asarray(policy_gradient.squared_mean(jnp.asarray(x)), float)
    assert found.mean() == pytest.approx(apart**2, abs=0.004)
    told = estimate(found.reshape(1000, 5).T)
    assert 0.92 < np.mean((told.low <= apart**2) & (apart**2 <= told.high)) < 0.98


@pytest.mark.parametrize(
    ("held_out", "learned_in", "gain", "seeds", "verdict"),
    [
        ((130.6, 132.8), 123.9, (-63.8, -45.1), 2, "cannot tell"),  # as on record
        ((130.6, 132.8), 123.9, (-63.8, -45.1), 5, "cannot tell"),
        ((130.6, 132.8), 123.9, (5.0, 70.0), 5, "reproduced"),
        ((130.6, 132.8), 123.9, (5.0, 70.0), 4, "cannot tell"),
        ((130.6, 132.8), 160.0, (5.0, 70.0), 5, "not reproduced"),
        ((10.0, 30.0), 20.0, (5.0, 7.0), 5, "not reproduced"),
        ((30.0, 233.4), 123.9, (5.0, 7.0), 5, "cannot tell"),
    ],
)
def test_a_maze_that_is_won_without_a_memory_says_nothing_of_memory(
    held_out, learned_in, gain, seeds, verdict
):
    rows = span(*held_out, seeds=seeds), Row("known", learned_in, 0.0, 0.0), span(*gain)
    assert a3c_maze.verdict_of(*rows, chance=6.484)[0] == verdict


@pytest.mark.parametrize(
    ("ratio", "grids", "times", "verdict"),
    [
        ((0.993, 1.009), (-0.001, 0.002), 8.9, "cannot tell"),  # as on record
        ((1.034, 1.050), (0.001, 0.006), 8.9, "reproduced"),
        ((1.034, 1.050), (-0.001, 0.006), 8.9, "cannot tell"),
        ((1.034, 1.050), (0.001, 0.006), 4.9, "not reproduced"),
        ((0.940, 0.990), (-0.004, -0.001), 8.9, "not reproduced"),
        ((NAN, NAN), (0.001, 0.006), 8.9, "cannot tell"),
    ],
)
def test_rules_that_are_level_with_the_like_a2c_do_not_beat_it(ratio, grids, times, verdict):
    found, why = lpg.verdict_of(span(*ratio), span(*grids), times)
    assert found == verdict
    assert ("level" in why) == (ratio[0] < 1.0 < ratio[1])


def test_an_interval_over_grids_is_of_their_means_over_rules():
    row = lpg.of_grids("x", [np.array([1.0, 2.0, 4.0]), np.array([3.0, 2.0, 0.0])])
    assert row.scores == (2.0, 2.0, 2.0) and row.low == row.high == 2.0
    assert row.interval == "95 % t interval of 3 grids"


def stored(name):
    rows = json.loads((ROOT / f"results/reproduce/{name}/rows.json").read_text())["rows"]
    names = ("what", "measured", "low", "high", "published")
    return [Row(*(NAN if row[n] is None else row[n] for n in names)) for row in rows]


def test_never_give_up_is_not_shown_where_its_greedy_policy_finds_no_goal():
    rows = [
        dataclasses.replace(r, low=0.0, high=0.0) if r.what == ngu.OWN_GOALS else r
        for r in stored("ngu")
    ]
    verdict, why = ngu.verdict_of(rows)
    assert verdict == "not reproduced" and "greedy policy" in why.split("(")[0]


@pytest.mark.parametrize(
    ("fall", "gain", "verdict"),
    [
        ((1.4, 1.7), (0.3, 0.7), "reproduced"),
        ((NAN, NAN), (0.3, 0.7), "cannot tell"),
        ((1.4, 1.7), (0.01, 0.12), "cannot tell"),  # it falls from where it began
        ((1.4, 1.7), (0.01, 0.05), "not reproduced"),
    ],
)
def test_over_optimisation_is_a_rise_and_then_a_fall_of_several_seeds(fall, gain, verdict):
    rows = [span(0.4, 0.6)] * 4 + [span(*fall), span(0.3, 0.9), span(*gain)]
    assert over_optimisation.verdict(rows)[0] == verdict


def test_a_share_that_is_only_in_the_mean_near_the_best_is_no_verdict():
    kl = span(0.4, 0.5, published=0.47)
    for share, verdict in (((0.95, 0.96), "reproduced"), ((0.90, 0.99), "cannot tell")):
        rows = [span(0.5, 0.5), span(*share, published=0.972), kl]
        assert rhyme.verdict(rows)[0] == verdict


class Linear:
    """A policy of two choices, whose logits are the observation times a weight, and 0."""

    def __init__(self, weight):
        self.weight, self.model = weight, self

    def unroll(self, batch):
        return Categorical(jnp.stack([self.weight * batch.obs, 0.0 * batch.obs], -1)), None, None


def test_the_divergence_of_an_update_is_that_from_the_policy_before_it():
    obs = np.array([[0.3, -0.5], [1.0, 2.0]])
    batch = Transition(jnp.asarray(obs), *[None] * 7)
    p, q = (1 / (1 + np.exp(-w * obs)) for w in (1.0, 1.5))
    exact = (p * np.log(p / q) + (1 - p) * np.log((1 - p) / (1 - q))).mean()
    found = trpo_trust_region.divergence(TRPO(), Linear(1.0), Linear(1.5), batch)
    assert float(found) == pytest.approx(exact, rel=1e-5)
    assert float(trpo_trust_region.divergence(TRPO(), Linear(1.0), Linear(1.0), batch)) == 0.0


def test_a_memory_has_to_solve_the_maze_in_every_likely_mean():
    solved, chance = row_of("m", [1.0, 1.0, 0.99]), row_of("none", [0.49, 0.5, 0.51])
    assert t_maze.verdict_of([chance, solved], 6000)[0] == "reproduced"
    assert t_maze.verdict_of([chance, row_of("m", [1.0, 1.0, 0.9])], 6000)[0] == "cannot tell"
    assert t_maze.verdict_of([row_of("none", [0.6, 0.6]), solved], 6000)[0] == "not reproduced"


def test_of_three_tasks_one_may_fall_short_of_tianshou_and_none_of_spinning_up():
    yes, unsure, no = "reproduced", "cannot tell", "not reproduced"
    assert ppo_mujoco.verdict_of([yes] * 3, [yes, no, yes]) == yes
    assert ppo_mujoco.verdict_of([yes] * 3, [unsure, no, yes]) == unsure
    assert ppo_mujoco.verdict_of([yes] * 3, [no, no, yes]) == no
    assert ppo_mujoco.verdict_of([yes, yes, no], [yes, yes, no]) == no
    assert ppo_mujoco.verdict_of([yes], [no]) == no


def test_divergence_has_to_fall_with_every_part_of_the_claim():
    def one(target, variant, diverged):
        nothing = np.zeros(3)
        return deadly_triad.Measured(target, variant, "e", nothing, diverged, nothing, nothing)

    always, never = np.ones(3), np.zeros(3)
    first, longer, longest = deadly_triad.LENGTHS
    found = [
        one("Q-learning", first, always),
        one("Q-learning", longer, np.array([1.0, 0.0, 0.0])),
        one("Q-learning", longest, never),
        one("inverse double", first, np.array([0.0, 1.0, 0.0])),
        *(one(t, first, never) for t in ("target network", "double")),
    ]
    falls = deadly_triad.falls(found)
    assert [row.measured for row in falls] == pytest.approx([1 / 9, 1 / 3, 2 / 3, 1 / 3])
    order = [span(0.5, 0.6)] * 4
    assert deadly_triad.verdict(order, falls)[0] == "cannot tell"
    sure = [span(0.1, 0.2)] * 4
    assert deadly_triad.verdict(order, sure)[0] == "reproduced"
    assert deadly_triad.verdict(order, [*sure[:3], span(-0.2, -0.1)])[0] == "not reproduced"
