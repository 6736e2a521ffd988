"""The players of a game for two: the agents of runs, and fixed opponents."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax import Array

from spinward.core import MASK, Game, Key, Obs, Searches
from spinward.envs import boards
from spinward.envs.boards import Drawing
from spinward.errors import SettingsError
from spinward.evaluation.tournament import Player
from spinward.run.run import Run, load
from spinward.search.opponents import named
from spinward.search.trees import SearchView


def of_runs(
    names: Sequence[str], trust: bool = False, older: bool = False
) -> tuple[Game, dict[str, Player]]:
    """The game of the runs, and their players by name: one for each seed.

    Raises:
        SettingsError: a run is of no game for two, or of another game than the first.
    """
    players: dict[str, Player] = {}
    game = None
    for name in names:
        run = load(name, trust, older)
        own = boards.rules(run.made.env, str(run.experiment.env))
        game = own if game is None else game
        if own != game:
            raise SettingsError(f"{name} plays {own}; the runs before it play {game}")
        for seed in range(run.config["seeds"]):
            of_seed = f"{Path(name).name}:{seed}" if run.config["seeds"] > 1 else Path(name).name
            if of_seed in players:
                raise SettingsError(f"two players are called {of_seed}; rename a run's folder")
            players[of_seed] = player(run, seed)
    assert game is not None
    return game, players


def player(run: Run, seed: int) -> Player:
    """The policy of one seed, without exploration."""
    agents = run.agents()
    agent = jax.tree.map(lambda x: x[seed], agents.agent)
    algorithm = agents.algorithm

    def act(obs: Obs, key: Key) -> Array:
        memory = algorithm.memory(agent, jax.tree.leaves(obs)[0].shape[0])
        return algorithm.act(agent, obs, memory, key, explore=False)[0]

    return act


def opponents(game: Any, names: Sequence[str]) -> dict[str, Player]:
    """The fixed opponents of these names."""
    return {name: named(game, name) for name in names}


class Sitting:
    """One game of a person against an agent."""

    def __init__(self, game: Any, search: Any, reset: Any, step: Any) -> None:
        self.game, self.search, self.take = game, search, step
        self.state, self.obs = reset
        self.over, self.moves = False, 0

    @classmethod
    def start(cls, run: Run, seed: int) -> "Sitting":
        """A new game against one seed of a run.

        Raises:
            SettingsError: the run is of no game for two, or its agent does not search.
        """
        game: Any = boards.rules(run.made.env, str(run.experiment.env))
        agents = run.agents()
        algorithm = agents.algorithm
        if not isinstance(algorithm, Searches):
            raise SettingsError(f"{run.path} has no agent that searches; train alphazero")
        agent = jax.tree.map(lambda x: x[seed], agents.agent)

        def search(obs: Obs, key: Key) -> Any:
            batch = jax.tree.map(lambda x: x[None], obs)
            one = algorithm.run_search(agent.learner.model, batch, key, explore=False)
            return jax.tree.map(lambda x: x[0], one)

        key = jax.random.key(0)  # rules draw nothing
        return cls(game, jax.jit(search), game.reset(key), jax.jit(game.step))

    def again(self) -> "Sitting":
        """Another game with the same agent."""
        return Sitting(self.game, self.search, self.game.reset(jax.random.key(0)), self.take)

    @property
    def second(self) -> bool:
        """Whether the second player is to move."""
        return self.moves % 2 == 1

    def board(self) -> str:
        return str(self.game.text(self.state))

    def name(self, action: int) -> str:
        return str(self.game.move_name(action, self.second))

    def legal(self) -> dict[str, int]:
        """The legal moves: from their names to actions."""
        return {self.name(int(a)): int(a) for a in np.flatnonzero(self.obs[MASK])}

    def searched(self) -> SearchView:
        """The agent's search from the position."""
        result = self.search(self.obs, jax.random.key(self.moves))
        policy, visits = np.asarray(result.policy), np.asarray(result.visits)
        moves = [(name, float(policy[a]), int(visits[a])) for name, a in self.legal().items()]
        moves.sort(key=lambda move: -move[1])
        return SearchView(int(result.action), float(result.value), moves)

    def signs(self) -> list[list[str]]:
        """A letter for each cell of the board.

        Raises:
            SettingsError: the board is not drawn.
        """
        if not isinstance(self.game, Drawing):
            name = type(self.game).__name__
            raise SettingsError(f"the board of {name} is no spinward.envs.boards.Drawing")
        letters: list[list[str]] = self.game.signs(self.state).tolist()
        return letters

    def slanted(self) -> bool:
        return bool(self.game.slanted)

    def move(self, action: int) -> float:
        """Makes a move, and returns the mover's reward."""
        key = jax.random.key(0)
        self.state, self.obs, reward, over, cut = self.take(self.state, np.int32(action), key)
        self.over, self.moves = bool(over | cut), self.moves + 1
        return float(reward)

    def view(self) -> str:
        """The position's value for the side to move, and the moves the search likes best."""
        searched = self.searched()
        rows = [
            f"  {name}: {share:.0%}, {visits} visits" for name, share, visits in searched.moves[:5]
        ]
        return "\n".join([f"  worth {searched.value:+.2f} to the side to move", *rows])
