"""Board games for two of Pgx (Koyamada and others, 2023, arXiv:2303.17503) as games of ours.

A network reads `board`, which is Pgx's observation for the side to move. What the rules need beyond
it, such as the positions that may not come again, is in the part `game_state`, as bytes.
"""

import functools
import importlib
import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from spinward.core import MASK, Box, Dict, Discrete, Key, Obs, Spec, config
from spinward.envs.boards import BOARD, Drawing, mirrored, same, turned
from spinward.envs.foreign import making, unknown
from spinward.errors import SettingsError
from spinward.spaces import GAME_STATE

STARTS = 4  # games whose first observations are compared
STONES = ("tic_tac_toe", "connect_four", "othello", "hex", "go_9x9", "go_19x19")
CHESS = {"chess": "pgx._src.games.chess", "gardner_chess": "pgx.gardner_chess"}  # their actions
PIECES = "pnbrqk"  # of chess, in the order of Pgx's planes: the mover's, then the other side's


@config
class Pgx(Drawing):
    """The game that Pgx calls `id`."""

    id: str  # the game's name in Pgx

    @property
    def rows(self) -> int:  # type: ignore[override]
        return made(self.id).board.shape[0]

    @property
    def columns(self) -> int:  # type: ignore[override]
        return made(self.id).board.shape[1]

    @property
    def slanted(self) -> bool:  # type: ignore[override]
        return self.id == "hex"

    @property
    def spec(self) -> Spec:
        parts = made(self.id)
        mask, rest = Box((parts.actions,), 0, 1, "uint8"), Box((parts.bytes,), 0, 255, "uint8")
        obs = Dict(((BOARD, parts.board), (MASK, mask), (GAME_STATE, rest)))
        return Spec(obs, Discrete(parts.actions), players=2)

    def reset(self, key: Key) -> tuple[Any, Obs]:
        # Pgx draws which of two players begins, which is all that it draws: here it is always one.
        state = made(self.id).env.init(jax.random.PRNGKey(0))
        state = typed(state, made(self.id).state)
        return state, seen(state)

    def step(self, state: Any, action: Array, key: Key) -> tuple[Any, Obs, Array, Array, Array]:
        after = typed(made(self.id).env.step(state, action), made(self.id).state)
        reward = after.rewards[state.current_player].astype(jnp.float32)
        return after, seen(after), reward, after.terminated, after.truncated & ~after.terminated

    def state_of(self, obs: Obs) -> Any:
        like = made(self.id).state
        rest = from_bytes(obs[GAME_STATE], without_seen(like))
        board = obs[BOARD].astype(like.observation.dtype)
        return rest.replace(observation=board, legal_action_mask=obs[MASK] != 0)

    def plies(self, obs: Obs) -> Array:
        """The moves [batch] made since the start of a game."""
        count: Array = jax.vmap(self.state_of)(obs)._step_count
        return count

    def symmetries(self) -> tuple[np.ndarray, np.ndarray]:
        cells = self.rows * self.columns
        if self.id == "tic_tac_toe":
            return turned(3), turned(3)
        if self.id == "connect_four":
            return mirrored(self.rows, self.columns), mirrored(1, self.columns)
        if self.id == "hex":
            both = np.stack([np.arange(cells), np.arange(cells)[::-1]])  # half a turn
            return both, with_last(both)
        if self.id in STONES:
            return turned(self.rows), with_last(turned(self.rows))
        return same(cells), same(made(self.id).actions)

    def second(self, state: Any) -> bool:
        """Whether the second player is to move."""
        return int(state._step_count) % 2 == 1

    def stones(self, state: Any) -> np.ndarray:
        owned = self.pieces(state) != 0
        mine, theirs = owned[0], owned[1]
        first, second = (theirs, mine) if self.second(state) else (mine, theirs)
        return first + 2 * second

    def pieces(self, state: Any) -> np.ndarray:
        """The mover's pieces and the other side's, as people see the board: [2, rows, columns],
        counted from 1 by their kinds; 0 is none."""
        self.require_drawn()
        kinds = len(PIECES) if self.id in CHESS else 1
        planes = np.asarray(state.observation)[..., : 2 * kinds].reshape(*self.cells, 2, kinds)
        sides = np.moveaxis((planes * np.arange(1, kinds + 1)).sum(-1), -1, 0).astype(int)
        return sides[:, ::-1] if self.id in CHESS and self.second(state) else sides

    @property
    def cells(self) -> tuple[int, int]:
        return self.rows, self.columns

    def signs(self, state: Any) -> np.ndarray:
        """Of chess, the pieces by their letters, the first player's in capitals."""
        if self.id not in CHESS:
            return super().signs(state)
        mine, theirs = self.pieces(state)
        first, second = (theirs, mine) if self.second(state) else (mine, theirs)
        lower = np.array([".", *PIECES])
        return np.where(first > 0, np.char.upper(lower)[first], lower[second])

    def move_name(self, action: int, second: bool) -> str:
        self.require_drawn()
        if self.id in CHESS:
            return self.chess_name(action, second)
        if self.id == "connect_four":
            return super().move_name(action, second)[0]
        if action == self.rows * self.columns:
            return "swap" if self.id == "hex" else "pass"
        return super().move_name(action, second)

    def chess_name(self, action: int, second: bool) -> str:
        """From and to, as e2e4, and r, b or n where a pawn becomes one of these."""
        move = importlib.import_module(CHESS[self.id]).Action._from_label(jnp.int32(action))

        def square(cell: Any) -> str:  # counted along files, from the mover's side
            column, row = divmod(int(cell), self.rows)
            up = self.rows - 1 - row if not second else row
            return super(Pgx, self).move_name(up * self.columns + column, second)

        kind = int(move.underpromotion)
        return square(move.from_) + square(move.to) + ("" if kind < 0 else "rbn"[kind])

    def require_drawn(self) -> None:
        """Passes if people can read the board.

        Raises:
            SettingsError: it is not drawn.
        """
        if self.id not in STONES and self.id not in CHESS:
            known = ", ".join((*STONES, *CHESS))
            raise SettingsError(f"the board of pgx:{self.id} is not drawn; of Pgx's, {known} are")


