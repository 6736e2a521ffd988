"""A language model that is paid by a program's verdict learns to pass, near the one it began with
(Lambert et al., 2024, arXiv:2411.15124; Shao et al., 2024, arXiv:2402.03300).

Measured on couplets: a Python function reads both lines and says whether they rhyme, and GRPO is
paid by it alone, less a price for each nat. Published are the chance of the lines it learned from,
and what the best policy at that price does, which is known (Korbak et al., 2022, arXiv:2205.11275).
"""

import json
import math
from pathlib import Path
from typing import Any

import jax
import numpy as np

from spinward.algorithms.grpo import GRPO
from spinward.algorithms.sft import SFT
from spinward.core import Policy, Transition
from spinward.envs.couplets import CHANCE, FAMILY, FIRST_NOUN, NOUNS, Couplets
from spinward.experience.generation import Generation
from spinward.experiments.reproduction import Reproduction, Row, first_seed, row_of, trained
from spinward.experiments.summarise import last
from spinward.experiments.verdicts import all_of, within
from spinward.networks.language_policy import policy
from spinward.presets.choice import named
from spinward.report import plot
from spinward.rewards.verifier import Verifier
from spinward.run import assemble
from spinward.run.run import Run
from spinward.store.files import write_atomically

TASK = "Couplets"
SFT_UPDATES, ITERATIONS, COMPLETIONS = 6000, 600, 2048
PRICE = 0.3  # of a nat
SEEDS = {"laptop": 5, "paper": 10}
PAIRS = len(NOUNS) * (FAMILY - 1)  # of nouns that rhyme, in either order
NEAR_SHARE, NEAR_KL = 0.03, 0.3  # of the exact optimum


def run(scale: str, seeds: int | None, out: Path) -> Reproduction:
    sft, paid = learned(out, seeds or SEEDS[scale])
    before, best = completions(sft, 0), optimum(PRICE)
    after = [completions(paid, seed) for seed in range(paid.config["seeds"])]
    best_pairs = expected_pairs(best[0])
    rows = [
        row_of("SFT: share that rhymes", [rhyming(before).mean()], CHANCE),
        row_of("GRPO: share that rhymes", [rhyming(b).mean() for b in after], best[0]),
        row_of("GRPO: nats from SFT", last(paid, "kl"), best[1]),
        row_of("GRPO: share whose form is broken", [broken(b).mean() for b in after], 0.0),
        row_of(f"GRPO: different rhymes, of {PAIRS}", [different(b) for b in after], best_pairs),
        row_of("the function's verdict less the task's own", disagreement(paid), 0.0),
    ]
    shown = [sample for b in (before, *after) for sample in lines(b, 4)]
    write_atomically(out / "samples.json", (json.dumps(shown, indent=1) + "\n").encode())
    picture = out / "rhyme.png"
    plot.save(drawing(paid, best), picture)
    return Reproduction("rhyme", scale, rows, *verdict(rows), [picture])


def learned(out: Path, seeds: int) -> tuple[Run, Run]:
    """A model of couplets of which half rhyme, and policies that learned from it what does."""
    settings: dict[str, Any] = named(SFT, "couplets")
    first = SFT(**settings, anneal_updates=SFT_UPDATES)
    sft = trained(first, TASK, SFT_UPDATES, 1, out, "rhyme-sft")
    settings = {**named(GRPO, "couplets"), "kl_coef": PRICE}
    steps = ITERATIONS * settings["envs"] * settings["rollout"]
    algorithm = GRPO(**settings, anneal_steps=steps)
    reward = Verifier("spinward.envs.couplets:rhymes")
    more = {"model": str(sft.path), "reward": reward, "shards": 1}
    return sft, trained(algorithm, TASK, steps, seeds, out, "rhyme-grpo", **more)


def optimum(price: float) -> tuple[float, float]:
    """The share that rhymes and the nats of the policy with the most of E[score] - price KL: what
    rhymes is likelier by a factor of exp(1 / price), and alike within."""
    raised = CHANCE * math.exp(1.0 / price)
    share = raised / (1.0 - CHANCE + raised)
    nats = share * math.log(share / CHANCE)
    return share, nats + (1.0 - share) * math.log((1.0 - share) / (1.0 - CHANCE))


def expected_pairs(share: float) -> float:
    """How many different rhymes there are in so many completions, where all are as likely."""
    return PAIRS * (1.0 - (1.0 - share / PAIRS) ** COMPLETIONS)


def completions(run: Run, seed: int) -> Transition:
    """Completions that a seed of a run draws, with the task's own scores."""
    model, made = assemble.of_run(str(run.path), seed)
    writer = policy(made.algorithm, model)

    def act(obs: Any, memory: Any, key: Any) -> Any:
        action, memory, _ = writer.step(obs, memory)
        return action.sample(key), memory, {}

    source = Generation(Couplets(), COMPLETIONS, made.algorithm.rollout)
    return source.collect((), Policy(act, writer.memory), jax.random.PRNGKey(first_seed() + seed))[
        1
    ]


def rhyming(batch: Transition) -> np.ndarray:
    return np.asarray(batch.reward.sum(0)) == 1.0


def broken(batch: Transition) -> np.ndarray:
    return np.asarray(batch.reward.sum(0)) < 0.0


def different(batch: Transition) -> int:
    """How many different pairs of nouns rhyme in it."""
    first, second = np.asarray(batch.obs[3]), np.asarray(batch.action[6])
    pairs = np.stack([first, second], 1)[rhyming(batch)]
    assert (pairs >= FIRST_NOUN).all()
    return len(np.unique(pairs, axis=0))


def lines(batch: Transition, count: int) -> list[dict[str, Any]]:
    """The first few as texts."""
    tokens = np.concatenate([batch.obs[:1], batch.next_obs]).T[:count]
    scores = batch.reward.sum(0)
    return [
        {"text": Couplets.vocabulary.decode(row.tolist()), "score": float(score)}
        for row, score in zip(tokens, scores, strict=False)
    ]


def disagreement(run: Run) -> np.ndarray:
    """The largest difference [seed] of the two at any log point."""
    return np.abs(run.curves("score")[1] - run.curves()[1]).max(1)


def verdict(rows: list[Row]) -> tuple[str, str]:
    share, kl = rows[1], rows[2]
    rule = (
        f"the rule: the intervals of the share and of the distance lie within {NEAR_SHARE} and "
        f"{NEAR_KL} nats of the best policy's"
    )
    why = (
        f"{share.measured:.1%} rhyme at {kl.measured:.2f} nats, where {share.published:.1%} at "
        f"{kl.published:.2f} is best and {rows[0].measured:.1%} did before ({rule})"
    )
    return all_of(within(share, NEAR_SHARE), within(kl, NEAR_KL)), why


def drawing(run: Run, best: tuple[float, float]) -> Any:
    """The verdict and the distance by tokens written."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9.0, 3.6), layout="constrained")
    axes = figure.subplots(1, 2)
    names = ("score", "kl"), ("share that rhymes, less that of broken forms", "nats from SFT")
    for axis, metric, label, exactly in zip(axes, *names, best, strict=True):
        steps, values = run.curves(metric)
        axis.plot(steps / 1000, values.T, color=plot.PALETTE[0], linewidth=0.7)
        axis.axhline(exactly, color=plot.LIGHT.ink, linewidth=0.8, linestyle=":")
        axis.set_xlabel("thousand tokens, prompts not counted")
        axis.set_ylabel(label)
    return figure
