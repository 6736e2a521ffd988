"""From an environment's name to the environment."""

import difflib
import importlib
import importlib.util
import sys
from pathlib import Path
from typing import Any

from spinward.errors import SettingsError

OWN = {
    "CartPole-v1": "cartpole:CartPole",
    "Acrobot-v1": "acrobot:Acrobot",
    "MountainCar-v0": "mountain_car:MountainCar",
    "MountainCarContinuous-v0": "mountain_car_continuous:MountainCarContinuous",
    "Pendulum-v1": "pendulum:Pendulum",
    "MinAtar-Breakout": "minatar_breakout:MinAtarBreakout",
    "MinAtar-Asterix": "minatar_asterix:MinAtarAsterix",
    "MinAtar-Freeway": "minatar_freeway:MinAtarFreeway",
    "MinAtar-SpaceInvaders": "minatar_space_invaders:MinAtarSpaceInvaders",
    "MinAtar-Seaquest": "minatar_seaquest:MinAtarSeaquest",
    "T-Maze": "t_maze:TMaze",
    "Maze": "maze:Maze",
    "Rooms": "rooms:Rooms",
    "Rooms-Narrow": "rooms:narrow",
    "Disco-Maze": "disco_maze:DiscoMaze",
    "Disco-Small": "disco_maze:small",
    "Probe-Value": "probe:ProbeValue",
    "Probe-Backprop": "probe:ProbeBackprop",
    "Probe-Discount": "probe:ProbeDiscount",
    "Probe-Action": "probe:ProbeAction",
    "Probe-Both": "probe:ProbeBoth",
    "Probe-ActionContinuous": "probe:ProbeActionContinuous",
    "Probe-Truncated": "probe:ProbeTruncated",
    "Probe-BothContinuous": "probe:ProbeBothContinuous",
    "Grammar": "grammar:Grammar",
    "Couplets": "couplets:Couplets",
    "text": "prompts:Prompts",
    "Finite-Chain": "finite:chain",
    "Finite-Grid": "finite:grid",
    "Finite-Garnet": "finite:garnet",
    "Grid-Small": "grids:random_small",
    "Grid-General": "grids:random_general",
    "Grid-Dense": "grids:dense",
    "Grid-Sparse": "grids:sparse",
    "Grid-Long": "grids:long",
    "Grid-Longer": "grids:longer",
    "Grid-LongDense": "grids:long_dense",
    "Grid-Scattered": "grids:random_features",
    "Grid-RandSmall": "grids:rand_small",
    "Grid-RandSparse": "grids:rand_sparse",
    "Grid-RandVeryDense": "grids:rand_very_dense",
    "DelayedChain": "delayed_chain:DelayedChain",
    "Toys": "several:toys",
    "Toys-Features": "several:toys_in_features",
}
PREFIXES = {
    "gymnasium": "gymnasium:Gymnasium",
    "envpool": "envpool:EnvPool",
    "gymnax": "gymnax:Gymnax",
}


def make(name: str) -> Any:
    """The environment called `name`: an `Env` in JAX or a `HostEnv`.

    Ours where we have it, else `gymnasium:ID`, `envpool:ID`, `gymnax:ID`, anybody's `module:Class`
    or `path.py:Class`, and otherwise an id registered in Gymnasium.

    Raises:
        SettingsError: there is no such environment.
    """
    if name in OWN:
        return ours(OWN[name])()
    prefix, _, rest = name.partition(":")
    if rest and prefix in PREFIXES:
        return ours(PREFIXES[prefix])(rest)
    if rest:
        found = imported(name)
        acts = hasattr(found, "reset") or hasattr(found, "open")  # an Env or a HostEnv
        if acts and hasattr(found, "spec") and not is_gymnasium(found):
            return found()
    elif not name.startswith("ALE/"):
        check_registered(name)
    return ours(PREFIXES["gymnasium"])(name)


def ours(place: str) -> Any:
    module, _, name = place.partition(":")
    return getattr(importlib.import_module(f"spinward.envs.{module}"), name)


def is_own_code(name: str) -> bool:
    """Whether making `name` runs code that is neither ours nor of an installed registry."""
    prefix, _, rest = name.partition(":")
    return bool(rest) and (prefix not in PREFIXES or ":" in rest)


def imported(place: str) -> Any:
    """What `module:Name` or `path.py:Name` names."""
    where, _, name = place.rpartition(":")
    try:
        if where.endswith(".py"):
            spec = importlib.util.spec_from_file_location(Path(where).stem, where)
            if spec is None or spec.loader is None or not Path(where).is_file():
                raise SettingsError(f"there is no file {where}, named by {place!r}")
            module = importlib.util.module_from_spec(spec)
            sys.modules.setdefault(Path(where).stem, module)
            spec.loader.exec_module(module)
        else:
            if "" not in sys.path:
                sys.path.insert(0, "")
            module = importlib.import_module(where)
        return getattr(module, name)
    except ModuleNotFoundError as error:
        raise SettingsError(f"{place!r} names no module: {error}") from error
    except AttributeError as error:
        names = [n for n in vars(module) if isinstance(getattr(module, n), type)]
        near = ", ".join(difflib.get_close_matches(name, names, 3)) or ", ".join(names[:5])
        raise SettingsError(f"{where} has no {name}; it has {near or 'no classes'}") from error


def is_gymnasium(found: Any) -> bool:
    import gymnasium

    return isinstance(found, type) and issubclass(found, gymnasium.Env)


def check_registered(name: str) -> None:
    import gymnasium

    if name in gymnasium.registry:
        return
    known = dict.fromkeys((*OWN, *gymnasium.registry))  # several of ours are there too
    near = ", ".join(difflib.get_close_matches(name, known, 4, 0.5))
    raise SettingsError(
        f"there is no environment {name!r}"
        + (f"; the nearest are {near}" if near else "")
        + ": `spinward envs` lists them"
    )
