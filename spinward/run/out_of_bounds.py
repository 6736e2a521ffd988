"""A remark on observations outside their space, of environments that do not check each step.

Workers of Gymnasium's environments check all observations. Of environments in JAX and of EnvPool's
the newest are checked, and at log points alone: inside a compiled program a check would cost a pass
over every observation.
"""

import sys
from typing import Any

import numpy as np

from spinward.core import Dict, Spec, TrainState
from spinward.envs.encoding import Leaf
from spinward.envs.gymnasium import Gymnasium
from spinward.envs.pool import REPORTED
from spinward.envs.remarks import Bounds
from spinward.experience.layouts import ReplayState
from spinward.experience.rollout import RolloutState
from spinward.experience.vector import VectorState


class BoundsRemark:
    """Says once that observations of an environment are outside their bounds."""

    def __init__(self, name: str, env: Any, spec: Spec) -> None:
        self.name, self.workers = name, isinstance(env, Gymnasium)
        parts = spec.obs.items if isinstance(spec.obs, Dict) else (("", spec.obs),)
        leaves = [
            Leaf(name, "box", box.shape, box.dtype, box.low, box.high, box.shape, box.dtype)
            for name, box in parts
        ]
        self.bounds = Bounds(tuple(leaves))

    def check(self, state: TrainState) -> None:
        """Looks at the newest observations of a run's state [seed, env, ...]."""
        source: Any = state.source
        source = source.source if isinstance(source, ReplayState) else source
        if self.workers or self.name in REPORTED:
            return
        if not isinstance(source, RolloutState | VectorState):  # as that of many lifetimes
            return
        obs = source.obs if isinstance(source.obs, dict) else {"": source.obs}
        if self.bounds.check({name: by_env(x) for name, x in obs.items()}):
            REPORTED.add(self.name)
            line = f"spinward: warning: {self.name}: {self.bounds.first}; it is used as it is"
            print(line, file=sys.stderr, flush=True)


def by_env(x: Any) -> np.ndarray:
    """The environments of all seeds, one after the other."""
    array = np.asarray(x)
    return array.reshape(-1, *array.shape[2:])
