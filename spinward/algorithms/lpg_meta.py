"""Learning the rule of learned policy gradient (Oh et al., 2020, arXiv:2007.08794, algorithm 1).

Many agents are trained side by side, each in its own task. After each of a few updates, a policy
gradient on fresh steps validates the agent. The rule's gradient is that of this validation loss,
backpropagated through the updates.

Departs from the paper: agents are validated after each of these updates, on the steps that the next
update learns from, and not after the last alone, whose gradient is noisier; lives start at
different ages; a bandit samples the hyperparameters of lives for each kind of task, not for each
task, because the number of tasks is unlimited; no entropy bonus of predictions by default, which
kept them uniform; the weight of the agents' entropy decays together with the step size.
"""

import itertools
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from spinward.algorithms.lpg import LPG
from spinward.algorithms.lpg import Agent as LPGAgent
from spinward.core import (
    Key,
    Memory,
    Metrics,
    Obs,
    Policy,
    Reward,
    Spec,
    System,
    TrainState,
    Transition,
    config,
    no_memory,
    replace,
    struct,
)
from spinward.errors import SettingsError
from spinward.experience.lifetimes import Lifetimes, merged
from spinward.experience.rollout import Rollout
from spinward.experience.wanted import Population
from spinward.learning.minibatches import mean, means, standardise
from spinward.learning.steps import (
    Learner,
    adam,
    apply_gradients,
    clip_by_global_norm,
    descend,
    linear_schedule,
)
from spinward.losses.policy import policy_gradient
from spinward.networks.normaliser import RewardScaler
from spinward.networks.rule import Rule
from spinward.networks.table import Table
from spinward.networks.towers import Value
from spinward.targets.advantages import endless, gae
from spinward.targets.bandits import Arms
from spinward.trees import finite, where

NO_AGENT = "a rule does not act; train an agent by it: spinward train lpg --rule RUN ENV"
# Metrics of an agent's update that the loss of the rule reads.
READ = ("entropy", "prediction_entropy", "policy_output_square", "prediction_target_square")


@struct
class Agent:
    learner: Learner  # of a `Rule`
    arms: Arms  # of the bandit [kinds, arms]
    updates: Array


@struct
class Life:
    """One agent, its task, and their training state."""

    task: Rollout
    state: Any  # of the task
    reward_state: Any
    agent: LPGAgent  # without a rule: all agents share the rule of `Agent`
    critic: Learner
    kind: Array  # of task
    arm: Array
    age: Array  # updates so far
    reward: Array  # mean reward per step of the newest rollout


