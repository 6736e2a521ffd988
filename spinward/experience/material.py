"""Builds the source for an algorithm's `wants` from the material of a run. No other file does.

An environment in JAX becomes a rollout; an environment on a host is stepped in batches or by
actors; logged data become a ring without writes, or are read as they are drawn where they are
large. With both an environment and data, batches mix both.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from spinward.core import HostEnv, Source, Spec, Transition, replace
from spinward.envs.text import Text
from spinward.errors import SettingsError
from spinward.experience.episodes import (
    TIME,
    TO_GO,
    best_episodes,
    divided,
    episodes,
    with_returns,
)
from spinward.experience.generation import Generation
from spinward.experience.layouts import SequenceLayout, StepLayout
from spinward.experience.lifetimes import Lifetimes
from spinward.experience.logged import LoggedSteps, logged_ring
from spinward.experience.replay import Replay
from spinward.experience.rollout import Rollout
from spinward.experience.streamed import StreamedSteps
from spinward.experience.texts import TextBatches
from spinward.experience.vector import Vector
from spinward.experience.wanted import (
    Logged,
    OwnSource,
    Population,
    Prompts,
    Rollouts,
    Samples,
    SelfPlay,
    Sequences,
    Texts,
    Want,
    rows,
)

NO_DATA = (
    "this algorithm learns from logged data: name a data set with --data "
    "(`spinward data record RUN --out DATA` makes one)"
)
Collector = Callable[[int, int, bool], Source]  # (envs, steps, corrects_lag)


class Data(NamedTuple):
    """Logged steps, and their share of every batch."""

    steps: Transition  # [rows, ...]; None where a reader has them
    spec: Spec
    share: float = 1.0
    frames: Any = ()  # Frames, where observations are stacks of images; then `obs` has numbers
    stack: int = 1  # images in such an observation
    reader: Any = None  # a StepReader, where the steps stay on the disk
    note: str = ""  # how many steps there are, and where they are held
    held_out: Any = None  # steps of other episodes, as `steps`, to measure with

    def hold_out(self, share: float) -> "Data":
        """The same data with this share of its episodes held out, where it is in memory."""
        if self.reader is not None:
            return self
        steps, held = divided(self.steps, share)
        if held is None:
            return self
        count = len(np.unique(episodes(held)))
        note = f"{self.note}; {count:,} of its episodes are held out to measure with"
        return self._replace(steps=steps, held_out=held, note=note)


def source_for(
    want: Want,
    env: Any = None,
    data: Data | None = None,
    texts: TextBatches | None = None,
    collector: Collector | None = None,
) -> Source:
    """The source for `want`.

    `env` is an `Env`, a `HostEnv` or a `Text`; `collector` makes rollouts where actors hold envs.

    Raises:
        SettingsError: the material does not fit the want.
    """
    collect = collector or partial(collected, env)
    match want:
        case Rollouts():
            refuse(data, "it learns from the steps of its own policy alone")
            return collect(want.envs, want.steps, want.corrects_lag)
        case SelfPlay():
            refuse(data, "it learns from games against itself alone")
            return in_jax(env, want)
        case Population():
            refuse(data, "its agents learn from their own steps alone")
            return Lifetimes(in_jax(env, want), want.agents, want.updates)
        case Sequences():
            refuse(data, "it replays its own memory, which no data set holds")
            return sequences(want, collect(want.envs, want.steps, False))
        case Samples():
            return samples(want, collect, data)
        case Logged():
            if data is None:
                raise SettingsError(NO_DATA)
            return sequences_or_steps(want, best_of(data, want.best))
        case Prompts():
            return completions(want, env)
        case Texts():
            return corpus(want, texts)
        case OwnSource():
            return want.source(env, data)


def best_of(data: Data, share: float) -> Data:
    """The data of the best episodes, which are at least this share of the steps."""
    if share >= 1.0:
        return data
    if data.reader is not None:
        raise SettingsError(
            f"a share of {share:g} of the best episodes is chosen in memory, and {data.note}; "
            "raise data.memory_gib if the machine has that memory"
        )
    return data._replace(steps=best_episodes(data.steps, share))


def sequences_or_steps(want: Logged, data: Data) -> Source:
    """Windows of logged steps; where `want.returns`, with their times and returns to go."""
    if not want.returns:
        return logged(data, want.updates, want.batch, want.window)  # type: ignore[no-any-return]
    if data.reader is not None:
        raise SettingsError(
            f"returns to go are computed in memory, and {data.note}; raise data.memory_gib if the "
            "machine has that memory"
        )
    data = data._replace(steps=with_returns(data.steps, want.gamma))
    sizes = want.updates, want.batch, want.window
    return logged(data, *sizes, keep=(TIME, TO_GO))  # type: ignore[no-any-return]


def refuse(data: Data | None, why: str) -> None:
    if data is not None:
        raise SettingsError(f"this algorithm cannot use data: {why}")


def collected(env: Any, envs: int, steps: int, corrects_lag: bool) -> Source:
    """Rollouts of so many copies of an environment."""
    return Vector(env, envs, steps) if isinstance(env, HostEnv) else Rollout(env, envs, steps)


def in_jax(env: Any, want: Population | SelfPlay) -> Rollout:
    if isinstance(env, HostEnv):
        raise SettingsError("this algorithm needs an environment in JAX: it runs thousands at once")
    return Rollout(env, want.envs, want.steps)


def completions(want: Prompts, task: Any) -> Generation:
    if not isinstance(task, Text):
        raise SettingsError("this algorithm writes texts, and needs a task of text, as Grammar is")
    source = Generation(task, want.envs, want.steps, want.group)
    source.check()
    if want.context and task.prompt + want.steps > want.context:
        raise SettingsError(
            f"prompts of {task.prompt} tokens and rollout={want.steps} more are longer than "
            f"the model's context = {want.context}"
        )
    return source


def corpus(want: Texts, texts: TextBatches | None) -> TextBatches:
    if texts is None:
        raise SettingsError("this algorithm learns from texts: name a file with --data")
    return replace(texts, updates=want.updates, batch=want.batch)


def sequences(want: Sequences, source: Any) -> Replay:
    capacity, warmup = (rows(want, n) // want.steps for n in (want.capacity, want.warmup))
    layout = SequenceLayout(
        capacity,
        want.steps,
        want.updates,
        want.batch,
        want.window,
        want.prioritised,
        want.alpha,
        want.beta,
    )
    return Replay(source, layout, warmup, want.act)


def samples(want: Samples, collect: Collector, data: Data | None) -> Source:
    if want.marks and data is not None and data.reader is not None:
        raise SettingsError(f"demonstrated=True needs data in memory, and {data.note}")
    if data is not None and data.share == 1.0:
        options: dict[str, Any] = {"prioritised": want.prioritised, "alpha": want.alpha}
        options |= {"beta": want.beta, "marks": want.marks}
        return logged(data, want.updates, want.batch, want.window, keep=want.keep, **options)
    layout = step_layout(want)
    source = collect(want.envs, want.steps, False)
    replay = Replay(source, layout, rows(want, want.warmup))
    if data is None:
        return replay
    if data.reader is not None:
        raise SettingsError(
            f"data.share={data.share} mixes logged steps with the environment's in memory, and "
            f"{data.note}; raise data.memory_gib if the machine has that memory"
        )
    if want.prioritised:
        raise SettingsError("prioritised=True draws from one store; with data.share below 1 use 0")
    count = round(data.share * want.batch)
    if not 0 < count < want.batch:
        raise SettingsError(
            f"data.share={data.share} of batch={want.batch} leaves no window of data, or none of "
            "the environment's"
        )
    offline = logged(data, want.updates, count, want.window, want.keep, marks=want.marks)
    layout = replace(layout, batch=want.batch - count)
    return replace(replay, layout=layout, logged=offline)


def step_layout(want: Samples) -> StepLayout:
    """The layout of an environment's replay."""
    return StepLayout(
        rows(want, want.capacity),
        want.steps,
        want.updates,
        want.batch,
        want.window,
        want.stack,
        want.prioritised,
        want.alpha,
        want.beta,
        want.keep,
    )


