"""Trajectory Transformer: a language model of trajectories, in which beam search plans (Janner et
al., 2021, arXiv:2106.02039).

Departs from the paper: no dropout, no stop token and no penalty at ends; the step size only warms
up; a plan fits into what the model reads, so that no key or value is computed twice; the model
reads one placeholder for every value.
"""

from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax import Array

from spinward.core import (
    Box,
    Discrete,
    Key,
    Memory,
    Metrics,
    Obs,
    Spec,
    Transition,
    config,
    replace,
    static,
    struct,
)
from spinward.errors import SettingsError
from spinward.experience.batches import check_policy
from spinward.experience.episodes import TIME, TO_GO
from spinward.experience.wanted import Logged
from spinward.learning.minibatches import means
from spinward.learning.steps import Learner, descend, with_clipping
from spinward.networks.discretiser import KINDS, Discretiser
from spinward.networks.recurrent import REWARD
from spinward.networks.trajectory_model import TrajectoryModel
from spinward.search import beam
from spinward.search.token_plans import TokenPlans
from spinward.trees import name_of


@struct
class Agent:
    learner: Learner
    discretiser: Discretiser
    updates: Array
    spec: Spec = static()


@config
class TrajectoryTransformer:
    batch: int = 64  # windows in each gradient step
    updates: int = 100  # gradient steps in each iteration
    context: int = 10  # steps that the model reads: past ones, and those of a plan
    bins: int = 100  # tokens of each entry of a step
    discretiser: str = "quantile"  # bins with equally many rows, or uniform: of equal width
    gamma: float = 0.99  # discount per step
    best_share: float = 1.0  # share of the steps that is learned from: of the best episodes
    horizon: int = 5  # steps of a plan
    plans: int = 16  # kept in each step of the search
    expand: int = 2  # ways in which each is continued
    cut_share: float = 0.6  # of the probability: the least likely actions are never tried
    action_weight: float = 5.0  # of the loss of actions; others have 1
    width: int = 128  # of the transformer
    layers: int = 4  # of the transformer
    heads: int = 4  # of each layer
    lr: float = 6e-4  # step size of Adam
    first_updates: int = 200  # gradient steps over which the step size rises
    weight_decay: float = 0.1  # of matrices; not of embeddings, norms and biases
    max_grad_norm: float = 1.0  # global norm gradients are clipped to

    def check(self, spec: Spec) -> None:
        check_policy("trajectory_transformer", spec)
        if not isinstance(spec.obs, Box) or len(spec.obs.shape) > 1:
            raise SettingsError(
                f"trajectory_transformer needs a vector as observation, not {spec.obs}"
            )
        if self.discretiser not in KINDS:
            raise SettingsError(f"discretiser={self.discretiser!r} must be {' or '.join(KINDS)}")
        if not self.horizon < self.context:
            raise SettingsError(
                f"horizon={self.horizon} must be below context={self.context}: a plan and at least "
                "one step before it are read together"
            )
        if isinstance(spec.action, Discrete) and spec.action.n > self.bins:
            raise SettingsError(f"bins={self.bins} is below the {spec.action.n} actions")
        if not 0.0 < self.best_share <= 1.0:
            raise SettingsError(f"best_share={self.best_share} must be above 0 and at most 1")
        if self.width % self.heads:
            raise SettingsError(f"heads={self.heads} does not divide width={self.width}")

    def wants(self, spec: Spec) -> Logged:
        sizes = self.updates, self.batch, self.context, self.best_share
        return Logged(*sizes, returns=True, gamma=self.gamma)

    def optimiser(self, lr: float | Array) -> optax.GradientTransformation:
        adam = optax.adamw(lr, 0.9, 0.95, weight_decay=self.weight_decay, mask=decayed)
        return with_clipping(self.max_grad_norm, adam, flat=False)

    def init(self, key: Key, spec: Spec) -> Agent:
        shape = self.bins, self.context, self.width, self.layers, self.heads
        model = TrajectoryModel.init(key, spec, *shape)
        learner = Learner.init(model, self.optimiser(self.lr))
        discretiser = Discretiser.init(model.entries, self.bins)
        return Agent(learner, discretiser, jnp.int32(0), replace(spec, envs=1))

    def fit(self, agent: Agent, steps: Transition) -> Agent:
        """The agent with the bins of the data."""
        rows = self.numbers(agent, steps)
        rows = rows.reshape(-1, rows.shape[-1])
        space, at = agent.spec.action, agent.learner.model.observed
        choices = {at: space.n} if isinstance(space, Discrete) else {}
        return replace(
            agent, discretiser=Discretiser.fitted(rows, self.bins, self.discretiser, choices)
        )

    def numbers(self, agent: Agent, steps: Transition) -> Array:
        """Each step as a vector [..., entries]: what was seen and done, the reward, and the return
        after it."""
        reward = steps.reward
        value = (steps.extras[TO_GO] - reward) / jnp.maximum(self.gamma, 1e-8)
        lead = reward.shape
        parts = (
            steps.obs.reshape(*lead, -1),
            steps.action.reshape(*lead, -1),
            reward[..., None],
            value[..., None],
        )
        return jnp.concatenate([part.astype(jnp.float32) for part in parts], -1)

    def memory(self, agent: Agent, envs: int) -> Memory:
        """The tokens of the last steps, and of the newest, whose reward is not known yet."""
        entries = agent.learner.model.entries
        return {
            "tokens": jnp.zeros((envs, self.context - self.horizon, entries), jnp.int32),
            "newest": jnp.zeros((envs, entries), jnp.int32),
            "steps": jnp.zeros(envs, jnp.int32),
            REWARD: jnp.zeros(envs),
        }

    def act(
        self, agent: Agent, obs: Obs, memory: Memory, key: Key, explore: bool = True
    ) -> tuple[Array, Memory, dict[str, Any]]:
        """The first action of the best plan. Plans are tried with sampled actions; without
        `explore` always with the same samples, so that an action depends on what was seen alone."""
        model, discretiser, steps = agent.learner.model, agent.discretiser, memory["steps"]
        envs, first = len(steps), model.observed
        reward = discretiser.tokens_of(memory[REWARD][:, None], slice(-2, -1))[:, 0]
        newest = memory["newest"].at[:, -2].set(reward)
        past = jnp.concatenate([memory["tokens"][:, 1:], newest[:, None]], 1)
        length = past.shape[1]
        valid = jnp.arange(length) >= length - steps[:, None]
        seen = discretiser.tokens_of(obs.reshape(envs, -1).astype(jnp.float32), slice(0, first))
        tokens = jnp.concatenate([past.reshape(envs, -1), seen], 1)
        mask = jnp.concatenate([jnp.repeat(valid, model.entries, 1), seen >= 0], 1)

        def plan(tokens: Array, mask: Array, key: Key) -> beam.Plans:
            cache = model.cache(1, self.context)
            hidden, cache = model.extend(tokens[None], mask[None], 0, cache)
            tried = TokenPlans(model, discretiser, self.cut_share)
            limits = self.plans, self.expand, self.horizon, self.gamma
            return beam.search(tried, (hidden, cache), key, *limits)

        number = jnp.arange(envs) if explore else jnp.zeros(envs, jnp.int32)
        key = key if explore else jax.random.PRNGKey(0)
        keys = jax.vmap(lambda env: jax.random.fold_in(key, env))(number)
        plans = jax.vmap(plan)(tokens, mask, keys)
        best = plans.actions[:, 0, 0]
        action = discretiser.values(best, slice(first, first + best.shape[1]))
        memory = {
            "tokens": past,
            "newest": jnp.concatenate([seen, best, jnp.zeros((envs, 2), jnp.int32)], 1),
            "steps": steps + 1,
            REWARD: memory[REWARD],
        }
        return self.of_space(agent.spec, action), memory, {}

    def of_space(self, spec: Spec, action: Array) -> Array:
        """Numbers [env, entries] as actions."""
        if isinstance(spec.action, Discrete):
            return jnp.round(action[:, 0]).astype(jnp.int32)
        return jnp.clip(action, -1.0, 1.0).reshape(len(action), *spec.action.shape)

    def update(self, agent: Agent, batches: Transition, key: Key) -> tuple[Agent, Metrics]:
        def step(agent: Agent, batch: Transition) -> tuple[Agent, Metrics]:
            warm = jnp.minimum((agent.updates + 1) / self.first_updates, 1.0)
            tokens, valid = self.windows(agent, batch)
            learner, metrics = descend(
                self.loss, self.optimiser(self.lr * warm), agent.learner, tokens, valid
            )
            return replace(agent, learner=learner, updates=agent.updates + 1), metrics

        return jax.lax.scan(step, agent, batches)

    def windows(self, agent: Agent, batch: Transition) -> tuple[Array, Array]:
        """The tokens [batch, steps * entries] of windows [steps, batch, ...], and which are of the
        episode of the first step; the others are padding."""
        batch = jax.tree.map(lambda x: x.swapaxes(0, 1), batch)
        tokens = agent.discretiser.tokens(self.numbers(agent, batch))
        time = batch.extras[TIME]
        valid = time == time[:, :1] + jnp.arange(time.shape[1])
        valid = jnp.repeat(valid & (batch.weight > 0), tokens.shape[-1], 1)
        return tokens.reshape(len(tokens), -1), valid

    def loss(self, model: TrajectoryModel, tokens: Array, valid: Array) -> tuple[Array, Metrics]:
        """The cross-entropy of each token given those before it in its window."""
        log_probs = jax.nn.log_softmax(model.logits(tokens, valid)[:, :-1])
        targets, weight = tokens[:, 1:], valid[:, 1:]
        nll = -jnp.take_along_axis(log_probs, targets[..., None], -1)[..., 0]
        entry = (jnp.arange(targets.shape[1]) + 1) % model.entries
        of_action = (entry >= model.observed) & (entry < model.entries - 2)
        scale = jnp.where(of_action, self.action_weight, 1.0)
        right = log_probs.argmax(-1) == targets
        metrics = means({"nll": nll * scale, "accuracy": right}, weight)
        return metrics["nll"], metrics


def decayed(model: Any) -> Any:
    """Which leaves are matrices of layers or heads."""

    def one(path: Any, leaf: Any) -> bool:
        return name_of(path).endswith((".w", "heads"))

    return jax.tree_util.tree_map_with_path(one, model)
