"""AlphaZero (Silver et al., 2018) with the search of Gumbel AlphaZero (Danihelka et al., 2022), and
expert iteration (Anthony et al., 2017, arXiv:1705.08439) as settings of it.

Departs from the papers: the outcome of a game that has not ended within a rollout is not learned
from; the newest network plays, without a match against an older one; Adam with weight decay.
Expert iteration: positions of all moves are kept, and the value is learned from the first
iteration on.
"""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax import Array

from spinward.core import (
    MASK,
    Discrete,
    Key,
    Memory,
    Metrics,
    Obs,
    Reader,
    Spec,
    Transition,
    config,
    no_memory,
    replace,
    struct,
)
from spinward.envs.boards import BOARD
from spinward.errors import SettingsError
from spinward.experience.wanted import SelfPlay
from spinward.learning.minibatches import flatten
from spinward.learning.positions import Positions, Ring, learned, outcomes, transformed
from spinward.learning.steps import Learner, descend, with_clipping
from spinward.networks.board import BoardNet
from spinward.search import trees
from spinward.search.opponents import at_random, playout

SEARCHES = ("gumbel", "puct", "uct")


@struct
class Agent:
    learner: Learner
    ring: Ring
    updates: Array


@config
class AlphaZero:
    envs: int = 64  # games played side by side
    rollout: int = 16  # plies of each between updates
    simulations: int = 16  # of the search before each move, while learning
    play_simulations: int = 64  # of the search before each move, when evaluated; 0: no search
    search: str = "gumbel"  # gumbel, puct (AlphaZero's own), or uct (expert iteration's)
    openings: int = 2  # first plies of a game; each is random in half of the games, in learning
    considered: int = 16  # actions that gumbel considers at the root
    noise: float = 0.25  # share of Dirichlet noise in puct's prior at the root
    alpha: float = 0.3  # concentration of that noise; about 10 / legal moves
    temperature: float = 1.0  # of puct's and uct's choice among visited moves, while learning
    bonus: float = 0.0  # weight of uct's term bonus * prior / (n + 1); 100 in expert iteration
    playouts: float = 0.0  # share of a game played at random in the value of a leaf
    imitate: bool = True  # learn the search's policy; if not, only the value: search does the rest
    capacity: int = 16_384  # positions kept
    updates: int = 8  # gradient steps after each rollout
    batch: int = 256  # positions in each gradient step
    lr: float = 1e-3  # Adam step size
    decay: float = 1e-4  # weight decay
    value_coef: float = 1.0  # weight of the value loss
    max_grad_norm: float = 10.0  # global norm gradients are clipped to
    symmetric: bool = True  # learn each position under a random symmetry of the board
    filters: tuple[int, ...] = ()  # channels of 3 x 3 convolutions before the hidden layers
    hidden: tuple[int, ...] = (128, 128)  # widths of the hidden layers
    activation: str = "relu"  # between layers: tanh, relu, swish or elu
    game: Any = None  # the rules; a run has its environment's

    memory = staticmethod(no_memory)

    def opened(self, reader: Reader) -> "AlphaZero":
        """With the rules of the run's game."""
        return replace(self, game=reader.game())

    def check(self, spec: Spec) -> None:
        if spec.players != 2 or not isinstance(spec.action, Discrete):
            raise SettingsError("AlphaZero needs a game for two, as TicTacToe or ConnectFour is")
        if self.search not in SEARCHES:
            raise SettingsError(f"search={self.search!r} is not one of {', '.join(SEARCHES)}")
        if self.capacity % (self.envs * self.rollout):
            raise SettingsError(
                f"capacity={self.capacity} must be a multiple of envs * rollout = "
                f"{self.envs * self.rollout}"
            )
        if not self.hidden:
            raise SettingsError("hidden is empty; expected at least one width")
        if self.simulations < 2 or self.play_simulations == 1:
            raise SettingsError(f"simulations={self.simulations} must be at least 2")

    def wants(self, spec: Spec) -> SelfPlay:
        return SelfPlay(
            self.envs, self.rollout, trees.tree_bytes(spec, self.envs, self.simulations)
        )

    @property
    def optimiser(self) -> optax.GradientTransformation:
        return with_clipping(self.max_grad_norm, optax.adamw(self.lr, weight_decay=self.decay))

    def init(self, key: Key, spec: Spec) -> Agent:
        model = BoardNet.init(key, spec, self.filters, self.hidden, self.activation)
        ring = Ring.init(spec, self.capacity)
        return Agent(Learner.init(model, self.optimiser), ring, jnp.int32(0))

    def act(
        self, agent: Agent, obs: Obs, memory: Memory, key: Key, explore: bool = True
    ) -> tuple[Array, Memory, dict[str, Any]]:
        k_search, k_half, k_random = jax.random.split(key, 3)
        result = self.run_search(agent.learner.model, obs, k_search, explore)
        if not explore:
            return result.action, memory, {}
        half = jax.random.bernoulli(k_half, shape=result.action.shape)
        opens = half & (self.game.plies(obs) < self.openings)
        action = jnp.where(opens, at_random(self.game, obs, k_random), result.action)
        return action, memory, {"policy": result.policy}

    def run_search(self, model: Any, obs: Obs, key: Key, explore: bool) -> trees.SearchResult:
        """The result of the search from each position."""
        evaluate = partial(self.evaluate, model)
        count = self.simulations if explore else self.play_simulations
        if count == 0:
            return without_search(evaluate, obs, key)
        if self.search == "gumbel":
            scale = 1.0 if explore else 0.0
            return trees.gumbel(self.game, evaluate, obs, key, count, scale, self.considered)
        temperature = self.temperature if explore else 0.0
        if self.search == "puct":
            noise = self.noise if explore else 0.0
            settings = trees.PUCT(noise, self.alpha, temperature)
            return trees.puct(self.game, evaluate, obs, key, count, settings)
        bonus = self.bonus
        return trees.uct(self.game, evaluate, obs, key, count, bonus, temperature=temperature)

    def evaluate(self, model: Any, obs: Obs, key: Key) -> tuple[Array, Array]:
        """The network's logits and values; `playouts` mixes the values with games at random."""
        logits, value = model(obs)
        if not self.imitate:
            logits = jnp.zeros_like(logits)
        if isinstance(self.playouts, float) and self.playouts == 0.0:
            return logits, value
        result = playout(self.game, obs, key)[1]
        return logits, (1.0 - self.playouts) * value + self.playouts * result

    def update(self, agent: Agent, batch: Transition, key: Key) -> tuple[Agent, Metrics]:
        outcome, known = outcomes(batch)
        obs, known = learned(batch.obs), known.astype(jnp.float32)
        new = Positions(obs, batch.extras["policy"], outcome, known)
        ring = agent.ring.add(flatten(new))

        def step(learner: Learner, key: Key) -> tuple[Learner, Metrics]:
            k_sample, k_turn = jax.random.split(key)
            rows = ring.sample(k_sample, self.batch)
            if self.symmetric:
                rows = transformed(rows, self.game.symmetries(), BOARD, MASK, k_turn)
            return descend(self.loss, self.optimiser, learner, rows)

        learner, metrics = jax.lax.scan(step, agent.learner, jax.random.split(key, self.updates))
        games = jnp.maximum(batch.done.sum(), 1)
        draws = (batch.done & (batch.reward == 0)).sum() / games
        return Agent(learner, ring, agent.updates + 1), {**metrics, "draws": draws[None]}

    def loss(self, model: Any, rows: Positions) -> tuple[Array, Metrics]:
        logits, value = model(rows.obs)
        log_prob = jax.nn.log_softmax(trees.within(logits, rows.obs))
        policy_loss = -(rows.policy * log_prob).sum(-1).mean()
        error = jnp.square(value - rows.outcome) * rows.known
        value_loss = error.sum() / jnp.maximum(rows.known.sum(), 1.0)
        entropy = -(rows.policy * jnp.log(jnp.maximum(rows.policy, 1e-9))).sum(-1).mean()
        metrics = {
            "policy_loss": policy_loss,
            "value_loss": value_loss,
            "search_entropy": entropy,
        }
        share = 1.0 if self.imitate else 0.0
        return share * policy_loss + self.value_coef * value_loss, metrics


def without_search(evaluate: trees.Evaluate, obs: Obs, key: Key) -> trees.SearchResult:
    """The network's own likeliest move."""
    logits, value = evaluate(obs, key)
    logits = trees.within(logits, obs)
    policy = jax.nn.softmax(logits)
    return trees.SearchResult(
        logits.argmax(-1).astype(jnp.int32), policy, value, jnp.zeros_like(policy)
    )
