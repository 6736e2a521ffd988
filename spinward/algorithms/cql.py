"""Conservative Q-learning for continuous actions: SAC whose critics are pushed down on actions that
the data lack (Kumar et al., 2020, arXiv:2006.04779).

Departs from the paper: the critics' squared error is halved, so that `weight` is half of that in
the authors' code; networks start orthogonal; observations are scaled by the data's mean and
standard deviation.
"""

from collections.abc import Callable
from typing import Any, ClassVar

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
from spinward.losses.critics import squares, temperature
from spinward.losses.offline import conservative_sampled, uniform_log_density
from spinward.networks.critic import Critics, GaussianActor
from spinward.networks.distributions import SquashedGaussian
from spinward.targets.diagnostics import QProbe, q_extremes
from spinward.targets.soft import soft_value
from spinward.targets.values import unrolled

MULTIPLIER = 1e6  # the largest weight that is learned


@struct
class Agent:
    actor: Learner
    critic: Learner
    target: Any  # of the critics
    log_alpha: Learner
    log_multiplier: Any  # a Learner, where the weight is learned
    scales: Scales
    updates: Array


@config
class CQL:
    envs: int = 1  # environments stepped side by side, where a run has more than data
    rollout: int = 100  # steps of each between updates
    updates: int = 100  # gradient steps after them
    batch: int = 256  # samples in each gradient step
    capacity: int = 1_000_000  # env steps kept for replay
    warmup: int = 5_000  # random env steps before the first update
    lr: float = 3e-4  # Adam step size of critics, temperature and learned weight
    actor_lr: float = 3e-5  # Adam step size of the actor
    gamma: float = 0.99  # discount per step
    tau: float = 0.005  # step of the target critics after each update
    weight: float = 5.0  # of the gap between the values of all actions and of the logged one
    samples: int = 10  # actions for that gap: so many uniform ones, and twice so many of the policy
    lagrange: bool = False  # learn a factor of the weight so that the gap stays below `threshold`
    threshold: float = 5.0  # the largest gap; log(3 * samples) of it come from the samples' number
    max_backup: bool = False  # the next value is the best of `samples` actions, not of one
    entropy_backup: bool = False  # the next value includes the entropy, as in SAC
    clone_updates: int = 0  # gradient steps at the start in which the actor copies the data
    alpha: float = 1.0  # initial temperature
    entropy_per_action: float = -1.0  # target entropy, in nats for each dimension of an action
    return_range: float = 0.0  # of the episodes, to which rewards are scaled; 0 leaves them
    normalise_obs: bool = True  # by mean and standard deviation of the data
    hidden: tuple[int, ...] = (256, 256, 256)  # widths of the hidden layers
    activation: str = "relu"  # between hidden layers: tanh, relu, swish or elu
    actor: Callable[..., Any] = GaussianActor.init  # builds the policy network
    critic: Callable[..., Any] = Critics.init  # builds the networks of values

    conservatism: ClassVar = ("weight", 3.0)
    memory = staticmethod(no_memory)

    def check(self, spec: Spec) -> None:
        check_bounded("cql", spec)
        check_stored(self)

    def wants(self, spec: Spec) -> Samples:
        return logged_samples(self)

    def optimiser(self, lr: float | Array) -> optax.GradientTransformation:
        return adam(lr)

    def init(self, key: Key, spec: Spec) -> Agent:
        k_actor, k_critic = jax.random.split(key)
        actor = self.actor(k_actor, spec, self.hidden, self.activation)
        critic = self.critic(k_critic, spec, self.hidden, self.activation)
        log_alpha, zero = jnp.log(jnp.float32(self.alpha)), jnp.float32(0.0)
        fast, slow = self.optimiser(self.lr), self.optimiser(self.actor_lr)
        multiplier = Learner.init(zero, fast) if self.lagrange else ()
        return Agent(
            Learner.init(actor, slow),
            Learner.init(critic, fast),
            critic,
            Learner.init(log_alpha, fast),
            multiplier,
            Scales.init(spec),
            jnp.int32(0),
        )

    def fit(self, agent: Agent, steps: Transition) -> Agent:
        return replace(agent, scales=offline.fit(agent.scales, steps, self.return_range))

    def act(
        self, agent: Agent, obs: Obs, memory: Memory, key: Key, explore: bool = True
    ) -> tuple[Array, Memory, dict[str, Any]]:
        return offline.act(self, agent, obs, key, explore), memory, {}

    def log_prob(self, agent: Agent, batch: Transition) -> Array:
        return offline.log_prob(self, agent, batch)

    def update(self, agent: Agent, batches: Transition, key: Key) -> tuple[Agent, Metrics]:
        batches = offline.read(self, agent.scales, batches)
        return critics.scan_steps(self.improved, agent, batches, key)

    def improved(self, agent: Agent, batch: Transition, key: Key) -> tuple[Agent, Metrics]:
        """The agent after one gradient step of each of its parts, on steps [1, batch]."""
        k_next, k_now, k_gap = jax.random.split(key, 3)
        alpha, fast = jnp.exp(agent.log_alpha.model), self.optimiser(self.lr)
        target = self.target(agent, batch, alpha, k_next)
        batch = jax.tree.map(lambda x: x[0], batch)
        sampled, log_multiplier = (
            self.sample_actions(agent.actor.model, batch, k_gap),
            agent.log_multiplier,
        )
        factor = learned(log_multiplier.model) if self.lagrange else 1.0
        critic, metrics = descend(
            self.loss, fast, agent.critic, batch, target, sampled, self.weight * factor
        )
        rest = critic.model, batch, alpha, agent.updates < self.clone_updates, k_now
        actor, acted = descend(self.actor_loss, self.optimiser(self.actor_lr), agent.actor, *rest)
        target_entropy = self.entropy_per_action * batch.action[0].size
        log_alpha, _ = descend(
            temperature_loss, fast, agent.log_alpha, acted["entropy"], target_entropy
        )
        if self.lagrange:
            log_multiplier, _ = descend(
                multiplier_loss, fast, log_multiplier, self.weight * metrics["gap"] - self.threshold
            )
            metrics |= {"multiplier": factor}
        lagged = optax.incremental_update(critic.model, agent.target, self.tau)
        metrics |= {"actor_loss": acted["loss"], "entropy": acted["entropy"], "alpha": alpha}
        numbers = log_alpha, log_multiplier
        return Agent(actor, critic, lagged, *numbers, agent.scales, agent.updates + 1), metrics

    def target(self, agent: Agent, batch: Transition, alpha: Array, key: Key) -> Array:
        """The critics' target [batch] for steps [1, batch]."""
        reward, discount, next_obs = unrolled(batch, self.gamma)
        count = self.samples if self.max_backup else 1
        action, log_prob = several(agent.actor.model(next_obs), key, count)
        alpha = alpha if self.entropy_backup else jnp.zeros_like(alpha)
        q = agent.target(repeated(next_obs, count), action)
        return reward + discount * soft_value(q, log_prob, alpha).max(0)

    def sample_actions(self, actor: Any, batch: Transition, key: Key) -> tuple[Array, Array]:
        """Actions [3 * samples, batch, ...] and their log-densities: uniform ones, and the policy's
        in each state and in the next."""
        k_uniform, k_now, k_next = jax.random.split(key, 3)
        shape = self.samples, *batch.action.shape
        uniform = jax.random.uniform(k_uniform, shape, minval=-1.0, maxval=1.0)
        density = jnp.full(shape[:2], uniform_log_density(batch.action[0].size))
        now = several(actor(batch.obs), k_now, self.samples)
        after = several(actor(batch.next_obs), k_next, self.samples)
        parts = (uniform, density), now, after
        action, log_density = (jnp.concatenate(x) for x in zip(*parts, strict=True))
        return jax.lax.stop_gradient((action, log_density))

    def loss(
        self,
        critic: Any,
        batch: Transition,
        target: Array,
        sampled: tuple[Array, Array],
        weight: float | Array,
    ) -> tuple[Array, Metrics]:
        action, log_density = sampled
        q = critic(batch.obs, batch.action)
        all_q = critic(repeated(batch.obs, action.shape[0]), action)
        gap = conservative_sampled(jnp.moveaxis(all_q, 0, 1), log_density[:, None], q)
        losses = {"td_loss": squares(q, target), "gap": gap.mean(0), "value": q.mean(0)}
        metrics = means(losses, batch.weight)
        loss = metrics["td_loss"] + weight * gap.shape[0] * metrics["gap"]
        return loss, metrics | q_extremes(q, batch.reward)

    def actor_loss(
        self, actor: Any, critic: Any, batch: Transition, alpha: Array, clones: Array, key: Key
    ) -> tuple[Array, Metrics]:
        policy = actor(batch.obs)
        action, log_prob = policy.draw(key)
        value = soft_value(critic(batch.obs, action), log_prob, alpha)
        likelihood = policy.log_prob(jnp.clip(batch.action, -1.0 + 1e-5, 1.0 - 1e-5))
        copied = likelihood - alpha * log_prob
        losses = {"gain": jnp.where(clones, copied, value), "entropy": -log_prob}
        metrics = means(losses, batch.weight)
        return -metrics["gain"], metrics

    def probe(self, agent: Agent, batch: Transition) -> QProbe:
        return offline.probe(self, agent.scales, agent.critic.model, agent.target, batch)


def several(policy: SquashedGaussian, key: Key, count: int) -> tuple[Array, Array]:
    """So many actions [count, ...] of a policy and their log-densities."""
    return policy.at(jax.random.normal(key, (count, *policy.mean.shape)))


def learned(log_multiplier: Array) -> Array:
    """The factor of the weight, without a gradient."""
    return jnp.clip(jnp.exp(log_multiplier), 0.0, MULTIPLIER)


def multiplier_loss(log_multiplier: Array, excess: Array) -> tuple[Array, Metrics]:
    """The multiplier rises where the weighted gap exceeds its threshold."""
    return -learned(log_multiplier) * excess, {}


def temperature_loss(
    log_alpha: Array, entropy: Array, target_entropy: Array
) -> tuple[Array, Metrics]:
    return temperature(log_alpha, entropy, target_entropy), {}
