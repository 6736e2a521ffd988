"""Trackio: one of its runs for each run, in the project `spinward` or that of TRACKIO_PROJECT;
`trackio show` opens its page."""

import contextlib
import os
import sys
from pathlib import Path
from typing import Any

from spinward.errors import SettingsError, install
from spinward.store.points import flat


def check() -> None:
    """Raises SettingsError where the library is missing."""
    try:
        import trackio  # noqa: F401
    except ImportError:
        raise SettingsError(f"the trackio logger needs Trackio: {install('trackio')}") from None


class Trackio:
    def __init__(self, run: Path, config: dict[str, Any], first_step: int):
        import trackio

        self.finish = trackio.finish
        with contextlib.redirect_stdout(sys.stderr):  # standard output is for results
            self.run = trackio.init(
                project=os.environ.get("TRACKIO_PROJECT", "spinward"),
                name=run.resolve().name,
                config=config,
                resume="allow",
                embed=False,
                auto_log_cpu=False,
                auto_log_gpu=False,
            )

    def write(self, step: int, metrics: list[dict[str, float]]) -> None:
        """Writes the metrics [seed] of a log point."""
        self.run.log(flat(metrics), step=step)

    def close(self) -> None:
        with contextlib.redirect_stdout(sys.stderr):
            self.finish()


opened = Trackio
