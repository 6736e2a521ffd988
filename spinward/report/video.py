"""Writes frames as an animated picture, or as a film where FFmpeg is installed."""

import io
import itertools
import math
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from spinward.errors import SettingsError
from spinward.store.files import sync, temporary, write_atomically

GIF_LIMIT = 50  # frames a second; browsers play faster ones slowly
FORMATS = (".gif", ".webp", ".mp4")


def write(frames: Iterable[np.ndarray], path: Path, fps: float = 30) -> None:
    """Writes frames, uint8 [height, width, 3], as GIF, WebP or MP4 by the name's ending.

    Raises:
        SettingsError: no frames, frames of another shape or type, another ending, a rate that is
            not positive, or MP4 without imageio-ffmpeg.
    """
    kind = path.suffix.lower()
    if kind not in FORMATS:
        raise SettingsError(f"{path}: a video ends in one of {', '.join(FORMATS)}")
    if not (math.isfinite(fps) and fps > 0):
        raise SettingsError(f"fps={fps} is not positive")
    frames = checked(frames, path)
    if kind == ".mp4":
        write_film(frames, path, fps)
    else:
        write_atomically(path, animated(frames, kind, fps))


def checked(frames: Iterable[np.ndarray], path: Path) -> Iterator[np.ndarray]:
    """The frames, each checked.

    Raises:
        SettingsError: there are none, or one is no picture of the first one's size.
    """
    rest = map(np.asarray, frames)
    first = next(rest, None)
    if first is None:
        raise SettingsError(f"{path}: no frames to write; the policy took no step, or nothing drew")

    def each() -> Iterator[np.ndarray]:
        for n, frame in enumerate(itertools.chain([first], rest)):
            if frame.dtype != np.uint8 or frame.ndim != 3 or frame.shape[2] != 3 or not frame.size:
                raise SettingsError(
                    f"{path}: frame {n} must be uint8 [height, width, 3], found {frame.dtype} "
                    f"{list(frame.shape)}"
                )
            if frame.shape != first.shape:
                raise SettingsError(
                    f"{path}: frame {n} is {list(frame.shape)}, the first is {list(first.shape)}"
                )
            yield frame

    return each()


def animated(frames: Iterator[np.ndarray], kind: str, fps: float) -> bytes:
    """An animated GIF, or a WebP in full colour, that repeats for ever."""
    from PIL import Image

    options: dict[str, Any] = {"save_all": True, "loop": 0}
    if kind == ".gif":
        stride = math.ceil(fps / GIF_LIMIT)
        frames, fps = itertools.islice(frames, 0, None, stride), fps / stride
        options |= {"optimize": False, "disposal": 1}
    else:
        options |= {"quality": 80, "method": 4}
    pictures: Iterator[Image.Image] = map(Image.fromarray, frames)
    if kind == ".gif":  # undithered: flat areas stay flat, and still ones cost nothing
        pictures = (p.quantize(256, dither=Image.Dither.NONE) for p in pictures)
    data = io.BytesIO()
    first = next(pictures)
    first.save(
        data, kind[1:].upper(), append_images=pictures, duration=round(1000 / fps), **options
    )
    return data.getvalue()


def write_film(frames: Iterator[np.ndarray], path: Path, fps: float) -> None:
    """H.264, which every browser plays."""
    try:
        import imageio_ffmpeg
    except ImportError:
        raise SettingsError(
            f"{path}: MP4 needs FFmpeg; pip install -e '.[video]', or write a .gif or .webp"
        ) from None
    first = next(frames)
    with temporary(path) as name:
        film = imageio_ffmpeg.write_frames(
            str(name), first.shape[1::-1], fps=fps, codec="libx264", macro_block_size=2,
            output_params=["-f", "mp4", "-movflags", "+faststart"],
        )  # fmt: skip
        film.send(None)
        try:
            for frame in itertools.chain([first], frames):
                film.send(np.ascontiguousarray(frame))
        finally:
            film.close()
        with open(name, "rb") as file:
            sync(file.fileno())
        name.replace(path)
