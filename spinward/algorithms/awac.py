"""Advantage-weighted actor-critic (Nair et al., 2020, arXiv:2006.09359), with the advantages and
the weights of critic-regularised regression (CRR: Wang et al., 2020, arXiv:2006.15134) as options.

Departs from the papers: networks start orthogonal; observations are scaled by the data's mean and
standard deviation; with one discrete action, expectations over the policy are exact; CRR acts
without resampling its actions by their values, and its target critics are moving averages.
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
from spinward.errors import SettingsError
from spinward.experience.batches import check_policy, check_stored
from spinward.experience.wanted import Samples, logged_samples
from spinward.learning import critics, offline
from spinward.learning.offline import Scales, values_of
from spinward.learning.steps import Learner, adam, descend
from spinward.losses.offline import advantage_weight
from spinward.networks import cloning
from spinward.networks.distributions import Categorical
from spinward.targets.diagnostics import QProbe
from spinward.targets.values import unrolled

BASELINES = ("mean", "max")
WEIGHTS = ("exponential", "binary")


@struct
class Agent:
    actor: Learner
    critic: Learner
    target: Any  # of the critics
    scales: Scales


@config
class AWAC:
    envs: int = 1  # environments stepped side by side, where a run has more than data
    rollout: int = 100  # steps of each between updates
    updates: int = 100  # gradient steps after them
    batch: int = 256  # samples in each gradient step
    capacity: int = 1_000_000  # env steps kept for replay
    warmup: int = 5_000  # random env steps before the first update
    lr: float = 3e-4  # Adam step size of actor and critics
    gamma: float = 0.99  # discount per step
    tau: float = 0.005  # step of the target critics after each update
    temperature: float = 1 / 3  # advantage that makes an action exp(1) times as likely
    samples: int = 1  # actions of the policy that an advantage is over
    baseline: str = "mean"  # of the values of these actions: mean or max
    weights: str = "exponential"  # of the advantage; or binary: 1 where it is above 0
    weight_most: float = 100.0  # largest weight of an action
    return_range: float = 0.0  # of the episodes, to which rewards are scaled; 0 leaves them
    normalise_obs: bool = True  # by mean and standard deviation of the data
    hidden: tuple[int, ...] = (256, 256, 256)  # widths of the hidden layers
    activation: str = "relu"  # between hidden layers: tanh, relu, swish or elu
    actor: Callable[..., Any] = cloning.policy  # builds the policy network
    critic: Callable[..., Any] = cloning.critics  # builds the networks of values

    memory = staticmethod(no_memory)

    def check(self, spec: Spec) -> None:
        check_policy("awac", spec)
        check_stored(self)
        for name, known in (("baseline", BASELINES), ("weights", WEIGHTS)):
            if getattr(self, name) not in known:
                raise SettingsError(
                    f"{name}={getattr(self, name)!r} must be one of {', '.join(known)}"
                )

    def wants(self, spec: Spec) -> Samples:
        return logged_samples(self)

    @property
    def optimiser(self) -> optax.GradientTransformation:
        return adam(self.lr)

    def init(self, key: Key, spec: Spec) -> Agent:
        k_actor, k_critic = jax.random.split(key)
        actor = self.actor(k_actor, spec, self.hidden, self.activation)
        critic = self.critic(k_critic, spec, self.hidden, self.activation)
        learner = Learner.init(critic, self.optimiser)
        return Agent(Learner.init(actor, self.optimiser), learner, critic, Scales.init(spec))

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
        k_next, k_now = jax.random.split(key)
        reward, discount, next_obs = unrolled(batch, self.gamma)
        policy = agent.actor.model
        target = reward + discount * average(values(agent.target, policy, next_obs, k_next, 1))
        batch = jax.tree.map(lambda x: x[0], batch)
        critic, metrics = descend(self.loss, self.optimiser, agent.critic, batch, target)
        weight = self.weight(critic.model, policy, batch, k_now)
        actor, acted = descend(offline.weighted_nll, self.optimiser, agent.actor, batch, weight)
        lagged = optax.incremental_update(critic.model, agent.target, self.tau)
        metrics |= offline.weight_metrics(weight, self.weight_most, batch.weight)
        metrics |= {"actor_loss": acted["loss"]}
        return Agent(actor, critic, lagged, agent.scales), metrics

    def weight(self, critic: Any, policy: Any, batch: Transition, key: Key) -> Array:
        """The weight [batch] of each logged action, by its advantage over the policy's own."""
        q, probs = values(critic, policy, batch.obs, key, self.samples)
        baseline = q.max(0) if self.baseline == "max" else average((q, probs))
        advantage = values_of(critic, batch.obs, batch.action).min(0) - baseline
        if self.weights == "binary":
            return jax.lax.stop_gradient((advantage > 0.0).astype(jnp.float32))
        return advantage_weight(advantage, 1.0 / self.temperature, self.weight_most)

    def loss(self, critic: Any, batch: Transition, target: Array) -> tuple[Array, Metrics]:
        q = values_of(critic, batch.obs, batch.action)
        return critics.td_loss(q, target, batch.weight, batch.reward)

    def probe(self, agent: Agent, batch: Transition) -> QProbe:
        return offline.probe(self, agent.scales, agent.critic.model, agent.target, batch)


def values(critic: Any, policy: Any, obs: Obs, key: Key, samples: int) -> tuple[Array, Array]:
    """The smaller of both critics' values of the policy's actions [actions, ...], and the
    probabilities of these actions: of so many sampled ones, or of all choices."""
    choice = policy(obs)
    if isinstance(choice, Categorical):
        q, probs = critic(obs).min(0), jnp.exp(choice.log_probs())
        return jnp.moveaxis(q, -1, 0), jnp.moveaxis(probs, -1, 0)
    draw = jax.vmap(lambda k: offline.within(choice.sample(k)))
    action = draw(jax.random.split(key, samples))
    q = jax.vmap(lambda a: critic(obs, a).min(0))(action)
    return q, jnp.full(q.shape, 1.0 / samples)


def average(weighed: tuple[Array, Array]) -> Array:
    """The mean value, of values and their probabilities."""
    return jax.lax.stop_gradient((weighed[0] * weighed[1]).sum(0))
