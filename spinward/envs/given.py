"""Environments given as objects of the program that trains: classes, functions, instances.

An object that can be named is named, so that anybody can open the run. One that cannot, such as a
class of a notebook or of a script, is kept here for this process and sent to worker processes.
"""

import dataclasses
import functools
import hashlib
import importlib
import inspect
import json
from collections.abc import Callable
from typing import Any

import cloudpickle

from spinward.core import Env, HostEnv, Spec
from spinward.errors import SettingsError

PREFIX = "given"  # of the names of environments that have no other
GIVEN: dict[str, Callable[..., Any]] = {}  # by these names, what makes each


def choice_of(env: Any) -> tuple[str, dict[str, Any]]:
    """The name of an environment, and settings of its own.

    `env` is a name; a class or a function that makes one; a spec of Gymnasium's registry; or one of
    our environments in JAX as an object.

    Raises:
        SettingsError: it is none of these.
    """
    if isinstance(env, str):
        return env, {}
    if inspect.isclass(env) or inspect.isroutine(env) or isinstance(env, functools.partial):
        return (place_of(env) or keep(env)), {}
    if is_ours(env):
        place, settings = place_of(type(env)), changed(env)
        if place and settings is not None:
            return place, settings
        return keep(maker_of(env), type(env).__name__), {}
    if hasattr(env, "entry_point") and hasattr(env, "id"):  # a spec of Gymnasium's registry
        return env.id, dict(env.kwargs)
    raise SettingsError(
        f"env={env!r:.80} is no environment: expected a name, a class or a function that makes a "
        "gymnasium.Env, or a JAX environment. An opened gymnasium.Env cannot be copied to seeds "
        "and worker processes: give its class"
    )


def is_ours(env: Any) -> bool:
    """Whether an object is an environment of ours, in JAX or on a host."""
    return isinstance(env, Env | HostEnv) and isinstance(env.spec, Spec)


def maker_of(env: Any) -> Callable[..., Any]:
    """What makes `env`: itself, or a function that returns it."""
    return (lambda: env) if is_ours(env) and not inspect.isclass(env) else env


def place_of(maker: Any) -> str:
    """`module:Name` of a class or a function that another process can import; empty if none can."""
    if isinstance(maker, functools.partial):
        return ""
    module, name = maker.__module__, maker.__qualname__
    if module == "__main__" or not name.isidentifier():
        return ""
    try:
        value = vars(importlib.import_module(module)).get(name)
    except ImportError:
        return ""
    return f"{module}:{name}" if value is maker else ""


def changed(env: Any) -> dict[str, Any] | None:
    """The fields of an environment that differ from their defaults; None where JSON has no word
    for one."""
    if not dataclasses.is_dataclass(env):
        return None
    fields = {f.name: (getattr(env, f.name), f.default) for f in dataclasses.fields(env)}
    values = {name: value for name, (value, default) in fields.items() if value is not default}
    try:
        plain = json.loads(json.dumps(values))
    except (TypeError, ValueError):
        return None
    return values if plain == values else None


def keep(maker: Callable[..., Any], name: str = "") -> str:
    """The name under which `maker` can be found in this process: its own, and a digest."""
    try:
        content = cloudpickle.dumps(maker)
    except Exception as error:
        raise SettingsError(
            f"env={maker!r:.80} cannot be sent to worker processes: {error!r:.120}; put it in a "
            "module, and give its name as 'module:Class'"
        ) from None
    digest = hashlib.sha256(content).hexdigest()[:8]
    kept = f"{PREFIX}:{name or getattr(maker, '__name__', 'env').strip('<>')}-{digest}"
    GIVEN[kept] = maker
    return kept


def require(name: str) -> None:
    """Raises SettingsError for the name of an object that this process was not given."""
    if name.partition(":")[0] == PREFIX:
        registered_maker(name)


def registered_maker(name: str) -> Callable[..., Any]:
    """What was given under a name.

    Raises:
        SettingsError: nothing was, in this process.
    """
    if name not in GIVEN:
        raise SettingsError(
            f"{name} was an object of the program that trained the run: give it again, as in "
            "sw.load(RUN, env=MyEnv)"
        )
    return GIVEN[name]


def packed(name: str) -> bytes:
    """What was given under a name, for a worker process of this one."""
    content: bytes = cloudpickle.dumps(registered_maker(name))
    return content


def is_host(maker: Any) -> bool:
    """Whether what is made is a `gymnasium.Env`, and not an environment of ours.

    Raises:
        SettingsError: it is neither.
    """
    import gymnasium

    if inspect.isclass(maker) and issubclass(maker, gymnasium.Env):
        return True
    made = maker()
    if isinstance(made, gymnasium.Env):
        made.close()
        return True
    if not is_ours(made):
        raise SettingsError(
            f"env={maker!r:.80} made {made!r:.80}; expected a gymnasium.Env or a JAX environment"
        )
    return False
