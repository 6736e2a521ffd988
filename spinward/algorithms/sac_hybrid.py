"""Soft actor-critic for choices and numbers at once (Delalleau et al., 2019, arXiv:1912.11077).

Departs from the paper: several environments step together; networks start orthogonal; several
choices are independent in each state, and their values are of all combinations; the target entropy
of the choices is a share of the largest possible, as in `sac_discrete`.
"""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax import Array

from spinward.core import Hybrid, Key, Memory, Metrics, Obs, Spec, Transition, config, struct
from spinward.errors import SettingsError
from spinward.experience.batches import check_stored
from spinward.experience.wanted import Samples, samples
from spinward.learning import critics
from spinward.learning.minibatches import means
from spinward.learning.steps import Learner, adam, descend
from spinward.losses.critics import temperature
from spinward.networks.distributions import pick
from spinward.networks.hybrid import HybridActor, HybridCritics, SquashedJoint, combination
from spinward.targets.diagnostics import QProbe
from spinward.targets.soft import soft_expectation
from spinward.targets.values import unrolled

COMBINATIONS = 1024  # of choices, at most: critics have an output for each


@struct
class Temperatures:
    """The logarithms of the weights of the two entropies."""

    choices: Array
    numbers: Array


@struct
class Agent:
    actor: Learner
    critic: Learner
    target: Any
    log_alpha: Learner  # a model of `Temperatures`


