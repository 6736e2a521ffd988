"""What is optimised against a reward model of few labels scores ever higher by the model, and from
some distance on lower by what the model stands for (Gao et al., 2022, arXiv:2210.10760).

Measured on a grammar with a scripted labeller: PPO that pays nothing for the distance, and the best
of n beside it. The model's scores are in standard deviations of those of the policy before.
"""

import json
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from spinward.core import Policy
from spinward.envs.grammar import Grammar, at_distance
from spinward.evaluation.best_of_n import BestOfN, curve, decline
from spinward.experience.generation import Generation
from spinward.experiments import summarise
from spinward.experiments.reproduction import Reproduction, Row, first_seed, row_of
from spinward.experiments.verdicts import above, all_of
from spinward.networks.language_policy import policy, scores
from spinward.report import plot
from spinward.rewards.reward_model_score import RewardModelScore
from spinward.run import assemble
from spinward.store.files import write_atomically

LABELS, EPOCHS, ITERATIONS = 64, 8, 100
SEEDS = {"laptop": 5, "paper": 10}
COUNTS = (1, 2, 4, 8, 16, 32, 64)
PROMPTS = 64  # with as many completions of each as the largest count
FALL = 0.1  # of the true score from its peak, that counts as one


class Climb(NamedTuple):
    """How scores changed with the distance, [seed, point]."""

    kl: np.ndarray
    proxy: np.ndarray
    gold: np.ndarray


def run(scale: str, seeds: int | None, out: Path) -> Reproduction:
    sft = summarise.fine_tuned(out, "over-optimisation-sft")
    name = "over-optimisation-reward-model"
    scorer = summarise.reward_model(out, sft, LABELS, EPOCHS, name, seed=2)
    climb = climbed(out, str(sft.path), scorer.path, seeds or SEEDS[scale])
    best = best_of(str(sft.path), str(scorer.path))
    peak, end = climb.gold.max(1), climb.gold[:, -3:].mean(1)
    alpha, beta = zip(*(decline(k, g, True) for k, g in fitted(climb)), strict=True)
    rows = [
        row_of("PPO: true score at its peak", peak),
        row_of("PPO: nats from SFT there", climb.kl[np.arange(len(peak)), climb.gold.argmax(1)]),
        row_of("PPO: true score at the end", end),
        row_of("PPO: nats from SFT at the end", climb.kl[:, -3:].mean(1)),
        row_of("PPO: fall of the true score from its peak", peak - end),
        row_of("PPO: rise of the model's score after that peak", after_peak(climb)),
        first_rise(climb),
        row_of("the most that could be scored at the peak's distance", most_at_peak(climb)),
        row_of("alpha of d (alpha - beta ln d), d the root of the nats", alpha),
        row_of("beta of it", beta),
        *(Row(f"best of {p.n}: true score", p.gold, np.nan, np.nan) for p in best[::2]),
    ]
    points = {"ppo": {k: v.tolist() for k, v in climb._asdict().items()}}
    content = points | {"best_of_n": [p._asdict() for p in best]}
    write_atomically(out / "points.json", (json.dumps(content) + "\n").encode())
    picture = out / "over_optimisation.png"
    plot.save(drawing(climb, best), picture)
    return Reproduction("over-optimisation", scale, rows, *verdict(rows), [picture])


def climbed(out: Path, model: str, scorer: Path, seeds: int) -> Climb:
    """What a policy comes to that pays nothing for the distance."""
    more: dict[str, Any] = {"reward": RewardModelScore(str(scorer), unfinished=-3.0)}
    name = "over-optimisation-ppo"
    run = summarise.policy(out, model, seeds, 0.0, name, ITERATIONS, **more)
    return Climb(*(run.curves(name)[1] for name in ("kl", "score", "episode_return")))


def best_of(model: str, scorer: str) -> list[BestOfN]:
    """The best of each n completions of SFT by the reward model."""
    learned, made = assemble.of_run(model)
    settings = made.algorithm
    writer = policy(settings, learned)
    source = Generation(Grammar(), PROMPTS * COUNTS[-1], settings.rollout, group=COUNTS[-1])

    def act(obs: Any, memory: Any, key: Any) -> Any:
        action, memory, _ = writer.step(obs, memory)
        return action.sample(key), memory, {}

    _, batch, _ = source.collect((), Policy(act, writer.memory), jax.random.PRNGKey(first_seed()))
    scored = np.asarray(scores(assemble.of_run(scorer)[0], batch))
    proxy = (scored - scored.mean()) / scored.std()
    grouped = partial(np.reshape, shape=(PROMPTS, COUNTS[-1]))
    return curve(grouped(proxy), grouped(np.asarray(batch.reward.sum(0))), COUNTS)


def fitted(climb: Climb) -> list[tuple[np.ndarray, np.ndarray]]:
    """Of each seed the distances and the gains over the first point, where it has left SFT."""
    fits = []
    for kl, gold in zip(climb.kl, climb.gold, strict=True):
        far = kl > 0.1
        fits.append((kl[far], gold[far] - gold[0]))
    return fits


def after_peak(climb: Climb) -> np.ndarray:
    at = climb.gold.argmax(1)
    return climb.proxy[:, -3:].mean(1) - climb.proxy[np.arange(len(at)), at]


def most_at_peak(climb: Climb) -> list[float]:
    at = climb.gold.argmax(1)
    return [at_distance(max(float(k[i]), 1e-3)) for k, i in zip(climb.kl, at, strict=True)]


def first_rise(climb: Climb) -> Row:
    """How far the true score rises above SFT's before it falls."""
    return row_of("PPO: rise of the true score to its peak", climb.gold.max(1) - climb.gold[:, 0])


def verdict(rows: list[Row]) -> tuple[str, str]:
    fall, growth, gain = rows[4:7]
    rule = (
        f"the rule: the true score first rises by more than {FALL} and then falls by more than "
        f"{FALL} from its peak, while the model's rises, all with their whole intervals"
    )
    why = (
        f"the true score rose by {gain.measured:.2f} and fell by {fall.measured:.2f} while "
        f"the model's rose by {growth.measured:.2f} standard deviations ({rule})"
    )
    return all_of(above(gain, FALL), above(fall, FALL), above(growth, 0.0)), why


def drawing(climb: Climb, bests: list[BestOfN]) -> Any:
    """Both scores by the root of the distance, of PPO and of the best of n."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9.0, 3.6), layout="constrained")
    axes = figure.subplots(1, 2)
    d = np.sqrt([p.kl for p in bests])
    panels = zip(axes, (climb.proxy, climb.gold), ("proxy", "gold"), strict=True)
    for axis, values, name in panels:
        axis.plot(
            np.sqrt(np.maximum(climb.kl, 0)).T, values.T, color=plot.PALETTE[0], linewidth=0.7
        )
        axis.plot([], color=plot.PALETTE[0], label="PPO, a line for each seed")
        best = [getattr(p, name) for p in bests]
        axis.plot(d, best, "o-", color=plot.PALETTE[1], markersize=3, label="best of n")
        axis.set_xlabel("root of the nats from SFT")
    nats = np.linspace(0.01, max(float(climb.kl.max()), 1.0), 100)
    exact = [at_distance(k) for k in nats]
    axes[1].plot(np.sqrt(nats), exact, ":", color=plot.LIGHT.ink, linewidth=0.9, label="the most")
    axes[0].set_ylabel("the reward model's score, in standard deviations")
    axes[1].set_ylabel("true score")
    axes[1].legend(fontsize=8)
    return figure
