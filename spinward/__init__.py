"""Spinward: learning to act as one loop. Run the policy, evaluate what it did, improve it.

The class of each file in `algorithms/` and `rewards/` is a public name here. It has the name of its
file, but for case and underscores: `PPOTokens` is in `algorithms/ppo_tokens.py`.
"""

import importlib
from typing import Any

__version__ = "0.1.0"

FOLDERS = ("algorithms", "rewards")
OTHERS = {  # public names of other folders
    "AsGymnasium": "envs.as_gymnasium",
    "AsVectorEnv": "envs.as_gymnasium",
    "Experiment": "run.experiment",
    "Run": "run.run",
    "STOP": "run.watching",
    "SettingsError": "errors",
    "Stopped": "errors",
    "load": "run.run",
    "Tuning": "tuning.search",
    "train": "run.run",
    "tune": "tuning.search",
}


def __getattr__(name: str) -> Any:
    """Public names are imported when they are first used, so that `import spinward` is quick."""
    if name == "__all__":
        return __dir__()
    place = OTHERS.get(name) or (places().get(name.lower(), "") if name[:1].isupper() else "")
    value = vars(importlib.import_module(f"spinward.{place}")).get(name) if place else None
    if value is None:
        raise AttributeError(f"module 'spinward' has no attribute {name!r}")
    return value


def places() -> dict[str, str]:
    """From the names of files in `FOLDERS`, without underscores, to their modules."""
    import pkgutil

    packages = {folder: importlib.import_module(f"spinward.{folder}") for folder in FOLDERS}
    modules = ((f, m.name) for f, p in packages.items() for m in pkgutil.iter_modules(p.__path__))
    return {name.replace("_", ""): f"{folder}.{name}" for folder, name in modules}


def __dir__() -> list[str]:
    """The public names. Names of classes are read from their files, which are not imported."""
    import re
    from pathlib import Path

    classes = []
    for name, place in places().items():
        folder, _, module = place.partition(".")
        for root in importlib.import_module(f"spinward.{folder}").__path__:
            file = Path(root) / f"{module}.py"
            words = re.findall(r"^class (\w+)", file.read_text(), re.M) if file.is_file() else ()
            classes += [word for word in words if word.lower() == name]
    return sorted({*classes, *OTHERS})
