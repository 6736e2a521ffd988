"""Soft actor-critic for one discrete action (Christodoulou, 2019, arXiv:1910.07207).

Departs from the paper: several environments step together; networks start orthogonal; the target
entropy is a share of the largest possible entropy, 0.89 as in CleanRL, not 0.98; the noise of
sampled actions may be correlated in time (`correlation`), as in Eberhard et al. (2023) for
continuous actions.
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
    struct,
)
from spinward.errors import SettingsError
from spinward.experience.batches import check_stored
from spinward.experience.wanted import Samples, samples
from spinward.learning import critics
from spinward.learning.minibatches import means
from spinward.learning.steps import Learner, adam, descend
from spinward.losses.critics import temperature
from spinward.networks.critic import ChoiceCritics
from spinward.networks.distributions import pick
from spinward.networks.heads import PolicyNetwork
from spinward.networks.noise import Noise
from spinward.targets.diagnostics import QProbe, running_max
from spinward.targets.soft import soft_expectation
from spinward.targets.values import unrolled


@struct
class Agent:
    actor: Learner
    critic: Learner
    target: Any
    log_alpha: Learner


@config
class SACDiscrete:
    envs: int = 8  # environments stepped side by side
    rollout: int = 1  # steps of each between updates
    updates: int = 1  # gradient steps after them
    batch: int = 128  # samples in each gradient step
    capacity: int = 100_000  # env steps kept for replay
    warmup: int = 2_000  # random env steps before the first update
    lr: float = 5e-4  # Adam step size of actor, critics and temperature
    gamma: float = 0.99  # discount per step
    tau: float = 0.01  # step of the target critics after each update
    alpha: float = 1.0  # initial temperature
    learn_alpha: bool = True  # adapt the temperature to the target entropy
    entropy_share: float = 0.89  # target entropy, as a share of the largest possible entropy
    correlation: float = 0.0  # correlation of the exploration noise between steps
    hidden: tuple[int, ...] = (128, 128)  # widths of the hidden layers
    activation: str = "relu"  # between hidden layers: tanh, relu, swish or elu
    actor: Callable[..., Any] = PolicyNetwork.init  # builds the policy network
    critic: Callable[..., Any] = ChoiceCritics.init  # builds the networks of values

    def check(self, spec: Spec) -> None:
        if not isinstance(spec.action, Discrete):
            raise SettingsError(
                f"sac_discrete needs one discrete action; this environment has {spec.action}"
            )
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
        return Noise.init(envs, (agent.actor.model.actor.action.n,))

    def act(
        self, agent: Agent, obs: Obs, memory: Memory, key: Key, explore: bool = True
    ) -> tuple[Array, Memory, dict[str, Any]]:
        policy = agent.actor.model(obs)
        if not explore:
            return policy.mode(), memory, {}
        memory = memory.next(key, self.correlation)
        return policy.at(memory.value), memory, {}

    def update(self, agent: Agent, batches: Transition, key: Key) -> tuple[Agent, Metrics]:
        agent, metrics = jax.lax.scan(self.improved, agent, batches)
        return agent, running_max(metrics)

    def improved(self, agent: Agent, batch: Transition) -> tuple[Agent, Metrics]:
        """The agent after one gradient step of each of its parts, on steps [1, batch]."""
        alpha = jnp.exp(agent.log_alpha.model)
        reward, discount, next_obs = unrolled(batch, self.gamma)
        policy = agent.actor.model(next_obs)
        value = soft_expectation(agent.target(next_obs), policy.log_probs(), alpha)
        target = reward + discount * value
        rewards = reward + discount * alpha * policy.entropy()
        batch = jax.tree.map(lambda x: x[0], batch)
        critic, metrics = descend(self.loss, self.optimiser, agent.critic, batch, target, rewards)
        actor, acted = descend(
            self.actor_loss, self.optimiser, agent.actor, critic.model, batch, alpha
        )
        log_alpha = agent.log_alpha
        if self.learn_alpha:
            gap = acted["entropy_gap"]
            log_alpha, _ = descend(temperature_loss, self.optimiser, log_alpha, gap)
        target_critic = optax.incremental_update(critic.model, agent.target, self.tau)
        acted = {"actor_loss": acted["loss"], "entropy": acted["entropy"], "alpha": alpha}
        return Agent(actor, critic, target_critic, log_alpha), {**metrics, **acted}

    def loss(
        self, critic: Any, batch: Transition, target: Array, rewards: Array
    ) -> tuple[Array, Metrics]:
        q = pick(critic(batch.obs), batch.action)
        return critics.td_loss(q, target, batch.weight, rewards)

    def probe(self, agent: Agent, batch: Transition) -> QProbe:
        """The diagnostics' inputs (targets/diagnostics.py) at steps [row]."""
        critic = agent.critic.model
        each, lagged = critic(batch.obs), agent.target(batch.obs).min(0)
        value, mean = (pick(q, batch.action) for q in (each.min(0), each.mean(0)))
        return QProbe(each.min(0), lagged, value, mean, critic.features(batch.obs))

    def actor_loss(
        self, actor: Any, critic: Any, batch: Transition, alpha: Array
    ) -> tuple[Array, Metrics]:
        policy = actor(batch.obs)
        value = soft_expectation(critic(batch.obs), policy.log_probs(), alpha)
        entropy = policy.entropy()
        # Where actions are forbidden, less entropy is possible.
        allowed = (policy.logits > -1e8).sum(-1)
        gap = entropy - self.entropy_share * jnp.log(allowed)
        losses = {"soft_value": value, "entropy": entropy, "entropy_gap": gap}
        metrics = means(losses, batch.weight)
        return -metrics["soft_value"], metrics


def temperature_loss(log_alpha: Array, gap: Array) -> tuple[Array, Metrics]:
    return temperature(log_alpha, gap, 0.0), {}
