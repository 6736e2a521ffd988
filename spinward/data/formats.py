"""Which reader and writer a format has."""

from pathlib import Path

from spinward.data import d4rl, legacy, minari_files
from spinward.data.plan import ImportOptions
from spinward.data.tables import refuse_table


def converted(path: Path, out: Path, options: ImportOptions) -> tuple[str, ...]:
    """Writes what is at a path as a data set, and returns what was changed.

    Raises:
        SettingsError: there is nothing, or nothing of a known format.
    """
    refuse_table(path)
    if path.suffix.lower() in (".hdf5", ".h5") and path.is_file():
        return d4rl.convert(path, out, options)
    if minari_files.folder_of(path) is not None:
        return minari_files.convert(path, out, options)
    legacy.write(path, out, None, env=options.env, licence=options.licence, made="data convert")
    return ()


def exported(path: Path, out: Path) -> int:
    """Writes a data set in the format of Minari, and returns its episodes."""
    with legacy.opened_any(path) as data:
        return minari_files.export(data, out, f"{out.name}-v0")
