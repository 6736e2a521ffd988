"""Advantage actor-critic, synchronous (Mnih et al., 2016, arXiv:1602.01783).

Departs from the paper: all environments step together and their gradients are averaged; advantages
are GAE's, whose lambda of 1 is the paper's return; a truncated episode bootstraps from the value of
its last state. Off-policy steps of asynchronous workers (the paper's A3C) are corrected by V-trace
(Espeholt et al., 2018, arXiv:1802.01561), which is GAE for on-policy steps.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax import Array

from spinward.core import Key, Memory, Metrics, Obs, Spec, Transition, config, struct
from spinward.experience.batches import check_minibatches
from spinward.experience.wanted import Rollouts
from spinward.learning import acting
from spinward.learning.minibatches import means, standardise
from spinward.learning.steps import Learner, descend, linear_schedule, rmsprop
from spinward.losses.policy import policy_gradient
from spinward.networks.normaliser import Statistics
from spinward.networks.recurrent import check_memory, with_memory
from spinward.networks.towers import Separate, one_trunk
from spinward.targets.advantages import vtrace


@struct
class Agent:
    learner: Learner
    statistics: Statistics
    updates: Array

    @property
    def model(self) -> Any:
        return self.learner.model


@config
class A2C:
    envs: int = 8  # environments stepped side by side
    rollout: int = 5  # steps of each between updates
    lr: float = 7e-4  # RMSProp step size
    anneal_steps: int = 0  # env steps over which lr falls linearly to 0; 0 keeps it
    gamma: float = 0.99  # discount per step
    lam: float = 1.0  # GAE's lambda; 1 sums all rewards of the rollout
    value_coef: float = 0.5  # weight of the value loss
    entropy_coef: float = 0.0  # weight of the entropy bonus
    max_grad_norm: float = 0.5  # global norm gradients are clipped to
    decay: float = 0.99  # of RMSProp's mean square
    eps: float = 1e-5  # added to it before the root
    normalise: bool = False  # advantages of mean 0 and standard deviation 1 in each batch
    normalise_obs: bool = False  # running mean 0 and standard deviation 1
    normalise_reward: bool = False  # running standard deviation 1 of the discounted return
    shared: bool = False  # policy and value have the same hidden layers; with a memory always
    hidden: tuple[int, ...] = (64, 64)  # widths of the hidden layers
    activation: str = "tanh"  # between hidden layers: tanh, relu, swish or elu
    recurrent: str = ""  # the policy's memory, as wide as the last hidden layer: lstm or gru
    network: Callable[..., Any] = Separate.init  # builds it from (key, spec, hidden, activation)

    def check(self, spec: Spec) -> None:
        check_memory(self.recurrent, self.network, self.hidden, spec)
        check_minibatches(self.envs, self.rollout, 1, 1)

    def wants(self, spec: Spec) -> Rollouts:
        return Rollouts(self.envs, self.rollout, corrects_lag=True)

    def optimiser(self, lr: float | Array) -> optax.GradientTransformation:
        return rmsprop(lr, self.max_grad_norm, self.decay, self.eps)

    def init(self, key: Key, spec: Spec) -> Agent:
        network = with_memory(one_trunk if self.shared else self.network, self.recurrent)
        model = network(key, spec, self.hidden, self.activation)
        learner = Learner.init(model, self.optimiser(self.lr))
        return Agent(learner, Statistics.init(spec), jnp.int32(0))

    def memory(self, agent: Agent, envs: int) -> Memory:
        return acting.memory(agent, envs)

    def act(
        self, agent: Agent, obs: Obs, memory: Memory, key: Key, explore: bool = True
    ) -> tuple[Array, Memory, dict[str, Any]]:
        return acting.act(self, agent, obs, memory, key, explore)

    def log_prob(self, agent: Agent, batch: Transition) -> Array:
        return acting.log_prob(self, agent, batch)

    def update(self, agent: Agent, batch: Transition, key: Key) -> tuple[Agent, Metrics]:
        batch, statistics = agent.statistics.read(
            batch, self.gamma, self.normalise_obs, self.normalise_reward
        )
        steps = agent.updates * float(
            batch.reward.size
        )  # which may be those of one of many workers
        lr = linear_schedule(self.lr, steps, self.anneal_steps)
        learner, metrics = descend(self.loss, self.optimiser(lr), agent.learner, batch)
        return Agent(learner, statistics, agent.updates + 1), metrics

    def loss(self, model: Any, batch: Transition) -> tuple[Array, Metrics]:
        policy, value, next_value = model.unroll(batch)
        log_prob = policy.log_prob(batch.action)
        held = jax.lax.stop_gradient((value, next_value, log_prob - batch.extras["log_prob"]))
        target, advantage = vtrace(batch, *held, self.gamma, self.lam)
        if self.normalise:
            advantage = standardise(advantage, batch.weight)
        losses = {
            "policy_loss": policy_gradient(log_prob, advantage),
            "value_loss": 0.5 * jnp.square(value - target),
            "entropy": policy.entropy(),
        }
        metrics = means(losses, batch.weight)
        loss = metrics["policy_loss"] + self.value_coef * metrics["value_loss"]
        return loss - self.entropy_coef * metrics["entropy"], metrics
