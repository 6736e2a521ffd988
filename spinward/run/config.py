"""Reads a run's config.json as an untrusted file: each value is checked before use."""

import copy
import dataclasses
import functools
import json
import math
import re
import typing
from pathlib import Path
from typing import Any

import spinward
from spinward.envs import given, ids
from spinward.errors import DamagedFileError, SettingsError
from spinward.run import folders, strict_json
from spinward.run.experiment import FORMAT, DataChoice, EnvChoice, Experiment
from spinward.run.strict_json import TEXT, WHOLE, Malformed, check_size, whole
from spinward.store import files, names, ranges, settings
from spinward.store.integrity import CONFIG, LIMIT

RANGES = {"steps": (1, WHOLE), "seeds": (1, 2**20), "seed": (0, 2**32), "logs": (1, WHOLE)}
RANGES |= {"shards": (0, 2**12), "workers": (0, 2**12)}
RANGES |= {"evaluate_episodes": (1, 2**20), "evaluate_limit": (1, WHOLE)}
ROLE, DIGEST = re.compile("[a-z_]{1,32}"), re.compile("[0-9a-f]{64}")
CHOICES = (EnvChoice, DataChoice)
ALONE: dict[Any, dict[str, Any]] = {DataChoice: {"held_out": 0.0}}  # what a text alone stands for
PARTS = {"algorithm": "wants", "reward": "label"}  # and the method that makes each what it is


def read_config(path: Path) -> dict[str, Any]:
    """The content of a run's config.json, with the defaults of settings that older runs lack. A
    file that did not change is parsed once.

    Raises:
        SettingsError: there is no run here, or it is from a newer version.
        DamagedFileError: the file is damaged, or a value is impossible.
    """
    try:
        stat = path.lstat()
    except OSError:
        return parsed.__wrapped__(path)
    stamp = path.absolute(), stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns
    return copy.deepcopy(parsed(path, stamp))


@functools.lru_cache(maxsize=8)
def parsed(path: Path, stamp: Any = None) -> dict[str, Any]:
    """The same, read from the file. `stamp` identifies the file's version for the cache."""
    run = path.parent
    if not path.is_symlink() and not path.exists():
        if (run / "shards").exists():
            raise DamagedFileError(f"{path} is missing: the settings of this run are lost")
        raise SettingsError(f"{run} is no run: it has no {path.name}")
    text = files.read(path, run, LIMIT)
    try:
        content = strict_json.read(text)
        check_format(content, run)
        content = checked(content)
    except (ValueError, TypeError, KeyError, RecursionError, OverflowError) as error:
        if isinstance(error, SettingsError) and not isinstance(error, Malformed):
            raise
        reason = str(error) if isinstance(error, Malformed) else f"{error!r:.200}"
        raise DamagedFileError(f"{path} is damaged: expected a run's settings, {reason}") from None
    if not foreign(content):  # what is not ours is looked up once it is trusted
        built(content, False, path)
    return content


def check_format(content: Any, run: Path) -> None:
    """Raises Malformed for what has no format of ours, SettingsError for that of a newer one."""
    if not isinstance(content, dict):
        raise Malformed(f"found {content!a:.80}")
    number, versions = content.get("format"), content.setdefault("versions", {})
    if type(number) is not int or number < 1:
        raise Malformed(f"found format {number!a:.80}")
    if not isinstance(versions, dict) or not all(isinstance(v, str) for v in versions.values()):
        raise Malformed(f"found versions {versions!a:.80}")
    if number > FORMAT:
        raise SettingsError(
            f"{run} was written by Spinward {versions.get('spinward', 'of a newer version')} "
            f"(format {number}); this is {spinward.__version__} (format {FORMAT}): upgrade it"
        )


def checked(content: dict[str, Any]) -> dict[str, Any]:
    """The content with defaults, once each of an experiment's settings is of its kind."""
    hints = typing.get_type_hints(Experiment)
    fields = {f.name: f for f in dataclasses.fields(Experiment)}
    if odd := content.keys() - fields.keys() - {"format", "versions"}:
        raise Malformed(f"found {min(odd)!a:.80}, which is none")
    for name, field in fields.items():
        if name not in content:
            content[name] = default(field)
        value = content[name]
        if typing.get_origin(hints[name]) is tuple and isinstance(value, list):
            value = tuple(value)
        if name in PARTS:
            check_part(name, value)
        elif dataclasses.is_dataclass(hints[name]):
            choice(hints[name], name, value)
        elif name == "inputs":
            check_inputs(value)
        elif not settings.fits(value, hints[name]):
            raise Malformed(f"found {name}={value!a:.80}, not {settings.describe(hints[name])}")
        elif hints[name] is int:
            low, high = RANGES.get(name, (0, WHOLE))
            if not low <= value < high:
                raise Malformed(f"found {name}={value}, not {low} to {high - 1}")
        elif hints[name] is float and not math.isfinite(value):
            raise Malformed(f"found {name}={value}")
    return content


def check_inputs(value: Any) -> None:
    """Raises Malformed for what is not the digests of models and data by their roles."""
    pairs = value.items() if isinstance(value, dict) else [("", value)]
    for role, digest in pairs:
        known = ROLE.fullmatch(role) and isinstance(digest, str) and DIGEST.fullmatch(digest)
        if not known:
            raise Malformed(f"found inputs={value!a:.80}, not the SHA-256 of each")


