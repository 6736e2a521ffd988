"""Reads RLDS data sets, an episode in each record of TFRecord files (Ramos et al., 2021,
arXiv:2111.02767), without TensorFlow.

A step of RLDS has what was seen, done and earned; of the last step of an episode only what was seen
is meant. `is_last` without `is_terminal` is a truncation.
"""

import io
import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from spinward.core import Box, Dict, Discrete, replace
from spinward.data import card, tfrecords
from spinward.data.card import Card
from spinward.data.checks import in_unit, named
from spinward.data.layout import layout_of
from spinward.data.minari_files import put
from spinward.data.parts import BLOCK
from spinward.data.plan import ImportOptions
from spinward.data.rlds_files import RecordFiles, source_of
from spinward.data.statistics import measured
from spinward.data.store import opened
from spinward.data.tfrecords import Values
from spinward.data.writer import Fields, Writer, created
from spinward.errors import DamagedFileError, SettingsError

STEPS, OBS = "steps/", "steps/observation"
PICTURES = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff")  # how encoded images begin


def convert(path: Path, out: Path, options: ImportOptions) -> tuple[str, ...]:
    """Writes an RLDS data set as one of ours, and returns what was left out.

    Raises:
        SettingsError: a feature that no data set has, or the kind of an end is not known.
        DamagedFileError: a file is damaged, or a step is not as it must be.
    """
    source = source_of(path)
    with created(out) as folder:
        reader = EpisodeReader(source, options)
        writer, held, size, number = None, [], 0, 0
        for fields in reader.episodes():
            if writer is None:
                card.write(folder, reader.card(path))
                writer = Writer(folder, layout_of(reader.card(path).spec, {}))
            held.append(fields)
            size += sum(x.nbytes for _, x in named(fields))
            if size > BLOCK:
                number, held, size = put(writer, held, number), [], 0
        if writer is None:
            raise DamagedFileError(f"{path} has no episode with a step")
        put(writer, held, number)
        about = replace(reader.card(path), repaired=reader.notes())
        card.write(folder, about)
        card.write(folder, replace(about, statistics=measured(opened(folder))))
    return reader.notes()


