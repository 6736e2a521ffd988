"""A model of the environment that an agent keeps: an ensemble, the ends of episodes, and the real
steps that both are fitted to."""

from collections.abc import Callable
from typing import Any, Protocol

import jax
import jax.numpy as jnp
from jax import Array

from spinward.core import Box, Key, Metrics, Spec, Transition, replace, static, struct
from spinward.errors import SettingsError
from spinward.learning.steps import Learner, adam
from spinward.models.branched import EnsembleWorld, Rewards
from spinward.models.diagnostics import diagnosed, or_diverged
from spinward.models.dynamics import Dynamics, VectorScale
from spinward.models.ending import EndClassifier, fit_end
from spinward.models.fitting import Steps, fit, optimiser


class ModelSettings(Protocol):
    """An algorithm's settings of its model."""

    @property
    def envs(self) -> int: ...
    @property
    def rollout(self) -> int: ...
    @property
    def capacity(self) -> int: ...
    @property
    def window(self) -> int: ...
    @property
    def models(self) -> int: ...
    @property
    def model_hidden(self) -> tuple[int, ...]: ...
    @property
    def lr(self) -> float: ...
    @property
    def decay(self) -> float: ...
    @property
    def batch(self) -> int: ...
    @property
    def minibatches(self) -> int: ...
    @property
    def epochs(self) -> int: ...
    @property
    def patience(self) -> int: ...
    @property
    def learn_terminal(self) -> bool: ...
    @property
    def terminal(self) -> Callable[[Array], Array]: ...
    @property
    def known_reward(self) -> Rewards | None: ...


def check_model(settings: ModelSettings) -> None:
    """Raises SettingsError where the steps of a rollout do not suffice."""
    if settings.capacity < settings.envs * settings.rollout:
        raise SettingsError(
            f"capacity={settings.capacity} holds less than envs * rollout = "
            f"{settings.envs * settings.rollout} steps"
        )
    if settings.window > settings.rollout:
        raise SettingsError(
            f"window={settings.window} is more than the steps of each environment in a rollout, "
            f"rollout={settings.rollout}"
        )


@struct
class LearnedModel:
    learner: Learner  # of the ensemble
    end: Any  # a Learner of the ends; () where they are known
    inputs: VectorScale
    targets: VectorScale
    steps: Steps
    real: Spec = static()

    @classmethod
    def init(cls, key: Key, spec: Spec, settings: ModelSettings) -> "LearnedModel":
        k_members, k_end = jax.random.split(key)
        assert isinstance(spec.obs, Box) and isinstance(spec.action, Box)
        sizes = spec.obs.size, spec.action.size
        model = Dynamics.init(k_members, settings.models, *sizes, settings.model_hidden)
        learner = Learner.init(model.members, optimiser(settings.lr, settings.decay))
        end: Any = ()
        if settings.learn_terminal:
            classifier = EndClassifier.init(k_end, *sizes, settings.model_hidden)
            end = Learner.init(classifier, adam(settings.lr))
        steps = Steps.init(spec, settings.capacity, settings.learn_terminal)
        return cls(learner, end, model.inputs, model.targets, steps, spec)

    @property
    def dynamics(self) -> Dynamics:
        return Dynamics(self.learner.model, self.inputs, self.targets, True)

    def world(self, settings: ModelSettings) -> EnsembleWorld:
        """All members as the law of a world."""
        end = self.end.model if settings.learn_terminal else ()
        known = settings.terminal, settings.known_reward
        members = jnp.arange(settings.models)
        return EnsembleWorld(self.dynamics, members, end, self.real, *known)

    def fitted(
        self, batch: Transition, key: Key, settings: ModelSettings
    ) -> tuple["LearnedModel", Metrics]:
        """The model after a fit that includes the real steps [time, env] of `batch`.

        Errors over several steps and disagreement are measured before, on these steps, which no fit
        has seen.
        """
        k_fit, k_end = jax.random.split(key)
        bounded = isinstance(self.real.action, Box) and self.real.action.bounded
        before = self.dynamics
        steps = self.steps.add(batch, bounded)
        learner, model, metrics = fit(
            self.learner, before, steps, k_fit, settings.lr, settings.decay, settings.batch,
            settings.minibatches, settings.epochs, settings.patience,
        )  # fmt: skip
        metrics["model_error"] = or_diverged(metrics["model_error"])
        metrics |= diagnosed(before, model, steps, windows(batch, settings.window, bounded))
        end = self.end
        if settings.learn_terminal:
            end, ended = fit_end(
                end, model, steps, k_end, adam(settings.lr), settings.batch, settings.minibatches
            )
            metrics |= ended
        scales = {"inputs": model.inputs, "targets": model.targets}
        return replace(self, learner=learner, end=end, steps=steps, **scales), metrics


def windows(batch: Transition, window: int, bounded: bool) -> Transition:
    """The windows [window, row] that a batch [time, env] has side by side; actions as the
    environment took them."""
    if bounded:
        batch = replace(batch, action=jnp.clip(batch.action, -1.0, 1.0))
    parts = batch.reward.shape[0] // window

    def cut(x: Array) -> Array:
        x = x[: parts * window].reshape(parts, window, *x.shape[1:])
        return jnp.moveaxis(x, 0, 1).reshape(window, -1, *x.shape[3:])

    return jax.tree.map(cut, replace(batch, extras={}))
