"""A reward model's score of each completion, at its last token (Ziegler et al., 2019,
arXiv:1909.08593, section 2.1; Stiennon et al., 2020, arXiv:2009.01325)."""

from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from spinward.core import (
    ROLLOUT,
    Context,
    Key,
    Metrics,
    Reader,
    Spec,
    Transition,
    config,
    replace,
    struct,
)
from spinward.errors import DamagedFileError, SettingsError
from spinward.networks.language_policy import scores


@struct
class ScoreScale:
    """The mean and the standard deviation of the scores of the policy's first completions."""

    texts: Array  # completions that they were estimated from
    mean: Array
    std: Array  # standard deviation


@config
class RewardModelScore:
    """The reward of a completion is its score by a reward model. Scores are scaled to mean 0 and
    standard deviation 1 on the policy's first completions, so that a coefficient of the KL penalty
    means the same for every reward model."""

    run: str = ""  # the run of a reward model
    unfinished: float = -1.0  # reward of a truncated completion, in place of its score
    texts: int = 256  # first completions, from which the scale of the scores is estimated
    model: Any = None  # the reward model itself, read from `run`

    def opened(self, reader: Reader) -> "RewardModelScore":
        """These settings with the reward model read from `run`.

        Raises:
            SettingsError: `run` is empty, or the model that it trained has no score.
            DamagedFileError: a parameter of the model is not finite.
        """
        if not self.run:
            raise SettingsError("run='': name the run of a reward model with --reward-model")
        model = reader.trained(self.run)
        if model.head is None:
            raise SettingsError(f"run={self.run!r} trained a policy; expected a reward model")
        if not all(bool(jnp.isfinite(x).all()) for x in jax.tree.leaves(model)):
            raise DamagedFileError(f"{self.run}: parameters of the reward model are not finite")
        return replace(self, model=model)

    def init(self, key: Key, spec: Spec) -> ScoreScale:
        return ScoreScale(jnp.float32(0.0), jnp.float32(0.0), jnp.float32(0.0))

    def label(
        self, state: ScoreScale, batch: Transition, key: Key, context: Context = ROLLOUT
    ) -> tuple[ScoreScale, Transition, Metrics]:
        raw = jax.lax.stop_gradient(scores(self.model, batch))
        state = self.scale(state, raw)
        score = (raw - state.mean) / jnp.maximum(state.std, 1e-6)
        score = jnp.where(batch.terminated.any(0), score, self.unfinished)
        reward = jnp.where(batch.done, score, 0.0)
        return state, replace(batch, reward=reward), {"score": score.mean()}

    def scale(self, state: ScoreScale, score: Array) -> ScoreScale:
        """The scale with the scores [env] of a further batch added, until `texts` completions have
        been seen (Chan et al., 1979)."""
        count, size = state.texts, score.size
        total = count + size
        change = score.mean() - state.mean
        squares = state.std**2 * count + score.var() * size + change**2 * count * size / total
        more = ScoreScale(total, state.mean + change * size / total, jnp.sqrt(squares / total))
        return jax.tree.map(lambda a, b: jnp.where(count < self.texts, a, b), more, state)
