"""Decision Transformer: logged actions are predicted from the return that followed them, and a high
return is asked for (Chen et al., 2021, arXiv:2106.01345).

Departs from the paper: no dropout; GELU; returns are scaled by the largest of the data; the return
that is asked for is a quantile of the data's, where none is set; each context ends with a step that
is drawn uniformly.
"""

from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax import Array

from spinward.core import (
    Discrete,
    Key,
    Memory,
    Metrics,
    Obs,
    Spec,
    Transition,
    config,
    replace,
    struct,
)
from spinward.errors import SettingsError
from spinward.experience.batches import check_policy
from spinward.experience.episodes import TIME, TO_GO
from spinward.experience.wanted import Logged
from spinward.learning.minibatches import means
from spinward.learning.steps import Learner, descend, with_clipping
from spinward.networks.distributions import Categorical
from spinward.networks.normaliser import ObsNormaliser
from spinward.networks.recurrent import REWARD
from spinward.networks.return_conditioned import PastSteps, ReturnConditioned


@struct
class Agent:
    learner: Learner
    obs: ObsNormaliser  # of the data
    scale: Array  # what returns are divided by
    target: Array  # the return that is asked for
    updates: Array


@config
class DecisionTransformer:
    batch: int = 64  # contexts in each gradient step
    updates: int = 100  # gradient steps in each iteration
    context: int = 20  # steps that the policy reads
    target_return: tuple[float, ...] = ()  # that is asked for; none: by `target_quantile`
    target_quantile: float = 0.95  # of the returns of the data's episodes, that is asked for
    best_share: float = 1.0  # share of the steps that is learned from: of the best episodes
    width: int = 128  # of the transformer
    layers: int = 3  # of the transformer
    heads: int = 1  # of each layer
    longest: int = 1000  # steps of an episode whose times are told apart; later ones are the last
    lr: float = 3e-4  # step size of Adam
    first_updates: int = 500  # gradient steps over which the step size rises
    weight_decay: float = 1e-4  # of all parameters
    max_grad_norm: float = 0.25  # global norm gradients are clipped to

    def check(self, spec: Spec) -> None:
        check_policy("decision_transformer", spec)
        if len(self.target_return) > 1:
            raise SettingsError(f"target_return={self.target_return}: expected one number, or none")
        if not 0.0 <= self.target_quantile <= 1.0:
            raise SettingsError(f"target_quantile={self.target_quantile} must be between 0 and 1")
        if not 0.0 < self.best_share <= 1.0:
            raise SettingsError(f"best_share={self.best_share} must be above 0 and at most 1")
        if self.width % self.heads:
            raise SettingsError(f"heads={self.heads} does not divide width={self.width}")

    def wants(self, spec: Spec) -> Logged:
        return Logged(self.updates, self.batch, self.context, self.best_share, returns=True)

    def optimiser(self, lr: float | Array) -> optax.GradientTransformation:
        adam = optax.adamw(lr, weight_decay=self.weight_decay)
        return with_clipping(self.max_grad_norm, adam)

    def init(self, key: Key, spec: Spec) -> Agent:
        sizes = self.width, self.layers, self.heads, self.longest
        model = ReturnConditioned.init(key, spec, *sizes)
        learner = Learner.init(model, self.optimiser(self.lr))
        one = jnp.float32(1.0)
        return Agent(learner, ObsNormaliser.init(spec), one, one, jnp.int32(0))

    def fit(self, agent: Agent, steps: Transition) -> Agent:
        """The agent with the scales of the data and the return to ask for."""
        to_go, first = steps.extras[TO_GO], steps.extras[TIME] == 0
        scale = jnp.maximum(jnp.abs(to_go).max(), 1e-6)
        returns = jnp.where(first, to_go, jnp.nan)
        target = jnp.nanquantile(returns, self.target_quantile)
        if self.target_return:
            target = jnp.float32(self.target_return[0])
        obs = agent.obs.add(steps.obs, steps.weight)
        return replace(agent, obs=obs, scale=scale, target=target)

    def memory(self, agent: Agent, envs: int) -> Memory:
        """The last steps of each environment; the newest is on the right."""
        spec, size = agent.learner.model.spec, (envs, self.context)
        kind = jnp.int32 if isinstance(spec.action, Discrete) else jnp.float32
        return {
            "obs": jax.tree.map(jnp.asarray, spec.zeros(*size)),
            "action": jnp.zeros((*size, *spec.action.shape), kind),
            "to_go": jnp.zeros(size),
            "steps": jnp.zeros(envs, jnp.int32),
            REWARD: jnp.zeros(envs),
        }

    def act(
        self, agent: Agent, obs: Obs, memory: Memory, key: Key, explore: bool = True
    ) -> tuple[Array, Memory, dict[str, Any]]:
        """The action, and the memory with this step. A return is asked for that falls by what was
        earned. Choices are sampled with `explore`; numbers never are."""
        steps = memory["steps"]
        left = memory["to_go"][:, -1] - memory[REWARD]
        to_go = shifted(memory["to_go"], jnp.where(steps == 0, agent.target, left))
        seen = jax.tree.map(shifted, memory["obs"], obs)
        actions = shifted(memory["action"], jnp.zeros_like(memory["action"][:, 0]))
        time = steps[:, None] + jnp.arange(1 - self.context, 1)
        before = PastSteps(agent.obs(seen), actions, to_go / agent.scale, time, time >= 0)
        action = agent.learner.model(before)[:, -1]
        if isinstance(agent.learner.model.spec.action, Discrete):
            policy = Categorical(action)
            action = policy.sample(key) if explore else policy.mode()
        memory = {
            "obs": seen,
            "action": actions.at[:, -1].set(action),
            "to_go": to_go,
            "steps": steps + 1,
            REWARD: memory[REWARD],
        }
        return action, memory, {}

    def update(self, agent: Agent, batches: Transition, key: Key) -> tuple[Agent, Metrics]:
        def step(agent: Agent, batch: Transition) -> tuple[Agent, Metrics]:
            warm = jnp.minimum((agent.updates + 1) / self.first_updates, 1.0)
            context, batch = context_of(agent, batch)
            learner, metrics = descend(
                self.loss, self.optimiser(self.lr * warm), agent.learner, context, batch
            )
            return replace(agent, learner=learner, updates=agent.updates + 1), metrics

        return jax.lax.scan(step, agent, batches)

    def loss(
        self, model: ReturnConditioned, context: PastSteps, batch: Transition
    ) -> tuple[Array, Metrics]:
        """Of all steps of the contexts: the negative log-likelihood of choices, or the squared
        error of numbers."""
        x = model(context)
        if isinstance(model.spec.action, Discrete):
            error = -Categorical(x).log_prob(batch.action)
        else:
            error = jnp.square(x - batch.action).reshape(*context.time.shape, -1).mean(-1)
        error = means({"error": error}, batch.weight * context.valid)["error"]
        return error, {}


def shifted(rows: Array, newest: Array) -> Array:
    """`rows` [batch, time, ...] without the oldest, and with the newest on the right."""
    return jnp.concatenate([rows[:, 1:], newest[:, None].astype(rows.dtype)], 1)


def context_of(agent: Agent, batch: Transition) -> tuple[PastSteps, Transition]:
    """Windows [time, batch, ...] of logged steps as contexts [batch, time, ...] of the episodes of
    their last steps, and the same windows. What is of an episode before is padding."""
    batch = jax.tree.map(lambda x: x.swapaxes(0, 1), batch)
    size = batch.reward.shape[1]
    time = batch.extras[TIME][:, -1:] + jnp.arange(1 - size, 1)
    to_go = batch.extras[TO_GO] / agent.scale
    return PastSteps(agent.obs(batch.obs), batch.action, to_go, time, time >= 0), batch
