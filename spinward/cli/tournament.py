"""`spinward tournament RUN...`: players of a game meet each other and fixed opponents."""

from typing import Any

from spinward.cli.parser import OLDER, Parser, print_json


def run(words: list[str]) -> int:
    parser = Parser("tournament", "Rate the players of a game for two by matches.")
    parser.add_argument("runs", nargs="+", help="folders of runs in the same game")
    parser.add_argument(
        "--opponents", default="random,one_ply,uct100", help="fixed ones, with commas between"
    )
    parser.add_argument("--games", type=int, default=200, help="of each pair; half begun by each")
    parser.add_argument("--opening", type=int, default=2, help="random plies that begin a game")
    parser.add_argument("--seed", type=int, default=0, help="of the games")
    parser.add_argument("--trust", action="store_true", help="run code of the runs' own")
    parser.add_argument("--older", action="store_true", help=OLDER)
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    ask = parser.read(words)
    if ask.games < 2 or ask.games % 2:
        parser.error(f"--games {ask.games} must be an even number, and at least 2")
    if ask.opening < 0:
        parser.error(f"--opening {ask.opening} must be at least 0")
    from spinward.evaluation import tournament
    from spinward.run.players import of_runs, opponents

    game, named = of_runs(ask.runs, ask.trust, ask.older)
    named |= opponents(game, ask.opponents.split(",") if ask.opponents else [])
    if len(named) < 2:
        parser.error("one player has nobody to meet: name more runs, or --opponents")
    names = list(named)
    anchor = names.index("random") if "random" in names else 0
    matches = tournament.tournament(game, list(named.values()), ask.games, ask.opening, ask.seed)
    rated = tournament.ratings(matches, len(names), anchor, ask.seed)
    if ask.json:
        rows = {name: rating._asdict() for name, rating in zip(names, rated, strict=True)}
        pairs = [
            {"players": [names[m.first], names[m.second]], "results": m.results.tolist()}
            for m in matches
        ]
        print_json({"anchor": names[anchor], "ratings": rows, "matches": pairs})
        return 0
    print(f"{ask.games} games of each pair, {ask.opening} random plies first; Elo, 95 % intervals")
    table(names, anchor, rated, matches)
    return 0


def table(names: list[str], anchor: int, rated: list[Any], matches: list[Any]) -> None:
    """Prints the ratings, the best first, and the result of every pair."""
    wide = max(map(len, names))
    for i in sorted(range(len(names)), key=lambda i: -rated[i].points):
        r = rated[i]
        interval = f"({r.low:.0f} to {r.high:.0f})" if i != anchor else "(by definition)"
        print(f"  {names[i]:<{wide}}  {r.points:6.0f}  {interval:<18}  scores {r.score:.1%}")
    for m in matches:
        won, draws = (m.results == 1).sum(), (m.results == 0.5).sum()
        lost = len(m.results) - won - draws
        print(f"  {names[m.first]} - {names[m.second]}: {won} won, {draws} drawn, {lost} lost")
