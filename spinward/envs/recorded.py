"""An environment that nobody can step: only its spaces are known, from the card of a data set."""

import dataclasses

from spinward.spaces import Spec

NAME = "data"  # in place of an environment's name


@dataclasses.dataclass(frozen=True)
class Recorded:
    spec: Spec
