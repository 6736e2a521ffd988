"""Recurrent Q-learning from replayed sequences (Kapturowski et al., 2019, "Recurrent experience
replay in distributed reinforcement learning"), with Retrace targets, as in Never Give Up.

Departs from the paper: Retrace in place of n-step targets; actors are environments that step
together, with the newest parameters; a sequence may extend over the end of an episode.
"""

from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax import Array

from spinward.core import (
    Discrete,
    Key,
    Memory,
    Metrics,
    Obs,
    Spec,
    Transition,
    config,
    struct,
)
from spinward.experience.batches import check_sequences, sequences_wanted
from spinward.experience.wanted import Sequences
from spinward.learning import sequences
from spinward.learning.sequences import act_epsilon_greedily, context_inputs, rows_of
from spinward.learning.steps import Learner, adam, descend, split_priorities
from spinward.networks.recurrent_q import RecurrentQ
from spinward.targets.network import update_target


@struct
class Agent:
    learner: Learner
    target: Any
    updates: Array


@config
class R2D2:
    envs: int = 32  # environments stepped side by side
    rollout: int = 20  # steps of each between updates; sequences begin so many steps apart
    updates: int = 8  # gradient steps after them
    batch: int = 16  # sequences in each gradient step
    burn_in: int = 4  # first steps of a sequence, which only burn in the memory
    trace: int = 20  # steps of a sequence that are learned from
    capacity: int = 100_000  # env steps kept for replay
    warmup: int = 3_200  # random env steps before the first update
    lr: float = 1e-3  # Adam step size
    eps: float = 1e-4  # added to what Adam divides by
    gamma: float = 0.99  # discount per step
    lam: float = 0.95  # Retrace's lambda
    squash: bool = True  # learn values under a transform that compresses large values
    target_every: int = 25  # updates between copies of the target network
    epsilon: float = 0.4  # share of random actions in the most random environment
    epsilon_power: float = 2.0  # the least random has epsilon to the power of one more than this
    target_epsilon: float = 0.01  # share of random actions in the policy that is valued
    prioritised: bool = True  # sample sequences by the size of their errors
    priority_exponent: float = 0.9  # exponent of the error in the sampling probability
    importance_exponent: float = 0.6  # exponent of the importance weight
    priority_max: float = 0.9  # share of the largest error in a sequence's priority, not the mean
    max_grad_norm: float = 40.0  # global norm gradients are clipped to
    hidden: tuple[int, ...] = (64,)  # widths of the hidden layers; the last is the cell's
    activation: str = "relu"  # between hidden layers: tanh, relu, swish or elu
    recurrent: str = "lstm"  # the memory: lstm or gru

    def check(self, spec: Spec) -> None:
        check_sequences(self, spec)

    def wants(self, spec: Spec) -> Sequences:
        return sequences_wanted(self, random_policy, context_size(spec))

    def optimiser(self, lr: float | Array) -> optax.GradientTransformation:
        return adam(lr, self.max_grad_norm, self.eps)

    def init(self, key: Key, spec: Spec) -> Agent:
        sizes = self.hidden, self.activation, self.recurrent, context_size(spec)
        q = RecurrentQ.init(key, spec, *sizes)
        return Agent(Learner.init(q, self.optimiser(self.lr)), q, jnp.int32(0))

    def memory(self, agent: Agent, envs: int) -> Memory:
        return sequences.memory(agent.learner.model, envs)

    def act(
        self, agent: Agent, obs: Obs, memory: Memory, key: Key, explore: bool = True
    ) -> tuple[Array, Memory, dict[str, Any]]:
        q, after = agent.learner.model.step(obs, context_inputs(memory), memory["recurrent"])
        epsilon = sequences.epsilons(self, len(q)) if explore else jnp.zeros(len(q))
        return act_epsilon_greedily(q, obs, after, memory, key, epsilon)

    def update(self, agent: Agent, batches: Transition, key: Key) -> tuple[Any, ...]:
        def step(agent: Agent, batch: Transition) -> tuple[Agent, Metrics]:
            rows, next_context = rows_of(batch, agent.learner.model.actions)
            learner, metrics = descend(
                self.loss,
                self.optimiser(self.lr),
                agent.learner,
                agent.target,
                rows,
                next_context,
                rows.reward,
                self.gamma,
            )
            updates = agent.updates + 1
            target = update_target(agent.target, learner.model, updates, self.target_every)
            return Agent(learner, target, updates), metrics

        agent, metrics = jax.lax.scan(step, agent, batches)
        return agent, *split_priorities(metrics)

    def loss(
        self,
        model: RecurrentQ,
        target_network: RecurrentQ,
        rows: Transition,
        next_context: Array,
        reward: Array,
        gamma: float | Array,
    ) -> tuple[Array, Metrics]:
        return sequences.loss(self, model, target_network, rows, next_context, reward, gamma)


def context_size(spec: Spec) -> int:
    """The number of the network's context inputs."""
    assert isinstance(spec.action, Discrete)
    return spec.action.n + 1


def random_policy(
    spec: Spec, obs: Obs, memory: Memory, key: Key
) -> tuple[Array, Memory, dict[str, Any]]:
    """A random action for the warm-up."""
    q = jnp.zeros_like(memory["action"])
    return act_epsilon_greedily(q, obs, memory["recurrent"], memory, key, jnp.ones(len(q)))
