"""An environment that nobody can step: only its spaces are known, from the card of a data set."""

import dataclasses
from typing import Any

from spinward.errors import SettingsError
from spinward.spaces import Spec

NAME = "data"  # in place of an environment's name


def require_env(env: Any) -> None:
    """Raises SettingsError for an environment that cannot be stepped."""
    if isinstance(env, Recorded):
        raise SettingsError(
            "this run learned without an environment, so there is none to play it in; evaluate can "
            "name one with --env"
        )


@dataclasses.dataclass(frozen=True)
class Recorded:
    spec: Spec
