"""Recurrent policies and values: gated cells between a torso and its heads.

LSTM as in Gers et al. (2000), with the forget gate's bias at 1 (Jozefowicz et al., 2015); GRU as in
Cho et al. (2014, arXiv:1406.1078), with the reset gate after the product, as cuDNN has it.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from jax import Array

from spinward.core import Key, Memory, Obs, Spec, Transition, struct
from spinward.errors import SettingsError
from spinward.networks.distributions import Distribution
from spinward.networks.heads import Actor, ActorCritic
from spinward.networks.layers import MLP, Linear
from spinward.networks.torso import Torso, mask, privileged
from spinward.networks.towers import Separate, actor_critic

REWARD = "reward"  # in a memory that is a dict: the key of the last step's reward
MEMORY = "memory"  # in a batch's extras: the policy's memory before each step


@struct
class LSTM:
    """Remembers (output, cell) [..., units]. The gates: input, forget, candidate, output."""

    inputs: Linear  # [features, 4 * units], the biases of the gates included
    w: Array  # [units, 4 * units]

    @classmethod
    def init(cls, key: Key, features: int, units: int) -> "LSTM":
        k_inputs, k_w = jax.random.split(key)
        inputs = Linear.init(k_inputs, features, 4 * units, 1.0)
        forget = jnp.zeros((4, units)).at[1].set(1.0).reshape(-1)
        return cls(Linear(inputs.w, forget), square(k_w, units, 4))

    def memory(self, envs: int) -> Memory:
        return jnp.zeros((envs, len(self.w))), jnp.zeros((envs, len(self.w)))

    def __call__(self, x: Array, memory: Memory) -> Memory:
        """The memory after a step, from the cell's `inputs` for a step and the memory before."""
        output, cell = memory
        write, keep, candidate, read = jnp.split(x + output @ self.w, 4, -1)
        cell = jax.nn.sigmoid(keep) * cell + jax.nn.sigmoid(write) * jnp.tanh(candidate)
        return jax.nn.sigmoid(read) * jnp.tanh(cell), cell


@struct
class GRU:
    """Remembers (output,) [..., units]. The gates: reset, update, candidate."""

    inputs: Linear  # [features, 3 * units]
    w: Array  # [units, 3 * units]
    b: Array  # [units], of the candidate, inside the reset gate

    @classmethod
    def init(cls, key: Key, features: int, units: int) -> "GRU":
        k_inputs, k_w = jax.random.split(key)
        inputs = Linear.init(k_inputs, features, 3 * units, 1.0)
        return cls(inputs, square(k_w, units, 3), jnp.zeros(units))

    def memory(self, envs: int) -> Memory:
        return (jnp.zeros((envs, len(self.w))),)

    def __call__(self, x: Array, memory: Memory) -> Memory:
        """The memory after a step, from the cell's `inputs` for a step and the memory before."""
        (output,) = memory
        to_reset, to_update, candidate = jnp.split(x, 3, -1)
        reset, update, past = jnp.split(output @ self.w, 3, -1)
        reset, update = jax.nn.sigmoid(reset + to_reset), jax.nn.sigmoid(update + to_update)
        candidate = jnp.tanh(candidate + reset * (past + self.b))
        return (update * output + (1.0 - update) * candidate,)


CELLS: dict[str, Any] = {"lstm": LSTM, "gru": GRU}


def square(key: Key, units: int, gates: int) -> Array:
    """Orthogonal weights [units, gates * units] for so many gates."""
    keys = jax.random.split(key, gates)
    return jnp.concatenate([jax.nn.initializers.orthogonal()(k, (units, units)) for k in keys], -1)


@struct
class Tower:
    """Layers, a cell, and a head on the cell's output. Without a cell it is the head alone, on the
    output of the policy's cell."""

    encoder: MLP
    cell: LSTM | GRU | None
    head: Any  # Actor | MLP

    @classmethod
    def init(
        cls, key: Key, sizes: tuple[int, ...], activation: str, cell: str, head: Any
    ) -> "Tower":
        """A tower of `sizes` [features, hidden..., units]."""
        k_encoder, k_cell = jax.random.split(key)
        encoder = MLP.init(k_encoder, sizes[:-1], activation, 2**0.5, ends_active=True)
        return cls(encoder, CELLS[cell].init(k_cell, *sizes[-2:]), head)

    def memory(self, envs: int) -> Memory:
        return () if self.cell is None else self.cell.memory(envs)

    def step(self, features: Array, memory: Memory) -> Memory:
        """The memory after a step."""
        return () if self.cell is None else self.cell(self.read(features), memory)

    def read(self, features: Array) -> Array:
        """The input of the cell."""
        assert self.cell is not None
        return self.cell.inputs(self.encoder(features))

    def unroll(self, features: Array, done: Array, memory: Memory) -> Memory:
        """The memory after each of the steps [time, env]."""
        if self.cell is None:
            return ()
        return remembered(self.cell, self.read(features), done, memory)


