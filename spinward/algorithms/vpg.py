"""The policy gradient (Williams, 1992; Sutton et al., 2000) in its four forms: by the total return,
the reward to go, the reward to go less an average, and the advantage (Schulman et al., 2016,
arXiv:1506.02438).

Departs from the papers: the factor gamma^t is left out unless `discount_states`, batches are of
equal length and cut episodes off, which then bootstrap from the critic, and weights may be
normalised over a batch.
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
from spinward.learning.minibatches import means, run_epochs, standardise
from spinward.learning.steps import Learner, adam, annealed, descend
from spinward.losses.policy import policy_gradient
from spinward.networks.normaliser import Statistics
from spinward.networks.recurrent import check_memory, with_memory
from spinward.networks.towers import Separate, joined, parted
from spinward.targets.advantages import average_of_others, gae
from spinward.targets.returns import discounts, reward_to_go, total_return

FORMS = ("total", "to-go", "average", "advantage")


@struct
class Agent:
    policy: Learner
    critic: Learner
    statistics: Statistics
    updates: Array

    @property
    def model(self) -> Any:
        return joined(self.policy.model, self.critic.model)


@config
class VPG:
    envs: int = 8  # environments stepped side by side
    rollout: int = 512  # steps of each between updates
    form: str = "advantage"  # weight of each step's score: total, to-go, average or advantage
    lr: float = 3e-3  # Adam step size of the policy, which takes one step
    value_lr: float = 1e-3  # Adam step size of the value
    anneal_steps: int = 0  # env steps over which both fall linearly to 0; 0 keeps them
    gamma: float = 0.99  # discount per step
    lam: float = 0.97  # GAE's lambda, in the form advantage
    discount_states: bool = False  # the factor gamma^t, which implementations leave out
    normalise: bool = True  # weights of mean 0 and standard deviation 1 in each batch
    entropy_coef: float = 0.0  # weight of the entropy bonus
    max_grad_norm: float = 10.0  # global norm gradients are clipped to
    epochs: int = 5  # the value's passes over each batch
    minibatches: int = 16  # its gradient steps per pass
    normalise_obs: bool = False  # running mean 0 and standard deviation 1
    normalise_reward: bool = False  # running standard deviation 1 of the discounted return
    hidden: tuple[int, ...] = (64, 64)  # widths of the hidden layers
    activation: str = "tanh"  # between hidden layers: tanh, relu, swish or elu
    recurrent: str = ""  # the policy's memory, as wide as the last hidden layer: lstm or gru
    network: Callable[..., Any] = Separate.init  # builds it from (key, spec, hidden, activation)

    def check(self, spec: Spec) -> None:
        check_memory(self.recurrent, self.network, self.hidden, spec)
        check_minibatches(self.envs, self.rollout, self.epochs, self.minibatches, self.recurrent)
        if self.form not in FORMS:
            raise SettingsError(f"form={self.form!r} must be one of {', '.join(FORMS)}")
        if self.form == "average" and self.envs < 2:
            raise SettingsError(f"form='average' needs other envs to average; envs={self.envs}")

    def wants(self, spec: Spec) -> Rollouts:
        return Rollouts(self.envs, self.rollout)

    def optimiser(self, lr: float | Array) -> optax.GradientTransformation:
        return adam(lr, self.max_grad_norm)

    def init(self, key: Key, spec: Spec) -> Agent:
        network = with_memory(self.network, self.recurrent)
        policy, critic = parted(network(key, spec, self.hidden, self.activation))
        optimiser = self.optimiser(self.lr)
        learners = Learner.init(policy, optimiser), Learner.init(critic, optimiser)
        return Agent(*learners, Statistics.init(spec), jnp.int32(0))

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
        _, value, next_value = agent.model.unroll(batch)
        weights = self.weights(batch, value, next_value)
        returns = reward_to_go(batch, next_value, self.gamma)
        scale = annealed(self, 1.0, agent.updates)
        policy, metrics = descend(
            self.loss,
            self.optimiser(scale * self.lr),
            agent.policy,
            agent.critic.model,
            batch,
            weights,
        )

        def step(critic: Learner, part: tuple[Any, ...]) -> tuple[Learner, Metrics]:
            optimiser = self.optimiser(scale * self.value_lr)
            return descend(self.value_loss, optimiser, critic, policy.model, *part)

        critic, fitted = run_epochs(
            step, agent.critic, (batch, returns), key, self.epochs, self.minibatches,
            agent.model.sequential,
        )  # fmt: skip
        metrics = {**metrics, "value_loss": fitted["value_loss"].mean()}
        return Agent(policy, critic, statistics, agent.updates + 1), metrics

    def weights(self, batch: Transition, value: Array, next_value: Array) -> Array:
        """The weight [time, env] of each step's score."""
        factor = discounts(batch, self.gamma) if self.discount_states else 1.0
        if self.form == "total":
            return total_return(batch, next_value, self.gamma)
        if self.form == "advantage":
            return factor * gae(batch, value, next_value, self.gamma, self.lam)
        to_go = reward_to_go(batch, next_value, self.gamma)
        average = average_of_others(to_go, batch.weight) if self.form == "average" else 0.0
        return factor * (to_go - average)

    def loss(
        self, policy: Any, critic: Any, batch: Transition, weights: Array
    ) -> tuple[Array, Metrics]:
        distribution, _, _ = joined(policy, critic).unroll(batch)
        if self.normalise:
            weights = standardise(weights, batch.weight)
        losses = {
            "policy_loss": policy_gradient(distribution.log_prob(batch.action), weights),
            "entropy": distribution.entropy(),
        }
        metrics = means(losses, batch.weight)
        return metrics["policy_loss"] - self.entropy_coef * metrics["entropy"], metrics

    def value_loss(
        self, critic: Any, policy: Any, batch: Transition, returns: Array
    ) -> tuple[Array, Metrics]:
        _, value, _ = joined(policy, critic).unroll(batch)
        metrics = means({"value_loss": 0.5 * jnp.square(value - returns)}, batch.weight)
        return metrics["value_loss"], metrics
