"""Opens one Gymnasium environment by its name, in whichever process it is to live in.

It imports nothing of the package: a worker process loads it without JAX.
"""

import importlib
import importlib.util
from pathlib import Path
from typing import Any

import numpy as np

ATARI_INSTALL = "Atari needs ale-py and OpenCV: pip install -e '.[atari]'"


def make(name: str, kwargs: dict[str, Any], registered: dict[str, Any] | None = None) -> Any:
    """The environment called `name`: a registered id, `package:id`, `module:Class` or
    `path.py:Class`. Its method `action_masks`, if it has one, is told in `info`.

    `registered` is how the parent process knows the id, for ids that only it has registered.
    """
    from .masks import with_mask

    return with_mask(made(name, kwargs, registered))


def made(name: str, kwargs: dict[str, Any], registered: dict[str, Any] | None) -> Any:
    import gymnasium

    if registered is not None and "packed" in registered:  # an object of the parent process
        import cloudpickle

        return cloudpickle.loads(registered["packed"])(**kwargs)
    if name.startswith("ALE/"):
        return _atari(name, kwargs)
    if registered is not None and name not in gymnasium.registry:
        entry = registered["entry_point"]
        gymnasium.register(name, **(registered | {"entry_point": _entry(entry)}))
    module, _, attribute = name.rpartition(":")
    if module and module.endswith(".py"):
        return _entry(name)(**kwargs)
    if module and hasattr(importlib.import_module(module), attribute):
        return _entry(name)(**kwargs)
    return gymnasium.make(name, disable_env_checker=True, **kwargs)


def _entry(name: str) -> Any:
    module, _, attribute = name.rpartition(":")
    if not module.endswith(".py"):
        entry: Any = importlib.import_module(module)
    else:
        spec = importlib.util.spec_from_file_location(Path(module).stem, module)
        if spec is None or spec.loader is None:
            raise ImportError(f"cannot read {module}")
        entry = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(entry)
    for part in attribute.split("."):
        entry = getattr(entry, part)
    return entry


def _atari(name: str, kwargs: dict[str, Any]) -> Any:
    """Machado and others (2018): sticky actions, no life loss, 4 gray frames of 84 x 84."""
    try:
        import ale_py
        import cv2  # noqa: F401
    except ImportError as missing:
        raise ImportError(ATARI_INSTALL) from missing
    import gymnasium
    from gymnasium import wrappers

    ale_py.ALEInterface.setLoggerMode(ale_py.LoggerMode.Error)  # no banner for each of them
    gymnasium.register_envs(ale_py)
    env = gymnasium.make(name, disable_env_checker=True, **({"frameskip": 1} | kwargs))
    env = wrappers.AtariPreprocessing(env, noop_max=0, frame_skip=4, screen_size=84)
    env = wrappers.FrameStackObservation(env, 4)
    space = gymnasium.spaces.Box(0, 255, (84, 84, 4), np.uint8)
    return wrappers.TransformObservation(env, lambda obs: np.moveaxis(obs, 0, -1), space)
