"""Tree search with a known model, batched over games: Gumbel AlphaZero, PUCT and UCT, on mctx.

A node is a position as the side to move sees it, so values change sign from ply to ply.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from spinward.core import MASK, Game, Key, Obs, Spec

# From observations [batch, ...] and a key: logits [batch, actions], and values [batch] in [-1, 1]
# for the side to move.
Evaluate = Callable[[Obs, Key], tuple[Array, Array]]
NODE = 4 * 6 + 4 * 5  # bytes mctx keeps of a node for each action, and once


class SearchResult(NamedTuple):
    """The result of a search from each of a batch of positions."""

    action: Array  # [batch] to play
    policy: Array  # [batch, actions] improved: sums to 1 over legal actions
    value: Array  # [batch] of the position, for the side to move
    visits: Array  # [batch, actions] simulations that began with each action


class SearchView(NamedTuple):
    """What a search from one position says, for people."""

    action: int  # to play
    value: float  # of the position, for the side to move
    moves: list[tuple[str, float, int]]  # name, share of the policy, simulations; the best first


class PUCT(NamedTuple):
    """Settings of the search of AlphaZero (Silver et al., 2018)."""

    noise: float = 0.25  # share of Dirichlet noise in the prior of the root
    alpha: float = 0.3  # concentration of that noise
    temperature: float = 1.0  # of the choice among visited actions


def tree_bytes(spec: Spec, games: int, simulations: int) -> int:
    """The bytes that the trees of so many games take while one move of each is searched."""
    actions = spec.action.n  # type: ignore[union-attr]
    obs = spec.zeros()
    state = sum(leaf.nbytes for leaf in jax.tree.leaves(obs))
    return games * (simulations + 1) * (24 * actions + 20 + state)


def gumbel(
    game: Game, evaluate: Evaluate, obs: Obs, key: Key, simulations: int, scale: float = 1.0,
    considered: int = 16,
) -> SearchResult:  # fmt: skip
    """Gumbel AlphaZero (Danihelka et al., 2022): at the root, sequential halving among `considered`
    actions drawn without replacement; `scale` 0 draws none at random, to play in earnest."""
    import mctx

    k_root, k_search = jax.random.split(key)
    output = mctx.gumbel_muzero_policy(
        None,
        k_search,
        root(game, evaluate, obs, k_root),
        model(game, evaluate),
        simulations,
        invalid_actions=obs[MASK] == 0,
        gumbel_scale=scale,
        max_num_considered_actions=considered,
    )
    return result_of(output.action, output.action_weights, output.search_tree)


def puct(
    game: Game, evaluate: Evaluate, obs: Obs, key: Key, simulations: int, settings: PUCT = PUCT()
) -> SearchResult:
    """AlphaZero's own search. The policy is the share of visits."""
    import mctx

    k_root, k_noise, k_search, k_choice = jax.random.split(key, 4)
    start = root(game, evaluate, obs, k_root)
    start = start.replace(prior_logits=noisy(start.prior_logits, obs[MASK] != 0, k_noise, settings))
    output = mctx.muzero_policy(
        None,
        k_search,
        start,
        model(game, evaluate),
        simulations,
        invalid_actions=obs[MASK] == 0,
        dirichlet_fraction=0.0,  # the noise above is on legal actions alone
        qtransform=signed_q,
    )
    visits = output.search_tree.summary().visit_counts
    return result_of(
        by_visits(visits, settings.temperature, k_choice), shares(visits), output.search_tree
    )


