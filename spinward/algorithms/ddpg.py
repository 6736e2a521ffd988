"""Deep deterministic policy gradient (Lillicrap et al., 2016, arXiv:1509.02971).

Departs from the paper: one step size, no weight decay and no batch normalisation, as in later
baselines (Fujimoto et al., 2018); exploration noise is independent unless `correlation` is set;
networks start orthogonal.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax import Array

from spinward.core import Key, Memory, Metrics, Obs, Spec, Transition, config, struct
from spinward.experience.batches import check_bounded, check_stored
from spinward.experience.wanted import Samples, samples
from spinward.learning import critics
from spinward.learning.minibatches import means
from spinward.learning.steps import Learner, adam, descend
from spinward.losses.critics import squares
from spinward.networks.critic import Critics, DeterministicActor
from spinward.networks.noise import Noise
from spinward.targets.diagnostics import QProbe, q_extremes, running_max
from spinward.targets.values import unrolled


@struct
class Agent:
    actor: Learner
    critic: Learner
    target: tuple[Any, Any]  # of the actor, and of the critic


@config
class DDPG:
    envs: int = 1  # environments stepped side by side
    rollout: int = 1  # steps of each between updates
    updates: int = 1  # gradient steps after them
    batch: int = 256  # samples in each gradient step
    capacity: int = 1_000_000  # env steps kept for replay
    warmup: int = 10_000  # random env steps before the first update
    lr: float = 1e-3  # Adam step size of actor and critic
    gamma: float = 0.99  # discount per step
    tau: float = 0.005  # step of the target networks after each update
    noise: float = 0.1  # standard deviation of the exploration noise; actions lie in [-1, 1]
    correlation: float = 0.0  # correlation of the exploration noise between steps
    hidden: tuple[int, ...] = (256, 256)  # widths of the hidden layers
    activation: str = "relu"  # between hidden layers: tanh, relu, swish or elu
    actor: Callable[..., Any] = DeterministicActor.init  # builds the policy network
    critic: Callable[..., Any] = Critics.init  # builds the networks of values

    def check(self, spec: Spec) -> None:
        check_bounded("ddpg", spec)
        check_stored(self)

    def wants(self, spec: Spec) -> Samples:
        return samples(self)

    @property
    def optimiser(self) -> optax.GradientTransformation:
        return adam(self.lr)

    def init(self, key: Key, spec: Spec) -> Agent:
        k_actor, k_critic = jax.random.split(key)
        actor = self.actor(k_actor, spec, self.hidden, self.activation)
        critic = self.critic(k_critic, spec, self.hidden, self.activation, critics=1)
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
        agent, metrics = jax.lax.scan(self.improved, agent, batches)
        return agent, running_max(metrics)

    def improved(self, agent: Agent, batch: Transition) -> tuple[Agent, Metrics]:
        """The agent after one gradient step of each of its parts, on steps [1, batch]."""
        target_actor, target_critic = agent.target
        reward, discount, next_obs = unrolled(batch, self.gamma)
        target_value = reward + discount * target_critic(next_obs, target_actor(next_obs))[0]
        batch = jax.tree.map(lambda x: x[0], batch)
        critic, metrics = descend(self.loss, self.optimiser, agent.critic, batch, target_value)
        actor, acted = descend(self.actor_loss, self.optimiser, agent.actor, critic.model, batch)
        models = actor.model, critic.model
        target = optax.incremental_update(models, agent.target, self.tau)
        return Agent(actor, critic, target), {**metrics, "actor_loss": acted["loss"]}

    def loss(self, critic: Any, batch: Transition, target: Array) -> tuple[Array, Metrics]:
        q = critic(batch.obs, batch.action)
        metrics = means({"td_loss": squares(q, target), "value": q[0]}, batch.weight)
        return metrics["td_loss"], metrics | q_extremes(q, batch.reward)

    def actor_loss(self, actor: Any, critic: Any, batch: Transition) -> tuple[Array, Metrics]:
        value = critic(batch.obs, actor(batch.obs))[0]
        return -means({"value": value}, batch.weight)["value"], {}

    def probe(self, agent: Agent, batch: Transition) -> QProbe:
        return critics.probe(agent.critic.model, agent.target[1], batch)
