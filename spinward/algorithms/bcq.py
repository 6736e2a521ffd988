"""Batch-constrained deep Q-learning for continuous actions: the best of the actions that a
generative model of the data proposes (Fujimoto et al., 2019, arXiv:1812.02900).

Departs from the paper: networks start orthogonal; observations are scaled by the data's mean and
standard deviation.
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
    struct,
)
from spinward.experience.batches import check_bounded, check_stored
from spinward.experience.wanted import Samples, logged_samples
from spinward.learning import critics, offline
from spinward.learning.minibatches import means
from spinward.learning.offline import Scales, repeated
from spinward.learning.steps import Learner, adam, descend
from spinward.losses.offline import distance, latent_divergence
from spinward.networks.cloning import ActionVAE, Perturbation
from spinward.networks.critic import Critics
from spinward.targets.diagnostics import QProbe
from spinward.targets.offline import between_critics
from spinward.targets.values import unrolled

LATENT_BOUND = 0.5  # of the latent numbers that actions are proposed from, as in the authors' code
VAE_HIDDEN = 2  # the generative model's layers are so much wider than the others


@struct
class Agent:
    vae: Learner  # which actions the data have
    actor: Learner  # the perturbation of a proposed action
    critic: Learner
    target: tuple[Any, Any]  # of the perturbation, and of the critics
    scales: Scales


@config
class BCQ:
    envs: int = 1  # environments stepped side by side, where a run has more than data
    rollout: int = 100  # steps of each between updates
    updates: int = 100  # gradient steps after them
    batch: int = 100  # samples in each gradient step
    capacity: int = 1_000_000  # env steps kept for replay
    warmup: int = 5_000  # random env steps before the first update
    lr: float = 1e-3  # Adam step size
    gamma: float = 0.99  # discount per step
    tau: float = 0.005  # step of each update of the target networks
    perturbation: float = 0.05  # largest change of a proposed action; actions lie in [-1, 1]
    candidates: int = 100  # proposed actions of which the best is taken
    samples: int = 10  # proposed actions of which the best gives the next value
    min_share: float = 0.75  # of the smaller of two critics in that value, beside the larger
    kl_coef: float = 0.5  # weight of the generative model's divergence from its prior
    noise: float = 0.0  # standard deviation of the exploration noise
    normalise_obs: bool = True  # by mean and standard deviation of the data
    hidden: tuple[int, ...] = (256, 256)  # widths of the hidden layers; the generative model's: 2x
    activation: str = "relu"  # between hidden layers: tanh, relu, swish or elu
    actor: Callable[..., Any] = Perturbation.init  # builds the network of perturbations
    critic: Callable[..., Any] = Critics.init  # builds the networks of values
    vae: Callable[..., Any] = ActionVAE.init  # builds the generative model of actions

    memory = staticmethod(no_memory)

    def check(self, spec: Spec) -> None:
        check_bounded("bcq", spec)
        check_stored(self)

    def wants(self, spec: Spec) -> Samples:
        return logged_samples(self)

    @property
    def optimiser(self) -> optax.GradientTransformation:
        return adam(self.lr)

    def init(self, key: Key, spec: Spec) -> Agent:
        k_vae, k_actor, k_critic = jax.random.split(key, 3)
        wide = tuple(VAE_HIDDEN * width for width in self.hidden)
        vae = self.vae(k_vae, spec, wide, self.activation)
        actor = self.actor(k_actor, spec, self.hidden, self.activation)
        critic = self.critic(k_critic, spec, self.hidden, self.activation)
        model, changes, values = (Learner.init(x, self.optimiser) for x in (vae, actor, critic))
        return Agent(model, changes, values, (actor, critic), Scales.init(spec))

    def fit(self, agent: Agent, steps: Transition) -> Agent:
        return replace(agent, scales=offline.fit(agent.scales, steps))

    def act(
        self, agent: Agent, obs: Obs, memory: Memory, key: Key, explore: bool = True
    ) -> tuple[Array, Memory, dict[str, Any]]:
        k_propose, k_noise = jax.random.split(key)
        many = repeated(offline.seen(self, agent.scales, obs), self.candidates)
        action = self.proposed(agent.vae.model, agent.actor.model, many, k_propose)
        best = agent.critic.model(many, action)[0].argmax(0)
        action = jax.vmap(lambda a, i: a[i], (1, 0))(action, best)
        noise = self.noise * jax.random.normal(k_noise, action.shape) if explore else 0.0
        return offline.within(action + noise), memory, {}

    def proposed(self, vae: Any, actor: Any, obs: Obs, key: Key) -> Array:
        """An action for each of `obs`: one of the data's, slightly changed."""
        action = vae.sample(obs, key, LATENT_BOUND)
        return offline.within(action + self.perturbation * actor(obs, action))

    def update(self, agent: Agent, batches: Transition, key: Key) -> tuple[Agent, Metrics]:
        batches = offline.read(self, agent.scales, batches)
        return critics.scan_steps(self.improved, agent, batches, key)

    def improved(self, agent: Agent, batch: Transition, key: Key) -> tuple[Agent, Metrics]:
        """The agent after one gradient step of each of its parts, on steps [1, batch]."""
        k_vae, k_next, k_now = jax.random.split(key, 3)
        first = jax.tree.map(lambda x: x[0], batch)
        vae, vae_metrics = descend(self.vae_loss, self.optimiser, agent.vae, first, k_vae)
        target = self.target(vae.model, agent.target, batch, k_next)
        critic, metrics = descend(self.loss, self.optimiser, agent.critic, first, target)
        rest = vae.model, critic.model.first(), first, k_now
        actor, acted = descend(self.actor_loss, self.optimiser, agent.actor, *rest)
        models = actor.model, critic.model
        lagged = optax.incremental_update(models, agent.target, self.tau)
        metrics |= {"actor_loss": acted["loss"], "vae_loss": vae_metrics["loss"]}
        return Agent(vae, actor, critic, lagged, agent.scales), metrics

    def target(self, vae: Any, networks: tuple[Any, Any], batch: Transition, key: Key) -> Array:
        """The critics' target [batch] for steps [1, batch]."""
        actor, critic = networks
        reward, discount, next_obs = unrolled(batch, self.gamma)
        many = repeated(next_obs, self.samples)
        q = critic(many, self.proposed(vae, actor, many, key))
        return reward + discount * between_critics(q, self.min_share).max(0)

    def loss(self, critic: Any, batch: Transition, target: Array) -> tuple[Array, Metrics]:
        q = critic(batch.obs, batch.action)
        return critics.td_loss(q, target, batch.weight, batch.reward)

    def vae_loss(self, vae: Any, batch: Transition, key: Key) -> tuple[Array, Metrics]:
        mean, log_std = vae.encode(batch.obs, batch.action)
        latent = mean + jnp.exp(log_std) * jax.random.normal(key, mean.shape)
        error = distance(vae.decode(batch.obs, latent), batch.action)
        loss = error + self.kl_coef * latent_divergence(mean, log_std)
        return means({"loss": loss}, batch.weight)["loss"], {}

    def actor_loss(
        self, actor: Any, vae: Any, critic: Any, batch: Transition, key: Key
    ) -> tuple[Array, Metrics]:
        action = self.proposed(vae, actor, batch.obs, key)
        return -means({"value": critic(batch.obs, action)[0]}, batch.weight)["value"], {}

    def probe(self, agent: Agent, batch: Transition) -> QProbe:
        return offline.probe(self, agent.scales, agent.critic.model, agent.target[1], batch)
