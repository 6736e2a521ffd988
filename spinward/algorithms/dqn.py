"""Deep Q-learning (Mnih et al., 2015), with the double-Q target of van Hasselt et al. (2016,
arXiv:1509.06461), n-step returns, duelling heads, noisy layers and prioritised replay as switches.

Departs from the paper: Adam in place of RMSProp and the squared error in place of Huber's loss by
default; gradients are clipped to a global norm; several environments step together; the target
network may be a moving average (`tau` below 1) in place of a copy; the exponent of the importance
weights is constant unless `importance_steps` is set.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax import Array

from spinward.core import (
    Key,
    Memory,
    Metrics,
    Obs,
    Spec,
    Transition,
    config,
    no_memory,
    replace,
)
from spinward.errors import SettingsError
from spinward.experience.batches import check_huber, check_windows
from spinward.experience.wanted import LOGGED, Samples, samples
from spinward.learning import q_learning
from spinward.learning.minibatches import means
from spinward.learning.q_learning import Agent
from spinward.learning.steps import PRIORITIES, adam, split_priorities, with_clipping
from spinward.losses.offline import large_margin
from spinward.losses.values import huber
from spinward.networks.distributions import pick
from spinward.networks.heads import Duelling, Q
from spinward.networks.noisy import perturbed, with_noise
from spinward.targets.diagnostics import QProbe, q_extremes
from spinward.targets.values import bootstrap, unrolled


@config
class DQN:
    envs: int = 8  # environments stepped side by side
    rollout: int = 1  # steps of each between updates
    updates: int = 1  # gradient steps after them
    batch: int = 128  # samples in each gradient step
    capacity: int = 100_000  # env steps kept for replay
    warmup: int = 2_000  # random env steps before the first update
    stack: int = 1  # newest images in an observation's last axis: each is stored once
    lr: float = 5e-4  # step size
    anneal_steps: int = 0  # env steps over which lr falls linearly to 0; 0 keeps it
    eps: float = 1e-8  # added to what the optimiser divides by
    rmsprop: bool = False  # centred RMSProp in place of Adam
    gamma: float = 0.99  # discount per step
    target_every: int = 250  # gradient steps between updates of the target network
    tau: float = 1.0  # step of each target update towards the online network; 1 copies it
    epsilon: float = 0.05  # final share of random actions
    explore_steps: int = 50_000  # env steps over which that share falls linearly from 1
    double: bool = True  # double Q-learning: the other network chooses the next action
    lagged: bool = True  # bootstrap from the target network; if not, from the online network
    n_step: int = 1  # rewards in each n-step target
    huber: float = 1000.0  # error beyond which the loss is linear: 1 in the paper, here never
    max_grad_norm: float = 10.0  # global norm gradients are clipped to
    duelling: bool = False  # duelling heads: the value of the state, and advantages of actions
    noisy: bool = False  # explore by noisy weights, not by random actions
    normalise_obs: bool = False  # by mean and standard deviation of logged data
    prioritised: bool = False  # sample steps by the size of their errors
    priority_exponent: float = 0.6  # exponent of the error in the sampling probability
    importance_exponent: float = 0.4  # exponent of the importance weight
    importance_steps: int = 0  # env steps over which that exponent rises to 1; 0 keeps it
    demonstrated: bool = False  # steps of the data are demonstrations, whose actions are to lead
    margin: float = 0.8  # by which their values are to be above those of other actions
    margin_coef: float = 1.0  # weight of the loss of that margin
    hidden: tuple[int, ...] = (128, 128)  # widths of the hidden layers
    activation: str = "relu"  # between hidden layers: tanh, relu, swish or elu
    network: Callable[..., Any] = Q.init  # builds it from (key, spec, hidden, activation)

    memory = staticmethod(no_memory)

    def check(self, spec: Spec) -> None:
        check_windows(self, spec)
        check_huber(self.huber)
        if self.importance_steps and not self.importance_exponent > 0.0:
            raise SettingsError(
                f"importance_exponent={self.importance_exponent} must be more than 0 to rise "
                f"over importance_steps={self.importance_steps}"
            )

    def wants(self, spec: Spec) -> Samples:
        exponents = {"alpha": self.priority_exponent, "beta": self.importance_exponent}
        want = samples(self, window=self.n_step, stack=self.stack)
        return replace(want, prioritised=self.prioritised, marks=self.demonstrated, **exponents)

    def optimiser(self, lr: float | Array) -> optax.GradientTransformation:
        if self.rmsprop:
            rmsprop = optax.rmsprop(lr, decay=0.95, eps=self.eps, centered=True)
            return with_clipping(self.max_grad_norm, rmsprop)
        return adam(lr, self.max_grad_norm, self.eps)

    def init(self, key: Key, spec: Spec) -> Agent:
        network = Duelling.init if self.duelling else self.network
        if not self.noisy:
            model = network(key, spec, self.hidden, self.activation)
            return q_learning.init(self, spec, model)
        k_network, k_noise = jax.random.split(key)
        model = with_noise(k_noise, network(k_network, spec, self.hidden, self.activation))
        return q_learning.init(self, spec, model)

    def fit(self, agent: Agent, steps: Transition) -> Agent:
        return q_learning.fit(self, agent, steps)

    def values(self, model: Any, obs: Obs) -> Array:
        """The action values [..., actions]."""
        return model(obs)

    def act(
        self, agent: Agent, obs: Obs, memory: Memory, key: Key, explore: bool = True
    ) -> tuple[Array, Memory, dict[str, Any]]:
        if self.noisy and explore:
            return q_learning.act_noisily(self, agent, obs, memory, key)
        return q_learning.act(self, agent, obs, memory, key, explore)

    def update(self, agent: Agent, batches: Transition, key: Key) -> tuple[Any, ...]:
        if self.prioritised:
            updates = agent.updates + jnp.arange(batches.reward.shape[0])
            batches = self.corrected(batches, updates[:, None])
        agent, metrics = q_learning.update(self, agent, batches, key)
        share = 0.0 if self.noisy else q_learning.epsilon_at(self, agent.updates)
        return agent, *split_priorities({**metrics, "epsilon": jnp.float32(share)})

    def corrected(self, batches: Transition, updates: Array) -> Transition:
        """`batches` with the importance weights' exponents after so many updates."""
        if not self.importance_steps:
            return batches
        share = q_learning.env_steps(self, updates) / float(self.importance_steps)
        progress = jnp.clip(share, 0.0, 1.0)
        exponent = self.importance_exponent + progress * (1.0 - self.importance_exponent)
        # Replay's weights have the first exponent and are over the largest: the power fits both.
        weight = batches.extras["importance"] ** (exponent / self.importance_exponent)
        return replace(batches, extras={**batches.extras, "importance": weight})

    def loss(
        self, model: Any, target_network: Any, batch: Transition, key: Key
    ) -> tuple[Array, Metrics]:
        """The loss of windows [n_step, batch], for the action of their first step."""
        k_value, k_choice, k_target = jax.random.split(key, 3)
        chooser = perturbed(model, k_choice)
        evaluator = perturbed(target_network, k_target)
        reward, discount, end = unrolled(batch, self.gamma)
        next_value = bootstrap(chooser(end), evaluator(end), self.double, self.lagged)
        target = reward + discount * next_value
        obs, action = jax.tree.map(lambda x: x[0], (batch.obs, batch.action))
        values = perturbed(model, k_value)(obs)
        value = pick(values, action)
        error = target - value
        loss = huber(error, self.huber) * batch.extras.get("importance", 1.0)
        losses = {"td_loss": loss, "td_error": jnp.abs(error), "value": value}
        metrics = means(losses, batch.weight.min(0)) | q_extremes(values, batch.reward)
        metrics |= {PRIORITIES: jnp.abs(error)} if self.prioritised else {}
        if not self.demonstrated:
            return metrics["td_loss"], metrics
        ours = batch.extras[LOGGED][0] * large_margin(values, action, self.margin)
        metrics |= means({"margin_loss": ours}, batch.weight.min(0))
        return metrics["td_loss"] + self.margin_coef * metrics["margin_loss"], metrics

    def probe(self, agent: Agent, batch: Transition) -> QProbe:
        return q_learning.probe(self, agent, batch)
