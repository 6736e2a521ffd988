"""An environment's method `action_masks()`, as sb3-contrib has it, told in `info`.

It imports nothing of the package: a worker process loads it without JAX.
"""

from typing import Any

import gymnasium

from .encoding import MASK, flat_mask


class MaskInInfo(gymnasium.Wrapper[Any, Any, Any, Any]):
    """Puts what `action_masks()` returns after each reset and step into `info`."""

    def __init__(self, env: Any, masks: Any) -> None:
        super().__init__(env)
        self.masks = masks

    def reset(self, **options: Any) -> Any:
        answer = self.env.reset(**options)
        if isinstance(answer, tuple) and len(answer) == 2 and isinstance(answer[1], dict):
            return answer[0], {**answer[1], MASK: flat_mask(self.masks())}
        return answer

    def step(self, action: Any) -> Any:
        answer: Any = self.env.step(action)
        if isinstance(answer, tuple) and len(answer) == 5 and isinstance(answer[4], dict):
            return *answer[:4], {**answer[4], MASK: flat_mask(self.masks())}
        return answer


def with_mask(env: Any) -> Any:
    """`env`, whose masks are in `info` if it has a method `action_masks`, in a wrapper or not."""
    one = env
    while one is not None:
        masks = getattr(one, "action_masks", None)
        if callable(masks):
            return MaskInInfo(env, masks) if isinstance(env, gymnasium.Env) else env
        one = one.__dict__.get("env") if isinstance(one, gymnasium.Wrapper) else None
    return env
