"""Changes of the state between chunks, from outside the compiled program: people's answers,
curricula, opponents.

A hook `between(state, at) -> state` is called at every log point, before the iteration `at`. The
leaves that the hook changed are saved before they take effect. So a resumed run, or a run that is
repeated to find a fault, has the same changes at the same iterations.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import jax
import jax.numpy as jnp

from spinward.core import TrainState
from spinward.errors import DamagedFileError, SettingsError
from spinward.store import checkpoint
from spinward.store import parameters as learned

ALL = 10**9  # changes that are kept
Between = Callable[[TrainState, int], TrainState]


@runtime_checkable
class Waits(Protocol):
    """A hook for which training may have to wait, as for people's answers. It is asked again and
    again, and stop requests are seen in between."""

    def waits(self, state: TrainState, at: int) -> bool: ...


class Both:
    """Two hooks, one after the other."""

    def __init__(self, first: Between, second: Between) -> None:
        self.first, self.second = first, second

    def waits(self, state: TrainState, at: int) -> bool:
        hooks = self.first, self.second
        return any(isinstance(hook, Waits) and hook.waits(state, at) for hook in hooks)

    def __call__(self, state: TrainState, at: int) -> TrainState:
        return self.second(self.first(state, at), at)


def both(first: Between | None, second: Between | None) -> Between | None:
    """One hook that does what two do."""
    return Both(first, second) if first and second else first or second


class Changes:
    """The changes of a hook to one shard of a run, saved in one folder."""

    def __init__(self, folder: Path, hook: Between | None, every: int) -> None:
        self.folder, self.hook, self.every = folder, hook, every
        if hook is None and folder.is_dir():
            raise SettingsError(
                f"{folder}: this run was trained with a hook between its chunks; to continue it, "
                "give that hook again: sw.load(RUN).train(between=...)"
            )

    def recorded(self, iteration: int) -> Path | None:
        """The saved change of an iteration."""
        saved = {checkpoint.number(path): path for path in checkpoint.checkpoints(self.folder)}
        return saved.get(iteration)

    def waits(self, iteration: int, state: TrainState) -> bool:
        """Whether training has to wait before this iteration. What is recorded is not waited
        for."""
        if not isinstance(self.hook, Waits) or iteration % self.every or self.recorded(iteration):
            return False
        return self.hook.waits(state, iteration)

    def at(self, iteration: int, state: TrainState, asks: bool = True) -> TrainState:
        """The state to continue from: with the saved change of this iteration, or with the change
        of the hook if the hook `asks`."""
        if self.hook is None or iteration % self.every:
            return state
        if path := self.recorded(iteration):
            return replayed(path, state)
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


def name_of(path: Any) -> str:
    return jax.tree_util.keystr(path, simple=True, separator=".")