@config
class SACHybrid:
    envs: int = 8  # environments stepped side by side
    rollout: int = 1  # steps of each between updates
    updates: int = 4  # gradient steps after them
    batch: int = 256  # samples in each gradient step
    capacity: int = 100_000  # env steps kept for replay
    warmup: int = 2_000  # random env steps before the first update
    lr: float = 5e-4  # Adam step size of actor, critics and temperatures
    gamma: float = 0.99  # discount per step
    tau: float = 0.005  # step of the target critics after each update
    alpha: float = 1.0  # initial temperature of both entropies
    learn_alpha: bool = True  # adapt the temperatures to the target entropies
    entropy_share: float = 0.3  # target entropy of the choices, as a share of the largest possible
    entropy_per_action: float = -1.0  # target entropy of the numbers, in nats for each
    hidden: tuple[int, ...] = (128, 128)  # widths of the hidden layers
    activation: str = "relu"  # between hidden layers: tanh, relu, swish or elu
    actor: Callable[..., Any] = HybridActor.init  # builds the policy network
    critic: Callable[..., Any] = HybridCritics.init  # builds the networks of values

    def check(self, spec: Spec) -> None:
        space = spec.action
        if not isinstance(space, Hybrid) or not space.box.bounded:
            raise SettingsError(
                "sac_hybrid needs choices and numbers with finite bounds, at once; this "
                f"environment has {space}"
            )
        if (count := math.prod(space.sizes)) > COMBINATIONS:
            raise SettingsError(
                f"sac_hybrid values every combination of choices, at most {COMBINATIONS}; here are "
                f"{count:,}: ppo takes them"
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
        first = jnp.log(jnp.float32(self.alpha))
        models = actor, critic, Temperatures(first, first)
        actor, learner, log_alpha = (Learner.init(model, self.optimiser) for model in models)
        return Agent(actor, learner, critic, log_alpha)

    def memory(self, agent: Agent, envs: int) -> Memory:
        return ()

    def act(
        self, agent: Agent, obs: Obs, memory: Memory, key: Key, explore: bool = True
    ) -> tuple[Array, Memory, dict[str, Any]]:
        policy = agent.actor.model(obs)
        return policy.sample(key) if explore else policy.mode(), memory, {}

    def update(self, agent: Agent, batches: Transition, key: Key) -> tuple[Agent, Metrics]:
        return critics.scan_steps(self.improved, agent, batches, key)

    def improved(self, agent: Agent, batch: Transition, key: Key) -> tuple[Agent, Metrics]:
        """The agent after one gradient step of each of its parts, on steps [1, batch]."""
        k_next, k_now = jax.random.split(key)
        alpha = jax.tree.map(jnp.exp, agent.log_alpha.model)
        target, bonus = self.target(agent, batch, alpha, k_next)
        batch = jax.tree.map(lambda x: x[0], batch)
        rewards, space = batch.reward + bonus, agent.actor.model.action
        critic, metrics = descend(
            self.loss, self.optimiser, agent.critic, batch, target, rewards, space
        )
        actor, acted = descend(
            self.actor_loss, self.optimiser, agent.actor, critic.model, batch, alpha, k_now
        )
        log_alpha, gaps = agent.log_alpha, (acted["choices_gap"], acted["numbers_gap"])
        if self.learn_alpha:
            log_alpha, _ = descend(temperature_loss, self.optimiser, log_alpha, *gaps)
        target_critic = optax.incremental_update(critic.model, agent.target, self.tau)
        shown = {name: acted[name] for name in ("entropy", "choices_entropy")}
        shown |= {"actor_loss": acted["loss"]}
        shown |= {"alpha": alpha.numbers, "choices_alpha": alpha.choices}
        return Agent(actor, critic, target_critic, log_alpha), {**metrics, **shown}

    def target(
        self, agent: Agent, batch: Transition, alpha: Temperatures, key: Key
    ) -> tuple[Array, Array]:
        """The critics' target for steps [1, batch], and its entropy bonus: [batch] each."""
        reward, discount, next_obs = unrolled(batch, self.gamma)
        policy = agent.actor.model(next_obs)
        value, log_prob = soft(policy, agent.target, next_obs, alpha, key)
        entropies = alpha.choices * policy.choices.entropy() - alpha.numbers * log_prob
        return reward + discount * value, discount * entropies

    def loss(
        self, critic: Any, batch: Transition, target: Array, rewards: Array, space: Hybrid
    ) -> tuple[Array, Metrics]:
        choices, numbers = space.parts(batch.action)
        q = pick(critic(batch.obs, numbers), combination(choices, space.sizes))
        return critics.td_loss(q, target, batch.weight, rewards)

    def actor_loss(
        self, actor: Any, critic: Any, batch: Transition, alpha: Temperatures, key: Key
    ) -> tuple[Array, Metrics]:
        policy = actor(batch.obs)
        value, log_prob = soft(policy, critic, batch.obs, alpha, key)
        entropy, least = policy.choices.entropy(), self.entropy_per_action * actor.action.box.size
        parts = {"soft_value": value, "entropy": -log_prob, "choices_entropy": entropy}
        parts["choices_gap"] = entropy - self.entropy_share * policy.largest_entropy()
        parts["numbers_gap"] = -log_prob - least
        metrics = means(parts, batch.weight)
        return -metrics["soft_value"], metrics

    def probe(self, agent: Agent, batch: Transition) -> QProbe:
        """The diagnostics' inputs (targets/diagnostics.py) at steps [row]."""
        critic, space = agent.critic.model, agent.actor.model.action
        choices, numbers = space.parts(batch.action)
        taken = combination(choices, space.sizes)
        each = pick(critic(batch.obs, numbers), taken)
        lagged = pick(agent.target(batch.obs, numbers), taken).min(0)[:, None]
        q = each.min(0)[:, None]
        return QProbe(q, lagged, q[:, 0], each.mean(0), critic.features(batch.obs, numbers))


def soft(
    policy: SquashedJoint, critic: Any, obs: Obs, alpha: Temperatures, key: Key
) -> tuple[Array, Array]:
    """The soft value of states, over all choices and one draw of the numbers, and the log-density
    of that draw.

    V = sum_c pi(c|s) (min_i Q_i(s, c, x) - alpha_c log pi(c|s)) - alpha_x log pi(x|s), x ~ pi
    (Delalleau et al., 2019, section 3).
    """
    numbers, log_prob = policy.numbers.draw(key)
    value = soft_expectation(critic(obs, numbers), policy.log_probs(), alpha.choices)
    return value - alpha.numbers * log_prob, log_prob


def temperature_loss(
    log_alpha: Temperatures, choices_gap: Array, numbers_gap: Array
) -> tuple[Array, Metrics]:
    choices = temperature(log_alpha.choices, choices_gap, 0.0)
    return choices + temperature(log_alpha.numbers, numbers_gap, 0.0), {}
