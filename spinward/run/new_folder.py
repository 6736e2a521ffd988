"""The folder of a new run, with its settings."""

import contextlib
import itertools
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from spinward import interrupts
from spinward.errors import SettingsError, Stopped
from spinward.run.config import read_config
from spinward.run.experiment import Experiment
from spinward.run.strict_json import CONTROL
from spinward.store import files
from spinward.store.nested import flat

LONGEST = 200  # letters of a run's name; file systems take 255 bytes

UNBEGUN = {"config.json", "stderr"}  # what a run has written that has logged and saved nothing


def new_folder(experiment: Experiment, out: Path, name: str, exist_ok: bool) -> Path:
    """A folder of `out` with the settings of a run: of this name, or of the first that is free.

    Raises:
        SettingsError: there is one of this name, or with `exist_ok` one with other settings.
    """
    kind = type(experiment.algorithm).__name__.lower()
    env = experiment.env.name.rpartition("/")[2].replace(":", "-")
    taken = (f"{kind}-{env}-{i}" for i in itertools.count(1))
    files.remove_leftovers(out)
    for folder in (out / n for n in ([name] if name else taken)):
        if not folder.exists():
            interrupts.set_run(folder)
        try:
            files.new_folder(folder, {"config.json": experiment.to_json().encode()})
        except FileExistsError:
            if not name:
                continue
            require_same(experiment, folder, exist_ok)
        return folder
    raise AssertionError("names never run out")


@contextlib.contextmanager
def removed_if_refused(folder: Path | None) -> Iterator[None]:
    """Removes the folder of a new run that fails before it has logged or saved anything."""
    try:
        yield
    except Stopped:
        raise
    except Exception:
        places = [Path(at) / name for at, _, names in os.walk(folder or "") for name in names]
        files_with_content = {place.name for place in places if place.lstat().st_size}
        if folder is not None and files_with_content <= UNBEGUN:
            shutil.rmtree(folder)
            with contextlib.suppress(OSError):  # it has other runs
                folder.parent.rmdir()
        raise


def check_name(out: Path, name: str) -> None:
    """Raises SettingsError for a name that is not that of one folder in `out`."""
    parts = Path(name).parts
    plain = not name or (parts == (name,) and name != ".." and not name.startswith("."))
    if not plain or len(name) > LONGEST or CONTROL.search(f"{out}{name}"):
        raise SettingsError(
            f"name={name!a:.80}: expected the name of one folder in {str(out)!a:.80} (--out), of "
            f"at most {LONGEST} letters, without / and control characters, not beginning with a dot"
        )


def require_same(experiment: Experiment, folder: Path, exist_ok: bool) -> None:
    """Raises SettingsError where a run may not take the place of one with its name."""
    if not exist_ok:
        raise SettingsError(
            f"{folder} exists; choose another name, continue it with spinward resume {folder}, or "
            "from Python say exist_ok=True"
        )
    new, old = json.loads(experiment.to_json(False)), read_config(folder / "config.json")
    before, after = flat(old), flat(new)
    names = before.keys() | after.keys()
    odd = [n for n in sorted(names) if before.get(n) != after.get(n) and "versions" not in n]
    if odd:
        raise SettingsError(
            f"{folder} exists with {odd[0]}={before.get(odd[0])!r:.80}, and this run has "
            f"{after.get(odd[0])!r:.80}: choose another name"
        )
