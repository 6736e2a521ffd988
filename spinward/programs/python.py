"""A loop in Python around environments on a host: stepping and learning overlap.

This program serves agents with a slow update, and environments in other processes. Acting and
learning are compiled; every state has a leading axis of seeds.
"""

import functools
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from spinward import loop, schedules
from spinward.core import (
    Algorithm,
    HostSource,
    Key,
    Memory,
    Metrics,
    Policy,
    Reward,
    Spec,
    TrainState,
    replace,
)
from spinward.errors import NonFiniteError
from spinward.experience.frames import require_history
from spinward.experience.layouts import StepLayout
from spinward.experience.replay import Replay
from spinward.experience.streamed import StreamedSteps
from spinward.loop import (
    Parts,
    context_of,
    first_agent,
    has_schedules,
    learning,
    replays,
    scheduled,
    summary,
)
from spinward.programs.reading import reading
from spinward.programs.seeds import Program, healthy, over_seeds

THREAD = ThreadPoolExecutor(1)  # starts with its first task


def program(parts: Parts, host: HostSource) -> Program:
    """The loop around `host`, which is `parts.source` or the source inside a replay."""
    step = stepper(parts, host)

    def start(key: Key) -> TrainState:
        agent, memory, reward_state, k_source, key = first(parts)(key)
        agent = jax.vmap(partial(loop.fitted, parts))(agent)
        replay = parts.source if isinstance(parts.source, Replay) else None
        if replay is None:
            return TrainState(agent, host.init(k_source, memory), reward_state, key)
        return TrainState(agent, filled(replay, host, k_source, memory), reward_state, key)

    def reopen(saved: TrainState, fresh: TrainState) -> TrainState:
        if isinstance(parts.source, Replay):
            inner = host.reopen(saved.source.source, fresh.source.source)
            return replace(saved, source=replace(saved.source, source=inner))
        return replace(saved, source=host.reopen(saved.source, fresh.source))

    return Program(start, partial(advance, step, []), start, reopen, host.close, False)


def first(parts: Parts) -> Callable[[Key], tuple[Any, Memory, Any, Key, Key]]:
    settings: Any = (parts.algorithm, parts.reward, parts.source.spec, parts.freeze)  # hashable
    initialise: Callable[..., Any] = compiled_first(*settings)
    return initialise


@functools.lru_cache(maxsize=8)
def compiled_first(algorithm: Algorithm, reward: Reward, spec: Spec, kept: Any) -> Any:
    return jax.jit(jax.vmap(partial(first_agent, *first_parts(algorithm, reward), spec, kept=kept)))


def first_parts(algorithm: Algorithm, reward: Reward) -> tuple[Algorithm, Reward]:
    """The settings with which a run begins."""
    return schedules.ends(algorithm)[0], schedules.ends(reward)[0]


class Compiled(NamedTuple):
    """Compiled functions over seeds. The same settings compile once in a process."""

    act: Callable[..., Any]
    memory: Callable[..., Memory]
    split: Callable[[Key], tuple[Any, ...]]
    learn: Callable[..., Any]
    names: list[str]  # of the metrics of `learn`; filled when `learn` is traced


