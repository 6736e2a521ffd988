"""Checks of settings, and the optimiser, that all algorithms for texts share."""

from functools import partial
from typing import Any

import jax
import optax
from jax import Array

from spinward.core import Discrete, Reader, Spec, replace
from spinward.errors import SettingsError
from spinward.learning.steps import adam
from spinward.networks.decoder import FAMILIES
from spinward.networks.lora import Lora


def with_start(settings: Any, reader: Reader) -> Any:
    """The settings with the initial model, where one is named."""
    start = reader.start()
    return settings if start is None else replace(settings, start=start)


def check_start(settings: Any, spec: Spec, needed: bool = True) -> None:
    """Raises SettingsError where there is no initial model, or where its vocabulary is another."""
    name, start = type(settings).__name__, settings.start
    for field in ("batch", "updates", "envs", "rollout", "group", "epochs", "accumulate"):
        if getattr(settings, field, 1) < 1:
            raise SettingsError(f"{field}={getattr(settings, field)} must be at least 1")
    if not settings.temperature > 0.0:
        raise SettingsError(f"temperature={settings.temperature} must be above 0")
    if settings.lora < 0:
        raise SettingsError(f"lora={settings.lora} must be a rank, or 0")
    tokens = spec.action.n if isinstance(spec.action, Discrete) else 0
    if spec.obs.shape != () or not tokens:  # type: ignore[union-attr]
        raise SettingsError(f"{name} writes text, and needs a task of text, such as Grammar")
    if start is None:
        if needed or settings.lora:
            raise SettingsError(
                f"{name} starts from a language model: name the folder of one, or a run that "
                "trained one, with --model"
            )
        check_scratch(settings)
    elif start.shape.vocab != tokens:
        raise SettingsError(
            f"the model has {start.shape.vocab} tokens and the task {tokens}: they do not fit"
        )
    elif settings.lora:  # `Lora.init` refuses a rank that is too high
        jax.eval_shape(partial(Lora.init, decoder=start, rank=settings.lora), jax.random.key(0))


def check_scratch(settings: Any) -> None:
    if settings.family not in FAMILIES:
        raise SettingsError(f"family={settings.family!r} is not one of {', '.join(FAMILIES)}")
    if settings.width % (2 * settings.heads):
        raise SettingsError(
            f"width={settings.width} must be an even number for each of heads={settings.heads}"
        )


def optimiser(settings: Any, lr: float | Array) -> optax.GradientTransformation:
    """Adam; the gradients of `accumulate` parts are averaged into one step."""
    inner = adam(lr, settings.max_grad_norm)
    if settings.accumulate == 1:
        return inner
    return optax.MultiSteps(inner, settings.accumulate).gradient_transformation()
