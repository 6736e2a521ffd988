"""The names that a run's settings may hold: a closed list of our own classes and functions.

A name in a file is compared with what this package ships, and never used as a path, as a chain of
attributes, or as the name of any other module. Code of anybody else is imported only where its use
was allowed.
"""

import importlib
import inspect
import pkgutil
import re
from typing import Any

from spinward.envs.ids import imported
from spinward.errors import SettingsError

SETTINGS = ("algorithms", "rewards")  # packages whose classes are settings
NETWORKS = "networks"  # whose functions of a `key`, and `init` of classes, make a network
FUNCTIONS = {"models.imagined": "obs"}  # other modules, and what those of their functions take
RENAMED = {  # how names in the settings of older runs begin, and what that beginning became
    "spinward.envs.imagined:": "spinward.models.imagined:",
    "spinward.rewards.judge:Judge": "spinward.rewards.reward_model_score:RewardModelScore",
    "spinward.networks.critic:Actor.": "spinward.networks.critic:DeterministicActor.",
    "spinward.networks.heads:Policy.": "spinward.networks.heads:PolicyNetwork.",
}
FIELDS = {  # settings of older runs that have another name
    "spinward.rewards.verifier:Verifier": {"judge": "scorer"},
}
NAME = re.compile(r"spinward\.((?:[a-z]\w*\.)?[a-z]\w*):([A-Za-z]\w*)(\.init)?", re.ASCII)


def modules(package: str) -> list[str]:
    """The names of the modules of a package of ours, without importing them."""
    module = importlib.import_module(f"spinward.{package}")
    return sorted(m.name for m in pkgutil.iter_modules(module.__path__))


def place(thing: Any) -> str:
    """The name of a class or function, as it stands in a file."""
    return f"{thing.__module__}:{thing.__qualname__}"


def is_ours(name: str) -> bool:
    """Whether a name claims to be of this package."""
    return re.match(r"spinward\b", name) is not None


def settings_class(name: str, trust: bool = False) -> Any:
    """The settings class with a name.

    Raises:
        SettingsError: we have none of that name; or it is not ours, and there is no `trust`.
    """
    if not is_ours(name):
        return anybodys(name, trust)
    name = current(name)
    package, module, attribute = parted(name)
    if package not in SETTINGS or attribute.endswith(".init"):
        raise unknown(name)
    value = vars(imported_module(package, module, name)).get(attribute)
    own = isinstance(value, type) and place(value) == name
    if not (own and "__dataclass_fields__" in vars(value)):
        raise unknown(name)
    return value


def function(name: str, trust: bool = False) -> Any:
    """The function with a name: it makes a network, or is one of those that settings may name.

    Raises:
        SettingsError: we have none of that name; or it is not ours, and there is no `trust`.
    """
    if not is_ours(name):
        return anybodys(name, trust)
    name = current(name)
    package, module, attribute = parted(name)
    start, dot, _ = attribute.partition(".")
    takes = "key" if package == NETWORKS else FUNCTIONS.get(f"{package}.{module}", "")
    if not takes or (dot and package != NETWORKS):
        raise unknown(name)
    value = vars(imported_module(package, module, name)).get(start)
    if dot:
        defined = isinstance(value, type) and place(value) == name.removesuffix(".init")
        value = value.init if defined and "init" in dir(value) else None
    own = inspect.isroutine(value) and place(value) == name
    if not (own and next(iter(inspect.signature(value).parameters), "") == takes):
        raise unknown(name)
    return value


def current(name: str) -> str:
    """A name of an older run as it is now."""
    for before, after in RENAMED.items():
        name = after + name.removeprefix(before) if name.startswith(before) else name
    return name


def parted(name: str) -> tuple[str, str, str]:
    """Package, module and attribute of a name of ours."""
    match = NAME.fullmatch(name)
    if not match:
        raise unknown(name)
    package, _, module = match[1].rpartition(".")
    return package, module, match[2] + (match[3] or "")


def imported_module(package: str, module: str, name: str) -> Any:
    """A module that the package ships."""
    if module not in modules(package):
        raise unknown(name)
    return importlib.import_module(f"spinward.{package}.{module}")


def anybodys(name: str, trust: bool) -> Any:
    """The value of `module:Name.attribute` in code from outside Spinward."""
    if not trust:
        raise SettingsError(
            f"this run uses {name!r:.200}, which is not Spinward's; --trust runs it"
        )
    module, _, attributes = name.partition(":")
    first, *rest = attributes.split(".")
    value = imported(f"{module}:{first}")
    for part in rest:
        value = getattr(value, part)
    return value


def unknown(name: str) -> SettingsError:
    return SettingsError(
        f"{name!r:.200} is none of Spinward's classes and functions that a run's settings may "
        "name; undo the change to them, or open the run with the version that wrote it"
    )
