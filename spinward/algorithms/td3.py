"""Twin delayed deep deterministic policy gradient (Fujimoto et al., 2018, arXiv:1802.09477).

Departs from the paper: networks start orthogonal, and the exploration noise may be correlated in
time (`correlation`).
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax import Array

from spinward.core import Key, Memory, Metrics, Obs, Spec, Transition, config, struct
from spinward.errors import SettingsError
from spinward.experience.batches import check_bounded, check_stored
from spinward.experience.wanted import Samples, samples
from spinward.learning import critics
from spinward.learning.minibatches import means
from spinward.learning.steps import Learner, adam, descend
from spinward.networks.critic import Critics, DeterministicActor
from spinward.networks.noise import Noise
from spinward.targets.diagnostics import QProbe, running_max
from spinward.targets.soft import smoothed
from spinward.targets.values import unrolled


@struct
class Agent:
    actor: Learner
    critic: Learner
    target: tuple[Any, Any]  # of the actor, and of the critics


@config
class TD3:
    envs: int = 1  # environments stepped side by side
    rollout: int = 2  # steps of each between updates
    updates: int = 2  # gradient steps of the critics after them; a multiple of `delay`
    delay: int = 2  # of these for each of the actor and of the targets
    batch: int = 256  # samples in each gradient step
    capacity: int = 1_000_000  # env steps kept for replay
    warmup: int = 25_000  # random env steps before the first update
    lr: float = 3e-4  # Adam step size of actor and critics
    gamma: float = 0.99  # discount per step
    tau: float = 0.005  # step of each update of the target networks
    noise: float = 0.1  # standard deviation of the exploration noise; actions lie in [-1, 1]
    correlation: float = 0.0  # correlation of the exploration noise between steps
    target_noise: float = 0.2  # standard deviation of the noise on the target's action
    noise_limit: float = 0.5  # bound of the target's noise
    hidden: tuple[int, ...] = (256, 256)  # widths of the hidden layers
    activation: str = "relu"  # between hidden layers: tanh, relu, swish or elu
    actor: Callable[..., Any] = DeterministicActor.init  # builds the policy network
    critic: Callable[..., Any] = Critics.init  # builds the networks of values

    def check(self, spec: Spec) -> None:
        check_bounded("td3", spec)
        check_stored(self)
        if self.delay < 1 or self.updates % self.delay:
            raise SettingsError(f"updates={self.updates} is no multiple of delay={self.delay}")

    def wants(self, spec: Spec) -> Samples:
        return samples(self)

    @property
    def optimiser(self) -> optax.GradientTransformation:
        return adam(self.lr)

    def init(self, key: Key, spec: Spec) -> Agent:
        k_actor, k_critic = jax.random.split(key)
        actor = self.actor(k_actor, spec, self.hidden, self.activation)
        critic = self.critic(k_critic, spec, self.hidden, self.activation)
        learner = Learner.init(critic, self.optimiser)
        return Agent(Learner.init(actor, self.optimiser), learner, (actor, critic))

    def memory(self, agent: Agent, envs: int) -> Memory:
        return Noise.init(envs, agent.actor.model.action)

    def act(
        self, agent: Agent, obs: Obs, memory: Memory, key: Key, explore: bool = True
    ) -> tuple[Array, Memory, dict[str, Any]]:
        action = agent.actor.model(obs)
        if not explore:
            return action, memory, {}
        memory = memory.next(key, self.correlation)
        return jnp.clip(action + self.noise * memory.value, -1.0, 1.0), memory, {}

    def update(self, agent: Agent, batches: Transition, key: Key) -> tuple[Agent, Metrics]:
        def step(agent: Agent, x: tuple[Transition, Key]) -> tuple[Agent, Metrics]:
            return self.improved(agent, *x)

        turns = self.updates // self.delay
        data = batches, jax.random.split(key, self.updates)
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
        return Agent(actor, critic, target), metrics

    def target(self, target_networks: tuple[Any, Any], batch: Transition, key: Key) -> Array:
        """The critics' target [batch] for steps [1, batch]."""
        actor, critic = target_networks
        reward, discount, next_obs = unrolled(batch, self.gamma)
        action = smoothed(actor(next_obs), key, self.target_noise, self.noise_limit)
        return reward + discount * critic(next_obs, action).min(0)

    def loss(self, critic: Any, batch: Transition, target: Array) -> tuple[Array, Metrics]:
        q = critic(batch.obs, batch.action)
        return critics.td_loss(q, target, batch.weight, batch.reward)

    def actor_loss(self, actor: Any, critic: Any, batch: Transition) -> tuple[Array, Metrics]:
        value = critic(batch.obs, actor(batch.obs))[0]
        return -means({"value": value}, batch.weight)["value"], {}

    def probe(self, agent: Agent, batch: Transition) -> QProbe:
        return critics.probe(agent.critic.model, agent.target[1], batch)