def require_readable(experiment: Experiment) -> None:
    """Raises SettingsError for settings that `read_config` would refuse: control characters in a
    name, or numbers beyond all."""
    try:
        check_size(json.loads(experiment.to_json(), parse_int=whole))
    except Malformed as error:
        raise SettingsError(
            f"{error}, which a run's {CONFIG} cannot hold: expected texts of at most {TEXT} "
            "letters without control characters, and numbers below 2**63"
        ) from None


def choice(kind: Any, name: str, value: Any) -> Any:
    """An EnvChoice or a DataChoice, from a text or from the fields of its class.

    Raises:
        Malformed: the value is neither, or a field has another type.
    """
    first = dataclasses.fields(kind)[0].name
    alone = ALONE.get(kind, {}) if value else {}
    fields = {first: value, **alone} if isinstance(value, str) else value
    if not isinstance(fields, dict) or first not in fields:
        raise Malformed(f"found {name}={value!a:.80}, not a text or its fields")
    given = fields.get("settings", {})
    if not isinstance(given, dict) or not all(map(plain, given.values())):
        raise Malformed(f"found {name}.settings={given!a:.80}")
    try:
        value_of_kind = settings.checked(kind, fields)
        if value or name != "evaluate_env":  # which may be none
            value_of_kind.check()
    except SettingsError as error:
        raise Malformed(f"found {name}={value!a:.80}: {error}") from None
    return value_of_kind


def plain(value: Any) -> bool:
    """Whether a setting of an environment is a number, a text, or a list of them."""
    if isinstance(value, list):
        return all(map(plain, value))
    return isinstance(value, str | int | float)


def default(field: Any) -> Any:
    """The default of a setting that an older run lacks, as JSON."""
    value = field.default
    if field.default_factory is not dataclasses.MISSING:
        value = field.default_factory()
    if value is dataclasses.MISSING:
        raise Malformed(f"found no {field.name}")
    return value.to_json() if isinstance(value, CHOICES) else settings.to_json(value)


def check_part(name: str, value: Any) -> None:
    """Raises Malformed for a value that is not a class with its fields."""
    if not isinstance(value, dict) or value.keys() != {"class", "fields"}:
        raise Malformed(f"found {name}={value!a:.80}, not a class and its fields")
    for where in named(value):
        if not isinstance(where, str):
            raise Malformed(f"found {where!a:.80} for a name in {name}")


def named(value: Any) -> list[Any]:
    """The names of classes and functions in a value; each must have its form.

    Raises:
        Malformed: one has another form.
    """
    if isinstance(value, list):
        return [name for each in value for name in named(each)]
    if not isinstance(value, dict):
        return []
    kind = next((k for k in ("class", "function") if k in value), "")
    inner = {"class": "fields", "function": "keywords"}.get(kind, "")
    if kind and inner not in (value if kind == "class" else {inner: 0}):
        raise Malformed(f"found {value!a:.80}, which lacks {inner}")
    if kind and not value.keys() <= {kind, inner}:
        raise Malformed(f"found {value!a:.80}, not a {kind} with its {inner}")
    if kind and not isinstance(value.get(inner, {}), dict):
        raise Malformed(f"found {value[inner]!a:.80} for {inner}")
    parts = value[inner] if kind == "class" else value  # a field may be called `function`, too
    return [*([value[kind]] if kind else []), *(n for each in parts.values() for n in named(each))]


def choices(content: dict[str, Any]) -> tuple[EnvChoice, DataChoice]:
    """The environment and the data that a config names."""
    names = (EnvChoice, "env"), (DataChoice, "data")
    env, data = (choice(kind, name, content[name]) for kind, name in names)
    return env, data


def from_config(
    content: dict[str, Any], trust: bool = False, path: Path = Path(CONFIG)
) -> Experiment:
    """The experiment of a config. With `trust`, code from outside Spinward may run.

    Raises:
        SettingsError: the config needs such code, and `trust` is False.
        DamagedFileError: `path` names a class or a setting that does not exist.
    """
    named_envs = (choices(content)[0], choice(EnvChoice, "evaluate_env", content["evaluate_env"]))
    own, others = [e for e in named_envs if ids.is_own_code(e.name)], foreign(content)
    if not trust and (own or others):
        folders.verify(path.parent, content)  # a name of ours that was damaged is no code of others
        if own:
            given.require(own[0].name)
            raise SettingsError(f"this run uses the environment {own[0]}; --trust runs its code")
        names.anybodys(others[0], trust)
    return built(content, trust, path)


def foreign(content: dict[str, Any]) -> list[str]:
    """The names in a config that are outside this package."""
    return [n for name in PARTS for n in named(content[name]) if not names.is_ours(n)]


def built(content: dict[str, Any], trust: bool, path: Path) -> Experiment:
    """The experiment in a config's values."""
    hints = typing.get_type_hints(Experiment)
    fields = {f.name: content[f.name] for f in dataclasses.fields(Experiment)}
    try:
        for name, value in fields.items():
            is_choice = hints[name] in CHOICES
            value_read = (
                choice(hints[name], name, value) if is_choice else settings.from_json(value, trust)
            )
            fields[name] = value_read
        for name, method in PARTS.items():
            kind = type(fields[name])
            if method not in dir(kind):
                raise SettingsError(f"{kind.__name__} is no {name}")
            ranges.check(fields[name])
        experiment: Experiment = settings.checked(Experiment, fields)
        experiment.check()
        return experiment
    except SettingsError as error:
        if foreign(content):  # that code may have changed, so the file need not be damaged
            raise
        raise DamagedFileError(f"{path} is damaged: {error}") from None
