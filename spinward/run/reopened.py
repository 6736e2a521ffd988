"""Assembles the run of a file of settings, whose name is part of what is wrong with them."""

from pathlib import Path

from spinward.errors import SettingsError
from spinward.run.assemble import Assembled, assemble
from spinward.run.experiment import Experiment


def reopened(experiment: Experiment, path: Path) -> Assembled:
    """The assembled run of the settings in a file.

    Raises:
        SettingsError: settings that cannot work here.
        DamagedFileError: a file that they name is corrupt, or was changed.
    """
    try:
        return assemble(experiment)
    except SettingsError as error:
        raise SettingsError(f"{path}: {error}") from None
