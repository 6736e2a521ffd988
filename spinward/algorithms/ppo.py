"""Proximal policy optimisation, clipped (Schulman et al., 2017, arXiv:1707.06347).

Departs from the paper: advantages are normalised in each minibatch, the step size may fall over
the run, and networks start orthogonal, as in OpenAI Baselines; a truncated episode bootstraps
from the value of its last state, which Baselines and CleanRL drop; advantages may be recomputed
before each pass (`recompute`; Andrychowicz et al., 2021, arXiv:2006.05990, section 3.5).
"""

from collections.abc import Callable
from typing import Any, Protocol

import jax.numpy as jnp
import optax
from jax import Array

from spinward.core import Key, Memory, Metrics, Obs, Spec, Transition, config, struct
from spinward.experience.batches import check_minibatches
from spinward.experience.wanted import Rollouts
from spinward.learning import acting
from spinward.learning.minibatches import means, run_epochs, standardise
from spinward.learning.steps import Learner, adam, annealed, descend
from spinward.losses.policy import clipped_surrogate
from spinward.networks.heads import spread
from spinward.networks.normaliser import Statistics
from spinward.networks.recurrent import check_memory, with_memory
from spinward.networks.towers import actor_critic
from spinward.targets.advantages import gae


@struct
class Agent:
    learner: Learner
    statistics: Statistics
    updates: Array

    @property
    def model(self) -> Any:
        return self.learner.model


@config
class PPO:
    envs: int = 8  # environments stepped side by side
    rollout: int = 128  # steps of each between updates
    lr: float = 2.5e-4  # Adam step size
    anneal_steps: int = 0  # env steps over which lr falls linearly to 0; 0 keeps it
    gamma: float = 0.99  # discount per step
    lam: float = 0.95  # GAE's lambda
    clip: float = 0.2  # how far the ratio may leave 1 before its gradient stops
    value_coef: float = 0.5  # weight of the value loss
    entropy_coef: float = 0.01  # weight of the entropy bonus
    max_grad_norm: float = 0.5  # global norm gradients are clipped to
    epochs: int = 4  # passes over each batch
    minibatches: int = 4  # gradient steps per pass
    recompute: bool = False  # recompute advantages and returns before each pass
    log_std: float = 0.0  # log of the initial standard deviation of continuous actions
    normalise_obs: bool = False  # running mean 0 and standard deviation 1
    normalise_reward: bool = False  # running standard deviation 1 of the discounted return
    hidden: tuple[int, ...] = (64, 64)  # widths of the hidden layers
    activation: str = "tanh"  # between hidden layers: tanh, relu, swish or elu
    recurrent: str = ""  # the policy's memory, as wide as the last hidden layer: lstm or gru
    network: Callable[..., Any] = actor_critic  # builds it from (key, spec, hidden, activation)

    def check(self, spec: Spec) -> None:
        check_memory(self.recurrent, self.network, self.hidden, spec)
        check_minibatches(self.envs, self.rollout, self.epochs, self.minibatches, self.recurrent)

    def wants(self, spec: Spec) -> Rollouts:
        return Rollouts(self.envs, self.rollout)

    def optimiser(self, lr: float | Array) -> optax.GradientTransformation:
        return adam(lr, self.max_grad_norm, eps=1e-5)

    def init(self, key: Key, spec: Spec) -> Agent:
        network = with_memory(self.network, self.recurrent)
        model = spread(network(key, spec, self.hidden, self.activation), self.log_std)
        learner = Learner.init(model, self.optimiser(self.lr))
        return Agent(learner, Statistics.init(spec), jnp.int32(0))

    def memory(self, agent: Agent, envs: int) -> Memory:
        return acting.memory(agent, envs)

    def act(
        self, agent: Agent, obs: Obs, memory: Memory, key: Key, explore: bool = True
    ) -> tuple[Array, Memory, dict[str, Any]]:
        return acting.act(self, agent, obs, memory, key, explore)

    def log_prob(self, agent: Agent, batch: Transition) -> Array:
        return acting.log_prob(self, agent, batch)

    def update(self, agent: Agent, batch: Transition, key: Key) -> tuple[Agent, Metrics]:
        batch, statistics = agent.statistics.read(
            batch, self.gamma, self.normalise_obs, self.normalise_reward
        )
        lr = annealed(self, self.lr, agent.updates)

        def with_advantages(learner: Learner) -> tuple[Any, ...]:
            _, value, next_value = learner.model.unroll(batch)
            advantage = gae(batch, value, next_value, self.gamma, self.lam)
            return batch, advantage, advantage + value

        def step(learner: Learner, part: tuple[Any, ...]) -> tuple[Learner, Metrics]:
            return descend(self.loss, self.optimiser(lr), learner, *part)

        learner, metrics = run_epochs(
            step,
            agent.learner,
            with_advantages(agent.learner),
            key,
            self.epochs,
            self.minibatches,
            agent.model.sequential,
            with_advantages if self.recompute else None,
        )
        return Agent(learner, statistics, agent.updates + 1), {**metrics, "lr": lr}

    def loss(
        self, model: Any, batch: Transition, advantage: Array, returns: Array
    ) -> tuple[Array, Metrics]:
        return ppo_loss(self, model, batch, advantage, returns)


class Clipping(Protocol):
    """The settings of PPO's loss."""

    @property
    def clip(self) -> float: ...
    @property
    def value_coef(self) -> float: ...
    @property
    def entropy_coef(self) -> float: ...


def ppo_loss(
    settings: Clipping, model: Any, batch: Transition, advantage: Array, returns: Array
) -> tuple[Array, Metrics]:
    """The clipped surrogate, the value's squared error and the entropy bonus, and metrics."""
    policy, value, _ = model.unroll(batch)
    log_ratio = policy.log_prob(batch.action) - batch.extras["log_prob"]
    advantage = standardise(advantage, batch.weight)
    ratio = jnp.exp(log_ratio)
    losses = {
        "policy_loss": clipped_surrogate(log_ratio, advantage, settings.clip),
        "value_loss": 0.5 * jnp.square(value - returns),
        "entropy": policy.entropy(),
        "approx_kl": ratio - 1.0 - log_ratio,
        "clip_fraction": (jnp.abs(ratio - 1.0) > settings.clip).astype(jnp.float32),
    }
    metrics = means(losses, batch.weight)
    loss = metrics["policy_loss"] + settings.value_coef * metrics["value_loss"]
    return loss - settings.entropy_coef * metrics["entropy"], metrics
