"""Which reader and writer a format has."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from spinward.data import d4rl, dopamine, legacy, minari_files, rlds, rlds_files, store
from spinward.data.plan import ImportOptions
from spinward.data.store import Store
from spinward.data.tables import refuse_table


def converted(path: Path, out: Path, options: ImportOptions) -> tuple[str, ...]:
    """Writes what is at a path as a data set, and returns what was changed.

    Raises:
        SettingsError: there is nothing, or nothing of a known format.
    """
    options.check()
    notes = by_format(path, out, options)
    action = store.opened(out).card.statistics.get("columns", {}).get("action", {})
    if action and action["min"] == action["max"]:
        return *notes, "the action never differs: these data show nothing of any other"
    return notes


def by_format(path: Path, out: Path, options: ImportOptions) -> tuple[str, ...]:
    """Writes what is at a path as a data set, by its format."""
    refuse_table(path)
    if path.suffix.lower() in (".hdf5", ".h5") and path.is_file():
        return d4rl.convert(path, out, options)
    if minari_files.folder_of(path) is not None:
        return minari_files.convert(path, out, options)
    if dopamine.folder_of(path) is not None:
        return dopamine.convert(path, out, options)
    if rlds_files.files_of(path):
        return rlds.convert(path, out, options)
    legacy.write(path, out, None, env=options.env, licence=options.licence, made="data convert")
    return ()


@contextmanager
def opened_any(path: Path, options: ImportOptions) -> Iterator[Store]:
    """The data set at a path, of whichever format; one of another format is converted, as `options`
    say, into a folder that is removed afterwards."""
    refuse_table(path)
    if not path.is_file() and path.exists() and store.stores_below(path):
        yield store.opened(path)
        return
    with tempfile.TemporaryDirectory() as scratch:
        converted(path, Path(scratch) / "data", options)
        data = store.opened(Path(scratch) / "data")
        data.path = path
        yield data


def exported(path: Path, out: Path, options: ImportOptions) -> int:
    """Writes a data set in the format of Minari, and returns its episodes."""
    with opened_any(path, options) as data:
        return minari_files.export(data, out, f"{out.name}-v0")
