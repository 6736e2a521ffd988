"""A CartPole whose episodes do not end where the pole falls, for rewards that are learned: an end
would tell an agent what is good."""

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from spinward.core import Box, Key, Spec, config, replace, struct
from spinward.envs import cartpole
from spinward.envs.cartpole import THETA_LIMIT, X_LIMIT, CartPole
from spinward.trees import where

NAMES = {"CartPole-Endless": "EndlessCartPole"}


@struct
class State:
    cart: cartpole.State
    down: Array  # steps since the pole fell or the cart left the track; 0 while all is well


@config
class EndlessCartPole:
    """The pole falls, lies for some steps, and is set up again. The reward is 1 in each step in
    which CartPole-v1 would go on, else 0."""

    limit: int = 500  # steps after which an episode is truncated
    rest: int = 10  # steps after a fall until the pole is set up again

    @property
    def spec(self) -> Spec:
        return replace(CartPole().spec, obs=Box((4,)))  # a pole that lies leaves CartPole's bounds

    @property
    def action_names(self) -> tuple[str, ...]:
        return CartPole().action_names

    def reset(self, key: Key) -> tuple[State, Array]:
        cart, obs = CartPole().reset(key)
        return State(cart, jnp.int32(0)), obs

    def step(
        self, state: State, action: Array, key: Key
    ) -> tuple[State, Array, Array, Array, Array]:
        cart, obs, *_ = CartPole().step(state.cart, action, key)
        fallen = (jnp.abs(obs[0]) > X_LIMIT) | (jnp.abs(obs[2]) > THETA_LIMIT)
        down = jnp.where(fallen, state.down + 1, 0)
        fresh, upright = CartPole().reset(key)
        again = down > self.rest
        cart, obs = where(again, (replace(fresh, time=cart.time), upright), (cart, obs))
        reward = jnp.where(fallen, 0.0, 1.0)
        over = cart.time >= self.limit
        return State(cart, jnp.where(again, 0, down)), obs, reward, jnp.bool_(False), over

    def render(self, state: State) -> np.ndarray:
        """The cart on its track, as CartPole draws it."""
        # A pole that lies swings below the track, which the picture shows.
        return CartPole().render(jax.tree.map(np.asarray, state.cart))