@config
class LPGMeta:
    lives: int = 32  # agents that are trained side by side
    envs: int = 16  # environments of each
    rollout: int = 20  # steps of each between its updates
    updates: int = 20  # updates of an agent through which the rule's gradient is taken
    lifetime: int = 200  # updates after which an agent is replaced, in another task
    predictions: int = 8  # numbers in an agent's prediction
    width: int = 32  # of the rule's memory
    lr: float = 1e-3  # Adam step size of the rule
    anneal_steps: int = 0  # env steps over which lr and entropy_coef fall to 0; 0 keeps both
    max_grad_norm: float = 0.2  # global norm that the gradient of each life is clipped to
    gamma: float = 0.95  # discount per step
    lam: float = 0.95  # GAE's lambda, of the validation loss
    through_ends: bool = False  # validate by rewards after the end of an episode, too
    entropy_coef: float = 0.05  # weight of the bonus for the agents' entropy
    prediction_entropy_coef: float = 0.0  # weight of the bonus for their predictions' entropy
    rise_coef: float = 0.005  # weight of the penalty of the rule's output for the policy, squared
    wanted_coef: float = 0.0  # weight of the same penalty for the prediction
    critic_lr: float = 1e-3  # Adam step size of the critics
    agent_lr: tuple[float, ...] = (1e-3,)  # step sizes of agents; a bandit chooses among several
    agent_kl_coef: tuple[float, ...] = (0.5,)  # likewise, weights of their prediction loss
    temperature: float = 0.1  # of the bandit's softmax
    bonus: float = 0.2  # exploration bonus of the bandit
    descent: str = "adam"  # how agents take steps: adam, rmsprop or sgd
    tabular: bool = False  # agents are tables over states, in place of networks
    hidden: tuple[int, ...] = (64, 64)  # widths of their hidden layers
    activation: str = "tanh"  # between hidden layers: tanh, relu, swish or elu
    own_updates_only: bool = False  # cut the gradient between updates, as an ablation

    memory = staticmethod(no_memory)

    def check(self, spec: Spec) -> None:
        self.inner.check(spec)
        for name in ("lives", "updates", "predictions"):
            if getattr(self, name) < 1:
                raise SettingsError(f"{name}={getattr(self, name)} must be at least 1")
        if self.lifetime < self.updates:
            raise SettingsError(f"lifetime={self.lifetime} is less than updates={self.updates}")
        for name in ("agent_lr", "agent_kl_coef"):
            if not getattr(self, name):
                raise SettingsError(f"{name} must have a number at least")

    def wants(self, spec: Spec) -> Population:
        return Population(self.envs, self.rollout, self.lives, self.updates)

    @property
    def inner(self) -> LPG:
        """The settings of the agents, without the bandit's choice."""
        return LPG(
            envs=self.envs, rollout=self.rollout, descent=self.descent, gamma=self.gamma,
            tabular=self.tabular, hidden=self.hidden, activation=self.activation,
        )  # fmt: skip

    @property
    def choices(self) -> list[tuple[float, float]]:
        """The arms of the bandit: a step size and a weight."""
        return list(itertools.product(self.agent_lr, self.agent_kl_coef))

    def settings_of(self, arm: Array) -> LPG:
        lr, kl_coef = jnp.asarray(self.choices)[arm]
        return replace(self.inner, lr=lr, kl_coef=kl_coef)

    def init(self, key: Key, spec: Spec) -> Agent:
        rule = Rule.init(key, self.predictions, self.width)
        learner = Learner.init(rule, adam(self.lr, eps=1e-5))
        return Agent(learner, Arms.init(1, len(self.choices)), jnp.int32(0))

    def act(
        self, agent: Agent, obs: Obs, memory: Memory, key: Key, explore: bool = True
    ) -> tuple[Array, Memory, dict[str, Any]]:
        raise SettingsError(NO_AGENT)

    def update(self, agent: Agent, batch: Transition, key: Key) -> tuple[Agent, Metrics]:
        raise SettingsError(NO_AGENT)

    def system(self, source: Lifetimes, reward: Reward) -> System:
        def init(key: Key) -> TrainState:
            k_agent, k_lives, k_age, key = jax.random.split(key, 4)
            agent = self.init(k_agent, source.spec)
            agent = replace(agent, arms=Arms.init(source.kinds, len(self.choices)))
            born = partial(self.born, source, reward, agent.arms)
            agents = jax.vmap(born)(jax.random.split(k_lives, self.lives))
            spans = -(-self.lifetime // self.updates)
            age = self.updates * jax.random.randint(k_age, (self.lives,), 0, spans)
            return TrainState(agent, replace(agents, age=age), (), key)

        def step(state: TrainState) -> tuple[TrainState, Metrics]:
            key, k_live, k_born = jax.random.split(state.key, 3)
            agents, keys = state.source, jax.random.split(k_live, self.lives)
            agent, past = state.agent, float(source.stride) * state.agent.updates
            lr, entropy = (
                linear_schedule(x, past, self.anneal_steps) for x in (self.lr, self.entropy_coef)
            )
            model = agent.learner.model
            result, agents, gradient = self.gradient(model, agents, reward, entropy, keys)
            learner, metrics = apply_gradients(adam(lr, eps=1e-5), agent.learner, result, gradient)
            over = agents.age >= self.lifetime
            earned = agents.kind, agents.arm, agents.reward
            arms = agent.arms.add(*earned, over)
            born = partial(self.born, source, reward, arms)
            agents = where(over, jax.vmap(born)(jax.random.split(k_born, self.lives)), agents)
            metrics["finite"] = finite((metrics, learner.model))
            agent = Agent(learner, arms, agent.updates + 1)
            return TrainState(agent, agents, (), key), metrics

        return System(init, step)

    def born(self, source: Lifetimes, reward: Reward, arms: Arms, key: Key) -> Life:
        """A new life, in its own task."""
        k_task, k_arm, k_agent, k_critic, k_state, k_reward = jax.random.split(key, 6)
        task = source.task(k_task)
        kind = jnp.int32(source.kind(task))
        arm = arms.draw(kind, k_arm, self.temperature, self.bonus)
        inner, spec = self.settings_of(arm), task.spec
        learner = inner.learner(k_agent, spec, self.predictions)
        agent = LPGAgent(learner, (), RewardScaler.init(spec), jnp.int32(0))
        table = Table.init(spec.obs, 1) if self.tabular else None
        critic = table or Value.init(k_critic, spec, self.hidden, self.activation)
        critic_learner = Learner.init(critic, adam(self.critic_lr))
        state = task.init(k_state, ()), reward.init(k_reward, spec)
        return Life(task, *state, agent, critic_learner, kind, arm, jnp.int32(0), jnp.float32(0.0))

    def gradient(
        self, rule: Rule, agents: Life, reward: Reward, entropy_coef: float | Array, keys: Key
    ) -> tuple[tuple[Array, Metrics], Life, Rule]:
        """The loss of the rule and its metrics, the lives after their updates, and the gradient.

        Each life's gradient is clipped before the average. Through so many updates the gradients
        of a few lives, at times of half of them, are larger by orders of magnitude and would
        dominate the average.
        """
        gradients = jax.vmap(jax.value_and_grad(self.loss, has_aux=True), (None, 0, None, None, 0))
        (loss, (agents, metrics, ran)), each = gradients(rule, agents, reward, entropy_coef, keys)
        each, norm = jax.vmap(partial(clip_by_global_norm, max_norm=self.max_grad_norm))(each)
        loss, metrics, gradient = jax.tree.map(lambda x: x.mean(0), (loss, metrics, each))
        share_clipped = (norm > self.max_grad_norm).mean()
        metrics = {**metrics, **merged(ran), "gradients_clipped": share_clipped}
        return (loss, metrics), agents, gradient

    def loss(
        self, rule: Rule, life: Life, reward: Reward, entropy_coef: float | Array, key: Key
    ) -> tuple[Array, tuple[Life, Metrics, Metrics]]:
        """The loss of the rule in one life."""
        life, metrics, ran = self.lived(rule, reward, life, key)
        loss = (
            metrics["validation_loss"]
            - entropy_coef * metrics["entropy"]
            - self.prediction_entropy_coef * metrics["prediction_entropy"]
            + self.rise_coef * metrics["policy_output_square"]
            + self.wanted_coef * metrics["prediction_target_square"]
        )
        return loss, (life, metrics, ran)

    def lived(
        self, rule: Rule, reward: Reward, life: Life, key: Key
    ) -> tuple[Life, Metrics, Metrics]:
        """A life after `updates` by the rule, with the validation loss of its agents."""
        inner = self.settings_of(life.arm)
        update = jax.checkpoint(inner.update) if self.updates > 5 else inner.update

        def one(life: Life, key: Key) -> tuple[Life, tuple[Metrics, Metrics]]:
            life, batch, ran = self.ran(life, reward, key)
            validation_loss = self.validation_loss(life, batch)
            agent = jax.lax.stop_gradient(life.agent) if self.own_updates_only else life.agent
            agent, metrics = update(replace(agent, rule=rule), batch, key)
            critic, _ = descend(self.fit, adam(self.critic_lr), life.critic, batch)
            life = replace(life, agent=replace(agent, rule=()), critic=critic)
            return life, ({**metrics, "validation_loss": validation_loss}, ran)

        *keys, k_validate = jax.random.split(key, self.updates + 1)
        life, (metrics, learning) = jax.lax.scan(one, life, jnp.stack(keys))
        life, batch, last = self.ran(life, reward, k_validate)
        # The agent before its first update does not depend on the rule.
        losses = jnp.append(metrics["validation_loss"][1:], self.validation_loss(life, batch))
        metrics = {n: metrics[n].mean() for n in READ} | {"validation_loss": losses.mean()}
        earned = batch.reward.mean()
        ran = jax.tree.map(lambda a, b: jnp.append(a, b), learning, last)
        life = replace(life, age=life.age + self.updates, reward=earned)
        return life, {**metrics, "reward": earned}, ran

    def validation_loss(self, life: Life, batch: Transition) -> Array:
        """The policy-gradient loss of on-policy steps of the agent."""
        log_prob = life.agent.learner.model(batch.obs).log_prob(batch.action)
        advantage = standardise(self.advantage(life.critic.model, batch), batch.weight)
        return mean(policy_gradient(log_prob, advantage), batch.weight)

    def ran(self, life: Life, reward: Reward, key: Key) -> tuple[Life, Transition, Metrics]:
        """Steps of a life's agent, without a gradient."""
        k_run, k_label = jax.random.split(key)
        agent = jax.lax.stop_gradient(life.agent)
        policy = Policy(partial(self.inner.act, agent), lambda envs: ())
        state, batch, ran = life.task.collect(life.state, policy, k_run)
        reward_state, batch, _ = reward.label(life.reward_state, batch, k_label)
        return replace(life, state=state, reward_state=reward_state), batch, ran

    def advantage(self, critic: Any, batch: Transition) -> Array:
        value, next_value = (read(critic, obs) for obs in (batch.obs, batch.next_obs))
        if self.through_ends:
            batch, next_value = endless(batch, value, next_value)
        return jax.lax.stop_gradient(gae(batch, value, next_value, self.gamma, self.lam))

    def fit(self, critic: Any, batch: Transition) -> tuple[Array, Metrics]:
        value = read(critic, batch.obs)
        target = self.advantage(critic, batch) + jax.lax.stop_gradient(value)
        metrics = means({"value_loss": 0.5 * jnp.square(value - target)}, batch.weight)
        return metrics["value_loss"], metrics


def read(critic: Table | Value, obs: Obs) -> Array:
    """The values [...] of a table or a network."""
    return critic(obs)[..., 0] if isinstance(critic, Table) else critic(obs)
