"""Clips as the bytes that are kept of them, and as one picture with all frames."""

import io
import json
from typing import Any

import jax
import numpy as np

from spinward.core import MASK, Renders
from spinward.errors import DamagedFileError
from spinward.networks.normaliser import parts_of
from spinward.people.filming import Clip

COLUMNS = 5  # frames in a row of the picture
LARGEST = 320  # pixels of a frame's longer side
HEIGHT, BAR, GAP = 120, 16, 6  # pixels of the bars that stand for numbers
BLUE, ORANGE, PAPER, LINE = (31, 95, 191), (224, 130, 58), (251, 250, 247), (170, 176, 184)


def pack(clip: Clip) -> bytes:
    """A clip's observations, actions and rewards: a line of JSON on each array, then the bytes."""
    arrays = {f"obs.{name}": x for name, x in parts_of(clip.obs).items()}
    arrays |= {"action": clip.action, "reward": np.asarray(clip.reward, np.float32)}
    arrays = {name: np.ascontiguousarray(x) for name, x in arrays.items()}
    head = {name: [x.dtype.str, list(x.shape)] for name, x in arrays.items()}
    return json.dumps(head).encode() + b"\n" + b"".join(x.tobytes() for x in arrays.values())


def unpack(content: bytes) -> Clip:
    """The clip in `content`.

    Raises:
        DamagedFileError: it is no clip.
    """
    try:
        line, _, data = content.partition(b"\n")
        arrays, at = {}, 0
        for name, (kind, shape) in json.loads(line).items():
            kind = np.dtype(kind)
            count = int(np.prod(shape, dtype=np.int64))
            if kind.kind not in "fiub" or count < 0 or at + count * kind.itemsize > len(data):
                raise ValueError(f"an array of {kind} {shape}")
            arrays[name] = np.frombuffer(data, kind, count, at).reshape(shape)
            at += count * kind.itemsize
        obs = {n.removeprefix("obs."): x for n, x in arrays.items() if n.startswith("obs.")}
        parts: Any = obs.get("", obs)
        return Clip(parts, arrays["action"], arrays["reward"])
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise DamagedFileError(f"a clip is damaged: {error!r:.100}") from None


def frames(env: Any, clip: Clip, show: str) -> list[np.ndarray]:
    """The frames [height, width, 3] of a clip."""
    if show == "numbers":
        return bars(clip)
    if isinstance(env, Renders):
        steps = len(clip.reward)
        return [env.render(jax.tree.map(lambda x, t=t: x[t], clip.seen)) for t in range(steps)]
    return list(clip.seen)


def bars(clip: Clip) -> list[np.ndarray]:
    """Each number of an observation as a bar from the middle, each number of the action as an
    orange one. All bars of one number share one scale."""
    parts = [x.reshape(len(x), -1) for name, x in parts_of(clip.obs).items() if name != MASK]
    action = np.asarray(clip.action, np.float32).reshape(len(clip.reward), -1)
    rows = np.concatenate([*parts, action], 1).astype(np.float32)[:, :48]
    size = rows / (np.abs(rows) + np.maximum(np.abs(rows).mean(0), 1e-6))  # within -1 and 1
    lines = []
    for row in size:
        picture = np.full((HEIGHT, GAP + len(row) * (BAR + GAP), 3), PAPER, np.uint8)
        picture[HEIGHT // 2] = LINE
        for i, value in enumerate(row):
            left, end = GAP + i * (BAR + GAP), HEIGHT // 2 - round(value * (HEIGHT // 2 - 4))
            colour = ORANGE if i >= rows.shape[1] - action.shape[1] else BLUE
            picture[slice(*sorted((HEIGHT // 2, end))), left : left + BAR] = colour
        lines.append(picture)
    return lines


def sheet(pictures: list[np.ndarray], fps: int) -> tuple[bytes, dict[str, int]]:
    """All frames side by side in one WebP picture, and its shape. A page plays it without a film
    codec, and two of them in step."""
    from PIL import Image

    first = Image.fromarray(pictures[0])
    first.thumbnail((LARGEST, LARGEST))
    width, height = first.size
    rows = -(-len(pictures) // COLUMNS)
    whole = Image.new("RGB", (width * min(COLUMNS, len(pictures)), height * rows))
    for i, frame in enumerate(pictures):
        small = Image.fromarray(frame).resize((width, height), Image.Resampling.BOX)
        whole.paste(small, (i % COLUMNS * width, i // COLUMNS * height))
    data = io.BytesIO()
    whole.save(data, "WEBP", quality=80, method=2)
    shape = {"frames": len(pictures), "width": width, "height": height}
    return data.getvalue(), {**shape, "columns": COLUMNS, "fps": fps}
