"""Never Give Up: a family of policies from exploitative to exploratory, which share one network and
are rewarded for episodic and lifelong novelty (Badia et al., 2020, arXiv:2002.06038).

Departs from the paper: every policy acts (in the paper actor j has policy j mod (N - 1), so that
the last policy never acts); the last state of an episode has no bonus; the means of distances,
errors and bonuses are running means of replayed steps, because acting does not change the agent;
bonuses are divided by their running standard deviation, so that a reward of 1 is on a similar
scale, and weigh a tenth of it (there 0.3 or 0.5 of what is not divided); actors are as in r2d2.py.
"""

from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax import Array

from spinward.algorithms import r2d2
from spinward.core import (
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
from spinward.experience.batches import check_sequences, sequences_wanted
from spinward.experience.wanted import Sequences
from spinward.learning import sequences
from spinward.learning.minibatches import mean, means
from spinward.learning.sequences import act_epsilon_greedily, context_inputs, rows_of
from spinward.learning.steps import Learner, adam, descend, split_priorities
from spinward.networks.controllable import Controllable, inverse_losses
from spinward.networks.distillation import Distillation, Features, Whitener
from spinward.networks.distillation import distance as prediction_error
from spinward.networks.episodic import Episodic, episodic_novelty
from spinward.networks.recurrent_q import CONTEXT, RecurrentQ, part
from spinward.networks.running import Running
from spinward.targets.family import betas, gammas
from spinward.targets.network import update_target
from spinward.targets.retrace import squashed

BONUS, DISTANCE = "bonus", "distance"  # in extras: of an observation, and its mean distance


@struct
class Curiosity:
    """The networks and the statistics of the bonus."""

    embedding: Learner  # of a Controllable
    predictor: Learner
    target: Features
    whitener: Whitener
    distance: Running  # squared distances of nearest neighbours
    error: Running  # of the predictor
    bonus: Running


@struct
class Agent:
    learner: Learner
    target: Any
    curiosity: Curiosity
    updates: Array


@config
class NGU:
    envs: int = 32  # environments stepped side by side
    rollout: int = 20  # steps of each between updates; sequences begin so many steps apart
    updates: int = 8  # gradient steps after them
    batch: int = 16  # sequences in each gradient step
    burn_in: int = 4  # first steps of a sequence, which only burn in the memory
    trace: int = 20  # steps of a sequence that are learned from
    capacity: int = 100_000  # env steps kept for replay
    warmup: int = 3_200  # random env steps before the first update, without a bonus
    lr: float = 1e-3  # Adam step size of the values
    curiosity_lr: float = 5e-4  # Adam step size of the embedding and the predictor
    weight_decay: float = 3e-4  # weight of the embedding's L2 penalty
    latest: int = 10  # last steps of a sequence that embedding and predictor learn from
    eps: float = 1e-4  # added to what Adam divides by
    policies: int = 8  # policies of the family, from exploitative to exploratory
    redraw: bool = False  # sample a policy for each episode; if not, each env has its own
    beta: float = 0.1  # weight of the bonus in the reward of the most exploratory policy
    gamma: float = 0.99  # discount per step of the greedy policy
    gamma_min: float = 0.95  # discount per step of the most exploratory policy
    lam: float = 0.95  # Retrace's lambda
    squash: bool = True  # learn values under a transform that compresses large values
    target_every: int = 25  # updates between copies of the target network
    epsilon: float = 0.4  # share of random actions in the most random environment
    epsilon_power: float = 2.0  # the least random has epsilon to the power of one more than this
    target_epsilon: float = 0.01  # share of random actions in the policy that is valued
    prioritised: bool = True  # sample sequences by the size of their errors
    priority_exponent: float = 0.9  # exponent of the error in the sampling probability
    importance_exponent: float = 0.6  # exponent of the importance weight
    priority_max: float = 0.9  # share of the largest error in a sequence's priority, not the mean
    episodic: bool = True  # episodic bonus
    lifelong: bool = True  # lifelong factor of the bonus; alone it is the bonus of rnd
    controllable: bool = True  # train the embedding to predict actions; if not, it stays random
    neighbours: int = 10  # nearest states of the episode that a state is compared with
    memories: int = 256  # size of the episodic memory, in states
    embedding: int = 16  # dimension of a state's embedding
    kernel_epsilon: float = 1e-3  # epsilon of the kernel: a larger one makes more states similar
    most_lifelong: float = 5.0  # bound of the lifelong factor
    novelty_width: int = 64  # of the hidden layers of embedding and predictor
    decay: float = 0.01  # smallest rate of the running means
    max_grad_norm: float = 40.0  # global norm gradients are clipped to
    hidden: tuple[int, ...] = (64,)  # widths of the hidden layers; the last is the cell's
    activation: str = "relu"  # between hidden layers: tanh, relu, swish or elu
    recurrent: str = "lstm"  # the memory: lstm or gru

    def check(self, spec: Spec) -> None:
        check_sequences(self, spec)
        if self.policies < 1 or self.neighbours < 1 or self.memories < self.neighbours:
            raise SettingsError(
                f"policies={self.policies} and neighbours={self.neighbours} must be at least 1, "
                f"and memories={self.memories} no less than neighbours"
            )
        if self.envs < self.policies and not self.redraw:
            raise SettingsError(
                f"envs={self.envs} are fewer than policies={self.policies}, some of which would "
                "never act: set redraw, or fewer policies"
            )
        if not (self.episodic or self.lifelong):
            raise SettingsError("episodic=False and lifelong=False leave no bonus: use r2d2")

    def wants(self, spec: Spec) -> Sequences:
        return sequences_wanted(self, random_policy, self.context_size(spec))

    def context_size(self, spec: Spec) -> int:
        """The number of the network's context inputs."""
        return r2d2.context_size(spec) + self.policies + 1

    def optimiser(self, lr: float | Array) -> optax.GradientTransformation:
        return adam(lr, self.max_grad_norm, self.eps)

    def init(self, key: Key, spec: Spec) -> Agent:
        k_q, k_embedding, k_distillation = jax.random.split(key, 3)
        sizes = spec, self.hidden, self.activation, self.recurrent, self.context_size(spec)
        q = RecurrentQ.init(k_q, *sizes)
        nets = Distillation.init(k_distillation, spec, self.novelty_width, self.novelty_width)
        controllable = Controllable.init(k_embedding, spec, self.novelty_width, self.embedding)
        opt = adam(self.curiosity_lr, eps=self.eps)
        curiosity = Curiosity(
            Learner.init(controllable, opt),
            Learner.init(nets.predictor, opt),
            nets.target,
            Whitener.init(spec),
            Running.init(1.0),
            Running.init(0.0),
            Running.init(0.0),
        )
        return Agent(Learner.init(q, self.optimiser(self.lr)), q, curiosity, jnp.int32(0))

    def memory(self, agent: Agent, envs: int) -> Memory:
        """The memory of r2d2.py, the active policy, the bonus of the previous state, and the
        episodic memory."""
        own = jax.nn.one_hot(jnp.arange(envs) % self.policies, self.policies)
        return {
            **sequences.memory(agent.learner.model, envs),
            "policy": jnp.zeros_like(own) if self.redraw else own,
            "bonus": jnp.zeros((envs, 1)),
            "met": Episodic.init(envs, self.memories, self.embedding),
        }

    def act(
        self, agent: Agent, obs: Obs, memory: Memory, key: Key, explore: bool = True
    ) -> tuple[Array, Memory, dict[str, Any]]:
        """An action of the active policy; without `explore`, of the exploitative policy."""
        k_policy, k_act = jax.random.split(key)
        memory = with_active_policy(memory, k_policy)
        if not explore:
            greedy = jnp.zeros_like(memory["policy"]).at[:, 0].set(1.0)
            memory = {**memory, "policy": greedy}
        bonus, distance, episodic = self.bonus(agent.curiosity, obs, memory["met"])
        scaled = squashed(bonus / agent.curiosity.bonus.std)[:, None]
        memory = {**memory, "bonus": scaled, "met": episodic}
        q, after = agent.learner.model.step(obs, context_inputs(memory), memory["recurrent"])
        epsilon = sequences.epsilons(self, q.shape[0]) if explore else jnp.zeros(q.shape[0])
        action, memory, extras = act_epsilon_greedily(q, obs, after, memory, k_act, epsilon)
        return action, memory, {**extras, BONUS: bonus, DISTANCE: distance}

    def bonus(self, by: Curiosity, obs: Obs, episodic: Episodic) -> tuple[Array, Array, Episodic]:
        """The bonus [env] of an observation, its mean distance to the nearest states of the
        episode, and the episodic memory with the observation added."""
        error = prediction_error(by.predictor.model, by.target, by.whitener(obs))
        if not self.episodic:
            return error / by.error.std, jnp.zeros_like(error), episodic
        x = by.embedding.model(obs)
        distances, mask = episodic.nearest(x, self.neighbours)
        bonus = episodic_novelty(distances, mask, by.distance.mean, self.kernel_epsilon)
        if self.lifelong:
            excess = (error - by.error.mean) / by.error.std
            bonus = bonus * jnp.clip(1.0 + excess, 1.0, self.most_lifelong)
        distance = distances.sum(-1) / jnp.maximum(mask.sum(-1), 1)
        return bonus, distance, episodic.put(x)

    def update(self, agent: Agent, batches: Transition, key: Key) -> tuple[Any, ...]:
        def step(agent: Agent, batch: Transition) -> tuple[Agent, Metrics]:
            rows, next_context = rows_of(batch, agent.learner.model.actions)
            reward_and_gamma = self.family(agent.curiosity, rows, batch.extras[BONUS][1:])
            q = agent.learner, agent.target, rows, next_context
            learner, metrics = descend(self.loss, self.optimiser(self.lr), *q, *reward_and_gamma)
            curiosity, more = self.update_curiosity(agent.curiosity, rows)
            updates = agent.updates + 1
            target = update_target(agent.target, learner.model, updates, self.target_every)
            return Agent(learner, target, curiosity, updates), {**more, **metrics}

        agent, metrics = jax.lax.scan(step, agent, batches)
        return agent, *split_priorities(metrics)

    def loss(
        self,
        model: RecurrentQ,
        target_network: RecurrentQ,
        rows: Transition,
        next_context: Array,
        reward: Array,
        gamma: Array,
    ) -> tuple[Array, Metrics]:
        return sequences.loss(self, model, target_network, rows, next_context, reward, gamma)

    def family(self, by: Curiosity, rows: Transition, next_bonus: Array) -> tuple[Array, Array]:
        """The reward and the discount [time, batch] of the policy that took each step; `next_bonus`
        is the bonus of the next observation."""
        policy = rows.extras[CONTEXT][..., -1 - self.policies : -1]
        bonus = jnp.where(rows.done, 0.0, next_bonus) / by.bonus.std
        reward = rows.reward + policy @ betas(self.policies, self.beta) * bonus
        return reward, policy @ gammas(self.policies, self.gamma, self.gamma_min)

    def update_curiosity(self, by: Curiosity, rows: Transition) -> tuple[Curiosity, Metrics]:
        """The parts of the bonus after an update on the latest steps of each sequence."""
        late, opt = part(rows, -self.latest), adam(self.curiosity_lr, eps=self.eps)
        whitener = by.whitener.add(late.obs, late.weight)
        obs, metrics = whitener(late.obs), dict[str, Any]()
        predictor, result = descend(prediction_loss, opt, by.predictor, by.target, obs, late.weight)
        embedding = by.embedding
        if self.controllable:
            embedding, metrics = descend(inverse_loss, opt, embedding, late, self.weight_decay)
        bonus, distance = rows.extras[BONUS], rows.extras[DISTANCE]
        error = prediction_error(by.predictor.model, by.target, obs)
        by = Curiosity(
            embedding,
            predictor,
            by.target,
            whitener,
            by.distance.add(distance, rows.weight * (distance > 0.0), self.decay),
            by.error.add(error, late.weight, self.decay),
            by.bonus.add(bonus, rows.weight * (bonus > 0.0), self.decay),
        )
        metrics["prediction_loss"] = result["loss"]
        return by, {**metrics, "bonus": by.bonus.mean, "neighbour_distance": by.distance.mean}


def inverse_loss(
    model: Controllable, late: Transition, decay: float | Array
) -> tuple[Array, Metrics]:
    """The loss of predicting the action. The decay removes features that do not help."""
    losses = inverse_losses(model, late.obs, late.action, late.next_obs)
    metrics = means(losses, late.weight)
    squares = sum(jnp.square(x).sum() for x in jax.tree.leaves(model))
    return metrics["inverse_loss"] + decay * squares, metrics


def prediction_loss(
    predictor: Features, target: Features, obs: Obs, weight: Array
) -> tuple[Array, Metrics]:
    return mean(prediction_error(predictor, target, obs), weight), {}


def with_active_policy(memory: Memory, key: Key) -> Memory:
    """The memory with a policy sampled in environments that have none yet."""
    policy = memory["policy"]
    envs, policies = policy.shape
    sampled = jax.nn.one_hot(jax.random.randint(key, (envs,), 0, policies), policies)
    return {**memory, "policy": jnp.where(policy.sum(-1, keepdims=True) > 0.0, policy, sampled)}


def random_policy(
    spec: Spec, obs: Obs, memory: Memory, key: Key
) -> tuple[Array, Memory, dict[str, Any]]:
    """A random action for the warm-up, with a policy of the family and without a bonus."""
    k_policy, k_act = jax.random.split(key)
    action, memory, extras = r2d2.random_policy(
        spec, obs, with_active_policy(memory, k_policy), k_act
    )
    none = jnp.zeros(action.shape)
    return action, memory, {**extras, BONUS: none, DISTANCE: none}
