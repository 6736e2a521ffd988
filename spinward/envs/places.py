"""Where in a user's code an error was raised.

It imports nothing of the package: a worker process loads it without JAX.
"""

import os
import sysconfig
import traceback
from pathlib import Path

OURS = str(Path(__file__).parent.parent)
INSTALLED = tuple({OURS, *(sysconfig.get_paths()[n] for n in ("stdlib", "purelib", "platlib"))})


def place_of(error: BaseException) -> str:
    """The file and line of the innermost call that is neither ours nor of an installed package, as
    ` (file.py:7)`; of one that is not ours, if there is no such call."""
    frames = [f for f in traceback.extract_tb(error.__traceback__) if not is_in(f, (OURS, "<"))]
    theirs = [frame for frame in frames if not is_in(frame, INSTALLED)] or frames
    if not theirs:
        return ""
    path = theirs[-1].filename
    near = os.path.relpath(path) if path.startswith(os.getcwd() + os.sep) else path
    return f" ({near}:{theirs[-1].lineno})"


def is_in(frame: traceback.FrameSummary, folders: tuple[str, ...]) -> bool:
    return frame.filename.startswith(folders)
