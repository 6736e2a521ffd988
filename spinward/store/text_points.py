"""The file of the texts that a policy wrote at log points, with the reward of each."""

import json
import sys
from pathlib import Path
from typing import Any, NamedTuple

from spinward.errors import DamagedFileError
from spinward.store import files

FILE = "texts.json"  # in the folder of a shard
LIMIT = 2**22  # bytes of the file


class TextSample(NamedTuple):
    prompt: str
    completion: str
    reward: float


def read(folder: Path) -> list[dict[str, Any]]:
    """The log points of a shard with their texts; none where there are none that can be read."""
    try:
        content = json.loads(files.read(folder / FILE, folder, LIMIT))
        for point in content:
            point["texts"] = [TextSample(**sample)._asdict() for sample in point["texts"]]
            if not all(isinstance(point[n], int) for n in ("iteration", "env_steps")):
                raise ValueError(f"found {point!r:.60}")
        return list(content)
    except FileNotFoundError:
        return []
    except (DamagedFileError, ValueError, TypeError, KeyError, RecursionError) as error:
        print(f"spinward: warning: {folder / FILE}: {error!s:.120}", file=sys.stderr)
        return []
