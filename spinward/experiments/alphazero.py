"""A network and a search that teach each other learn to play tic-tac-toe without a loss, from the
rules alone (Silver et al., 2018; Danihelka et al., 2022).

Every seed's agent plays 1,000 games against exact play as first player and 1,000 as second, and
meets fixed opponents, its own network without search, and the agent it was after a tenth of its
training.
"""

from pathlib import Path
from typing import Any

import jax
import numpy as np

from spinward.algorithms.alphazero import AlphaZero
from spinward.core import Game, replace
from spinward.evaluation import tournament
from spinward.evaluation.statistics import wilson_of_highest
from spinward.evaluation.tournament import Player
from spinward.experiments.reproduction import Reproduction, Row, first_seed, row_of, trained
from spinward.report import plot
from spinward.run.players import player
from spinward.run.run import Run
from spinward.search.opponents import named

ENV = "TicTacToe"
SIZES = {"laptop": (5, 2_000_000, 1000), "paper": (10, 5_000_000, 5000)}  # seeds, plies, games
FIXED = ("random", "one_ply", "uct100", "exact")
GAMES = 200  # games of each pair in the table of ratings
ALLOWED = 0.02  # share of games that the second player may lose


def run(scale: str, seeds: int | None, out: Path) -> Reproduction:
    usual, plies, games = SIZES[scale]
    count = seeds or usual
    early = trained(AlphaZero(), ENV, plies // 10, count, out, "alphazero-early")
    late = trained(AlphaZero(), ENV, plies, count, out, "alphazero")
    game: Any = late.made.env
    lost = np.array([losses(game, player(late, i), games) for i in range(count)])
    points = np.array([rated(game, early, late, i) for i in range(count)])
    names = ("search", "network alone", "search, early", *FIXED[1:])
    rows = [share_lost(name, lost[:, i], games) for i, name in enumerate(("first", "second"))]
    rows += [row_of(f"Elo, {n}", points[:, i]) for i, n in enumerate(names)]
    gains = [
        row_of(f"Elo, search above {n}", points[:, 0] - points[:, i + 1])
        for i, n in enumerate(names[1:3])
    ]
    picture = out / "ratings.png"
    plot.save(bars(names, points), picture)
    return Reproduction("alphazero", scale, rows + gains, *verdict(lost, gains), [picture])


def losses(game: Game, agent: Player, games: int) -> tuple[float, float]:
    """The shares of games lost to exact play as first and as second player."""
    players = [agent, named(game, "exact")]
    (match,) = tournament.tournament(game, players, 2 * games, opening=0, seed=first_seed())
    first, second = match.results[:games], match.results[games:]
    return float((first == 0).mean()), float((second == 0).mean())


def share_lost(name: str, lost: np.ndarray, games: int) -> Row:
    """The share of games that the worst seed lost, with those of all seeds."""
    worst = float(lost.max())
    interval = f"95 % Wilson interval of the highest of {len(lost)} shares of {games} games"
    what = f"lost to exact play as {name} player, worst seed"
    bounds = wilson_of_highest(worst, games, len(lost))
    return Row(what, worst, *bounds, None, interval, tuple(lost.tolist()))


def rated(game: Game, early: Run, late: Run, seed: int) -> list[float]:
    """The ratings of an agent, its network alone, itself early, and the fixed opponents but
    `random`, which is rated 0."""
    agents: Any = late.agents()
    alone = replace(agents.algorithm, play_simulations=0)
    agent = jax.tree.map(lambda x: x[seed], agents.agent)
    players = [
        player(late, seed),
        lambda obs, key: alone.act(agent, obs, (), key, explore=False)[0],
        player(early, seed),
        *(named(game, name) for name in FIXED),
    ]
    matches = tournament.tournament(game, players, GAMES, seed=first_seed())
    ratings = tournament.ratings(matches, len(players), anchor=3)
    return [r.points for i, r in enumerate(ratings) if i != 3]


def verdict(lost: np.ndarray, gains: list[Row]) -> tuple[str, str]:
    rule = (
        f"the rule: no seed loses a game as first player, none more than {ALLOWED:.0%} as second, "
        "and the intervals of both gains in rating are above 0"
    )
    worst = f"at most {lost[:, 0].max():.1%} lost as first player, {lost[:, 1].max():.1%} as second"
    if len(lost) < 2:
        return "cannot tell", f"{worst}, but one seed has no interval; {rule}"
    safe = lost[:, 0].max() == 0 and lost[:, 1].max() <= ALLOWED
    if not safe or any(row.high < 0 for row in gains):
        return "not reproduced", f"{worst} ({rule})"
    if all(row.low > 0 for row in gains):
        return "reproduced", f"{worst}; search and training raise the rating ({rule})"
    return "cannot tell", f"{worst}; the gains in rating are not surely above 0 ({rule})"


def bars(names: tuple[str, ...], points: np.ndarray) -> Any:
    """The ratings, a dot for each seed."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.2, 3.8), layout="constrained")
    axes = figure.add_subplot()
    axes.barh(names, points.mean(0), color=plot.PALETTE[0], alpha=0.35)
    for i in range(len(names)):
        axes.plot(points[:, i], [i] * len(points), "o", color=plot.PALETTE[0], markersize=4)
    axes.invert_yaxis()
    axes.set_xlabel("Elo; play at random is 0")
    axes.set_title(f"{ENV}; dots are seeds", loc="left", fontsize=11)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    return figure
