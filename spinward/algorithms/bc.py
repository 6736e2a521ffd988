"""Behaviour cloning: the maximum-likelihood policy of logged actions (Pomerleau, 1989)."""

from collections.abc import Callable
from typing import Any

import jax
import optax
from jax import Array

from spinward.core import Key, Memory, Metrics, Obs, Spec, Transition, config, no_memory
from spinward.experience.wanted import Logged
from spinward.learning.minibatches import flatten, means
from spinward.learning.steps import Learner, adam, descend
from spinward.networks.heads import Policy


@config
class BC:
    batch: int = 256  # transitions in each gradient step
    updates: int = 100  # gradient steps in each iteration
    lr: float = 1e-3  # Adam step size
    max_grad_norm: float = 10.0  # global norm gradients are clipped to
    hidden: tuple[int, ...] = (64, 64)  # widths of the hidden layers
    activation: str = "tanh"  # between hidden layers: tanh, relu, swish or elu
    network: Callable[..., Any] = Policy.init  # builds it from (key, spec, hidden, activation)

    memory = no_memory

    def check(self, spec: Spec) -> None:
        """Every space is supported."""

    def wants(self, spec: Spec) -> Logged:
        return Logged(self.updates, self.batch)

    @property
    def optimiser(self) -> optax.GradientTransformation:
        return adam(self.lr, self.max_grad_norm)

    def init(self, key: Key, spec: Spec) -> Learner:
        return Learner.init(self.network(key, spec, self.hidden, self.activation), self.optimiser)

    def act(
        self, agent: Learner, obs: Obs, memory: Memory, key: Key, explore: bool = True
    ) -> tuple[Array, Memory, dict[str, Any]]:
        policy = agent.model(obs)
        return policy.sample(key) if explore else policy.mode(), memory, {}

    def update(self, agent: Learner, batches: Transition, key: Key) -> tuple[Learner, Metrics]:
        def step(agent: Learner, batch: Transition) -> tuple[Learner, Metrics]:
            return descend(self.loss, self.optimiser, agent, flatten(batch))

        return jax.lax.scan(step, agent, batches)

    def loss(self, model: Any, batch: Transition) -> tuple[Array, Metrics]:
        policy = model(batch.obs)
        losses = {"nll": -policy.log_prob(batch.action), "entropy": policy.entropy()}
        metrics = means(losses, batch.weight)
        return metrics["nll"], metrics
