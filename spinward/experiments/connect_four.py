"""Search and a network learn connect four on six by seven cells from the rules alone, and soon play
better than UCT with 100 simulations (Silver et al., 2018; Danihelka et al., 2022).
"""

from pathlib import Path
from typing import Any

import numpy as np

from spinward.algorithms.alphazero import AlphaZero
from spinward.core import Game
from spinward.evaluation import tournament
from spinward.evaluation.statistics import wilson_of_lowest
from spinward.evaluation.tournament import Match, Player
from spinward.experiments.reproduction import Reproduction, Row, first_seed, row_of, trained
from spinward.report import plot
from spinward.run.players import player
from spinward.run.run import Run
from spinward.search.opponents import named

ENV = "ConnectFour"
SETTINGS: dict[str, Any] = {
    "simulations": 32,
    "updates": 12,
    "capacity": 65_536,
    "hidden": (256, 256),
}
STAGES = (0.02, 0.1, 0.3, 1.0)  # of the training, at which the agent is rated
SIZES = {"laptop": (1, 600_000, 400), "paper": (5, 3_000_000, 1000)}  # seeds, plies, games
FIXED = ("random", "one_ply", "uct100")
AGAINST_RANDOM = 0.99  # share of points that is asked for


def run(scale: str, seeds: int | None, out: Path) -> Reproduction:
    usual, plies, games = SIZES[scale]
    count = seeds or usual
    runs = [
        trained(AlphaZero(**SETTINGS), ENV, int(plies * stage), count, out, f"connect-four-{stage}")
        for stage in STAGES
    ]
    game: Any = runs[-1].made.env
    shares = [results(game, runs, seed, games) for seed in range(count)]
    rows, worst = [], []
    for i, name in enumerate(FIXED):
        measured = [np.mean(of_seed[i]) for of_seed in shares]
        least = float(min(measured))
        low, high = wilson_of_lowest(least, games, count)
        worst.append((least, low))
        rows.append(row_of(f"share of points against {name}", measured))
        interval = f"95 % Wilson interval of the lowest of {count} shares of {games} games"
        rows.append(Row(f"the same, worst seed, {name}", least, low, high, None, interval))
    points = np.array([rated(game, runs, seed) for seed in range(count)])
    rows += [row_of(f"Elo after {s:.0%} of training", points[:, i]) for i, s in enumerate(STAGES)]
    rises = bool((np.diff(points[:, [0, 1, -1]]) > 0).all())
    picture = out / "ratings.png"
    steps = np.array(STAGES) * plies
    plot.save(plot.figure([plot.Curve("AlphaZero", steps, points)], f"{ENV}, Elo"), picture)
    return Reproduction("connect-four", scale, rows, *verdict(worst, rises), [picture])


def results(game: Game, runs: list[Run], seed: int, games: int) -> list[np.ndarray]:
    """The results of a seed's last agent against each fixed opponent."""
    rows = []
    for name in FIXED:
        players = [player(runs[-1], seed), named(game, name)]
        (match,) = tournament.tournament(game, players, games, seed=first_seed() + seed)
        rows.append(match.results)
    return rows


def rated(game: Game, runs: list[Run], seed: int) -> list[float]:
    """The ratings of a seed's agent at each stage; play at random is 0."""
    players: list[Player] = [named(game, name) for name in FIXED]
    players += [player(run, seed) for run in runs]
    matches: list[Match] = tournament.tournament(game, players, 100, seed=first_seed() + seed)
    ratings = tournament.ratings(matches, len(players))
    return [r.points for r in ratings[len(FIXED) :]]


def verdict(worst: list[tuple[float, float]], rises: bool) -> tuple[str, str]:
    rule = (
        f"the rule: every seed has {AGAINST_RANDOM:.0%} or more of the points against random play, "
        "the lower bounds against one_ply and uct100 are above one half, and the rating rises"
    )
    (random, _), *others = worst
    shares = ", ".join(
        f"{share:.1%} against {n}" for (share, _), n in zip(worst, FIXED, strict=True)
    )
    if random >= AGAINST_RANDOM and all(low > 0.5 for _, low in others) and rises:
        return "reproduced", f"{shares} in the worst seed ({rule})"
    if all(share > 0.5 for share, _ in others) and random >= AGAINST_RANDOM and rises:
        return "cannot tell", f"{shares}: not surely above one half ({rule})"
    return (
        "not reproduced",
        f"{shares} in the worst seed, the rating {'rises' if rises else 'falls'} ({rule})",
    )