def logged(
    data: Data, updates: int, batch: int, window: int, keep: tuple[str, ...] = (),
    marks: bool = False, **options: Any,
) -> Any:  # fmt: skip
    """Windows of a data set; of its extras, only `keep` are kept."""
    if data.reader is not None:
        return streamed(data, updates, batch, window, keep, **options)
    if missing := [name for name in keep if name not in data.steps.extras]:
        raise SettingsError(f"the data lack {', '.join(missing)}, which this algorithm needs")
    steps = replace(data.steps, extras={name: data.steps.extras[name] for name in keep})
    count = steps.reward.shape[0]
    if count < window:
        raise SettingsError(f"the data have {count} steps; windows of {window} are wanted")
    layout = StepLayout(count, 0, updates, batch, window, data.stack, keep=keep, **options)
    ring = logged_ring(steps, data.frames)
    return LoggedSteps(ring, layout, data.spec, held_out(data, ring), marks)


def held_out(data: Data, ring: Any) -> Any:
    """The ring of the steps that are held out, with the images of the other; () without any."""
    if data.held_out is None:
        return ()
    return replace(logged_ring(replace(data.held_out, extras={})), frames=ring.frames)


def streamed(
    data: Data,
    updates: int,
    batch: int,
    window: int,
    keep: tuple[str, ...] = (),
    prioritised: bool = False,
    **options: Any,
) -> StreamedSteps:
    """Windows of a data set that stays on the disk."""
    if prioritised:
        raise SettingsError(
            f"prioritised=True keeps a priority of each step in memory, and {data.note}; raise "
            "data.memory_gib if the machine has that memory"
        )
    if missing := [name for name in keep if name not in data.reader.extras]:
        raise SettingsError(f"the data lack {', '.join(missing)}, which this algorithm needs")
    return StreamedSteps(data.reader, data.spec, updates, batch, window, keep)


def innermost(source: Any) -> Any:
    """The source that takes the steps, inside `Replay` and `Lifetimes`."""
    while isinstance(source, Replay | Lifetimes):
        source = source.source
    return source


def with_innermost(source: Any, new: Any) -> Any:
    """`source` with `new` as its innermost source."""
    if isinstance(source, Replay | Lifetimes):
        return replace(source, source=with_innermost(source.source, new))
    return new
