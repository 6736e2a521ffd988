"""Action values of finite decision processes from samples: Q-learning (Watkins and Dayan, 1992)
and fitted Q iteration (Gordon, 1995; Ernst, Geurts and Wehenkel, 2005).

Departs from the papers: Q-learning's step sizes fall as visits ** -0.8 (Even-Dar and Mansour,
2003); fitted Q regresses on linear features, so that each fit is exact. With one feature for each
state and action, fitted Q is value iteration on the empirical process.
"""

import jax
import jax.numpy as jnp
from jax import Array

from spinward.core import Key, struct
from spinward.targets.dynamic_programming import MDP, optimality, worth

STEP_POWER = 0.8  # between 1/2 and 1: Even-Dar and Mansour (2003), theorem 4


@struct
class QTable:
    """The state of tabular Q-learning: its values, its visits, and the state of the environment."""

    q: Array  # [state, action]
    visits: Array  # [state, action]
    state: Array


def q_learning(
    mdp: MDP, key: Key, gamma: float | Array, steps: int, points: int, epsilon: float | Array = 1.0
) -> Array:
    """Action values [points, state, action] after equal parts of so many sampled steps.

    Q(s, a) += visits(s, a) ** -0.8 (r + gamma max Q(s', .) - Q(s, a)), with epsilon-greedy
    actions. Where an episode ends, another starts. `points` divides `steps`.
    """

    def step(table: QTable, key: Key) -> tuple[QTable, None]:
        k_coin, k_action, k_next, k_start = jax.random.split(key, 4)
        state, q = table.state, table.q
        random = jax.random.randint(k_action, (), 0, q.shape[1])
        explores = jax.random.uniform(k_coin) < epsilon
        action = jnp.where(explores, random, q[state].argmax())
        next_state = jax.random.categorical(k_next, jnp.log(mdp.transition[state, action]))
        target = mdp.reward[state, action] + gamma * worth(mdp, q)[next_state]
        visits = table.visits.at[state, action].add(1)
        size = visits[state, action] ** -STEP_POWER
        q = q.at[state, action].add(size * (target - q[state, action]))
        start = jax.random.categorical(k_start, jnp.log(mdp.start))
        return QTable(q, visits, jnp.where(mdp.terminal[next_state], start, next_state)), None

    def chunk(table: QTable, keys: Array) -> tuple[QTable, Array]:
        table, _ = jax.lax.scan(step, table, keys)
        return table, table.q

    k_first, k_steps = jax.random.split(key)
    first = jax.random.categorical(k_first, jnp.log(mdp.start))
    table = QTable(jnp.zeros(mdp.reward.shape), jnp.zeros(mdp.reward.shape), first)
    keys = jax.random.split(k_steps, (points, steps // points))
    return jax.lax.scan(chunk, table, keys)[1]


def empirical(like: MDP, steps: tuple[Array, Array, Array, Array]) -> tuple[MDP, Array]:
    """The maximum-likelihood process of `steps` (state, action, reward, next state) [row], of the
    size of `like`, and the visits of each state and action [state, action].

    An unvisited state and action leads to itself and has the reward 0.
    """
    state, action, reward, next_state = steps
    states, actions = like.reward.shape
    counts = jnp.zeros((states, actions, states)).at[state, action, next_state].add(1.0)
    total = jnp.zeros((states, actions)).at[state, action].add(reward)
    visits = counts.sum(-1)
    stay = jnp.broadcast_to(jnp.eye(states)[:, None], counts.shape)
    divisor = jnp.maximum(visits, 1.0)
    transition = jnp.where(visits[..., None] > 0, counts / divisor[..., None], stay)
    return MDP(transition, total / divisor, like.start, like.terminal), visits


def fitted_q(
    mdp: MDP, features: Array, weight: Array, gamma: float | Array, sweeps: int
) -> tuple[Array, Array]:
    """Weights [sweeps + 1, dim] and action values [sweeps + 1, state, action] of fitted Q.

    In each sweep, q = `features` [state, action, dim] @ w is fitted to Tq by least squares over
    states and actions, each of them weighted by `weight` [state, action], its share of the data.
    Unlike T, the fit is not a contraction in the maximum norm, and may diverge (Tsitsiklis and Van
    Roy, 1996).
    """
    rows = features.reshape(-1, features.shape[-1])
    root = jnp.sqrt(weight.reshape(-1))
    solve = jnp.linalg.pinv(root[:, None] * rows)

    def sweep(w: Array, _: None) -> tuple[Array, Array]:
        target = optimality(mdp, features @ w, gamma).reshape(-1)
        return (after := solve @ (root * target)), after

    first = jnp.ones(features.shape[-1])
    _, trace = jax.lax.scan(sweep, first, None, length=sweeps)
    trace = jnp.concatenate([first[None], trace])
    return trace, jnp.einsum("sad,kd->ksa", features, trace)
