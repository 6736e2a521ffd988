"""From an environment's name to the environment.

Each file of this folder says what its environments are called in a literal `NAMES`: from a name to
the class or function of that file which makes the environment. The files are read and not imported,
so a file in the folder is all that an environment needs.
"""

import ast
import dataclasses
import difflib
import functools
import importlib
import importlib.util
import re
import sys
from pathlib import Path
from typing import Any

from spinward.envs import against, given, stacked
from spinward.errors import SettingsError

DECLARED = re.compile(r"^NAMES = (\{[^}]*\})", re.MULTILINE)
STACK = "stack"  # a setting of all environments: newest observations side by side
PACKAGES = {  # by the beginnings of ids, the packages that register them
    "minigrid-": "minigrid",
    "babyai-": "minigrid",
    "highway-": "highway_env",
    "merge-": "highway_env",
    "roundabout-": "highway_env",
    "parking-": "highway_env",
    "intersection-": "highway_env",
    "racetrack-": "highway_env",
    "fetch": "gymnasium_robotics",
    "antmaze": "gymnasium_robotics",
    "pointmaze": "gymnasium_robotics",
    "adroit": "gymnasium_robotics",
    "frankakitchen": "gymnasium_robotics",
    "panda": "panda_gym",
    "stocks-": "gym_anytrading",
    "forex-": "gym_anytrading",
}
PREFIXES = {
    "gymnasium": "gymnasium:Gymnasium",
    "envpool": "envpool:EnvPool",
    "gymnax": "gymnax:Gymnax",
    "jumanji": "jumanji:Jumanji",
    "craftax": "craftax:Craftax",
    "navix": "navix:Navix",
    "brax": "brax:Brax",
    "playground": "brax:Playground",
    "pgx": "pgx:Pgx",
}


@functools.cache
def own_names() -> dict[str, str]:
    """From the names of our environments to their places, `module:Name`."""
    folders = importlib.import_module("spinward.envs").__path__
    places: dict[str, str] = {}
    for file in sorted(file for folder in folders for file in Path(folder).glob("*.py")):
        for match in DECLARED.finditer(file.read_text(encoding="utf-8")):
            places |= {k: f"{file.stem}:{v}" for k, v in ast.literal_eval(match[1]).items()}
    return places


def make(name: str, settings: dict[str, Any] | None = None) -> Any:
    """The environment called `name`: an `Env` in JAX or a `HostEnv`, with settings of its own.

    Ours where we have it, else `gymnasium:ID`, `envpool:ID`, `gymnax:ID`, anybody's `module:Class`
    or `path.py:Class`, `package:ID`, and otherwise an id registered in Gymnasium, whose settings
    are the keyword arguments of its `make`.

    Raises:
        SettingsError: there is no such environment, or it has no such setting.
    """
    settings = dict(settings or {})
    stack = settings.pop(STACK, None)
    env = unstacked(name, settings)
    return env if stack is None else stacked.wrapped(name, env, stack)


def unstacked(name: str, settings: dict[str, Any]) -> Any:
    """The environment without the setting `stack`, which any environment takes."""
    if name in own_names():
        return own(name, settings)
    prefix, _, rest = name.partition(":")
    if prefix == given.PREFIX:
        maker = given.registered_maker(name)
        host = given.is_host(maker)
        return adapted_host(name, settings) if host else with_settings(name, maker(), settings)
    if rest and prefix in PREFIXES:
        return adapted(prefix, rest, settings)
    if rest and not is_package_id(prefix, rest):
        maker_class = imported(name)
        acts = hasattr(maker_class, "reset") or hasattr(maker_class, "open")  # an Env or a HostEnv
        if acts and hasattr(maker_class, "spec") and not is_gymnasium(maker_class):
            return with_settings(name, maker_class(), settings)
    elif not rest and not name.startswith("ALE/"):
        check_registered(name)
    return adapted_host(name, settings)


def own(name: str, settings: dict[str, Any]) -> Any:
    """An environment of ours."""
    return game_or_task(name, ours(own_names()[name])(), settings)


def game_or_task(name: str, env: Any, settings: dict[str, Any]) -> Any:
    """`env` with its settings; a game for two becomes a task where they name an opponent."""
    match = {k: v for k, v in settings.items() if k in against.SETTINGS}
    rest = {k: v for k, v in settings.items() if k not in match}
    return against.wrapped(name, with_settings(name, env, rest), match)


