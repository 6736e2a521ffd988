"""Proximal policy optimisation with an adaptive penalty on the divergence (Schulman et al., 2017,
arXiv:1707.06347, section 4; Heess et al., 2017, arXiv:1707.02286).

Departs from the paper: advantages are normalised in each minibatch, networks start orthogonal, and
the coefficient may also follow the gradient of the dual problem (`adapt="dual"`).
"""

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import optax
from jax import Array

from spinward.core import Key, Memory, Metrics, Obs, Spec, Transition, config, struct
from spinward.errors import SettingsError
from spinward.experience.batches import check_minibatches
from spinward.experience.wanted import Rollouts
from spinward.learning import acting
from spinward.learning.minibatches import mean, means, run_epochs, standardise
from spinward.learning.steps import Learner, adam, annealed, descend
from spinward.losses.policy import doubled_or_halved, dual_ascent, surrogate
from spinward.networks.distributions import of_each_step
from spinward.networks.normaliser import Statistics
from spinward.networks.recurrent import check_memory, with_memory
from spinward.networks.towers import actor_critic
from spinward.targets.advantages import gae

RULES = ("double", "dual")


@struct
class Agent:
    learner: Learner
    coef: Array  # of the penalty
    statistics: Statistics
    updates: Array

    @property
    def model(self) -> Any:
        return self.learner.model


@config
class PPOPenalty:
    envs: int = 8  # environments stepped side by side
    rollout: int = 128  # steps of each between updates
    lr: float = 3e-4  # Adam step size
    anneal_steps: int = 0  # env steps over which lr falls linearly to 0; 0 keeps it
    gamma: float = 0.99  # discount per step
    lam: float = 0.95  # GAE's lambda
    kl_target: float = 0.01  # target divergence of each update, in nats
    kl_coef: float = 1.0  # weight of the divergence penalty in the first update
    adapt: str = "double"  # adaptation of the weight: double (or halve), or dual (ascent)
    dual_lr: float = 0.3  # step size of dual ascent, on the logarithm
    value_coef: float = 0.5  # weight of the value loss
    entropy_coef: float = 0.0  # weight of the entropy bonus
    max_grad_norm: float = 0.5  # global norm gradients are clipped to
    epochs: int = 10  # passes over each batch
    minibatches: int = 4  # gradient steps per pass
    normalise_obs: bool = False  # running mean 0 and standard deviation 1
    normalise_reward: bool = False  # running standard deviation 1 of the discounted return
    hidden: tuple[int, ...] = (64, 64)  # widths of the hidden layers
    activation: str = "tanh"  # between hidden layers: tanh, relu, swish or elu
    recurrent: str = ""  # the policy's memory, as wide as the last hidden layer: lstm or gru
    network: Callable[..., Any] = actor_critic  # builds it from (key, spec, hidden, activation)

    def check(self, spec: Spec) -> None:
        check_memory(self.recurrent, self.network, self.hidden, spec)
        check_minibatches(self.envs, self.rollout, self.epochs, self.minibatches, self.recurrent)
        if self.adapt not in RULES:
            raise SettingsError(f"adapt={self.adapt!r} must be one of {', '.join(RULES)}")

    def wants(self, spec: Spec) -> Rollouts:
        return Rollouts(self.envs, self.rollout)

    def optimiser(self, lr: float | Array) -> optax.GradientTransformation:
        return adam(lr, self.max_grad_norm, eps=1e-5)

    def init(self, key: Key, spec: Spec) -> Agent:
        network = with_memory(self.network, self.recurrent)
        model = network(key, spec, self.hidden, self.activation)
        learner = Learner.init(model, self.optimiser(self.lr))
        return Agent(learner, jnp.float32(self.kl_coef), Statistics.init(spec), jnp.int32(0))

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
        old, value, next_value = agent.model.unroll(batch)
        advantage = gae(batch, value, next_value, self.gamma, self.lam)
        lr = annealed(self, self.lr, agent.updates)

        def step(learner: Learner, part: tuple[Any, ...]) -> tuple[Learner, Metrics]:
            return descend(self.loss, self.optimiser(lr), learner, agent.coef, *part)

        data = (batch, of_each_step(old), advantage, advantage + value)
        learner, metrics = run_epochs(
            step, agent.learner, data, key, self.epochs, self.minibatches,
            agent.model.sequential,
        )  # fmt: skip
        kl = mean(learner.model.unroll(batch)[0].kl_from(old), batch.weight)
        agent = Agent(learner, self.adapted(agent.coef, kl), statistics, agent.updates + 1)
        return agent, {**metrics, "lr": lr, "kl": kl, "kl_coef": agent.coef}

    def adapted(self, coef: Array, kl: Array) -> Array:
        if self.adapt == "dual":
            return dual_ascent(coef, kl, self.kl_target, self.dual_lr)
        return doubled_or_halved(coef, kl, self.kl_target)

    def loss(
        self, model: Any, coef: Array, batch: Transition, old: Any, advantage: Array, returns: Array
    ) -> tuple[Array, Metrics]:
        policy, value, _ = model.unroll(batch)
        log_ratio = policy.log_prob(batch.action) - batch.extras["log_prob"]
        losses = {
            "policy_loss": surrogate(log_ratio, standardise(advantage, batch.weight)),
            "penalty": policy.kl_from(old),
            "value_loss": 0.5 * jnp.square(value - returns),
            "entropy": policy.entropy(),
        }
        metrics = means(losses, batch.weight)
        loss = metrics["policy_loss"] + coef * metrics["penalty"]
        loss = loss + self.value_coef * metrics["value_loss"]
        return loss - self.entropy_coef * metrics["entropy"], metrics
