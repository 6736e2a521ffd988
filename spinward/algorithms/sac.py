"""Soft actor-critic with an automatic temperature (Haarnoja et al., 2018, arXiv:1812.05905).

Departs from the paper: the temperature's step is taken on its logarithm, as in the authors' code;
networks start orthogonal; the noise of sampled actions may be correlated in time (`correlation`),
as in Eberhard et al. (2023), while each action keeps the policy's distribution.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax import Array

from spinward.core import Hybrid, Key, Memory, Metrics, Obs, Spec, Transition, config, struct
from spinward.errors import SettingsError
from spinward.experience.batches import check_bounded, check_stored
from spinward.experience.wanted import Samples, samples
from spinward.learning import critics
from spinward.learning.minibatches import means
from spinward.learning.steps import Learner, adam, descend
from spinward.losses.critics import temperature
from spinward.networks.critic import Critics, GaussianActor
from spinward.networks.noise import Noise
from spinward.targets.diagnostics import QProbe
from spinward.targets.soft import soft_value
from spinward.targets.values import unrolled


@struct
class Agent:
    actor: Learner
    critic: Learner
    target: Any
    log_alpha: Learner


@config
class SAC:
    envs: int = 1  # environments stepped side by side
    rollout: int = 1  # steps of each between updates
    updates: int = 1  # gradient steps after them
    batch: int = 256  # samples in each gradient step
    capacity: int = 1_000_000  # env steps kept for replay
    warmup: int = 5_000  # random env steps before the first update
    lr: float = 3e-4  # Adam step size of actor, critics and temperature
    gamma: float = 0.99  # discount per step
    tau: float = 0.005  # step of the target critics after each update
    alpha: float = 1.0  # initial temperature
    learn_alpha: bool = True  # adapt the temperature to the target entropy
    entropy_per_action: float = -1.0  # target entropy, in nats for each dimension of an action
    correlation: float = 0.0  # correlation of the exploration noise between steps
    hidden: tuple[int, ...] = (256, 256)  # widths of the hidden layers
    activation: str = "relu"  # between hidden layers: tanh, relu, swish or elu
    actor: Callable[..., Any] = GaussianActor.init  # builds the policy network
    critic: Callable[..., Any] = Critics.init  # builds the networks of values

    def check(self, spec: Spec) -> None:
        if isinstance(spec.action, Hybrid):
            raise SettingsError("sac takes no choices beside numbers: sac_hybrid does")
        check_bounded("sac", spec)
        check_stored(self)

    def wants(self, spec: Spec) -> Samples:
        return samples(self)

    @property
    def optimiser(self) -> optax.GradientTransformation:
        return adam(self.lr)

    def init(self, key: Key, spec: Spec) -> Agent:
        k_actor, k_critic = jax.random.split(key)
        actor = self.actor(k_actor, spec, self.hidden, self.activation)
        critic = self.critic(k_critic, spec, self.hidden, self.activation)
        models = actor, critic, jnp.log(jnp.float32(self.alpha))
        actor, learner, log_alpha = (Learner.init(model, self.optimiser) for model in models)
        return Agent(actor, learner, critic, log_alpha)

    def memory(self, agent: Agent, envs: int) -> Memory:
        return Noise.init(envs, agent.actor.model.action)

    def act(
        self, agent: Agent, obs: Obs, memory: Memory, key: Key, explore: bool = True
    ) -> tuple[Array, Memory, dict[str, Any]]:
        policy = agent.actor.model(obs)
        if not explore:
            return policy.mode(), memory, {}
        memory = memory.next(key, self.correlation)
        return policy.at(memory.value)[0], memory, {}

    def update(self, agent: Agent, batches: Transition, key: Key) -> tuple[Agent, Metrics]:
        return critics.scan_steps(self.improved, agent, batches, key)

    def improved(self, agent: Agent, batch: Transition, key: Key) -> tuple[Agent, Metrics]:
        """The agent after one gradient step of each of its parts, on steps [1, batch]."""
        k_next, k_now = jax.random.split(key)
        alpha = jnp.exp(agent.log_alpha.model)
        target, bonus = self.target(agent, batch, alpha, k_next)
        batch = jax.tree.map(lambda x: x[0], batch)
        rewards = batch.reward + bonus
        critic, metrics = descend(self.loss, self.optimiser, agent.critic, batch, target, rewards)
        actor, acted = descend(
            self.actor_loss, self.optimiser, agent.actor, critic.model, batch, alpha, k_now
        )
        log_alpha, target_entropy = agent.log_alpha, self.entropy_per_action * batch.action[0].size
        if self.learn_alpha:
            log_alpha, _ = descend(
                temperature_loss, self.optimiser, log_alpha, acted["entropy"], target_entropy
            )
        target_critic = optax.incremental_update(critic.model, agent.target, self.tau)
        acted = {"actor_loss": acted["loss"], "entropy": acted["entropy"], "alpha": alpha}
        return Agent(actor, critic, target_critic, log_alpha), {**metrics, **acted}

    def target(
        self, agent: Agent, batch: Transition, alpha: Array, key: Key
    ) -> tuple[Array, Array]:
        """The critics' target for steps [1, batch], and its entropy bonus: [batch] each."""
        reward, discount, next_obs = unrolled(batch, self.gamma)
        action, log_prob = agent.actor.model(next_obs).draw(key)
        value = soft_value(agent.target(next_obs, action), log_prob, alpha)
        return reward + discount * value, -discount * alpha * log_prob

    def loss(
        self, critic: Any, batch: Transition, target: Array, rewards: Array
    ) -> tuple[Array, Metrics]:
        q = critic(batch.obs, batch.action)
        return critics.td_loss(q, target, batch.weight, rewards)

    def actor_loss(
        self, actor: Any, critic: Any, batch: Transition, alpha: Array, key: Key
    ) -> tuple[Array, Metrics]:
        action, log_prob = actor(batch.obs).draw(key)
        value = soft_value(critic(batch.obs, action), log_prob, alpha)
        metrics = means({"soft_value": value, "entropy": -log_prob}, batch.weight)
        return -metrics["soft_value"], metrics

    def probe(self, agent: Agent, batch: Transition) -> QProbe:
        return critics.probe(agent.critic.model, agent.target, batch)


def temperature_loss(
    log_alpha: Array, entropy: Array, target_entropy: Array
) -> tuple[Array, Metrics]:
    return temperature(log_alpha, entropy, target_entropy), {}