def adapted_host(name: str, settings: dict[str, Any]) -> Any:
    """An environment that Gymnasium knows by its id, or code of anybody's."""
    return adapted("gymnasium", name, settings)


def adapted(prefix: str, name: str, settings: dict[str, Any]) -> Any:
    """An environment of another package: what is no setting of its adapter is its own keyword."""
    adapter = ours(PREFIXES[prefix])
    fields = {f.name for f in dataclasses.fields(adapter)} - {"id", "kwargs"}
    own = {k: v for k, v in settings.items() if k in fields}
    keywords = {k: v for k, v in settings.items() if k not in fields}
    takes = "kwargs" in {f.name for f in dataclasses.fields(adapter)}
    if not takes:
        return game_or_task(f"{prefix}:{name}", adapter(name), settings)
    return adapter(name, tuple(keywords.items()), **own)


def with_settings(name: str, env: Any, settings: dict[str, Any]) -> Any:
    """`env`, a dataclass, with these fields."""
    if not settings:
        return env
    fields = [f.name for f in dataclasses.fields(env)] if dataclasses.is_dataclass(env) else []
    for setting in settings:
        if setting not in fields and setting == "timeout_s":
            raise SettingsError(f"{name} has no worker process that --timeout could wait for")
        if setting not in fields:
            near = difflib.get_close_matches(setting, fields, 1)
            known = f"did you mean {near[0]}?" if near else f"it has {', '.join(fields) or 'none'}"
            raise SettingsError(f"{name} has no setting {setting!r}; {known}")
    return dataclasses.replace(env, **settings)


def ours(place: str) -> Any:
    module, _, name = place.partition(":")
    return getattr(importlib.import_module(f"spinward.envs.{module}"), name)


def is_own_code(name: str) -> bool:
    """Whether making `name` runs code that is neither ours nor of an installed registry."""
    prefix, _, rest = name.partition(":")
    return bool(rest) and (prefix not in PREFIXES or ":" in rest)


def imported(place: str) -> Any:
    """What `module:Name` or `path.py:Name` names."""
    where, _, name = place.rpartition(":")
    try:
        if where.endswith(".py"):
            spec = importlib.util.spec_from_file_location(Path(where).stem, where)
            if spec is None or spec.loader is None or not Path(where).is_file():
                raise SettingsError(f"there is no file {where}, named by {place!r}")
            module = importlib.util.module_from_spec(spec)
            sys.modules.setdefault(Path(where).stem, module)
            spec.loader.exec_module(module)
        else:
            if "" not in sys.path:
                sys.path.insert(0, "")
            module = importlib.import_module(where)
        return getattr(module, name)
    except ModuleNotFoundError as error:
        raise SettingsError(f"{place!r} names no module: {error}") from error
    except AttributeError as error:
        names = [n for n in vars(module) if isinstance(getattr(module, n), type)]
        near = ", ".join(difflib.get_close_matches(name, names, 3)) or ", ".join(names[:5])
        raise SettingsError(f"{where} has no {name}; it has {near or 'no classes'}") from error


def is_package_id(package: str, name: str) -> bool:
    """Whether importing a package registers an id in Gymnasium, as `minigrid:MiniGrid-Empty-5x5-v0`
    says."""
    if "" not in sys.path:
        sys.path.insert(0, "")
    if package.endswith(".py") or importlib.util.find_spec(package.partition(".")[0]) is None:
        return False
    import gymnasium

    try:
        importlib.import_module(package)
    except ModuleNotFoundError:
        return False  # `imported` says what is missing
    return name in gymnasium.registry


def is_gymnasium(maker_class: Any) -> bool:
    import gymnasium

    return isinstance(maker_class, type) and issubclass(maker_class, gymnasium.Env)


def check_registered(name: str) -> None:
    import gymnasium

    if name in gymnasium.registry:
        return
    known = dict.fromkeys((*own_names(), *gymnasium.registry))  # several of ours are there too
    near = ", ".join(difflib.get_close_matches(name, known, 4, 0.5))
    raise SettingsError(
        f"there is no environment {name!r}"
        + (f"; the nearest are {near}" if near else "")
        + f": `spinward envs` lists them, and one of a package is named {form_of(name)}"
    )


def form_of(name: str) -> str:
    """How an environment that a package registers is named."""
    start = next((start for start in PACKAGES if name.lower().startswith(start)), "")
    return f"{PACKAGES[start]}:{name}" if start else "package:ID, as minigrid:MiniGrid-Empty-5x5-v0"
