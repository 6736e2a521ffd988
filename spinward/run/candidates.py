"""The agents of a run on logged data alone at some points of it, so that an earlier one can be used
where the last is over-fitted: without a simulator, nothing says so while the run goes on."""

from pathlib import Path
from typing import Any

import jax
import numpy as np

from spinward.run.assemble import Assembled
from spinward.store import checkpoint, integrity

FOLDER = "candidates"  # of a shard, beside its checkpoints
COUNT = 20  # of a run
BYTES = 2**28  # of all of them; larger agents are kept at fewer points


class Candidates:
    """The agents that are kept of a running shard."""

    def __init__(self, made: Assembled, folder: Path, iterations: int):
        self.folder, self.iterations = folder / FOLDER, iterations
        self.active = made.logged_only and not made.on_texts
        self.last = -1  # the last iteration that was kept

    def restore(self, iteration: int) -> None:
        """Removes what was kept after an iteration that a run continues from."""
        integrity.drop_newer(self.folder, iteration)
        kept = checkpoint.checkpoints(self.folder)
        self.last = max(map(checkpoint.number, kept), default=-1)

    def keep(self, agent: Any, iteration: int) -> None:
        """Keeps the agents [seed] of a log point, if a twentieth of the run has passed since."""
        if not self.active:
            return
        size = sum(np.prod(x.shape) * x.dtype.itemsize for x in jax.tree.leaves(agent))
        count = int(max(1, min(COUNT, BYTES // max(size, 1))))
        now, before = (n * count // self.iterations for n in (iteration, self.last))
        if now == before:
            return
        self.last = iteration
        checkpoint.save(self.folder, iteration, {"agent": agent}, {}, keep=COUNT + 1)