@struct
class RecurrentActorCritic:
    """A recurrent policy and its value. For vectors each has its own cell, as in `ActorCritic` each
    has its own tower; for images they share one cell.

    The last of `hidden` is the cells' width; the layers before it read vectors. For images
    they are all in the torso, and the cell follows the torso (Mnih et al., 2016).
    """

    torso: Torso
    policy: Tower
    critic: Tower
    critic_torso: Torso | None = None  # of a critic that reads privileged observations
    sequential: ClassVar[bool] = True

    @classmethod
    def init(
        cls, key: Key, spec: Spec, hidden: tuple[int, ...], activation: str, cell: str = "lstm"
    ) -> "RecurrentActorCritic":
        k_torso, k_policy, k_critic, k_actor, k_value = jax.random.split(key, 5)
        torso, size, left = Torso.init(k_torso, spec.obs, hidden, activation)
        sizes = (size, *(left or hidden[-1:]))
        actor = Actor.init(k_actor, hidden[-1], spec.action, (), activation)
        value = MLP.init(k_value, (hidden[-1], 1), activation, 1.0)
        policy = Tower.init(k_policy, sizes, activation, cell, actor)
        if privileged(spec):
            k_torso, k_critic = jax.random.split(k_critic)
            own, size, left = Torso.init(k_torso, spec.obs, hidden, activation, critic=True)
            sizes = (size, *(left or hidden[-1:]))
            return cls(torso, policy, Tower.init(k_critic, sizes, activation, cell, value), own)
        if left:
            return cls(torso, policy, Tower.init(k_critic, sizes, activation, cell, value))
        return cls(torso, policy, Tower(MLP((), activation, True), None, value))

    def memory(self, envs: int) -> Memory:
        return self.policy.memory(envs), self.critic.memory(envs)

    def step(self, obs: Obs, memory: Memory) -> tuple[Distribution, Memory, dict[str, Any]]:
        features = self.torso(obs)
        critic_features = features if self.critic_torso is None else self.critic_torso(obs)
        after = self.policy.step(features, memory[0]), self.critic.step(critic_features, memory[1])
        return self.policy.head(after[0][0], mask(obs)), after, {MEMORY: memory}

    def value(self, after: Memory) -> Array:
        """The value [...], from the memory after a step."""
        policy, own = after
        return self.critic.head((own or policy)[0])[..., 0]

    def unroll(self, batch: Transition) -> tuple[Distribution, Array, Array]:
        """Reads a batch from its first memory, and resets the memory after each end of an episode.

        The value of a true successor is computed from the memory after the step.
        """
        first, second = jax.tree.map(lambda x: x[0], batch.extras[MEMORY])
        features, next_features = self.torso(batch.obs), self.torso(batch.next_obs)
        policy = self.policy.unroll(features, batch.done, first)
        later = self.policy.step(next_features, policy)
        if self.critic_torso is not None:
            features, next_features = map(self.critic_torso, (batch.obs, batch.next_obs))
        own = self.critic.unroll(features, batch.done, second)
        later = later, self.critic.step(next_features, own)
        distribution = self.policy.head(policy[0], mask(batch.obs))
        return distribution, self.value((policy, own)), self.value(later)


def remembered(cell: LSTM | GRU, x: Array, done: Array, memory: Memory) -> Memory:
    """The memory after each step [time, env, units] of `x` [time, env, ...]."""

    def step(memory: Memory, row: tuple[Array, Array]) -> tuple[Memory, Memory]:
        x, done = row
        after = cell(x, memory)
        kept = jax.tree.map(lambda m: jnp.where(done[:, None], 0.0, m), after)
        return kept, after

    return jax.lax.scan(step, memory, (x, done))[1]


def with_memory(network: Callable[..., Any], recurrent: str) -> Callable[..., Any]:
    """`network`, or the network with a `recurrent` cell where `recurrent` is not empty."""
    return partial(RecurrentActorCritic.init, cell=recurrent) if recurrent else network


def check_memory(
    recurrent: str, network: Callable[..., Any], hidden: tuple[int, ...], spec: Spec
) -> None:
    """Raises SettingsError for a `recurrent` cell that does not fit the other settings."""
    if not recurrent:
        return
    if recurrent not in CELLS:
        raise SettingsError(f"recurrent={recurrent!r} must be one of {', '.join(CELLS)}, or empty")
    if network not in (ActorCritic.init, Separate.init, actor_critic):
        raise SettingsError(f"recurrent={recurrent!r} has a network of its own: leave out network")
    if not hidden:
        raise SettingsError(f"hidden={hidden} must end with the width of the {recurrent}")
    if not spec.resets:
        raise SettingsError(
            f"recurrent={recurrent!r} needs an environment that says where episodes start anew; "
            "the spec of this one has resets=False"
        )
