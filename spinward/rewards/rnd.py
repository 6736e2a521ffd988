"""The environment's reward and a bonus for what is new to a network, by random network distillation
(Burda et al., 2019, arXiv:1810.12894).

Departs from the paper: one value serves both rewards, with the algorithm's discount, so that any
algorithm can use it, and what would follow the end of an episode is the mean bonus, in place of a
value of its own that ends do not cut; observations are whitened as they come and give no bonus in
the first batches, in place of rollouts of a random agent; convolutions are the policy's.
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
class Judge:
    predictor: Learner
    target: Features
    whitener: Whitener
    total: Array  # [env] discounted bonus, over the ends of episodes
    moments: Moments  # of these totals
    labels: Array  # batches judged


@config
class RND:
    """Adds `beta` times the error of foretelling the next state, over its running deviation."""

    beta: float = 0.5  # weight of the bonus beside the reward; the paper's 1 beside 2
    lr: float = 1e-4  # Adam step size of the predictor
    gamma: float = 0.99  # discount of the bonus in its scale, and in what follows an end
    share: float = 0.25  # of the steps that the predictor learns from, so that it learns slowly
    quiet: int = 4  # batches at first that give no bonus, while the statistics settle
    width: int = 128  # of the hidden layers
    outputs: int = 128  # numbers that are foretold

    @property
    def optimiser(self) -> optax.GradientTransformation:
        return adam(self.lr, eps=1e-5)

    def init(self, key: Key, spec: Spec) -> Judge:
        check_discount(self.gamma)
        nets = Distillation.init(key, spec, self.width, self.outputs)
        predictor = Learner.init(nets.predictor, self.optimiser)
        total = jnp.zeros(spec.envs)
        return Judge(
            predictor, nets.target, Whitener.init(spec), total, Moments.init(), jnp.int32(0)
        )

    def label(
        self, state: Judge, batch: Transition, key: Key, context: Context = ROLLOUT
    ) -> tuple[Judge, Transition, Metrics]:
        """Of rollouts [time, env], or of what is drawn from a replay, in which no row of steps goes
        on: there the scale is that of a step's bonus."""
        shape, whole = batch.reward.shape, (-1, batch.reward.shape[-1])
        weight = batch.weight.reshape(whole)
        seen = jax.tree.map(
            lambda x: x.reshape(*weight.shape, *x.shape[len(shape) :]), batch.next_obs
        )
        whitener = state.whitener.add(seen, weight)
        seen = whitener(seen)
        bonus = distance(state.predictor.model, state.target, seen)
        total, totals = state.total, bonus
        if not context.replayed:
            rows, totals = self.totals(of_batch(total, batch), bonus)
            total = with_batch(total, rows, batch)
        moments = state.moments.add(totals, weight)
        loud = (state.labels >= self.quiet).astype(jnp.float32)
        bonus = loud * weight * bonus * jax.lax.rsqrt(moments.var + 1e-12)
        counted = weight * (jax.random.uniform(key, weight.shape) < self.share)
        predictor, learned = descend(
            self.loss, self.optimiser, state.predictor, state.target, seen, counted
        )
        bonus = bonus.reshape(shape)
        extras = {**batch.extras, ENV_REWARD: batch.reward, "bonus": bonus}
        state = Judge(predictor, state.target, whitener, total, moments, state.labels + 1)
        told = {"bonus": bonus.mean(), "rnd_loss": learned["loss"]}
        reward = batch.reward + self.beta * outlasting(bonus, batch, self.gamma)
        return state, replace(batch, reward=reward, extras=extras), told

    def totals(self, total: Array, bonus: Array) -> tuple[Array, Array]:
        """The discounted bonus so far [time, env], which no end of an episode interrupts."""

        def step(total: Array, bonus: Array) -> tuple[Array, Array]:
            total = self.gamma * total + bonus
            return total, total

        return jax.lax.scan(step, total, bonus)

    def loss(
        self, predictor: Features, target: Features, seen: Array, weight: Array
    ) -> tuple[Array, Metrics]:
        return mean(distance(predictor, target, seen), weight), {}
