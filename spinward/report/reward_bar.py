"""The predicted reward of each step as a bar beside the film, for runs whose reward is learned from
comparisons: green above the average of the labelled clips, red below."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import numpy as np

from spinward.programs.seeds import compiled
from spinward.rewards.preferences import Preferences
from spinward.run import folders
from spinward.run.run import Run

FULL = 3.0  # standard deviations of the labelled clips, at which the bar is full
PAPER, INK, GOOD, BAD = (250, 250, 247), (90, 98, 110), (26, 127, 75), (179, 38, 30)
Drawing = Callable[[np.ndarray, Any, Any], np.ndarray]


def bar_of(run: Run, seed: int) -> Drawing:
    """What adds the bar to the frame of an observation and an action in the policy's scale. It is
    the newest prediction, whatever checkpoint acts; of other runs, the frame stays as it is."""
    reward = run.made.parts.reward
    if not isinstance(reward, Preferences):
        return lambda frame, obs, action: frame
    init = partial(reward.init, spec=run.made.spec)
    states = folders.last(run.path, run.checkpoint_paths(), "reward", init, run.made.experiment)
    state = jax.tree.map(lambda x: x[seed], states)
    predict = compiled(standardised, 0)

    def framed(frame: np.ndarray, obs: Any, action: Any) -> np.ndarray:
        return with_bar(frame, float(predict(reward, state, obs, action)))

    return framed


def standardised(reward: Preferences, state: Any, obs: Any, action: Any) -> Any:
    """The prediction for a step, in standard deviations of the labelled clips."""
    batch = jax.tree.map(lambda x: x[None], (obs, action))
    each = reward.each(state, *batch)[:, 0]
    return ((each - state.mean) / state.std).mean()


def with_bar(frame: np.ndarray, value: float) -> np.ndarray:
    """A frame [height, width, 3] with a strip at its right: a line in the middle for 0, and a bar
    up or down from there."""
    height = frame.shape[0]
    width, edge = max(8, frame.shape[1] // 16), max(1, frame.shape[1] // 80)
    strip = np.full((height, width, 3), PAPER, np.uint8)
    middle, room = height // 2, height // 2 - edge
    length = round(min(abs(value) / FULL, 1.0) * room) if np.isfinite(value) else 0
    rows = slice(middle - length, middle) if value > 0 else slice(middle, middle + length)
    strip[rows, edge : width - edge] = GOOD if value > 0 else BAD
    strip[middle : middle + 1] = INK
    return np.concatenate([frame, strip], 1)
