"""The file of the texts that a policy wrote at log points, with the reward of each."""

import json
import sys
from pathlib import Path
from typing import Any, NamedTuple

from spinward.errors import DamagedFileError
from spinward.store import files

FILE = "texts.json"  # in the folder of a shard
LIMIT = 2**22  # bytes of the file
LARGEST = sys.float_info.max


class TextSample(NamedTuple):
    prompt: str
    completion: str
    reward: float | None  # None: it is no finite number


def read(folder: Path) -> list[dict[str, Any]]:
    """The log points of a shard with their texts; none where there are none that can be read."""
    try:
        content = json.loads(files.read(folder / FILE, folder, LIMIT))
        if not isinstance(content, list):
            raise ValueError(f"expected a list, found {content!r:.60}")
        return [checked(point) for point in content]
    except FileNotFoundError:
        return []
    except (DamagedFileError, ValueError, TypeError, KeyError, RecursionError) as error:
        print(f"spinward: warning: {folder / FILE}: {error!s:.120}", file=sys.stderr)
        return []


def checked(point: Any) -> dict[str, Any]:
    """A log point whose values are of their types.

    Raises:
        ValueError, TypeError or KeyError: it is none.
    """
    texts = [TextSample(**sample) for sample in point["texts"]]
    numbers = (point["iteration"], point["env_steps"])
    if not all(type(x) is int and x >= 0 for x in numbers) or not all(map(sound, texts)):
        raise ValueError(f"expected a log point with its texts, found {point!r:.60}")
    return {**point, "texts": [text._asdict() for text in texts]}


def sound(text: TextSample) -> bool:
    words = isinstance(text.prompt, str) and isinstance(text.completion, str)
    if text.reward is None:
        return words
    return words and type(text.reward) in (int, float) and abs(text.reward) <= LARGEST
