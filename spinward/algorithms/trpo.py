"""Trust region policy optimisation (Schulman et al., 2015, arXiv:1502.05477).

Departs from the paper: advantages are GAE's and normalised over the batch, and the value is fitted
by Adam, as in OpenAI Baselines; the curvature is estimated on the whole batch.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax import Array
from jax.flatten_util import ravel_pytree

from spinward.core import Key, Memory, Metrics, Obs, Spec, Transition, config, struct
from spinward.errors import SettingsError
from spinward.experience.batches import check_minibatches
from spinward.experience.wanted import Rollouts
from spinward.learning import acting
from spinward.learning.minibatches import mean, means, run_epochs, standardise
from spinward.learning.steps import Learner, adam, annealed, descend
from spinward.losses.policy import surrogate
from spinward.losses.trust_region import conjugate_gradient, fisher_product, line_search, longest
from spinward.networks.heads import spread
from spinward.networks.normaliser import Statistics
from spinward.networks.recurrent import check_memory, with_memory
from spinward.networks.towers import Separate, joined, parted
from spinward.targets.advantages import gae


@struct
class Agent:
    policy: Any
    critic: Learner
    statistics: Statistics
    updates: Array

    @property
    def model(self) -> Any:
        return joined(self.policy, self.critic.model)


@config
class TRPO:
    envs: int = 8  # environments stepped side by side
    rollout: int = 256  # steps of each between updates
    kl_limit: float = 0.01  # bound of the divergence of each policy update, in nats
    damping: float = 0.1  # added to the curvature in all directions
    iterations: int = 10  # of conjugate gradients
    shrink: float = 0.8  # factor of the step with each candidate
    tries: int = 10  # candidates before the step is given up
    lr: float = 1e-3  # Adam step size of the value
    anneal_steps: int = 0  # env steps over which lr falls linearly to 0; 0 keeps it
    gamma: float = 0.99  # discount per step
    lam: float = 0.95  # GAE's lambda
    max_grad_norm: float = 10.0  # global norm the value's gradients are clipped to
    epochs: int = 10  # the value's passes over each batch
    minibatches: int = 16  # its gradient steps per pass
    log_std: float = 0.0  # log of the initial standard deviation of continuous actions
    normalise_obs: bool = False  # running mean 0 and standard deviation 1
    normalise_reward: bool = False  # running standard deviation 1 of the discounted return
    hidden: tuple[int, ...] = (64, 64)  # widths of the hidden layers
    activation: str = "tanh"  # between hidden layers: tanh, relu, swish or elu
    recurrent: str = ""  # the policy's memory, as wide as the last hidden layer: lstm or gru
    network: Callable[..., Any] = Separate.init  # builds it from (key, spec, hidden, activation)

    def check(self, spec: Spec) -> None:
        check_memory(self.recurrent, self.network, self.hidden, spec)
        check_minibatches(self.envs, self.rollout, self.epochs, self.minibatches, self.recurrent)
        for name in ("iterations", "tries"):
            if getattr(self, name) < 1:
                raise SettingsError(f"{name}={getattr(self, name)} must be at least 1")

    def wants(self, spec: Spec) -> Rollouts:
        return Rollouts(self.envs, self.rollout)

    def optimiser(self, lr: float | Array) -> optax.GradientTransformation:
        return adam(lr, self.max_grad_norm)

    def init(self, key: Key, spec: Spec) -> Agent:
        network = with_memory(self.network, self.recurrent)
        policy, critic = parted(
            spread(network(key, spec, self.hidden, self.activation), self.log_std)
        )
        learner = Learner.init(critic, self.optimiser(self.lr))
        return Agent(policy, learner, Statistics.init(spec), jnp.int32(0))

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
        advantage = gae(batch, value, next_value, self.gamma, self.lam)
        policy, metrics = self.improved(agent, batch, standardise(advantage, batch.weight))
        lr = annealed(self, self.lr, agent.updates)

        def step(critic: Learner, part: tuple[Any, ...]) -> tuple[Learner, Metrics]:
            return descend(self.loss, self.optimiser(lr), critic, policy, *part)

        critic, fitted = run_epochs(
            step, agent.critic, (batch, advantage + value), key, self.epochs, self.minibatches,
            agent.model.sequential,
        )  # fmt: skip
        return Agent(policy, critic, statistics, agent.updates + 1), {**fitted, **metrics}

    def improved(self, agent: Agent, batch: Transition, advantage: Array) -> tuple[Any, Metrics]:
        """The policy after one step along the natural gradient, within the limit."""
        at, shaped = ravel_pytree(agent.policy)

        def policy(x: Array) -> Any:
            return joined(shaped(x), agent.critic.model).unroll(batch)[0]

        def average(values: Array) -> Array:
            return mean(values, batch.weight)

        def gain(x: Array) -> Array:
            log_ratio = policy(x).log_prob(batch.action) - batch.extras["log_prob"]
            return -average(surrogate(log_ratio, advantage))

        def evaluate(x: Array) -> tuple[Array, Array]:
            return gain(x), average(policy(x).kl_from(old))

        old = policy(at)
        gradient = jax.grad(gain)(at)
        fisher = fisher_product(policy, at, average)

        def product(v: Array) -> Array:
            return fisher(v) + self.damping * v

        direction = conjugate_gradient(product, gradient, self.iterations)
        step = longest(product, direction, self.kl_limit) * direction
        result = line_search(evaluate, at, step, self.kl_limit, self.shrink, self.tries)
        metrics = {
            "kl": result.kl,
            "gain": result.gain,
            "accepted": result.accepted.astype(jnp.float32),
            "backtracks": result.backtracks.astype(jnp.float32),
            "entropy": average(old.entropy()),
            "policy_grad_norm": jnp.sqrt(gradient @ gradient),
        }
        return shaped(result.x), metrics

    def loss(
        self, critic: Any, policy: Any, batch: Transition, returns: Array
    ) -> tuple[Array, Metrics]:
        """The loss of the value, which trains the critic alone."""
        _, value, _ = joined(policy, critic).unroll(batch)
        metrics = means({"value_loss": 0.5 * jnp.square(value - returns)}, batch.weight)
        return metrics["value_loss"], metrics
