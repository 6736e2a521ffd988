"""Model-ensemble trust region policy optimisation (Kurutach et al., 2018, arXiv:1802.10592).

TRPO learns from imagined episodes, each step of which is taken by a random one of several learned
models, until too few of the models find that the policy still improves.

Departs from the paper: models are probabilistic, and learn the reward unless it is known; imagined
episodes start in any real state; the return is discounted, and the value estimates what follows
the last imagined step; real actions are sampled from the policy, without noise on its parameters.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from spinward.algorithms.trpo import TRPO
from spinward.algorithms.trpo import Agent as PolicyAgent
from spinward.core import (
    Key,
    Memory,
    Metrics,
    Obs,
    Policy,
    Spec,
    Transition,
    config,
    no_memory,
    replace,
    struct,
)
from spinward.errors import SettingsError
from spinward.experience.batches import check_vectors
from spinward.experience.rollout import Rollout
from spinward.experience.wanted import Rollouts
from spinward.models.branched import EnsembleWorld, Rewards, member_returns
from spinward.models.dynamics import Dynamics
from spinward.models.imagined import ImaginedByMembers, imagined_spec, never
from spinward.models.learned import LearnedModel, check_model
from spinward.networks.heads import with_log_std
from spinward.structs import shared
from spinward.trees import where


@struct
class Agent:
    base: PolicyAgent
    model: LearnedModel


@struct
class Improvement:
    """The state of a policy's improvement in a fitted model."""

    base: PolicyAgent
    policy: Any  # the last that enough members found better than the one before
    returns: Array  # [member] of that policy
    share: Array  # of members that found the newest policy better
    rounds: Array
    failed: Array  # rounds since enough members found one
    metrics: Metrics  # of the last update


