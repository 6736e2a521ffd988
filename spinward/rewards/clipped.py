"""The sign of the environment's reward, from which the Atari agents of Mnih et al. (2015) learn."""

from typing import ClassVar

import jax.numpy as jnp

from spinward.core import ROLLOUT, Context, Key, Metrics, Spec, Transition, config, replace


@config
class Clipped:
    """Rewards of -1, 0 or 1; the episode return is still that of the environment's own reward."""

    bounds: ClassVar[tuple[float, float]] = -1.0, 1.0

    def init(self, key: Key, spec: Spec) -> tuple[()]:
        return ()

    def label(
        self, state: tuple[()], batch: Transition, key: Key, context: Context = ROLLOUT
    ) -> tuple[tuple[()], Transition, Metrics]:
        return state, replace(batch, reward=jnp.sign(batch.reward)), {}
