"""What the algorithms that learn from texts have in common: what cannot work, and the optimiser."""

from functools import partial
from typing import Any

import jax
import optax
from jax import Array

from spinward.core import Source, Spec
from spinward.envs.text import Text
from spinward.errors import SettingsError
from spinward.experience.generation import Generation
from spinward.learning import adam
from spinward.networks.decoder import FAMILIES
from spinward.networks.lora import Lora


def check_start(settings: Any, spec: Spec, needed: bool = True) -> None:
    """Raises SettingsError where there is no model to start from, or it has another vocabulary."""
    name, start = type(settings).__name__, settings.start
    for field in ("batch", "updates", "envs", "rollout", "group", "epochs", "accumulate"):
        if getattr(settings, field, 1) < 1:
            raise SettingsError(f"{field}={getattr(settings, field)} must be at least 1")
    if not settings.temperature > 0.0:
        raise SettingsError(f"temperature={settings.temperature} must be above 0")
    if settings.lora < 0:
        raise SettingsError(f"lora={settings.lora} must be a rank, or 0")
    tokens: int = getattr(spec.action, "n", 0)
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
    elif settings.lora:  # which refuses a rank that is too high
        jax.eval_shape(partial(Lora.init, decoder=start, rank=settings.lora), jax.random.key(0))


def check_scratch(settings: Any) -> None:
    if settings.family not in FAMILIES:
        raise SettingsError(f"family={settings.family!r} is not one of {', '.join(FAMILIES)}")
    if settings.width % (2 * settings.heads):
        raise SettingsError(
            f"width={settings.width} must be an even number for each of heads={settings.heads}"
        )


def check_room(settings: Any, source: Source) -> None:
    """Raises SettingsError where prompts and what follows are longer than the model can read."""
    if not isinstance(source, Generation):
        raise SettingsError(f"{type(settings).__name__} writes: it needs a task of text")
    task: Text = source.task
    size, context = task.prompt + settings.rollout, settings.start.shape.context
    if size > context:
        raise SettingsError(
            f"prompts of {task.prompt} tokens and rollout={settings.rollout} more are longer than "
            f"the model's context = {context}"
        )
    source.check()


def optimiser(settings: Any, lr: float | Array) -> optax.GradientTransformation:
    """Adam, with the gradients of `accumulate` parts averaged into one step."""
    inner = adam(lr, settings.max_grad_norm)
    if settings.accumulate == 1:
        return inner
    return optax.MultiSteps(inner, settings.accumulate).gradient_transformation()
