"""Imagined steps by random members of an ensemble, and rollouts that branch off from real states
(Janner et al., 2019, arXiv:1906.08253)."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from spinward.core import Box, Key, Metrics, Spec, Transition, replace, static, struct
from spinward.learning.minibatches import shuffled
from spinward.models.dynamics import Dynamics
from spinward.models.imagined import imagined_spec, never, within

Act = Callable[[Array, Key], Array]  # from observations [row, dim] to actions
Rewards = Callable[[Array, Array, Array], Array]  # of (obs, action, next obs) [..., dim]


@struct
class EnsembleWorld:
    """An ensemble as the law of a world: each step is taken by a random one of its elites."""

    model: Dynamics
    elites: Array  # [elites] the members that imagine
    end: Any  # an EndClassifier; () where `terminal` is known
    real: Spec = static()
    terminal: Callable[[Array], Array] = static(default=never)
    known_reward: Rewards | None = static(default=None)  # None: what the members predict

    def step(
        self, obs: Array, action: Array, key: Key, bound: bool = False
    ) -> tuple[Array, Array, Array]:
        """The next observations [row, dim], rewards and ends [row] of as many steps.

        Members step equally many rows. Which member is whose is random, or with `bound` the same
        in every call: the first rows are those of the first member. The number of rows must be a
        multiple of the number of elites.
        """
        k_order, k_noise = jax.random.split(key)
        count, rows = len(self.elites), obs.shape[0]
        order = jnp.arange(rows) if bound else shuffled(k_order, rows)

        def predict(i: Array, obs: Array, action: Array, key: Key) -> tuple[Array, Array]:
            return self.model.member(i)(obs, action, key)

        seen, done = (x[order].reshape(count, rows // count, -1) for x in (obs, action))
        keys = jax.random.split(k_noise, count)
        next_obs, reward = jax.vmap(predict)(self.elites, seen, done, keys)
        next_obs = jnp.zeros_like(obs).at[order].set(next_obs.reshape(obs.shape))
        reward = jnp.zeros(rows).at[order].set(reward.reshape(-1))
        return self.seen(obs, action, next_obs, reward)

    def seen(
        self, obs: Array, action: Array, next_obs: Array, reward: Array
    ) -> tuple[Array, Array, Array]:
        """What follows a step [..., dim] whose next state and reward members have predicted."""
        next_obs = within(next_obs, self.real.obs)
        if self.known_reward is not None:
            reward = self.known_reward(obs, action, next_obs)
        return next_obs, reward, self.end_probability(obs, action, next_obs) > 0.5

    def end_probability(self, obs: Array, action: Array, next_obs: Array) -> Array:
        """That a step [...] terminates its episode; 0 or 1 where that is known."""
        if self.end == ():
            return self.terminal(next_obs).astype(jnp.float32)
        return jax.nn.sigmoid(self.end(self.model, obs, action, next_obs))


@struct
class ImaginedSteps:
    """A ring of single imagined steps [row, ...]."""

    obs: Array
    action: Array
    reward: Array
    next_obs: Array
    terminated: Array
    count: Array  # steps ever added

    @classmethod
    def init(cls, spec: Spec, capacity: int) -> "ImaginedSteps":
        assert isinstance(spec.obs, Box) and isinstance(spec.action, Box)
        obs, action = spec.obs.shape, spec.action.shape
        rows = [jnp.zeros((capacity, *shape)) for shape in (obs, action, (), obs)]
        return cls(rows[0], rows[1], rows[2], rows[3], jnp.zeros(capacity, bool), jnp.int32(0))

    def add(
        self,
        obs: Array,
        action: Array,
        reward: Array,
        next_obs: Array,
        terminated: Array,
        happened: Array,
    ) -> "ImaginedSteps":
        """The ring with those of these steps that happened."""
        capacity = self.reward.shape[0]
        place = (self.count + jnp.cumsum(happened) - 1) % capacity
        at = jnp.where(happened, place, capacity)  # beyond the ring, which drops it
        new = obs, action, reward, next_obs, terminated
        rings = self.obs, self.action, self.reward, self.next_obs, self.terminated
        put = [ring.at[at].set(x, mode="drop") for ring, x in zip(rings, new, strict=True)]
        count = self.count + happened.sum()
        return ImaginedSteps(put[0], put[1], put[2], put[3], put[4], count)

    def sample(self, key: Key, count: int, newest: Array) -> Transition:
        """`count` of the `newest` steps that were added, with replacement."""
        capacity = self.reward.shape[0]
        known = jnp.maximum(jnp.minimum(jnp.minimum(self.count, capacity), newest), 1)
        back = jax.random.randint(key, (count,), 0, known)
        at = (self.count - 1 - back) % capacity
        rings = self.obs, self.action, self.reward, self.next_obs, self.terminated
        obs, action, reward, next_obs, terminated = (x[at] for x in rings)
        no = jnp.zeros_like(terminated)
        return Transition(obs, action, reward, terminated, no, next_obs, jnp.ones_like(reward), {})


def branched(
    world: EnsembleWorld, act: Act, starts: Array, steps: Array, ring: ImaginedSteps, key: Key
) -> tuple[ImaginedSteps, Metrics]:
    """The ring with `steps` imagined steps from each of `starts` [row, dim], or fewer where an
    episode terminates."""

    def goes_on(state: tuple[Any, ...]) -> Array:
        return state[0] < steps

    def step(state: tuple[Any, ...]) -> tuple[Any, ...]:
        t, obs, alive, ring, total = state
        k_act, k_step = jax.random.split(jax.random.fold_in(key, t))
        action = act(obs, k_act)
        next_obs, reward, terminated = world.step(obs, action, k_step)
        ring = ring.add(obs, action, reward, next_obs, terminated, alive)
        total = total + (alive * reward).sum()
        return t + 1, next_obs, alive & ~terminated, ring, total

    before, alive = ring.count, jnp.ones(starts.shape[0], bool)
    start = jnp.int32(0), starts, alive, ring, jnp.float32(0.0)
    _, _, alive, ring, total = jax.lax.while_loop(goes_on, step, start)
    added = ring.count - before
    return ring, {"imagined_steps": added, "imagined_reward": total / jnp.maximum(added, 1)}


def member_returns(
    world: EnsembleWorld, act: Callable[[Array], Array], starts: Array, steps: int
) -> Array:
    """The mean return [member] of a deterministic policy from fixed `starts` [row, dim], over at
    most so many steps of each member alone, which follows its mean predictions."""
    model, space = replace(world.model, sampled=False), imagined_spec(world.real).action

    def of_member(i: Array) -> Array:
        member = model.member(i)

        def step(state: tuple[Array, Array, Array], _: Any) -> tuple[Any, Any]:
            obs, alive, total = state
            action = space.from_unit(act(obs))  # as where the policy is trained
            predicted = member(obs, action, jax.random.key(0))  # no noise is sampled
            next_obs, reward, terminated = world.seen(obs, action, *predicted)
            return (next_obs, alive & ~terminated, total + alive * reward), None

        rows = starts.shape[0]
        start = starts, jnp.ones(rows, bool), jnp.zeros(rows)
        return jax.lax.scan(step, start, length=steps)[0][2].mean()

    return jax.vmap(of_member)(world.elites)
