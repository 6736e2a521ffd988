"""Model-based meta-policy optimisation (Clavera et al., 2018, arXiv:1809.05214).

Each of several learned models is a task. The policy is trained so that one policy-gradient step in
any of the models makes it a good policy for that model. The policy adapts to the models'
disagreement and does not average over it.

Departs from the paper: models are probabilistic and learn the reward too; imagined episodes start
in any real state; the real steps of the first iteration are those of the initial policy, not
uniformly random.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jax.flatten_util import ravel_pytree

from spinward.core import (
    Box,
    Key,
    Memory,
    Metrics,
    Obs,
    Spec,
    Transition,
    config,
    no_memory,
    static,
    struct,
)
from spinward.core import Policy as Acting
from spinward.errors import SettingsError
from spinward.experience.batches import check_vectors
from spinward.experience.rollout import Rollout
from spinward.experience.wanted import Rollouts
from spinward.learning.minibatches import standardise
from spinward.learning.steps import Learner
from spinward.losses.policy import policy_gradient, surrogate
from spinward.losses.trust_region import conjugate_gradient, fisher_product, line_search, longest
from spinward.models.dynamics import Dynamics, VectorScale
from spinward.models.fitting import Steps, fit, optimiser
from spinward.models.imagined import Imagined, never
from spinward.networks.heads import PolicyNetwork, spread
from spinward.targets.advantages import gae
from spinward.targets.baseline import linear_value
from spinward.targets.returns import reward_to_go


@struct
class Agent:
    policy: Any
    adapted: Any  # policies, every leaf [models, ...]: those that act
    learner: Learner  # of the models
    inputs: VectorScale
    targets: VectorScale
    steps: Steps
    updates: Array
    real: Spec = static()


@struct
class Adapted:
    """The action distributions of several policies, each for its own observations: [models,
    ...]."""

    policy: Any

    def log_prob(self, action: Array) -> Array:
        return jax.vmap(lambda policy, action: policy.log_prob(action))(self.policy, action)

    def kl_from(self, old: "Adapted") -> Array:
        return jax.vmap(lambda policy, old: policy.kl_from(old))(self.policy, old.policy)


@config
class MBMPO:
    envs: int = 5  # real environments, which the adapted policies act in by turns
    rollout: int = 200  # real steps of each between fits of the models
    capacity: int = 50_000  # real steps that models are fitted to
    models: int = 5  # of the environment, side by side
    model_hidden: tuple[int, ...] = (128, 128)  # widths of their hidden layers
    lr: float = 1e-3  # Adam step size of the models
    decay: float = 1e-5  # weight decay of the models
    batch: int = 128  # rows in each of their gradient steps
    minibatches: int = 50  # such steps between evaluations on held-out rows
    epochs: int = 40  # evaluations in one fit at most
    patience: int = 4  # evaluations without a gain after which a fit ends
    updates: int = 10  # of the policy, between fits
    imagined: int = 20  # episodes in each model, before and after its inner step, per update
    horizon: int = 100  # steps of these episodes
    inner_lr: float = 0.01  # step size of the policy gradient that adapts to a model
    kl_limit: float = 0.01  # bound of the adapted policies' divergence in each update, in nats
    damping: float = 0.1  # added to the curvature in all directions
    iterations: int = 10  # of conjugate gradients
    shrink: float = 0.8  # factor of the step with each candidate
    tries: int = 10  # candidates before the step is given up
    gamma: float = 0.99  # discount per step
    lam: float = 0.97  # GAE's lambda
    log_std: float = 0.0  # log of the initial standard deviation of actions
    hidden: tuple[int, ...] = (32, 32)  # widths of the policy's hidden layers
    activation: str = "tanh"  # between hidden layers: tanh, relu, swish or elu
    terminal: Callable[[Array], Array] = never  # whether an observation is terminal

    memory = staticmethod(no_memory)

    def check(self, spec: Spec) -> None:
        check_vectors("mb_mpo", spec)
        counts = ("models", "updates", "minibatches", "epochs", "patience", "iterations", "tries")
        for name in counts:
            if getattr(self, name) < 1:
                raise SettingsError(f"{name}={getattr(self, name)} must be at least 1")
        if self.capacity < self.envs * self.rollout:
            raise SettingsError(
                f"capacity={self.capacity} holds less than envs * rollout = "
                f"{self.envs * self.rollout} steps"
            )

    def wants(self, spec: Spec) -> Rollouts:
        return Rollouts(self.envs, self.rollout)

    def init(self, key: Key, spec: Spec) -> Agent:
        k_policy, k_models = jax.random.split(key)
        policy = spread(
            PolicyNetwork.init(k_policy, spec, self.hidden, self.activation), self.log_std
        )
        adapted = jax.tree.map(lambda x: jnp.repeat(x[None], self.models, 0), policy)
        assert isinstance(spec.obs, Box) and isinstance(spec.action, Box)
        sizes = spec.obs.size, spec.action.size
        model = Dynamics.init(k_models, self.models, *sizes, self.model_hidden)
        learner = Learner.init(model.members, optimiser(self.lr, self.decay))
        steps = Steps.init(spec, self.capacity)
        scales = model.inputs, model.targets
        return Agent(policy, adapted, learner, *scales, steps, jnp.int32(0), spec)

    def act(
        self, agent: Agent, obs: Obs, memory: Memory, key: Key, explore: bool = True
    ) -> tuple[Array, Memory, dict[str, Any]]:
        if not explore:
            return agent.policy(obs).mode(), memory, {}
        which = jnp.arange(obs.shape[0]) % self.models
        policies = jax.tree.map(lambda x: x[which], agent.adapted)
        keys = jax.random.split(key, obs.shape[0])
        action = jax.vmap(lambda policy, obs, k: policy(obs).sample(k))(policies, obs, keys)
        return action, memory, {}

    def dynamics(self, agent: Agent) -> Dynamics:
        return Dynamics(agent.learner.model, agent.inputs, agent.targets, True)

    def update(self, agent: Agent, batch: Transition, key: Key) -> tuple[Agent, Metrics]:
        k_fit, k_improve = jax.random.split(key)
        bounded = isinstance(agent.real.action, Box) and agent.real.action.bounded
        steps = agent.steps.add(batch, bounded)
        model = self.dynamics(agent)
        learner, model, fitted = fit(
            agent.learner, model, steps, k_fit, self.lr, self.decay, self.batch, self.minibatches,
            self.epochs, self.patience,
        )  # fmt: skip
        worlds = Worlds(model, steps, agent.real)

        def improve(now: tuple[Any, Any], key: Key) -> tuple[tuple[Any, Any], Metrics]:
            return self.improved(now[0], worlds, key)

        keys = jax.random.split(k_improve, self.updates)
        now = agent.policy, agent.adapted
        (policy, adapted), metrics = jax.lax.scan(improve, now, keys)
        scales = model.inputs, model.targets
        agent = Agent(policy, adapted, learner, *scales, steps, agent.updates + 1, agent.real)
        return agent, {**fitted, **metrics, "loss": -fitted["model_likelihood"]}

    def imagine(self, policies: Any, worlds: "Worlds", key: Key) -> tuple[Transition, Array]:
        """Episodes of each policy in its own model [models, time, env], and their advantages."""

        def one(policy: Any, i: Array, key: Key) -> tuple[Transition, Array]:
            real = worlds.real
            env = Imagined(worlds.model.member(i), worlds.steps, real, self.horizon, self.terminal)
            source = Rollout(env, self.imagined, self.horizon)
            k_init, k_run = jax.random.split(key)
            acting = Acting(partial(sampled, policy), lambda envs: ())
            _, batch, _ = source.collect(source.init(k_init, ()), acting, k_run)
            # No bootstrap at the horizon: the baseline depends on the time.
            nothing = jnp.zeros_like(batch.reward)
            value = linear_value(batch.obs, reward_to_go(batch, nothing, self.gamma))
            later = jnp.where(batch.done, 0.0, jnp.concatenate([value[1:], nothing[:1]]))
            return batch, standardise(gae(batch, value, later, self.gamma, self.lam), batch.weight)

        keys = jax.random.split(key, self.models)
        return jax.vmap(one)(policies, jnp.arange(self.models), keys)

    def adapted(
        self, x: Array, shaped: Callable[[Array], Any], batch: Transition, advantage: Array
    ) -> Array:
        """Parameters [dim] after a policy-gradient step on a fixed batch [time, env]."""

        def loss(x: Array) -> Array:
            log_prob = shaped(x)(batch.obs).log_prob(batch.action)
            return policy_gradient(log_prob, advantage).mean()

        return x - self.inner_lr * jax.grad(loss)(x)

    def dreams(
        self, at: Array, shaped: Callable[[Array], Any], worlds: "Worlds", key: Key
    ) -> tuple[Transition, Array, Transition, Array]:
        """Episodes in each model before the inner step and after it, with their advantages."""
        step = jax.vmap(partial(self.adapted, shaped=shaped))

        def stage(x: Array, key: Key) -> tuple[Array, tuple[Transition, Array]]:
            batch, advantage = self.imagine(jax.vmap(shaped)(x), worlds, key)
            return step(x, batch=batch, advantage=advantage), (batch, advantage)

        tiled, keys = jnp.repeat(at[None], self.models, 0), jax.random.split(key)
        held = jax.lax.scan(stage, tiled, keys)[1]  # a scan, so that they are compiled once
        before, after = (jax.tree.map(lambda x, i=i: x[i], held) for i in (0, 1))
        return *before, *after

    def improved(self, policy: Any, worlds: "Worlds", key: Key) -> tuple[tuple[Any, Any], Metrics]:
        """The policy after one step within the limit, whose gradient flows through the adaptation
        to each model, and the adapted policies."""
        at, shaped = ravel_pytree(policy)
        before, first, batch, advantage = self.dreams(at, shaped, worlds, key)

        def adapted(x: Array) -> Array:
            step = partial(self.adapted, x, shaped)
            return jax.vmap(step)(before, first)

        def policies(x: Array) -> Adapted:
            return Adapted(jax.vmap(lambda x, obs: shaped(x)(obs))(adapted(x), batch.obs))

        old = policies(at)
        log_prob = old.log_prob(batch.action)

        def gain(x: Array) -> Array:
            return -surrogate(policies(x).log_prob(batch.action) - log_prob, advantage).mean()

        def evaluate(x: Array) -> tuple[Array, Array]:
            return gain(x), policies(x).kl_from(old).mean()

        gradient = jax.grad(gain)(at)
        fisher = fisher_product(policies, at, jnp.mean)

        def product(v: Array) -> Array:
            return fisher(v) + self.damping * v

        direction = conjugate_gradient(product, gradient, self.iterations)
        move = longest(product, direction, self.kl_limit) * direction
        result = line_search(evaluate, at, move, self.kl_limit, self.shrink, self.tries)
        metrics = {
            "kl": result.kl,
            "gain": result.gain,
            "accepted": result.accepted.astype(jnp.float32),
            "imagined_reward": batch.reward.mean(),
            "grad_norm": jnp.sqrt(gradient @ gradient),
        }
        return (shaped(result.x), jax.vmap(shaped)(adapted(result.x))), metrics


@struct
class Worlds:
    """The models, and the real states in which imagined episodes start."""

    model: Dynamics
    steps: Steps
    real: Spec = static()


def sampled(
    policy: Any, obs: Obs, memory: Memory, key: Key
) -> tuple[Array, Memory, dict[str, Any]]:
    return policy(obs).sample(key), memory, {}
