"""Deep Q-learning (Mnih et al., 2015), with the double-Q target of van Hasselt et al. (2016,
arXiv:1509.06461), n-step returns, duelling heads, noisy layers and prioritised replay as switches.

Departs from the paper: Adam in place of RMSProp and the square in place of Huber's loss unless
told, gradients clipped to a global norm, several environments side by side, a target network that
may follow slowly (`tau` below 1) instead of being copied, and an exponent of the importance weights
that stays unless `importance_steps` says over how many it rises.
"""

from collections.abc import Callable
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
    no_memory,
    replace,
    struct,
)
from spinward.errors import SettingsError
from spinward.experience.batches import check_stored
from spinward.experience.memory import require_images
from spinward.experience.wanted import Samples, rows, samples
from spinward.learning import Learner, adam, clipped, descend, linear, means
from spinward.losses.values import huber
from spinward.networks.distributions import pick
from spinward.networks.exploration import epsilon_greedy, falling, greedy
from spinward.networks.heads import Duelling, Q
from spinward.networks.noisy import perturbed, with_noise
from spinward.targets.diagnostics import Look, extremes, last_features, peaks
from spinward.targets.network import following
from spinward.targets.values import bootstrap, unrolled


@struct
class Agent:
    learner: Learner
    target: Any
    updates: Array


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
    target_every: int = 250  # updates between moves of the target network
    tau: float = 1.0  # share of the target network replaced in each of its moves
    epsilon: float = 0.05  # final share of random actions
    explore_steps: int = 50_000  # env steps over which that share falls from 1
    double: bool = True  # the network that does not value the next state chooses its action
    lagged: bool = True  # the target network values the next state; if not, the online one
    n_step: int = 1  # rewards in each target
    huber: float = 1000.0  # error beyond which the loss is linear: 1 in the paper, here never
    max_grad_norm: float = 10.0  # global norm gradients are clipped to
    duelling: bool = False  # the value of the state and the advantage of each action, apart
    noisy: bool = False  # explore by noise on the weights, not by random actions
    prioritised: bool = False  # draw steps the more often, the larger their error was
    priority_exponent: float = 0.6  # of the error in the odds of being drawn
    importance_exponent: float = 0.4  # of the weight that makes up for those odds
    importance_steps: int = 0  # env steps over which that exponent rises to 1; 0 keeps it
    hidden: tuple[int, ...] = (128, 128)  # widths of the hidden layers
    activation: str = "relu"  # between hidden layers: tanh, relu, swish or elu
    network: Callable[..., Any] = Q.init

    memory = no_memory

    # Methods that take `self: Any` serve the others who learn from Q too; see c51.py.

    def check(self: Any, spec: Spec) -> None:
        name = type(self).__name__
        if not isinstance(spec.action, Discrete):
            raise SettingsError(f"{name} needs one discrete action, not {spec.action}")
        check_stored(self)
        want, stride = self.wants(spec), self.envs * self.rollout
        if min(rows(want, self.warmup), rows(want, self.capacity) - self.rollout) < self.n_step:
            raise SettingsError(
                f"n_step={self.n_step} is more than there is of each environment in "
                f"warmup={self.warmup}, or in capacity={self.capacity} beside a rollout"
            )
        for schedule, least in (("explore_steps", stride), ("anneal_steps", stride)):
            steps = getattr(self, schedule)
            if steps < least and not (schedule == "anneal_steps" and steps == 0):
                raise SettingsError(
                    f"{schedule}={steps} ends before training starts: the first update comes "
                    f"after envs * rollout = {stride} steps"
                )
        for share in ("gamma", "tau", "epsilon"):
            if not 0.0 <= getattr(self, share) <= 1.0:
                raise SettingsError(f"{share}={getattr(self, share)} must be between 0 and 1")
        if not getattr(self, "huber", 1.0) > 0.0:
            raise SettingsError(f"huber={self.huber} must be more than 0")
        if getattr(self, "importance_steps", 0) and not self.importance_exponent > 0.0:
            raise SettingsError(
                f"importance_exponent={self.importance_exponent} must be more than 0 to rise "
                f"over importance_steps={self.importance_steps}"
            )
        require_images(spec, self.stack)

    def wants(self: Any, spec: Spec) -> Samples:
        want = samples(self, window=self.n_step, stack=self.stack)
        if not getattr(self, "prioritised", False):
            return want
        exponents = {"alpha": self.priority_exponent, "beta": self.importance_exponent}
        return replace(want, prioritised=True, **exponents)

    def optimiser(self, lr: float | Array) -> optax.GradientTransformation:
        if self.rmsprop:
            rmsprop = optax.rmsprop(lr, decay=0.95, eps=self.eps, centered=True)
            return clipped(self.max_grad_norm, rmsprop)
        return adam(lr, self.max_grad_norm, self.eps)

    def init(self, key: Key, spec: Spec) -> Agent:
        network = Duelling.init if self.duelling else self.network
        key, k_noise = jax.random.split(key) if self.noisy else (key, key)
        q = network(key, spec, self.hidden, self.activation)
        q = with_noise(k_noise, q) if self.noisy else q
        return Agent(Learner.init(q, self.optimiser(self.lr)), q, jnp.int32(0))

    def env_steps(self: Any, updates: Array) -> Array:
        """How many steps go with so many updates."""
        return updates * (self.envs * self.rollout / self.updates)

    def epsilon_at(self: Any, updates: Array) -> Array:
        """The share of random actions, after as many updates."""
        share = falling(self.env_steps(updates), self.explore_steps, self.epsilon)
        return jnp.zeros_like(share) if getattr(self, "noisy", False) else share

    def values(self, model: Any, obs: Obs) -> Array:
        """Those of actions [..., actions]."""
        return model(obs)

    def act(
        self: Any, agent: Agent, obs: Obs, memory: Memory, key: Key, explore: bool = True
    ) -> tuple[Array, Memory, dict[str, Any]]:
        if not explore:
            return greedy(self.values(agent.learner.model, obs)), memory, {}
        k_noise = jax.random.fold_in(key, 2)  # `epsilon_greedy` uses what folding in 0 and 1 gives
        q = self.values(perturbed(agent.learner.model, k_noise), obs)
        return epsilon_greedy(q, obs, key, self.epsilon_at(agent.updates)), memory, {}

    def update(self: Any, agent: Agent, batches: Transition, key: Key) -> tuple[Agent, Metrics]:
        def step(agent: Agent, x: tuple[Transition, Key]) -> tuple[Agent, Metrics]:
            lr = linear(self.lr, self.env_steps(agent.updates), self.anneal_steps)
            batch, key = x
            if getattr(self, "prioritised", False):
                batch = self.corrected(batch, agent.updates)
            learner, metrics = descend(
                self.loss, self.optimiser(lr), agent.learner, agent.target, batch, key
            )
            updates = agent.updates + 1
            moves = updates, self.target_every, self.tau
            return Agent(learner, following(agent.target, learner.model, *moves), updates), metrics

        keys = jax.random.split(key, batches.reward.shape[0])
        agent, metrics = jax.lax.scan(step, agent, (batches, keys))
        return agent, {**peaks(metrics), "epsilon": self.epsilon_at(agent.updates)}

    def corrected(self, batch: Transition, updates: Array) -> Transition:
        """`batch` with importance weights of the exponent that goes with so many updates."""
        if not self.importance_steps:
            return batch
        done = jnp.clip(self.env_steps(updates) / self.importance_steps, 0.0, 1.0)
        exponent = self.importance_exponent + done * (1.0 - self.importance_exponent)
        # Replay weighs by the first exponent, over the largest weight: both are under the power.
        weight = batch.extras["importance"] ** (exponent / self.importance_exponent)
        return replace(batch, extras={**batch.extras, "importance": weight})

    def loss(self, q: Any, target: Any, batch: Transition, key: Key) -> tuple[Array, Metrics]:
        """Of windows [n_step, batch]; their first step is the one that learns."""
        k_value, k_choice, k_target = jax.random.split(key, 3)
        chooser, target = perturbed(q, k_choice), perturbed(target, k_target)
        reward, discount, end = unrolled(batch, self.gamma)
        goal = reward + discount * bootstrap(chooser(end), target(end), self.double, self.lagged)
        obs, action = jax.tree.map(lambda x: x[0], (batch.obs, batch.action))
        values = perturbed(q, k_value)(obs)
        value = pick(values, action)
        error = goal - value
        loss = huber(error, self.huber) * batch.extras.get("importance", 1.0)
        losses = {"td_loss": loss, "td_error": jnp.abs(error), "value": value}
        metrics = means(losses, batch.weight.min(0)) | extremes(values, batch.reward)
        return metrics["td_loss"], metrics | priority(self, error)

    def look(self: Any, agent: Agent, batch: Transition) -> Look:
        """What the instruments read (targets/diagnostics.py), at steps [row]."""
        q = agent.learner.model
        values, lagged = self.values(q, batch.obs), self.values(agent.target, batch.obs)
        value = pick(values, batch.action)
        return Look(values, lagged, value, last_features(q, batch.obs))


def priority(settings: Any, error: Array) -> Metrics:
    """What replay is to learn of each window [batch], where it wants to know."""
    return {"priority": jnp.abs(error)} if settings.prioritised else {}
