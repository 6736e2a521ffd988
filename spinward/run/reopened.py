"""Assembles the run of a file of settings, whose name is part of what is wrong with them."""

from pathlib import Path

from spinward.errors import SettingsError
from spinward.run import folders
from spinward.run.assemble import Assembled, assemble
from spinward.run.config import read_config
from spinward.run.experiment import Experiment


def reopened(experiment: Experiment, path: Path, older: bool) -> Assembled:
    """The assembled run of the settings in a file, for which its checkpoints vouch.

    Raises:
        SettingsError: settings that cannot work here.
        DamagedFileError: they were changed; or a file that they name is corrupt, or was changed.
    """
    folders.verify(path.parent, read_config(path), older)
    try:
        return assemble(experiment)
    except SettingsError as error:
        raise SettingsError(f"{path}: {error}") from None