def uct(
    game: Game, evaluate: Evaluate, obs: Obs, key: Key, simulations: int, bonus: float = 0.0,
    constant: float = 1.0, temperature: float = 0.0,
) -> SearchResult:  # fmt: skip
    """UCT (Kocsis and Szepesvari, 2006): Q + constant sqrt(ln N / n), untried actions first. With
    `bonus`, bonus * prior / (n + 1) is added, as in expert iteration (Anthony et al., 2017)."""
    from mctx._src.search import search

    def choose(key: Key, tree: Any, node: Array, depth: Any) -> Array:
        visits = tree.children_visits[node]
        allowed = tree.children_prior_logits[node] > FORBIDDEN / 2
        spread = jnp.sqrt(jnp.log(tree.node_visits[node]) / jnp.maximum(visits, 1))
        score = tree.qvalues(node) + constant * spread
        score = jnp.where(visits > 0, score, UNTRIED + jax.random.uniform(key, score.shape))
        prior = jax.nn.softmax(tree.children_prior_logits[node])
        score = score + bonus * prior / (visits + 1)
        return jnp.where(allowed, score, -jnp.inf).argmax(-1).astype(jnp.int32)

    k_root, k_search, k_choice = jax.random.split(key, 3)
    tree = search(
        None,
        k_search,
        root=root(game, evaluate, obs, k_root),
        recurrent_fn=model(game, evaluate),
        root_action_selection_fn=partial(choose, depth=0),
        interior_action_selection_fn=choose,
        num_simulations=simulations,
        invalid_actions=obs[MASK] == 0,
    )
    visits = tree.summary().visit_counts
    return result_of(by_visits(visits, temperature, k_choice), shares(visits), tree)


UNTRIED = 10.0  # the score of an action without visits, above all that Q and the spread can be
FORBIDDEN = -1e9  # the logit of an action that is not legal


def root(game: Game, evaluate: Evaluate, obs: Obs, key: Key) -> Any:
    import mctx

    logits, value = evaluate(obs, key)
    state = jax.vmap(game.state_of)(obs)
    return mctx.RootFnOutput(prior_logits=within(logits, obs), value=value, embedding=state)  # type: ignore[call-arg]


def model(game: Game, evaluate: Evaluate) -> Callable[..., Any]:
    """The rules of the game as mctx asks for them."""
    import mctx

    def step(_: None, key: Key, action: Array, state: Any) -> tuple[Any, Any]:
        k_step, k_value = jax.random.split(key)
        keys = jax.random.split(k_step, action.shape[0])
        state, obs, reward, terminated, truncated = jax.vmap(game.step)(state, action, keys)
        over = terminated | truncated
        logits, value = evaluate(obs, k_value)
        output = mctx.RecurrentFnOutput(  # type: ignore[call-arg]
            reward=reward,
            discount=jnp.where(over, 0.0, -1.0),
            prior_logits=within(logits, obs),
            value=jnp.where(over, 0.0, value),
        )
        return output, state

    return step


def within(logits: Array, obs: Obs) -> Array:
    """`logits` with that of every action that is not legal at `FORBIDDEN`."""
    return jnp.where(obs[MASK] != 0, logits - logits.max(-1, keepdims=True), FORBIDDEN)


def noisy(logits: Array, legal: Array, key: Key, settings: PUCT) -> Array:
    """The logits of a prior with Dirichlet noise on its legal actions."""
    draw = jax.random.gamma(key, settings.alpha, logits.shape) * legal
    noise = draw / jnp.maximum(draw.sum(-1, keepdims=True), 1e-9)
    prior = (1.0 - settings.noise) * jax.nn.softmax(logits) + settings.noise * noise
    return jnp.where(legal, jnp.log(jnp.maximum(prior, 1e-9)), FORBIDDEN)


def signed_q(tree: Any, node: Array) -> Array:
    """Q in [0, 1] from values in [-1, 1]; an action without visits is worth what its node is."""
    visited = tree.children_visits[node] > 0
    q = jnp.where(visited, tree.qvalues(node), tree.node_values[node])
    return 0.5 * (q + 1.0)


def by_visits(visits: Array, temperature: float, key: Key) -> Array:
    """An action [batch] by its visits: the most visited, or drawn with odds n^(1 / temperature)."""
    if temperature == 0.0:
        tie = jax.random.uniform(key, visits.shape, maxval=0.5)
        return (visits + tie).argmax(-1).astype(jnp.int32)
    logits = jnp.where(visits > 0, jnp.log(jnp.maximum(visits, 1)), FORBIDDEN)
    return jax.random.categorical(key, logits / temperature).astype(jnp.int32)


def shares(visits: Array) -> Array:
    return visits / visits.sum(-1, keepdims=True)


def result_of(action: Array, policy: Array, tree: Any) -> SearchResult:
    summary = tree.summary()
    return SearchResult(action.astype(jnp.int32), policy, summary.value, summary.visit_counts)
