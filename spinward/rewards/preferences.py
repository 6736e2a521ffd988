"""A reward learned from comparisons of clips (Christiano et al., 2017, arXiv:1706.03741; Ibarz et
al., 2018, arXiv:1811.06521; for replayed steps Lee et al., 2021, arXiv:2106.05091).

Departs from the papers: each label is drawn into each member's training set a Poisson number of
times, so that a label that was held out stays held out while labels are added (Oza and Russell,
2001); vectors are scaled by the statistics of the labelled clips before the first fit; in PEBBLE's
unsupervised start, neighbours are those in the batch, not in the whole replay.
"""

from functools import partial
from typing import Any, NamedTuple

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
    Obs,
    Spec,
    Transition,
    config,
    replace,
    struct,
)
from spinward.errors import SettingsError
from spinward.learning.steps import Learner, adam, descend
from spinward.losses.preference import noisy_comparison
from spinward.networks.neighbours import spread_of_states
from spinward.networks.normaliser import ObsNormaliser
from spinward.networks.predictor import RewardPredictor

PEOPLE = "people"
TEACHERS = (PEOPLE, "oracle", "mistake", "noisy", "myopic", "skip", "equal", "random")
QUERIES = ("disagreement", "random")
SHOWS = ("pictures", "numbers")
RAISE, LOWER = 1.5, 1.1  # held-out loss over training loss: above, below: more, less weight decay
LEAST = 8  # labels before a predictor's first fit
RATE = 1.001  # by which the weight decay changes with each gradient step (Ibarz et al., 2018)


@struct
class PreferenceState:
    """The predictors and their scale, which do not change between two fits."""

    members: Learner  # RewardPredictors; every leaf is [members, ...]
    decay: Array  # [members] weight of the squared parameters
    mean: Array  # [members] of the predictions for the labelled steps
    std: Array  # [members]
    inputs: ObsNormaliser
    fits: Array  # so far
    labels: Array  # that the last fit has learned from
    last: Array  # the number of the last response that the last fit knew
    accuracy: Array  # share of held-out labels that the members predict
    held_out: Any = ()  # a HeldOut, where answers are kept out; else ()


@struct
class HeldOut:
    """What a predictor that learned from other answers says of the policy."""

    predictor: PreferenceState
    proxy: Array  # score of the policy's newest clips by the reward itself
    score: Array  # the same by `predictor`, whose answers the reward does not know


class Comparisons(NamedTuple):
    """Labelled pairs of clips; rows without a label have weight 0."""

    obs: Obs  # [labels, 2, steps, ...]
    action: Array  # [labels, 2, steps, ...]
    share: Array  # [labels] of the answers that prefer the first clip
    weight: Array  # [labels]
    counts: Array  # [members, labels] how often each is in a member's training set; 0: held out


