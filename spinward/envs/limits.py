"""The time limit of an environment."""

from typing import Any, Protocol, runtime_checkable

ENDLESS = 2**31 - 1  # what EnvPool calls no limit


@runtime_checkable
class TimeLimited(Protocol):
    """An environment that says after how many steps it truncates an episode."""

    @property
    def limit(self) -> int: ...  # 0: never, or it does not know


def limit_of(env: Any) -> int:
    """Steps after which an environment truncates an episode; 0 if never, or if it does not say."""
    limit = env.limit if isinstance(env, TimeLimited) else 0
    return limit if isinstance(limit, int) and 0 < limit < ENDLESS else 0
