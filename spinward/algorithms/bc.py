"""Behaviour cloning: the maximum-likelihood policy of logged actions (Pomerleau, 1989).

With `best_share` below 1 only the episodes with the highest returns are copied (Chen et al., 2021,
arXiv:2106.01345, section 5.2).
"""

from collections.abc import Callable
from typing import Any

import jax
import optax
from jax import Array

from spinward.core import Key, Memory, Metrics, Obs, Spec, Transition, config, no_memory
from spinward.errors import SettingsError
from spinward.experience.wanted import Logged
from spinward.learning.minibatches import flatten, means
from spinward.learning.steps import Learner, adam, descend
from spinward.networks.heads import PolicyNetwork


@config
class BC:
    batch: int = 256  # transitions in each gradient step
    updates: int = 100  # gradient steps in each iteration
    best_share: float = 1.0  # share of the steps that is copied: of the best episodes
    lr: float = 1e-3  # Adam step size
    max_grad_norm: float = 10.0  # global norm gradients are clipped to
    hidden: tuple[int, ...] = (64, 64)  # widths of the hidden layers
    activation: str = "tanh"  # between hidden layers: tanh, relu, swish or elu
    network: Callable[..., Any] = (
        PolicyNetwork.init
    )  # builds it from (key, spec, hidden, activation)

    memory = staticmethod(no_memory)

    def check(self, spec: Spec) -> None:
        """Raises SettingsError where nothing would be copied; every space is supported."""
        if not 0.0 < self.best_share <= 1.0:
            raise SettingsError(f"best_share={self.best_share} must be above 0 and at most 1")

    def wants(self, spec: Spec) -> Logged:
        return Logged(self.updates, self.batch, best=self.best_share)

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

    def log_prob(self, agent: Learner, batch: Transition) -> Array:
        log_prob: Array = agent.model(batch.obs).log_prob(batch.action)
        return log_prob

    def update(self, agent: Learner, batches: Transition, key: Key) -> tuple[Learner, Metrics]:
        def step(agent: Learner, batch: Transition) -> tuple[Learner, Metrics]:
            return descend(self.loss, self.optimiser, agent, flatten(batch))

        return jax.lax.scan(step, agent, batches)

    def loss(self, model: Any, batch: Transition) -> tuple[Array, Metrics]:
        policy = model(batch.obs)
        losses = {"nll": -policy.log_prob(batch.action), "entropy": policy.entropy()}
        metrics = means(losses, batch.weight)
        return metrics["nll"], metrics