class EpisodeReader:
    """Reads episodes one after another; all must be as the first."""

    def __init__(self, source: RecordFiles, options: ImportOptions):
        self.source, self.options = source, options
        self.where = ""  # the file and record under way
        self.boxes: dict[str, Box] = {}  # of the parts of an observation; "" of a whole one
        self.action: Any = None
        self.left_out: set[str] = set()  # parts that are no numbers and no pictures
        self.counts = {"invalid": 0, "short": 0, "rewarded": 0}

    def episodes(self) -> Iterator[Fields]:
        for path in self.source.files:
            for number, record in enumerate(tfrecords.records(path)):
                self.where = f"{path}: episode {number}"
                try:
                    features = tfrecords.example(record)
                except (ValueError, UnicodeDecodeError) as error:
                    raise DamagedFileError(f"{self.where}: no tf.train.Example, {error}") from None
                invalid = features.get("invalid")
                if isinstance(invalid, np.ndarray) and invalid.any():
                    self.counts["invalid"] += 1
                elif (fields := self.steps(features)) is not None:
                    yield fields

    def steps(self, features: dict[str, Values]) -> Fields | None:
        """An episode as steps; None where it has none."""
        first, last = (self.flags(features, name) for name in ("is_first", "is_last"))
        if first is None or last is None or len(first) != len(last):
            raise DamagedFileError(
                f"{self.where} has no steps/is_first and steps/is_last of one length: it is no "
                f"episode of RLDS; it has {', '.join(sorted(features)):.300}"
            )
        if first[1:].any() or last[:-1].any():
            raise DamagedFileError(f"{self.where}: a step in its middle is the first or the last")
        count = len(first) - 1
        if count < 1:
            self.counts["short"] += 1
            return None
        obs = self.observations(features, count + 1)
        fields: Fields = {"action": self.actions(features, count)}
        fields["reward"] = self.rewards(features, count)
        fields["terminated"], fields["truncated"] = self.ends(features, last)
        parts = {"obs": slice(0, count), "next_obs": slice(1, count + 1)}
        for key, part in parts.items():
            whole = {name: x[part] for name, x in obs.items()}
            fields[key] = whole.get("", whole)
        for key, values in named(fields):
            wrong = ~np.isfinite(values.reshape(count, -1)).all(1)
            if values.dtype.kind == "f" and wrong.any():
                raise DamagedFileError(
                    f"{self.where}: {key} of step {wrong.argmax()} is not finite"
                )
        return fields

    def rewards(self, features: dict[str, Values], count: int) -> np.ndarray:
        """The reward of each step; that of the last observation, which no action follows, is left
        out."""
        rewards = self.numbers(features, "steps/reward", count + 1).reshape(count + 1, -1)
        if rewards.shape[1] != 1:
            raise DamagedFileError(
                f"{self.where}: steps/reward has {rewards.shape[1]} numbers a step, expected 1"
            )
        self.counts["rewarded"] += bool(rewards[-1, 0])
        return rewards[:count, 0].astype(np.float32)

    def flags(self, features: dict[str, Values], name: str) -> np.ndarray | None:
        values = features.get(STEPS + name)
        return values != 0 if isinstance(values, np.ndarray) and len(values) else None

    def ends(self, features: dict[str, Values], last: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Whether each step is terminated, and whether truncated."""
        over = np.arange(len(last) - 1) == len(last) - 2
        terminal = self.flags(features, "is_terminal")
        if terminal is None and not self.options.ends:
            raise SettingsError(
                f"{self.where} has no steps/is_terminal, so the kind of its end is not known: say "
                "--ends terminated or --ends truncated"
            )
        if terminal is None:
            ended = over & last[-1], np.zeros(len(over), bool)
            return ended if self.options.ends == "terminated" else ended[::-1]
        if len(terminal) != len(last) or terminal[:-1].any():
            raise DamagedFileError(f"{self.where}: a step in its middle is terminal")
        return over & terminal[-1], over & last[-1] & ~terminal[-1]

    def numbers(self, features: dict[str, Values], name: str, count: int) -> np.ndarray:
        """The numbers [count, ...] of a feature."""
        values = features.get(name)
        if not isinstance(values, np.ndarray):
            raise DamagedFileError(f"{self.where} lacks the numbers {name}")
        shape = self.source.shapes.get(name) or (-1,)
        per_step = math.prod(shape) if shape != (-1,) else len(values) // count
        if not per_step or len(values) != count * per_step:
            raise DamagedFileError(
                f"{self.where}: {name} has {len(values):,} numbers for {count:,} steps"
            )
        kept = np.uint8 if len(shape) == 3 and values.dtype == np.int64 else np.float32
        if kept == np.uint8 and ((values < 0) | (values > 255)).any():
            raise DamagedFileError(f"{self.where}: {name} has an image with {values.max()}")
        return values.reshape(count, *shape).astype(kept)

    def observations(self, features: dict[str, Values], count: int) -> dict[str, np.ndarray]:
        """The parts [count, ...] of the observations, each as in the first episode."""
        arrays = {}
        for name in sorted(n for n in features if n == OBS or n.startswith(f"{OBS}/")):
            part = re.sub(r"\W", "_", name[len(OBS) + 1 :], flags=re.ASCII)
            values = features[name]
            if isinstance(values, list):
                if not values or not values[0].startswith(PICTURES):
                    self.left_out.add(name)
                    continue
                arrays[part] = self.pictures(name, values, count)
            else:
                arrays[part] = self.numbers(features, name, count)
        boxes = {name: box_of(x) for name, x in arrays.items()}
        self.boxes = self.boxes or boxes
        if not boxes or boxes != self.boxes:
            wanted = ", ".join(f"{n} {b.shape}" for n, b in self.boxes.items()) or "an observation"
            given = ", ".join(f"{n} {b.shape}" for n, b in boxes.items()) or "none"
            raise DamagedFileError(f"{self.where}: expected {wanted}, found {given}")
        return arrays

    def pictures(self, name: str, values: list[bytes], count: int) -> np.ndarray:
        """Encoded images as pixels [count, row, column, channel]."""
        from PIL import Image

        if len(values) != count:
            raise DamagedFileError(f"{self.where}: {name} has {len(values)} of {count} images")
        decoded = []
        for step, data in enumerate(values):
            try:
                with Image.open(io.BytesIO(data), formats=("PNG", "JPEG")) as image:
                    if math.prod(image.size) * count * 3 > tfrecords.LARGEST:
                        raise ValueError(f"{count} images of {image.size} are too large")
                    pixels = np.asarray(image)
            except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
                what = f"{self.where}: {name} of step {step} is no image, {error}"
                raise DamagedFileError(what) from None
            decoded.append(pixels if pixels.ndim == 3 else pixels[..., None])
        if len({x.shape for x in decoded}) > 1:
            raise DamagedFileError(f"{self.where}: images of {name} differ in size")
        return np.stack(decoded).astype(np.uint8)

    def actions(self, features: dict[str, Values], count: int) -> np.ndarray:
        """The actions [count, ...] as they are stored."""
        values = features.get("steps/action")
        if not isinstance(values, np.ndarray):
            parts = ", ".join(n for n in sorted(features) if n.startswith("steps/action"))
            raise SettingsError(f"{self.where}: expected one steps/action, found {parts or 'none'}")
        kind = "whole numbers" if values.dtype == np.int64 else "numbers"
        if values.dtype == np.int64 and len(values) == count + 1:
            least, most = int(values[:-1].min()), int(values[:-1].max())
            if least < 0 or most >= (self.options.actions or 2**24):
                raise DamagedFileError(f"{self.where}: an action of {least} to {most} is no choice")
            known = self.action.n if isinstance(self.action, Discrete) else 1
            space: Any = Discrete(max(most + 1, known, self.options.actions))
            stored = values[:-1].astype(np.int32)
        else:
            stored = self.numbers(features, "steps/action", count + 1)[:-1].astype(np.float32)
            low = -1.0 if self.options.low is None else self.options.low
            high = 1.0 if self.options.high is None else self.options.high
            space = Box(stored.shape[1:], low, high)
            stored = in_unit(Path(self.where), 0, space, stored)
        if self.action is not None and (
            type(space) is not type(self.action) or (space.shape != self.action.shape)
        ):
            raise DamagedFileError(f"{self.where}: {kind} are not the actions of the others")
        self.action = space
        return stored

    def card(self, path: Path) -> Card:
        items = tuple(sorted(self.boxes.items()))
        obs = self.boxes[""] if "" in self.boxes else Dict(items)
        origin = f"RLDS {path.name}", self.options.env, self.options.licence
        return Card(obs, self.action, *origin, "data convert (RLDS)")

    def notes(self) -> tuple[str, ...]:
        counts, notes = self.counts, []
        if counts["invalid"]:
            notes.append(f"{counts['invalid']:,} episodes left out that are marked as invalid")
        if counts["short"]:
            notes.append(f"{counts['short']:,} episodes left out that have no step")
        if counts["rewarded"]:
            notes.append(
                f"{counts['rewarded']:,} episodes have a reward with their last observation, which "
                "is of no step in RLDS: left out"
            )
        if self.left_out:
            notes.append(f"left out, as they are no numbers: {', '.join(sorted(self.left_out))}")
        return tuple(notes)


def box_of(values: np.ndarray) -> Box:
    if values.dtype == np.uint8:
        return Box(values.shape[1:], 0.0, 255.0, "uint8")
    return Box(values.shape[1:])