def with_last(cells: np.ndarray) -> np.ndarray:
    """Permutations of moves: of the cells, and of one more move that stays what it is."""
    return np.concatenate([cells, np.full((len(cells), 1), cells.shape[1])], 1)


def seen(state: Any) -> Obs:
    """What is observed of one of Pgx's states."""
    board = state.observation
    board = board.astype(jnp.uint8 if board.dtype == jnp.bool_ else jnp.float32)
    mask = state.legal_action_mask.astype(jnp.uint8)
    return {BOARD: board, MASK: mask, GAME_STATE: as_bytes(without_seen(state))}


def without_seen(state: Any) -> Any:
    """A state without what an observation shows in other parts."""
    return state.replace(observation=(), legal_action_mask=())


def typed(state: Any, like: Any) -> Any:
    """A state whose leaves have the types of `like`: Pgx leaves some of them open."""
    return jax.tree.map(lambda x, y: jnp.asarray(x, y.dtype), state, like)


def as_bytes(tree: Any) -> Array:
    """The leaves of a tree, one after the other: uint8 [bytes]."""

    def raw(x: Array) -> Array:
        x = x.astype(jnp.uint8) if x.dtype == jnp.bool_ else x
        return jax.lax.bitcast_convert_type(x, jnp.uint8).reshape(-1)

    return jnp.concatenate([raw(x) for x in jax.tree.leaves(tree)])


def from_bytes(raw: Array, like: Any) -> Any:
    """The tree that `as_bytes` has made bytes of; `like` has its shapes and types."""
    leaves, at = [], 0
    for x in jax.tree.leaves(like):
        part = raw[at : at + x.size * x.dtype.itemsize]
        wide = (*x.shape, x.dtype.itemsize) if x.dtype.itemsize > 1 else x.shape
        flags = x.dtype == jnp.bool_
        part = part.reshape(wide)
        leaves.append(part != 0 if flags else jax.lax.bitcast_convert_type(part, x.dtype))
        at += x.size * x.dtype.itemsize
    return jax.tree.unflatten(jax.tree.structure(like), leaves)


class MadeGame(NamedTuple):
    """One of Pgx's games and what is known of it."""

    env: Any
    state: Any  # the shapes and types of its state
    board: Box
    actions: int
    bytes: int  # of a state, without what an observation shows


@functools.lru_cache(maxsize=16)
def made(name: str) -> MadeGame:
    """Pgx's game.

    Raises:
        SettingsError: Pgx is missing, does not know the id, or the game is none that search can
            follow: it is not for two, or draws by chance.
    """
    with making("pgx") as pgx:
        known = pgx.available_envs()
        if name not in known:
            raise unknown("game in Pgx", name, known, "pgx.available_envs()")
        if name.startswith("minatar-"):
            raise SettingsError(f"{name} of Pgx is a task for one; Spinward has MinAtar's own")
        env = pgx.make(name)
        if env.num_players != 2:
            count = env.num_players
            raise SettingsError(f"{name} of Pgx is for {count} players; pgx: takes games for two")
        state = jax.eval_shape(env.init, jax.random.PRNGKey(0))
        if draws(env, state):
            raise SettingsError(
                f"{name} of Pgx deals cards or throws dice, which search cannot foresee; pgx: "
                "takes games without chance and with nothing hidden"
            )
    kept = state.observation.dtype == jnp.bool_
    bounds = (0.0, 1.0, "uint8") if kept else (-math.inf, math.inf, "float32")
    leaves = jax.tree.leaves(without_seen(state))
    size = sum(x.size * x.dtype.itemsize for x in leaves)
    board = Box(tuple(state.observation.shape), *bounds)
    return MadeGame(env, state, board, int(state.legal_action_mask.shape[0]), size)


def draws(env: Any, state: Any) -> bool:
    """Whether a game draws by chance: its steps ask for a key, or its starts differ."""
    try:
        jax.eval_shape(env.step, state, jax.ShapeDtypeStruct((), jnp.int32))
    except AssertionError:
        return True
    starts = jax.vmap(env.init)(jax.random.split(jax.random.PRNGKey(0), STARTS)).observation
    return bool((starts != starts[0]).any())