def stepper(parts: Parts, host: HostSource) -> Callable[..., tuple[TrainState, Metrics]]:
    """One iteration of all seeds: `step(state, unused, iteration)`. `unused` is a donated agent,
    whose buffers the next agent takes."""
    replay = parts.source if isinstance(parts.source, Replay) else None
    samples = replays(parts.source)
    replayed = samples or isinstance(host, StreamedSteps)
    settings: Any = (parts.algorithm, parts.reward, parts.source.spec, samples, replayed, host.keys)
    functions = compiled(*settings)  # hashable
    sampler = replace(replay, source=()) if replay else ()  # how batches are drawn

    def learn(unused: Any, state: TrainState, *batch: Any) -> tuple[Any, ...]:
        results = functions.learn(unused, sampler, state.agent, state.reward, *batch)
        agent, reward_state, metrics, priority = results
        # One array to fetch, not a dozen, and not before the environments have been stepped.
        fetch = lambda: dict(zip(functions.names, np.asarray(metrics).T, strict=True))  # noqa: E731
        return agent, reward_state, fetch, priority

    def step(state: TrainState, unused: Any, iteration: int) -> tuple[TrainState, Metrics]:
        key, k_sample, k_steps, k_learn = functions.split(state.key)
        number = np.full(len(key), iteration if has_schedules(parts) else 0, np.int32)
        act = functions.act((number, state.agent))
        memory = partial(functions.memory, state.agent)
        policy = Policy(act, memory, state.agent)
        if not samples:
            inner = state.source.source if replay else state.source
            inner, new, collected = host.collect(inner, policy, k_steps)
            experience = stored(replay, state.source, inner, new) if replay else inner
            update = learn(unused, state, new, k_sample, k_learn, number)
        else:  # learning from the store does not wait for the steps
            ring = replace(state.source, source=())
            result = in_background(learn, unused, state, ring, k_sample, k_learn, number)
            inner, new, collected = host.collect(state.source.source, policy, k_steps)
            update = result()
            experience = stored(replay, state.source, inner, new)
        agent, reward_state, fetch, priority = update
        if priority:
            experience = with_priorities(replay, experience, *priority)
        return TrainState(agent, experience, reward_state, key), {**collected, **fetch()}

    return step


@functools.lru_cache(maxsize=8)
def compiled(
    algorithm: Algorithm, reward: Reward, spec: Spec, samples: bool, replayed: bool, keys: Any
) -> Compiled:
    first_algorithm, first_reward = first_parts(algorithm, reward)
    memory = jax.jit(jax.vmap(first_algorithm.memory, (0, None)), static_argnums=1)
    initialise = partial(first_agent, first_algorithm, first_reward, spec)
    agent, remembered, *_, key = jax.eval_shape(initialise, jax.random.PRNGKey(0))
    names: list[str] = []

    numbered = jax.ShapeDtypeStruct((), jnp.int32), agent
    act = reading(partial(act_in, algorithm), numbered, spec.zeros(spec.envs), remembered, key)

    def improve(replay: Any, unused: Any, *states: Any) -> Any:
        del unused
        how = algorithm, reward, samples, replayed
        *learned, metrics, priority = improved(*how, replay, *states)
        names[:] = metrics
        return *learned, jnp.stack([jnp.float32(m) for m in metrics.values()]), priority

    def learn(unused: Any, replay: Any, *states: Any) -> Any:
        return over_seeds(partial(improve, replay))(unused, *states)

    def split(key: Key) -> tuple[Any, ...]:
        key, k_steps, k_learn = jax.random.split(key, 3)
        k_sample, k_steps = jax.random.split(k_steps) if samples else (k_steps, k_steps)
        return key, k_sample, keys(k_steps), k_learn

    # The new agent takes the buffers of the donated one: allocating new pages would take a fifth of
    # the time of an update from pixels.
    donating = jax.jit(learn, donate_argnums=0, keep_unused=True)
    return Compiled(act, memory, jax.jit(jax.vmap(split)), donating, names)


def act_in(algorithm: Algorithm, numbered: tuple[Any, Any], *args: Any) -> Any:
    """`act` of an agent in the iteration of a number."""
    iteration, agent = numbered
    return schedules.fixed(algorithm, iteration).act(agent, *args)


def improved(
    algorithm: Algorithm, reward: Reward, samples: bool, replayed: bool, replay: Any,
    agent: Any, reward_state: Any, new: Any, k_sample: Key, key: Key, iteration: Any,
) -> tuple[Any, Any, Metrics, Any]:  # fmt: skip
    """The agent and the state of its reward after learning, the metrics, and priorities to
    store."""
    batch = replay.sample(new, k_sample) if samples else new
    now, reward_now = schedules.fixed(algorithm, iteration), schedules.fixed(reward, iteration)
    context = context_of(replayed, now, agent)
    stages = learning(now, reward_now, context, agent, reward_state, batch, key)
    (*_, labelled, _), (_, agent, reward_state, batch, after, priorities) = stages
    values = scheduled(((algorithm, now), (reward, reward_now)))
    kept = (replace(batch, obs=(), next_obs=()), *priorities) if priorities else ()
    return agent, reward_state, {**values, **summary(labelled, after)}, kept


