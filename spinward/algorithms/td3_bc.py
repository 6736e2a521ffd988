"""TD3 with behaviour cloning (TD3+BC: Fujimoto and Gu, 2021, arXiv:2106.06860), with ReBRAC's
options: layer normalisation and a cloning term in the critics' target (Tarasov et al., 2023,
arXiv:2305.09836).

Departs from the papers: networks start orthogonal; both cloning terms are means over the numbers of
an action, where ReBRAC has sums.
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
from spinward.errors import SettingsError
from spinward.experience.batches import check_bounded, check_stored
from spinward.experience.wanted import Samples, logged_samples
from spinward.learning import critics, offline
from spinward.learning.minibatches import means
from spinward.learning.offline import Scales
from spinward.learning.steps import Learner, adam, descend
from spinward.losses.offline import distance, value_scale
from spinward.networks.critic import Critics, DeterministicActor
from spinward.targets.diagnostics import QProbe, running_max
from spinward.targets.soft import smoothed


@struct
class Agent:
    actor: Learner
    critic: Learner
    target: tuple[Any, Any]  # of the actor, and of the critics
    scales: Scales


@config
class TD3BC:
    envs: int = 1  # environments stepped side by side, where a run has more than data
    rollout: int = 100  # steps of each between updates
    updates: int = 100  # gradient steps of the critics after them; a multiple of `delay`
    delay: int = 2  # of these for each of the actor and of the targets
    batch: int = 256  # samples in each gradient step
    capacity: int = 1_000_000  # env steps kept for replay
    warmup: int = 5_000  # random env steps before the first update
    lr: float = 3e-4  # Adam step size of actor and critics
    gamma: float = 0.99  # discount per step
    tau: float = 0.005  # step of each update of the target networks
    alpha: float = 2.5  # weight of the value beside the distance from the data's action
    critic_bc: bool = False  # lower the target by the next action's distance from the data's
    critic_weight: float = 0.01  # of that distance, in the unit of the value
    layer_norm: bool = False  # normalise the hidden layers of the critics
    noise: float = 0.1  # standard deviation of the exploration noise; actions lie in [-1, 1]
    target_noise: float = 0.2  # standard deviation of the noise on the target's action
    noise_limit: float = 0.5  # bound of the target's noise
    normalise_obs: bool = True  # by mean and standard deviation of the data
    hidden: tuple[int, ...] = (256, 256)  # widths of the hidden layers
    activation: str = "relu"  # between hidden layers: tanh, relu, swish or elu
    actor: Callable[..., Any] = DeterministicActor.init  # builds the policy network
    critic: Callable[..., Any] = Critics.init  # builds the networks of values

    conservatism: ClassVar = ("alpha", 1 / 3)
    memory = staticmethod(no_memory)

    def check(self, spec: Spec) -> None:
        check_bounded("td3_bc", spec)
        check_stored(self)
        if self.delay < 1 or self.updates % self.delay:
            raise SettingsError(f"updates={self.updates} is no multiple of delay={self.delay}")

    def wants(self, spec: Spec) -> Samples:
        return logged_samples(self, window=2 if self.critic_bc else 1)

    @property
    def optimiser(self) -> optax.GradientTransformation:
        return adam(self.lr)

    def init(self, key: Key, spec: Spec) -> Agent:
        k_actor, k_critic = jax.random.split(key)
        actor = self.actor(k_actor, spec, self.hidden, self.activation)
        critic = self.critic(k_critic, spec, self.hidden, self.activation)
        if self.layer_norm:
            critic = replace(critic, members=replace(critic.members, normed=True))
        learner = Learner.init(critic, self.optimiser)
        actor_learner = Learner.init(actor, self.optimiser)
        return Agent(actor_learner, learner, (actor, critic), Scales.init(spec))

    def fit(self, agent: Agent, steps: Transition) -> Agent:
        return replace(agent, scales=offline.fit(agent.scales, steps))

    def act(
        self, agent: Agent, obs: Obs, memory: Memory, key: Key, explore: bool = True
    ) -> tuple[Array, Memory, dict[str, Any]]:
        action = agent.actor.model(offline.seen(self, agent.scales, obs))
        noise = self.noise * jax.random.normal(key, action.shape) if explore else 0.0
        return offline.within(action + noise), memory, {}

    def update(self, agent: Agent, batches: Transition, key: Key) -> tuple[Agent, Metrics]:
        def step(agent: Agent, x: tuple[Transition, Key]) -> tuple[Agent, Metrics]:
            return self.improved(agent, *x)

        turns = self.updates // self.delay
        data = offline.read(self, agent.scales, batches), jax.random.split(key, self.updates)
        data = jax.tree.map(lambda x: x.reshape(turns, self.delay, *x.shape[1:]), data)
        agent, metrics = jax.lax.scan(step, agent, data)
        return agent, running_max(metrics)

    def improved(self, agent: Agent, batches: Transition, keys: Key) -> tuple[Agent, Metrics]:
        """The agent after `delay` steps of the critics, one of the actor and one of the targets."""

        def step(critic: Learner, x: tuple[Transition, Key]) -> tuple[Learner, Metrics]:
            batch, key = x
            target = self.target(agent.target, batch, key)
            batch = jax.tree.map(lambda x: x[0], batch)
            return descend(self.loss, self.optimiser, critic, batch, target)

        critic, metrics = jax.lax.scan(step, agent.critic, (batches, keys))
        last = jax.tree.map(lambda x: x[-1, 0], batches)
        actor, acted = descend(
            self.actor_loss, self.optimiser, agent.actor, critic.model.first(), last
        )
        models = actor.model, critic.model
        target = optax.incremental_update(models, agent.target, self.tau)
        metrics = {**jax.tree.map(jnp.mean, running_max(metrics)), "actor_loss": acted["loss"]}
        metrics |= {"action_distance": acted["action_distance"]}
        return Agent(actor, critic, target, agent.scales), metrics

    def target(self, target_networks: tuple[Any, Any], batch: Transition, key: Key) -> Array:
        """The critics' target [batch] for the first of steps [window, batch]."""
        actor, critic = target_networks
        first = jax.tree.map(lambda x: x[0], batch)
        action = smoothed(actor(first.next_obs), key, self.target_noise, self.noise_limit)
        value = critic(first.next_obs, action).min(0)
        if self.critic_bc:  # after the end of an episode there is no next action
            cost = jnp.where(first.done, 0.0, distance(action, batch.action[1]))
            value = value - self.critic_weight * cost
        return first.reward + self.gamma * (1.0 - first.terminated) * value

    def loss(self, critic: Any, batch: Transition, target: Array) -> tuple[Array, Metrics]:
        q = critic(batch.obs, batch.action)
        return critics.td_loss(q, target, batch.weight, batch.reward)

    def actor_loss(self, actor: Any, critic: Any, batch: Transition) -> tuple[Array, Metrics]:
        action = actor(batch.obs)
        q = critic(batch.obs, action)[0]
        losses = {"value": q, "action_distance": distance(action, batch.action)}
        metrics = means(losses, batch.weight)
        return metrics["action_distance"] - value_scale(q, self.alpha) * metrics["value"], metrics

    def probe(self, agent: Agent, batch: Transition) -> QProbe:
        return offline.probe(self, agent.scales, agent.critic.model, agent.target[1], batch)
