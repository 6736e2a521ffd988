"""Demonstrations and comparisons together reach more than either alone, although the demonstrator
is not optimal (Ibarz et al., 2018, arXiv:1811.06521, figure 2 and section 3.2).

At this size: CartPole whose episodes do not end at a fall, in place of nine Atari games; PPO that
begins with a clone of the demonstrations, in place of DQfD; a program that compares clips by the
true reward, in place of people. The demonstrator keeps the pole a little off the vertical, so that
the cart leaves the track. Policies are scored in CartPole-v1, whose episodes end there. All seeds
have the same demonstrations; cloning, policies, clips and comparisons are of each seed.
"""

import hashlib
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import Array

from spinward.algorithms.bc import BC
from spinward.algorithms.ppo import PPO
from spinward.core import replace
from spinward.data import writer
from spinward.data.card import Card
from spinward.data.layout import layout_of
from spinward.envs.cartpole import CartPole
from spinward.envs.cartpole_endless import EndlessCartPole
from spinward.experience.material import Data
from spinward.experiments.controllers import data_of, mean_return
from spinward.experiments.reproduction import Reproduction, Row, first_seed, row_of, trained
from spinward.experiments.verdicts import above, all_of
from spinward.report import plot
from spinward.rewards.preferences import Preferences
from spinward.run.experiment import DataChoice
from spinward.run.run import Run

ENV, SCORED = "CartPole-Endless", "CartPole-v1"
LEAN = 0.05  # radians by which the demonstrator is wrong about the vertical
SEEDS = {"laptop": 10, "paper": 20}
POLICY = PPO(envs=16, rollout=64, lr=1e-3, lam=0.98, minibatches=4, epochs=4,
             normalise_reward=True)  # fmt: skip
STEPS = {"laptop": 100_000, "paper": 300_000}
DEMO_STEPS, COPY = 5_000, 1_000  # of the demonstrator; updates of the clone
SCORED_STEPS = 20_000  # of the demonstrator, to know its return
ASKED = Preferences(teacher="oracle", labels=100, rounds=10)
EPISODES = 20  # of each seed's greedy policy, at the end
RULE = (
    "the rule: seed by seed, the intervals of the return with both minus that with preferences "
    "alone, and minus that of the clone, lie above 0, and the return with both lies above the "
    "demonstrator's; it would have failed if one of the two had been as good as both"
)


def leaning(obs: Array) -> Array:
    """Pushes to where the pole falls, as if another angle were the vertical one."""
    return ((obs[:, 2] + 0.5 * obs[:, 3] + LEAN) > 0).astype(jnp.int32)


def run(scale: str, seeds: int | None, out: Path) -> Reproduction:
    count, steps = seeds or SEEDS[scale], STEPS[scale]
    data = data_of(EndlessCartPole(), leaning, DEMO_STEPS, seed=first_seed())
    path = recorded(data, out)
    demos = DataChoice(str(path), held_out=0.0)
    copy = trained(BC(), ENV, COPY, count, out, "clone", data=demos, shards=1)
    runs = arms(steps, count, out, path, copy)
    scores = {"demonstrations alone: the clone": returns(copy)}
    scores |= {name: returns(each) for name, each in runs.items()}
    demonstrator = mean_return(data_of(CartPole(), leaning, SCORED_STEPS, seed=first_seed()))
    rows = [Row("the demonstrator", demonstrator, float("nan"), float("nan"))]
    rows += [row_of(name, each) for name, each in scores.items()]
    both = scores["both"]
    alone = [n for n in scores if "alone" in n]
    gains = [row_of(f"both minus {n}", both - scores[n]) for n in alone]
    beyond = row_of("both minus the demonstrator", both - demonstrator)
    picture = out / "preferences_and_demonstrations.png"
    plot.save(drawing(runs), picture)
    verdict = all_of(*(above(row, 0.0) for row in (*gains, beyond)))
    name = "preferences-and-demonstrations"
    return Reproduction(name, scale, [*rows, *gains, beyond], verdict, RULE, [picture])


def arms(steps: int, seeds: int, out: Path, demos: Path, copy: Run) -> dict[str, Run]:
    """The runs on PPO, by name."""
    start = {"start_from": str(copy.path), "start_parts": ("actor",)}
    both = {"reward": replace(ASKED, demos=str(demos)), **start}
    kinds: dict[str, dict[str, Any]] = {
        "preferences alone": {"reward": ASKED},
        "both": both,
        "both, but no labels from demonstrations": {"reward": ASKED, **start},
        "the true reward, from nothing": {},
    }
    algorithm = replace(POLICY, anneal_steps=steps)
    names = {name: name.replace(",", "").replace(" ", "-") for name in kinds}
    return {
        name: trained(algorithm, ENV, steps, seeds, out, names[name], shards=1, **more)
        for name, more in kinds.items()
    }


def recorded(data: Data, out: Path) -> Path:
    """The demonstrations as a data set in `out`, named by the seed and by what they hold."""
    steps: Any = data.steps
    names = ("obs", "action", "reward", "terminated", "truncated", "next_obs")
    fields = {name: np.asarray(getattr(steps, name)) for name in names}
    last = np.flatnonzero(steps.done)
    place = np.concatenate([[0], last[:-1] + 1])
    spec = data.spec
    digest = hashlib.sha256(b"".join(fields[name].tobytes() for name in names)).hexdigest()
    path = out / f"demonstrations-{first_seed()}-{digest[:8]}"
    about = Card(spec.obs, spec.action, "a controller that is wrong about the vertical", ENV)
    if not path.exists():
        writer.write(path, about, fields, last, layout=layout_of(spec, {}), origin=0, place=place)
    return path


def returns(run: Run) -> np.ndarray:
    """The mean return [seed] of whole episodes without exploration."""
    return np.asarray(run.evaluate(EPISODES, seed=first_seed(), env=SCORED).per_seed)


def drawing(runs: dict[str, Run]) -> Any:
    """The returns of training, the mean over seeds with the range of the seeds."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.0, 4.0), layout="constrained")
    axis = figure.subplots()
    for colour, (name, each) in zip(plot.PALETTE, runs.items(), strict=False):
        steps, values = each.curves()
        ended = ~np.isnan(values).any(0)  # at the other points no episode came to its end
        steps, values = steps[ended], values[:, ended]
        axis.plot(steps, values.mean(0), color=colour, label=name)
        axis.fill_between(steps, values.min(0), values.max(0), color=colour, alpha=0.1, linewidth=0)
    axis.set_xlabel("steps")
    axis.set_ylabel("return of training")
    axis.legend(fontsize=8)
    return figure