def filled(replay: Replay, host: Any, key: Key, memory: Memory) -> Any:
    """The rings of all seeds with their first rows; the twin of `Replay.init` on a device."""
    if replay.passes_on:
        seeds = len(key)
        rings = jax.vmap(lambda _: replay.layout.empty(replay.blank()))(jnp.arange(seeds))
        return replace(rings, source=host.init(key, memory))
    k_init, k_warm = split_keys(key, 2)
    source = host.init(k_init, memory)
    warm, parts = replay.filling()
    policy = replay.filler(memory)
    policy = policy._replace(act=jax.jit(jax.vmap(policy.act)))
    state: Any = None
    for k_part in [k_warm] if parts == 1 else split_keys(k_warm, parts):
        source, batch, _ = warm.collect(source, policy, k_part)
        if state is None:
            if isinstance(replay.layout, StepLayout) and replay.layout.stack > 1:
                require_history(batch, replay.layout.stack)
            state = jax.vmap(replay.layout.empty)(batch)
        state = write(replay, state, batch)
    return replace(state, source=source)


def stored(replay: Any, state: Any, source: Any, batch: Any) -> Any:
    """The rings of all seeds with the collected batch."""
    return replace(write(replay, replace(state, source=()), batch), source=source)


def with_priorities(replay: Any, state: Any, batch: Any, priority: Any) -> Any:
    ring = update_priorities(replay, replace(state, source=()), batch, priority)
    return replace(ring, source=state.source)


@partial(jax.jit, static_argnums=1)
def split_keys(key: Key, parts: int) -> tuple[Key, ...]:
    """The key of each seed split into `parts` keys: as many arrays [seed]."""
    return jax.vmap(lambda k: tuple(jax.random.split(k, parts)))(key)  # type: ignore[no-any-return]


@partial(jax.jit, donate_argnums=1)
def write_rings(layout: Any, state: Any, batch: Any) -> Any:
    return jax.vmap(layout.write)(state, batch)


@partial(jax.jit, donate_argnums=1)
def update_rings(layout: Any, state: Any, batch: Any, priority: Any) -> Any:
    return jax.vmap(layout.update_priorities)(state, batch, priority)


def write(replay: Replay, state: Any, batch: Any) -> Any:
    return write_rings(replay.layout, state, batch)


def update_priorities(replay: Replay, state: Any, batch: Any, priority: Any) -> Any:
    return update_rings(replay.layout, state, batch, priority)


def in_background(function: Callable[..., Any], *args: Any) -> Callable[[], Any]:
    """Calls `function` in a thread. The returned function waits for the result."""
    return THREAD.submit(function, *args).result


def advance(
    step: Callable[..., tuple[TrainState, Metrics]],
    donated: list[Any],
    state: TrainState,
    iterations: int,
    first: int = 0,
) -> tuple[TrainState, Metrics]:
    """All seeds after so many iterations from the `first`, or before one that is not finite.
    `state` is donated; `donated` are old agents, whose buffers the next agents take.

    Parameters are checked at the end, and where a loss was bad, as a bad parameter makes it next.

    Raises:
        NonFiniteError: an environment returned a value that is not finite; `reached` is set.
    """
    history, before, newest = list[Metrics](), state, state
    for i in range(first, first + iterations):
        unused = donated.pop() if donated else jax.tree.map(jnp.copy, state.agent)
        try:
            newest, metrics = step(state, unused, i)
        except NonFiniteError as error:
            if not history or healthy(state.agent).all():
                error.reached = state, len(history)
                raise
            break  # a bad parameter chose the action that broke the environment
        history.append(metrics)
        if not metrics["finite"].all():
            if len(history) > 1 and not healthy(state.agent).all():
                history.pop()
            break
        if before is not state:
            donated.append(before.agent)
        before, state = state, newest
    if not (good := healthy(state.agent)).all():
        history[-1] = {**history[-1], "finite": history[-1]["finite"] * good}
        state = before
    elif before is not state:
        donated.append(before.agent)
    state = replace(state, source=newest.source)  # the replay's buffers were donated
    return state, {k: np.array([m[k] for m in history]).swapaxes(0, 1) for k in history[0]}
