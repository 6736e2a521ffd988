"""Changes of the state between chunks, from outside the compiled program: people's answers,
curricula, opponents.

A hook `between(state, at) -> state` is called at every log point, before the iteration `at`. The
leaves that the hook changed are saved before they take effect. So a resumed run, or a run that is
repeated to find a fault, has the same changes at the same iterations.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from spinward.core import TrainState
from spinward.errors import DamagedFileError, SettingsError
from spinward.store import checkpoint
from spinward.store import parameters as learned
from spinward.trees import name_of

ALL = 10**9  # changes that are kept
Between = Callable[[TrainState, int], TrainState]


class Changes:
    """The changes of a hook to one shard of a run, saved in one folder."""

    def __init__(self, folder: Path, hook: Between | None, every: int) -> None:
        self.folder, self.hook, self.every = folder, hook, every
        if hook is None and folder.is_dir():
            raise SettingsError(
                f"{folder}: this run was trained with a hook between its chunks; to continue it, "
                "give that hook again: sw.load(RUN).train(between=...)"
            )

    def at(self, iteration: int, state: TrainState, asks: bool = True) -> TrainState:
        """The state to continue from: with the saved change of this iteration, or with the change
        of the hook if the hook `asks`."""
        if self.hook is None or iteration % self.every:
            return state
        recorded = {checkpoint.number(path): path for path in checkpoint.checkpoints(self.folder)}
        if iteration in recorded:
            return replayed(recorded[iteration], state)
        after = self.hook(state, iteration) if asks else state
        if changed := changes(state, after):
            return replayed(checkpoint.save(self.folder, iteration, changed, {}, ALL), state)
        return state


def changes(before: TrainState, after: TrainState) -> dict[str, Any]:
    """The leaves of `after` that differ from `before`, by path.

    Raises:
        SettingsError: the hook returned no state of the same shape.
    """
    leaves = jax.tree_util.tree_leaves_with_path(before)
    others = jax.tree.leaves(after)
    if str(jax.tree.structure(before)) != str(jax.tree.structure(after)):
        raise SettingsError("the hook between chunks returned no state of the same structure")
    changed = {}
    for (path, old), new in zip(leaves, others, strict=True):
        if new is old:
            continue
        if jnp.shape(new) != old.shape:
            raise SettingsError(
                f"the hook between chunks gave {name_of(path)} the shape {jnp.shape(new)}; "
                f"expected {old.shape}"
            )
        changed[name_of(path)] = jnp.asarray(new, old.dtype)
    return changed


def replayed(path: Path, state: TrainState) -> TrainState:
    """`state` with the leaves of a saved change.

    Raises:
        DamagedFileError: the file is damaged, or belongs to another state.
    """
    changed, _ = learned.read(path)
    leaves, tree = jax.tree_util.tree_flatten_with_path(state)
    names = [name_of(leaf_path) for leaf_path, _ in leaves]
    if unknown := changed.keys() - set(names):
        raise DamagedFileError(f"{path} changes {', '.join(unknown)}, which this run has not")
    whole = [jnp.asarray(changed.get(n, old)) for n, (_, old) in zip(names, leaves, strict=True)]
    return jax.tree.unflatten(tree, whole)
