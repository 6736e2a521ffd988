"""The settings of a run by the names that a user types."""

from collections.abc import Mapping
from typing import Any

from spinward.store.nested import flat

PARTS = ("env", "reward", "data", "evaluate_env")  # whose settings are `--PART.KEY`


def named(config: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a config: `algorithm` and `env` as words, and the others as flags. The entry
    `versions` is left as it is."""
    algorithm = config["algorithm"]
    names = {"algorithm": short(algorithm["class"])}
    settings = {flag(name): plain(value) for name, value in algorithm["fields"].items()}
    for part, value in config.items():
        if part in PARTS:
            names |= of_part(part, value)
        elif part == "inputs":
            names |= {f"SHA-256 of {role}": digest for role, digest in value.items()}
        elif part not in ("algorithm", "format", "versions"):
            names[flag(part)] = value
    kept = {"versions": config["versions"]} if "versions" in config else {}
    return {**names, **settings, **kept}


SETTINGS = "settings", "fields"  # of an environment, and of a reward


def of_part(part: str, value: Any) -> dict[str, Any]:
    """The settings of an environment, a reward or data, which may be a word."""
    name = part if part == "env" else flag(part)
    if not isinstance(value, Mapping):
        return {name: value}
    word = value.get("name", value.get("path", value.get("class", "")))
    own = value.get("settings", value.get("fields", {}))
    more = {k: v for k, v in value.items() if k not in ("name", "path", "class", *SETTINGS)}
    keys = flat({**own, **more})
    return {name: short(word), **{f"--{part.replace('_', '-')}.{k}": v for k, v in keys.items()}}


def flag(name: str) -> str:
    """The flag of a setting; those of a start from another run are named for `--from`."""
    name = "from" if name == "start_from" else name.replace("start_", "from_")
    return f"--{name.replace('_', '-')}"


def short(place: str) -> str:
    """The name of a class of ours; another class by its place."""
    module, _, _ = place.partition(":")
    return module.rpartition(".")[2] if module.startswith("spinward.") else place


def plain(value: Any) -> Any:
    """A setting; a function by its place."""
    return value["function"] if isinstance(value, Mapping) and "function" in value else value