@config
class Preferences:
    """The mean prediction of an ensemble that learns which of two clips people prefer. Training
    asks the questions: `spinward label RUN` shows them."""

    teacher: str = PEOPLE  # who answers: people; or from the true reward: oracle, mistake, ...
    labels: int = 700  # answers to ask for, over the whole run
    segment: int = 25  # steps of a clip
    initial_share: float = 0.25  # of the labels, asked before training starts
    unsupervised: int = 0  # rounds before the first question, in which new states are the reward
    neighbours: int = 5  # the nearest of a batch by which a state is new
    reset_critic: bool = False  # when the learned reward takes the place of the first one
    halving_share: float = 0.5  # of the run, after which questions come half as often
    rounds: int = 10  # of questions while training
    wait: bool = True  # training waits for the answers; if not, it goes on with those there are
    overlap: int = 1  # people who answer each question
    repeat_share: float = 0.05  # of the questions, asked again to see who agrees with themselves
    queries: str = "disagreement"  # pairs that the members disagree on most, or random pairs
    candidates: int = 10  # random pairs for each pair that is asked
    show: str = "pictures"  # what people see: pictures, or numbers of the observations as bars
    fps: int = 20  # frames a second of a clip
    keep_out: int = 0  # one answer in so many is kept out, to watch the reward by; 0: none
    keep_out_clips: int = 32  # filmed at each log point to watch the reward by
    demos: str = ""  # data set of demonstrations: their clips are preferred to the first policy's
    demo_weight: float = 0.5  # of such a label at the start; that of an answer is 1
    demo_halving_share: float = 0.1  # of the run, after which that weight is half, and so on
    members: int = 3  # predictors
    hidden: tuple[int, ...] = (64, 64)  # widths of each predictor
    lr: float = 1e-3  # Adam step size of the predictors
    batch: int = 16  # labels in a gradient step
    updates: int = 50  # gradient steps of each fit
    first_updates: int = 150  # gradient steps of the first fit
    error_share: float = 0.1  # of the answers that are assumed to be given at random
    weight_decay: float = 1e-4  # at the start; it adapts to keep held-out loss near training loss
    scale: float = 1.0  # standard deviation of the reward on the labelled clips

    def check(self) -> None:
        """Raises SettingsError for words that mean nothing here."""
        for name, known in (("teacher", TEACHERS), ("queries", QUERIES), ("show", SHOWS)):
            if getattr(self, name) not in known:
                raise SettingsError(
                    f"reward.{name}={getattr(self, name)!r} must be one of {', '.join(known)}"
                )
        if self.halving_share and round(self.initial_share * self.labels) < 1:
            raise SettingsError(
                f"reward.initial_share={self.initial_share:g} of reward.labels={self.labels} is no "
                "question before training starts, when the first clips are compared: raise one of "
                f"them; --reward.initial-share {min(1.0, 1.0 / self.labels):.3g} asks one"
            )
        if not 0 <= self.unsupervised < self.rounds:
            raise SettingsError(
                f"reward.unsupervised={self.unsupervised} must be 0 to {self.rounds - 1}, so that "
                f"questions are left for one of reward.rounds={self.rounds}"
            )
        if self.keep_out == 1:
            raise SettingsError(
                "reward.keep_out=1 keeps every answer out, so that the reward learns from none: "
                "give 2 or more, or 0 to keep none out"
            )
        if self.labels < LEAST * self.keep_out:
            raise SettingsError(
                f"reward.labels={self.labels} are too few to keep one in {self.keep_out} out: the "
                f"second predictor needs {LEAST} answers, which takes reward.labels="
                f"{LEAST * self.keep_out}"
            )

    @property
    def optimiser(self) -> optax.GradientTransformation:
        return adam(self.lr)

    def init(self, key: Key, spec: Spec) -> PreferenceState:
        state = self.first(key, spec)
        if not self.keep_out:
            return state
        zero = jnp.float32(0.0)
        other = self.first(jax.random.fold_in(key, 1), spec)
        return replace(state, held_out=HeldOut(other, zero, zero))

    def first(self, key: Key, spec: Spec) -> PreferenceState:
        """Predictors that have learned nothing."""

        def member(key: Key) -> Learner:
            return Learner.init(RewardPredictor.init(key, spec, self.hidden), self.optimiser)

        members, zero = jax.vmap(member)(jax.random.split(key, self.members)), jnp.float32(0.0)
        decay = jnp.full(self.members, self.weight_decay)
        zeros, ones, none = jnp.zeros(self.members), jnp.ones(self.members), jnp.int32(0)
        inputs = ObsNormaliser.init(spec)
        return PreferenceState(members, decay, zeros, ones, inputs, none, none, none, zero)

    def label(
        self, state: PreferenceState, batch: Transition, key: Key, context: Context = ROLLOUT
    ) -> tuple[PreferenceState, Transition, Metrics]:
        """Replaces every reward by the prediction; before the first fit by 0, or in unsupervised
        rounds by how far a state is from others. No other part of the
        loop sees the environment's own reward."""
        each = self.each(state, batch.obs, batch.action)
        shape = (-1,) + (1,) * (each.ndim - 1)
        normal = (each - state.mean.reshape(shape)) / state.std.reshape(shape)
        start = self.newness(batch, context) if self.unsupervised else 0.0
        reward = jnp.where(state.fits > 0, self.scale * normal.mean(0), start)
        own = {ENV_REWARD: reward} if ENV_REWARD in batch.extras else {}
        metrics = {
            "predicted_reward": (batch.weight * reward).sum() / jnp.maximum(batch.weight.sum(), 1),
            "labels": state.labels.astype(jnp.float32),
            "predictor_accuracy": state.accuracy,
        }
        if self.keep_out:
            held = state.held_out
            metrics |= {"proxy_score": held.proxy, "held_out_score": held.score}
            metrics["held_out_labels"] = held.predictor.labels.astype(jnp.float32)
        return state, replace(batch, reward=reward, extras={**batch.extras, **own}), metrics

    def newness(self, batch: Transition, context: Context) -> Array:
        """How far each successor is from the others: of its replayed batch, or of the rollout."""
        shape = batch.reward.shape
        parts = [x.reshape(*shape, -1) for x in jax.tree.leaves(batch.next_obs)]
        rows = jnp.concatenate([x.astype(jnp.float32) for x in parts], -1)
        group = shape[-1] if context.replayed else -1
        rows = rows.reshape(-1 if context.replayed else 1, group, rows.shape[-1])
        return spread_of_states(jax.lax.stop_gradient(rows), self.neighbours).reshape(shape)

    def each(self, state: PreferenceState, obs: Obs, action: Array) -> Array:
        """The predictions [members, ...] of all members, before they are scaled."""
        inputs = jax.lax.stop_gradient(state.inputs(obs))
        predict = jax.vmap(lambda model: model(inputs, action))
        return jax.lax.stop_gradient(predict(state.members.model))

    def fit(self, state: PreferenceState, data: Comparisons, index: Array) -> PreferenceState:
        """The state after a gradient step on each batch of labels `index` [updates, members,
        batch], with the weight decay and the scale adapted to the result."""
        weight = data.weight[:, None] * jnp.ones(data.action.shape[1:3]).reshape(-1)
        rows = jax.tree.map(lambda x: x.reshape(x.shape[0], -1, *x.shape[3:]), data.obs)
        known = state.inputs.add(rows, weight)
        inputs = jax.tree.map(lambda a, b: jnp.where(state.fits > 0, a, b), state.inputs, known)
        obs = inputs(data.obs)

        def step(members: Learner, index: Array) -> tuple[Learner, None]:
            return jax.vmap(partial(self.step, obs, data))(members, state.decay, index)[0], None

        members, _ = jax.lax.scan(step, state.members, index)
        state = replace(state, members=members, inputs=inputs, fits=state.fits + 1)
        return self.validated(state, data, index.shape[0])

    def step(
        self, obs: Obs, data: Comparisons, member: Learner, decay: Array, index: Array
    ) -> tuple[Learner, Metrics]:
        """A member after one gradient step on the labels `index` [batch]."""
        batch = jax.tree.map(lambda x: x[index], (obs, data.action, data.share))
        return descend(self.loss, self.optimiser, member, decay, *batch)

    def loss(
        self, model: RewardPredictor, decay: Array, obs: Obs, action: Array, share: Array
    ) -> tuple[Array, Metrics]:
        """The loss of comparisons by the sums of predictions over clips, and the weight decay."""
        total = model(obs, action).sum(-1)
        loss = noisy_comparison(total[:, 0] - total[:, 1], share, self.error_share).mean()
        squares = sum(jnp.square(layer.w).sum() for layer in model.layers.layers)
        return loss + decay * squares, {}

    def validated(self, state: PreferenceState, data: Comparisons, steps: int) -> PreferenceState:
        """The state with its scale, held-out accuracy and weight decay measured anew."""
        each = self.each(state, data.obs, data.action)  # [members, labels, 2, steps]
        total = each.sum(-1)
        margin = total[..., 0] - total[..., 1]
        loss = noisy_comparison(margin, data.share, self.error_share)
        held = data.weight * (data.counts == 0)
        train, test = (mean(loss, w, 1) for w in (data.weight * data.counts, held))
        decay = jnp.where(test > RAISE * train, state.decay * RATE**steps, state.decay)
        decay = jnp.where(test < LOWER * train, state.decay / RATE**steps, decay)
        decisive = held * (data.share != 0.5)
        right = (margin > 0.0) == (data.share > 0.5)
        rows = jnp.broadcast_to(data.weight[:, None, None], each.shape[1:])
        average = mean(each, rows, (1, 2, 3))
        square = mean(jnp.square(each - average[:, None, None, None]), rows, (1, 2, 3))
        std = jnp.maximum(jnp.sqrt(square), 1e-4)
        accuracy = mean(right, decisive, (0, 1))
        return replace(state, decay=decay, mean=average, std=std, accuracy=accuracy)


def mean(x: Array, weight: Array, axis: Any) -> Array:
    """The weighted mean over some axes; 0 where there is no weight."""
    weight = jnp.broadcast_to(weight, x.shape)
    return (x * weight).sum(axis) / jnp.maximum(weight.sum(axis), 1e-8)
