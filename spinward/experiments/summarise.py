"""Three steps from texts to a policy that is preferred: supervised fine-tuning, a reward model from
comparisons, and PPO at a price for each nat away from the first (Ziegler et al., 2019; Stiennon et
al., 2020; Ouyang et al., 2022).

Measured on a grammar whose best policy at each price is known (Korbak et al., 2022), with a
scripted labeller in place of people. Published are those exact values, not the papers' on real
text.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np

from spinward.algorithms.ppo_tokens import PPOTokens
from spinward.algorithms.reward_model import RewardModel
from spinward.algorithms.sft import SFT
from spinward.envs.grammar import FORM, Grammar, at_distance, entropy, optimum
from spinward.experiments.reproduction import Reproduction, Row, first_seed, row_of, trained
from spinward.experiments.verdicts import above, all_of, below, within
from spinward.presets.choice import named
from spinward.report import plot
from spinward.rewards.reward_model_score import RewardModelScore
from spinward.run.experiment import DataChoice
from spinward.run.run import Run
from spinward.store.files import write_atomically

TASK = "Grammar"
SFT_UPDATES, LABELS, BATCH = 800, 4096, 32
ITERATIONS, COMPLETIONS = 120, 2048
PRICE, JUDGED_PRICE = (
    0.1,
    0.3,
)  # of a nat, for the true score and for the model's, in standard deviations
SEEDS = {"laptop": 5, "paper": 10}
NEAR_SCORE, NEAR_KL, FAR = 0.03, 0.3, 6.0  # of the exact optimum; nats that are too many


def run(scale: str, seeds: int | None, out: Path) -> Reproduction:
    count = seeds or SEEDS[scale]
    sft = fine_tuned(out, "summarise-sft")
    scorer = reward_model(out, sft, LABELS, 1, "summarise-reward-model")
    model = str(sft.path)
    exact = policy(out, model, count, PRICE, "summarise-ppo")
    reward = RewardModelScore(str(scorer.path))
    by_scorer = policy(out, model, count, JUDGED_PRICE, "summarise-ppo-judged", reward=reward)
    before = sft.evaluate(COMPLETIONS, explore=True, seed=first_seed()).returns[0]
    best, nll = optimum(PRICE), last(sft, "nll")
    kls = last(by_scorer, "kl")
    wins = win_rates(by_scorer, before)
    rows = [
        row_of("SFT: nats per token (published: the grammar's own)", nll, entropy() / len(FORM)),
        row_of("SFT: score", [before.mean()], -0.0446),
        row_of(f"reward model of {LABELS} labels: pairs told apart", last(scorer, "accuracy")),
        row_of(
            f"PPO at {PRICE} a nat: score (the best there is)", last(exact, "score"), best.score
        ),
        row_of(f"PPO at {PRICE} a nat: nats from SFT", last(exact, "kl"), best.kl),
        row_of("PPO on the reward model: true score", last(by_scorer, "episode_return")),
        row_of("PPO on the reward model: nats from SFT", kls),
        row_of("the most that could be scored there", [at_distance(k) for k in kls]),
        row_of("PPO on the reward model: share of wins over SFT", wins),
    ]
    picture = out / "curves.png"
    plot.save(drawing(exact, by_scorer), picture)
    return Reproduction("summarise", scale, rows, *verdict(rows), [picture])


def fine_tuned(out: Path, name: str) -> Run:
    settings: dict[str, Any] = named(SFT, "grammar")
    return trained(SFT(**settings, anneal_updates=SFT_UPDATES), TASK, SFT_UPDATES, 1, out, name)


def reward_model(out: Path, sft: Run, labels: int, epochs: int, name: str, seed: int = 1) -> Run:
    """From so many comparisons, which are kept in a file beside the curves."""
    pairs = out / f"{name}.jsonl"
    rows = [json.dumps(row) for row in Grammar().examples("pairs", labels, first_seed() + seed)]
    write_atomically(pairs, ("\n".join(rows) + "\n").encode())
    steps = labels * epochs // BATCH
    settings: dict[str, Any] = {**named(RewardModel, "grammar"), "batch": BATCH, "updates": 8}
    algorithm = RewardModel(**settings, anneal_updates=steps)
    more = {"data": DataChoice(str(pairs), held_out=0.0), "model": str(sft.path)}
    return trained(algorithm, TASK, steps, 1, out, name, **more)


def policy(
    out: Path, model: str, seeds: int, price: float, name: str, iterations: int = ITERATIONS,
    **more: Any,
) -> Run:  # fmt: skip
    settings: dict[str, Any] = {**named(PPOTokens, "grammar"), "kl_coef": price}
    steps = iterations * settings["envs"] * settings["rollout"]
    algorithm = PPOTokens(**settings, anneal_steps=steps)
    return trained(algorithm, TASK, steps, seeds, out, name, model=model, shards=1, **more)


def last(run: Run, metric: str, share: float = 0.1) -> np.ndarray:
    """The mean [seed] of a metric over the last `share` of a run's points."""
    _, values = run.curves(metric)
    return values[:, -max(1, round(values.shape[1] * share)) :].mean(1)


def win_rates(run: Run, before: np.ndarray) -> np.ndarray:
    """How often [seed] a completion scores higher than one of the policy before, ties halved."""
    after = run.evaluate(COMPLETIONS, explore=True, seed=first_seed() + 1).returns
    higher = after[:, :, None] > before + 1e-6
    same = np.abs(after[:, :, None] - before) <= 1e-6
    return (higher + 0.5 * same).mean((1, 2))


def verdict(rows: list[Row]) -> tuple[str, str]:
    score, kl, wins, far = rows[3], rows[4], rows[8], rows[6]
    rule = (
        f"the rule: whole intervals, of the score within {NEAR_SCORE} and of the distance within "
        f"{NEAR_KL} nats of the best policy's, and on the reward model of the wins above one half "
        f"and of the distance below {FAR} nats"
    )
    parts = within(score, NEAR_SCORE), within(kl, NEAR_KL), above(wins, 0.5), below(far, FAR)
    why = (
        f"{score.measured:.3f} at {kl.measured:.2f} nats where {score.published:.3f} at "
        f"{kl.published:.2f} is best, and {wins.measured:.0%} of comparisons with SFT won ({rule})"
    )
    return all_of(*parts), why


def drawing(exact: Run, by_scorer: Run) -> Any:
    """Score and distance by tokens written, for the true score and for the reward model's."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9.0, 3.6), layout="constrained")
    axes = figure.subplots(1, 2)
    best = optimum(PRICE)
    for axis, metric, exactly in zip(axes, ("episode_return", "kl"), best, strict=True):
        for i, (run, label) in enumerate(((exact, "true score"), (by_scorer, "reward model"))):
            steps, values = run.curves(metric)
            axis.plot(steps / 1000, values.T, color=plot.PALETTE[i], linewidth=0.7)
            axis.plot([], color=plot.PALETTE[i], label=f"PPO on the {label}")
        axis.axhline(exactly, color=plot.LIGHT.ink, linewidth=0.8, linestyle=":")
        axis.set_xlabel("thousand tokens, prompts not counted")
    axes[0].set_ylabel(f"true score (dotted: the best at {PRICE} a nat)")
    axes[1].set_ylabel("nats from SFT")
    axes[0].legend(fontsize=8)
    return figure
