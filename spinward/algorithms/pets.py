"""Probabilistic ensembles with trajectory sampling (Chua et al., 2018, arXiv:1805.12114).

There is no policy: each action is the first of a plan that the cross-entropy method finds, by the
mean return of imagined particles in several learned models.

Departs from the paper: models learn the reward unless it is known; they are fitted until none of
them comes closer to held-out steps; the mean of the last distribution is the plan.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from spinward.core import Box, Key, Memory, Metrics, Obs, Spec, Transition, config, struct
from spinward.errors import SettingsError
from spinward.experience.batches import check_bounded, check_vectors
from spinward.experience.wanted import Rollouts
from spinward.models.branched import EnsembleWorld, Rewards
from spinward.models.dynamics import Dynamics
from spinward.models.imagined import never
from spinward.models.learned import LearnedModel, check_model
from spinward.search.cem import cem


@struct
class Agent:
    model: LearnedModel


@config
class PETS:
    envs: int = 1  # environments stepped side by side
    rollout: int = 200  # steps of each between fits of the models
    capacity: int = 100_000  # real steps that models are fitted to
    window: int = 5  # real steps in a row over which the models' errors are measured
    models: int = 5  # of the environment, side by side
    model_hidden: tuple[int, ...] = (200, 200, 200)  # widths of their hidden layers
    lr: float = 1e-3  # Adam step size of the models
    decay: float = 5e-5  # weight decay of the models
    batch: int = 128  # rows in each of their gradient steps
    minibatches: int = 50  # such steps between evaluations on held-out rows
    epochs: int = 40  # evaluations in one fit at most
    patience: int = 4  # evaluations without a gain after which a fit ends
    learn_terminal: bool = True  # learn which steps terminate; if not, `terminal` knows
    horizon: int = 25  # actions of a plan
    plans: int = 400  # sampled in each iteration of the search
    elites: int = 40  # of these, the best, which the next plans resemble
    iterations: int = 5  # of the search at most
    inertia: float = 0.1  # share of the old mean and variance in those of the next iteration
    particles: int = 20  # imagined for each plan, a multiple of `models`
    bound: bool = True  # each particle keeps its model (TS-inf); if not, steps mix them (TS1)
    terminal: Callable[[Array], Array] = never  # whether an observation ends the episode
    known_reward: Rewards | None = None  # of (obs, action, next obs); None: it is learned

    def check(self, spec: Spec) -> None:
        check_bounded("pets", spec)
        check_vectors("pets", spec)
        check_model(self)
        if not 1 <= self.elites <= self.plans:
            raise SettingsError(f"elites={self.elites} must be from 1 to plans={self.plans}")
        if self.particles % self.models:
            raise SettingsError(
                f"particles={self.particles} is no multiple of models={self.models}, each of "
                "which takes as many"
            )

    def wants(self, spec: Spec) -> Rollouts:
        return Rollouts(self.envs, self.rollout)

    def init(self, key: Key, spec: Spec) -> Agent:
        return Agent(LearnedModel.init(key, spec, self))

    def memory(self, agent: Agent, envs: int) -> Memory:
        """Where the search starts [env, horizon, dim]: the last plan, without its first action."""
        assert isinstance(agent.model.real.action, Box)
        return jnp.zeros((envs, self.horizon, agent.model.real.action.size))

    def act(
        self, agent: Agent, obs: Obs, memory: Memory, key: Key, explore: bool = True
    ) -> tuple[Array, Memory, dict[str, Any]]:
        """The first actions of plans. Before the first fit, `explore` takes random ones; without
        `explore` plans are always tried with the same samples, so that an action depends on what
        was seen alone."""
        k_plan, k_random = jax.random.split(key)
        envs = obs.shape[0]
        keys = jax.random.split(k_plan, envs)
        if not explore:
            keys = jnp.zeros_like(keys)
        world = agent.model.world(self)
        plan = jax.vmap(lambda obs, start, key: self.planned(world, obs, start, key))
        plans = plan(obs, memory, keys)
        action = plans[:, 0]
        if explore:
            random = jax.random.uniform(k_random, action.shape, minval=-1.0, maxval=1.0)
            action = jnp.where(agent.model.steps.count > 0, action, random)
        memory = jnp.concatenate([plans[:, 1:], jnp.zeros_like(plans[:, :1])], 1)
        return action, memory, {}

    def planned(self, world: EnsembleWorld, obs: Array, start: Array, key: Key) -> Array:
        """A plan [horizon, dim] with a high mean return from `obs` [dim]."""

        def score(plans: Array, key: Key) -> Array:
            return self.returns(world, obs, plans, key).mean(0)

        sizes = self.plans, self.elites, self.iterations, self.inertia
        return cem(score, start, key, -1.0, 1.0, *sizes)

    def returns(self, world: EnsembleWorld, obs: Array, plans: Array, key: Key) -> Array:
        """The returns [particle, plan] of imagined particles from `obs` [dim], each of which
        follows a plan [plan, horizon, dim] until its episode ends."""
        rows = self.particles * plans.shape[0]
        actions = jnp.tile(plans.swapaxes(0, 1), (1, self.particles, 1))

        def step(
            state: tuple[Array, Array, Array], x: tuple[Array, Key]
        ) -> tuple[tuple[Array, Array, Array], None]:
            obs, alive, total = state
            obs, reward, terminated = world.step(obs, x[0], x[1], self.bound)
            return (obs, alive & ~terminated, total + jnp.where(alive, reward, 0.0)), None

        first = jnp.broadcast_to(obs, (rows, *obs.shape)).astype(jnp.float32)
        start = first, jnp.ones(rows, bool), jnp.zeros(rows)
        keys = jax.random.split(key, self.horizon)
        total = jax.lax.scan(step, start, (actions, keys))[0][2]
        return total.reshape(self.particles, -1)

    def dynamics(self, agent: Agent) -> Dynamics:
        return agent.model.dynamics

    def update(self, agent: Agent, batch: Transition, key: Key) -> tuple[Agent, Metrics]:
        model, metrics = agent.model.fitted(batch, key, self)
        metrics["grad_norm"] = metrics["model_grad_norm"]
        return Agent(model), {**metrics, "loss": -metrics["model_likelihood"]}
