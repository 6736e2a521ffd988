"""The environment's reward and a bonus for novel states, by random network distillation (Burda et
al., 2019, arXiv:1810.12894).

Departs from the paper: one value with the algorithm's discount estimates both rewards, so that any
algorithm can use the bonus; a step that ends an episode is paid the mean bonus for what would have
followed, in place of a separate, non-episodic value; observations are whitened by running
statistics and the first batches give no bonus, in place of rollouts of a random agent;
convolutions are those of the policy.
"""

import jax
import jax.numpy as jnp
import optax
from jax import Array

from spinward.core import (
    ENV_REWARD,
    ROLLOUT,
    Context,
    Key,
    Metrics,
    Spec,
    Transition,
    config,
    replace,
    struct,
)
from spinward.learning.minibatches import mean
from spinward.learning.steps import Learner, adam, descend
from spinward.networks.distillation import Distillation, Features, Whitener, distance
from spinward.networks.normaliser import Moments
from spinward.networks.per_env import of_batch, with_batch
from spinward.targets.returns import check_discount, outlasting


@struct
class RNDState:
    """The networks and the statistics that the bonus is computed from."""

    predictor: Learner
    target: Features
    whitener: Whitener
    total: Array  # [env] discounted bonus, over the ends of episodes
    moments: Moments  # of these totals
    labels: Array  # batches labelled


@config
class RND:
    """Adds `beta` times the error of predicting the features of the next state, divided by the
    running standard deviation of that error's discounted sum."""

    beta: float = 0.5  # weight of the bonus, for a reward of weight 1; in the paper 1 to 2
    lr: float = 1e-4  # Adam step size of the predictor
    gamma: float = 0.99  # discount of the bonus, in its scale and after the end of an episode
    share: float = 0.25  # of the steps that the predictor learns from, to make it learn slowly
    quiet: int = 4  # first batches, which give no bonus while the statistics settle
    width: int = 128  # of the hidden layers
    outputs: int = 128  # features of a state that are predicted

    @property
    def optimiser(self) -> optax.GradientTransformation:
        return adam(self.lr, eps=1e-5)

    def init(self, key: Key, spec: Spec) -> RNDState:
        check_discount(self.gamma)
        nets = Distillation.init(key, spec, self.width, self.outputs)
        predictor = Learner.init(nets.predictor, self.optimiser)
        total = jnp.zeros(spec.envs)
        return RNDState(
            predictor, nets.target, Whitener.init(spec), total, Moments.init(), jnp.int32(0)
        )

    def label(
        self, state: RNDState, batch: Transition, key: Key, context: Context = ROLLOUT
    ) -> tuple[RNDState, Transition, Metrics]:
        """Labels a rollout [time, env] or a replayed batch. A replayed batch has no consecutive
        steps to sum over, so that there the scale is that of a single step's bonus."""
        shape, whole = batch.reward.shape, (-1, batch.reward.shape[-1])
        weight = batch.weight.reshape(whole)
        obs = jax.tree.map(
            lambda x: x.reshape(*weight.shape, *x.shape[len(shape) :]), batch.next_obs
        )
        whitener = state.whitener.add(obs, weight)
        obs = whitener(obs)
        bonus = distance(state.predictor.model, state.target, obs)
        total, totals = state.total, bonus
        if not context.replayed:
            rows, totals = self.totals(of_batch(total, batch), bonus)
            total = with_batch(total, rows, batch)
        moments = state.moments.add(totals, weight)
        settled = (state.labels >= self.quiet).astype(jnp.float32)
        bonus = settled * weight * bonus * jax.lax.rsqrt(moments.var + 1e-12)
        counted = weight * (jax.random.uniform(key, weight.shape) < self.share)
        predictor, learned = descend(
            self.loss, self.optimiser, state.predictor, state.target, obs, counted
        )
        bonus = bonus.reshape(shape)
        extras = {**batch.extras, ENV_REWARD: batch.reward, "bonus": bonus}
        state = RNDState(predictor, state.target, whitener, total, moments, state.labels + 1)
        metrics = {"bonus": bonus.mean(), "rnd_loss": learned["loss"]}
        reward = batch.reward + self.beta * outlasting(bonus, batch, self.gamma)
        return state, replace(batch, reward=reward, extras=extras), metrics

    def totals(self, total: Array, bonus: Array) -> tuple[Array, Array]:
        """The discounted bonus so far [time, env], which no end of an episode interrupts."""

        def step(total: Array, bonus: Array) -> tuple[Array, Array]:
            total = self.gamma * total + bonus
            return total, total

        return jax.lax.scan(step, total, bonus)

    def loss(
        self, predictor: Features, target: Features, obs: Array, weight: Array
    ) -> tuple[Array, Metrics]:
        return mean(distance(predictor, target, obs), weight), {}
