"""How many bytes of RAM a store or a search takes, computed before it exists."""

import math
import os
from pathlib import Path
from typing import Any

import jax

from spinward.core import Box, Spec, replace
from spinward.errors import SettingsError
from spinward.experience import frames, priorities
from spinward.experience.wanted import Samples, SelfPlay, Sequences, Want, rows

LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")
GB = 1e9


def replay_bytes(
    spec: Spec, rows: int, steps: int, stack: int = 1, prioritised: bool = False
) -> int:
    """The bytes of one seed's replay: `rows` rows of `spec.envs` environments, `steps` rows added
    at once."""
    obs = sum(x.nbytes for x in jax.tree.leaves(spec.zeros()))
    action = 4 * math.prod(spec.action.shape)
    step = action + 4 + 2 + 4  # and reward, flags, weight
    if stack > 1:
        held = rows * (step + 4) + frames.slots(rows, stack, steps) * obs // stack
    else:
        held = rows * (step + 2 * obs)
    leaves = 4 * rows * priorities.BRANCHES / (priorities.BRANCHES - 1) if prioritised else 0
    return int(spec.envs * (held + leaves))


def wanted_bytes(want: Want, spec: Spec) -> int:
    """The bytes of one seed's store, or of its search trees; 0 where it has neither."""
    if isinstance(want, SelfPlay):
        return want.search_bytes
    if not isinstance(want, Samples | Sequences):
        return 0
    spec, capacity = replace(spec, envs=want.envs), rows(want, want.capacity)
    if isinstance(want, Samples):
        return replay_bytes(spec, capacity, want.steps, want.stack, want.prioritised)
    numbers = capacity * want.extras + want.memory * capacity // want.steps
    return replay_bytes(spec, capacity, want.steps) + 4 * want.envs * numbers


def machine_bytes() -> int:
    """The bytes that this process may use: of the GPU's memory, or of the machine's RAM."""
    stats: Any = jax.local_devices()[0].memory_stats()
    if stats and "bytes_limit" in stats:
        return int(stats["bytes_limit"])
    limits = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    for path in map(Path, LIMITS):
        text = path.read_text().strip() if path.is_file() else ""
        limits += [int(text)] if text.isdigit() else []
    return min(limits)


def statement(want: Want, needed: int, seeds: int = 1) -> str:
    """The sentence about RAM that a command prints before a run."""
    what = "search takes" if isinstance(want, SelfPlay) else "replay takes"
    each = f" ({needed / GB:.2f} GB for each of {seeds} seeds)" if seeds > 1 else ""
    return f"{what} {seeds * needed / GB:.2f} GB{each} of {machine_bytes() / GB:.1f} GB"


def require_ram(want: Want, needed: int, seeds: int = 1) -> None:
    """Raises SettingsError where the store or the search trees do not fit into RAM."""
    if seeds * needed > machine_bytes():
        games = isinstance(want, SelfPlay)
        what = f"envs={want.envs}" if games else f"capacity={want.capacity}"  # type: ignore[union-attr]
        raise SettingsError(
            f"{what} does not fit into memory: the {statement(want, needed, seeds)}"
        )


def require_images(spec: Spec, stack: int) -> None:
    """Raises SettingsError where an observation is not a stack of `stack` images."""
    obs = spec.obs
    fits = isinstance(obs, Box) and len(obs.shape) == 3 and obs.shape[-1] % max(stack, 1) == 0
    if stack < 1 or (stack > 1 and not fits):
        raise SettingsError(
            f"stack={stack} needs images [height, width, channels] whose channels it divides, as "
            f"--env.stack {stack} makes them; this environment shows {obs}"
        )
