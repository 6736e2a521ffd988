"""The environment's own reward."""

from spinward.core import ROLLOUT, Context, Key, Metrics, Spec, Transition, config


@config
class Environment:
    """Leaves the rewards of a batch unchanged."""

    def init(self, key: Key, spec: Spec) -> tuple[()]:
        return ()

    def label(
        self, state: tuple[()], batch: Transition, key: Key, context: Context = ROLLOUT
    ) -> tuple[tuple[()], Transition, Metrics]:
        return state, batch, {}
