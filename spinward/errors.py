"""Errors that a person can act on. Each has one line of text and an exit code for the command."""

import difflib
from collections.abc import Iterable
from typing import Any

NEAR = 0.66  # share of letters in common; below it a suggestion misleads: --foo is not --rollout

EXTRAS = {  # from a module that may be missing to the extra of pyproject.toml that installs it
    "Box2D": "box2d",
    "ale_py": "atari",
    "argon2": "web",
    "cv2": "atari",
    "h5py": "data",
    "brax": "brax",
    "craftax": "craftax",
    "minari": "data",
    "pgx": "pgx",
    "pyarrow": "data",
    "envpool": "envpool",
    "flatbuffers": "export",
    "flax": "gymnax",
    "gguf": "smollm2",
    "gymnax": "gymnax",
    "imageio": "mujoco",
    "imageio_ffmpeg": "video",
    "jinja2": "language",
    "jumanji": "jumanji",
    "mujoco": "mujoco",
    "mujoco_playground": "playground",
    "navix": "navix",
    "onnx": "onnx",
    "onnxruntime": "onnx",
    "optuna": "tune",
    "ray": "ray",
    "six": "gymnax",
    "starlette": "web",
    "tensorboardX": "tensorboard",
    "tokenizers": "language",
    "trackio": "trackio",
    "uvicorn": "web",
    "wandb": "wandb",
}


def install(module: str) -> str:
    """The command that installs a module, run in Spinward's folder."""
    return f"pip install -e '.[{EXTRAS[module]}]'" if module in EXTRAS else f"pip install {module}"


def nearest(word: str, known: Iterable[str], count: int = 1) -> list[str]:
    """The known names that are most like a misspelt one, the nearest first.

    Dashes, underscores and capitals do not count.
    """
    plain = {plain_name(name): name for name in known}
    return [plain[n] for n in difflib.get_close_matches(plain_name(word), plain, count, NEAR)]


def plain_name(name: str) -> str:
    return name.strip("-").replace("-", "_").lower()


class SpinwardError(Exception):
    """What was expected, what was found, and what to do, in one line."""

    exit_code = 1


class SettingsError(SpinwardError, ValueError):
    """A setting, a name or a pair of settings that cannot work; raised before any training."""

    exit_code = 2


class NonFiniteError(SpinwardError, ArithmeticError):
    """A NaN or an infinity in an observation, a reward, a loss, a gradient or a parameter."""

    exit_code = 3
    reached: Any = None  # on a host: the state to save, and the iterations done before it


class DamagedFileError(SpinwardError, OSError):
    """A file that is corrupt, cut off, or not written by Spinward."""

    exit_code = 4


class EnvironmentFailedError(SpinwardError, RuntimeError):
    """An environment that raised, hung, died too often, or broke its own spec."""

    exit_code = 5


class DiskError(SpinwardError, OSError):
    """A disk that is full or not writable."""

    exit_code = 2


class NotDeployed(SpinwardError):
    """A policy that a deploy gate does not let through."""

    exit_code = 6


class Stopped(SpinwardError):
    """A run that received a stop request and was saved."""

    exit_code = 130
