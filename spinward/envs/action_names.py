"""What the choices of an environment are called, for people who play it."""

from typing import Any, Protocol, runtime_checkable

STAY = "stay"  # the choice of those who press no key


@runtime_checkable
class NamesActions(Protocol):
    """An environment that says what its choices do: left, right, up, down, fire, stay, or other
    words."""

    @property
    def action_names(self) -> tuple[str, ...]: ...  # empty if it does not know


def names_of(env: Any) -> tuple[str, ...]:
    """The names of the choices of an environment; empty if it does not say."""
    return env.action_names if isinstance(env, NamesActions) else ()
