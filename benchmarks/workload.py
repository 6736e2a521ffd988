"""What a workload is: settings shared by every side, and the sides that are compared."""

from dataclasses import dataclass, field
from typing import Any

OURS = "benchmarks.ours"
REJAX = "benchmarks.peers.with_rejax"
SB3 = "benchmarks.peers.with_sb3"
TORCH = "benchmarks.peers.plain_torch"
DOPAMINE = "benchmarks.peers.with_dopamine"


@dataclass(frozen=True)
class Side:
    """One way of doing the workload, in a process of its own."""

    name: str
    script: str  # a module run by `python -m`
    env: str
    seeds: int = 1
    variant: str = ""  # which of a peer's ways of running is meant, where it has several
    beside: str = ""  # the side that a ratio is taken against; none for the last of a pair
    settings: dict[str, Any] = field(default_factory=dict)  # in place of the workload's own

    @property
    def ours(self) -> bool:
        return self.script == OURS


@dataclass(frozen=True)
class Workload:
    """Settings are in Spinward's names; each side's script translates them to its own."""

    name: str
    question: str  # what the numbers are to tell
    algorithm: str
    settings: dict[str, Any]
    env_steps: int  # of each seed
    quick_env_steps: int
    sides: tuple[Side, ...]
    cores: int = 1  # that every side is pinned to; more threads only cost CPU-seconds here
    notes: tuple[str, ...] = field(default=())  # where sides cannot be made the same