@config
class METRPO:
    envs: int = 5  # real environments stepped side by side
    rollout: int = 200  # real steps of each between fits of the models
    capacity: int = 200_000  # real steps that models are fitted to
    window: int = 5  # real steps in a row over which the models' errors are measured
    models: int = 5  # of the environment, side by side
    model_hidden: tuple[int, ...] = (128, 128)  # widths of their hidden layers
    lr: float = 1e-3  # Adam step size of the models
    decay: float = 1e-5  # weight decay of the models
    batch: int = 128  # rows in each of their gradient steps
    minibatches: int = 50  # such steps between evaluations on held-out rows
    epochs: int = 40  # evaluations in one fit at most
    patience: int = 4  # evaluations without a gain after which a fit ends
    learn_terminal: bool = True  # learn which steps terminate; if not, `terminal` knows
    rounds: int = 20  # of updates of the policy between fits, at most
    updates: int = 5  # of the policy in a round, after which all members validate it
    improving_share: float = 0.7  # of the members that must find a policy better than the last
    failures: int = 5  # rounds in a row in which too few did, after which the next fit is due
    starts: int = 50  # real states from which members validate a policy
    imagined: int = 50  # episodes side by side in each update, a multiple of `models`
    horizon: int = 100  # steps of these episodes
    kl_limit: float = 0.01  # bound of the divergence of each policy update, in nats
    damping: float = 0.1  # added to the curvature in all directions
    iterations: int = 10  # of conjugate gradients
    shrink: float = 0.8  # factor of the step with each candidate
    tries: int = 10  # candidates before the step is given up
    value_lr: float = 1e-3  # Adam step size of the value
    value_epochs: int = 10  # the value's passes over each imagined batch
    value_minibatches: int = 20  # its gradient steps per pass
    gamma: float = 0.99  # discount per step
    lam: float = 0.95  # GAE's lambda
    log_std: float = 0.0  # log of the standard deviation of actions, after each fit
    hidden: tuple[int, ...] = (32, 32)  # widths of the hidden layers of policy and value
    activation: str = "tanh"  # between hidden layers: tanh, relu, swish or elu
    terminal: Callable[[Array], Array] = never  # whether an observation ends the episode
    known_reward: Rewards | None = None  # of (obs, action, next obs); None: it is learned

    memory = staticmethod(no_memory)

    def check(self, spec: Spec) -> None:
        check_vectors("me_trpo", spec)
        check_model(self)
        if self.imagined % self.models:
            raise SettingsError(
                f"imagined={self.imagined} is no multiple of models={self.models}, each of which "
                "takes as many steps"
            )
        if self.imagined * self.horizon % self.value_minibatches:
            raise SettingsError(
                f"value_minibatches={self.value_minibatches} does not divide imagined * horizon = "
                f"{self.imagined * self.horizon}"
            )
        self.trpo.check(imagined_spec(spec))

    def wants(self, spec: Spec) -> Rollouts:
        return Rollouts(self.envs, self.rollout)

    @property
    def trpo(self) -> TRPO:
        """What improves the policy on imagined episodes."""
        value = {"epochs": self.value_epochs, "minibatches": self.value_minibatches}
        sizes = {"envs": self.imagined, "rollout": self.horizon}
        return replace(shared(TRPO, self), lr=self.value_lr, **value, **sizes)

    def init(self, key: Key, spec: Spec) -> Agent:
        k_base, k_model = jax.random.split(key)
        base = self.trpo.init(k_base, replace(spec, envs=self.imagined))
        return Agent(base, LearnedModel.init(k_model, spec, self))

    def act(
        self, agent: Agent, obs: Obs, memory: Memory, key: Key, explore: bool = True
    ) -> tuple[Array, Memory, dict[str, Any]]:
        return self.trpo.act(agent.base, obs, memory, key, explore)

    def dynamics(self, agent: Agent) -> Dynamics:
        return agent.model.dynamics

    def update(self, agent: Agent, batch: Transition, key: Key) -> tuple[Agent, Metrics]:
        k_fit, k_improve = jax.random.split(key)
        model, fitted = agent.model.fitted(batch, k_fit, self)
        base = replace(agent.base, policy=with_log_std(agent.base.policy, self.log_std))
        base, metrics = self.improved(base, model.world(self), model.steps, k_improve)
        return Agent(base, model), metrics | fitted

    def improved(
        self, base: PolicyAgent, world: EnsembleWorld, starts: Any, key: Key
    ) -> tuple[PolicyAgent, Metrics]:
        """The agent after rounds of updates in `world`, with the last policy that enough members
        found better than the one before. Its value is the newest."""
        k_starts, k_rounds = jax.random.split(key)
        fixed = jax.vmap(starts.seen)(jax.random.split(k_starts, self.starts))
        env = ImaginedByMembers(world, starts, world.real, self.horizon)
        train = partial(self.trained, env=env)

        def returns(base: PolicyAgent) -> Array:
            act = partial(self.trpo.act, base, memory=(), key=key, explore=False)
            return member_returns(world, lambda obs: act(obs)[0], fixed, self.horizon)

        def goes_on(now: Improvement) -> Array:
            return (now.rounds < self.rounds) & (now.failed < self.failures)

        def one_round(now: Improvement) -> Improvement:
            k_round = jax.random.fold_in(k_rounds, now.rounds)
            base, metrics = train(now.base, key=k_round)
            validated = returns(base)
            share = (validated > now.returns).mean()
            better = share >= self.improving_share
            policy, best = where(better, (base.policy, validated), (now.policy, now.returns))
            failed = jnp.where(better, 0, now.failed + 1)
            return Improvement(base, policy, best, share, now.rounds + 1, failed, metrics)

        shapes = jax.eval_shape(train, base, key=k_rounds)[1]
        metrics = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes)
        zero = jnp.float32(0.0), jnp.int32(0), jnp.int32(0)
        start = Improvement(base, base.policy, returns(base), *zero, metrics)
        end = jax.lax.while_loop(goes_on, one_round, start)
        validation = {
            "improving_share": end.share,
            "policy_updates": end.rounds * self.updates,
            "imagined_return": end.returns.mean(),
        }
        return replace(end.base, policy=end.policy), end.metrics | validation

    def trained(self, base: PolicyAgent, env: Any, key: Key) -> tuple[PolicyAgent, Metrics]:
        """TRPO's agent after `updates`, each from episodes of its own in `env`; the metrics of the
        last."""
        source = Rollout(env, self.imagined, self.horizon)

        def one_update(base: PolicyAgent, key: Key) -> tuple[PolicyAgent, Metrics]:
            k_init, k_collect, k_update = jax.random.split(key, 3)
            policy = Policy(partial(self.trpo.act, base), partial(self.trpo.memory, base))
            state = source.init(k_init, policy.memory(self.imagined))
            _, batch, _ = source.collect(state, policy, k_collect)
            base, metrics = self.trpo.update(base, batch, k_update)
            return base, {**metrics, "imagined_reward": batch.reward.mean()}

        base, metrics = jax.lax.scan(one_update, base, jax.random.split(key, self.updates))
        return base, jax.tree.map(lambda x: x[-1].mean(), metrics)
