"""One loop: run the policy, evaluate what it did, improve it.

`system` closes the loop over its parts: for one seed on a device, for all seeds on a host.
`program` is what runs it.
"""

import functools
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from spinward.core import (
    Algorithm,
    HostSource,
    Key,
    Memory,
    Metrics,
    Policy,
    Replayed,
    Reward,
    Sampler,
    Source,
    Spec,
    System,
    TrainState,
    Transition,
    replace,
)
from spinward.experience.rollout import finite
from spinward.host import beside, over_seeds, reading


class Parts(NamedTuple):
    """What a system is made of; settings that are floats, and data, are its leaves."""

    algorithm: Algorithm
    source: Source
    reward: Reward


def system(parts: Parts) -> System:
    """The loop closed over its parts: for one seed on device, for all seeds on a host.

    An algorithm whose loop has another shape brings its own as a method `system(source, reward)`.
    """
    if hasattr(parts.algorithm, "system"):
        return parts.algorithm.system(parts.source, parts.reward)
    return on_device(parts) if parts.source.on_device else on_host(parts)


def on_device(parts: Parts) -> System:
    algorithm, source, reward = parts

    def init(key: Key) -> TrainState:
        agent, memory, judge, k_source, key = begin(algorithm, reward, source.spec, key)
        return TrainState(agent, source.init(k_source, memory), judge, key)

    def step(state: TrainState) -> tuple[TrainState, Metrics]:
        key, k_run, k_learn = jax.random.split(state.key, 3)
        policy = Policy(partial(algorithm.act, state.agent), partial(algorithm.memory, state.agent))
        experience, batch, ran = source.collect(state.source, policy, k_run)
        agent, judge, improved, told = learn(
            algorithm, reward, state.agent, state.reward, batch, k_learn
        )
        if told:
            assert isinstance(source, Replayed)
            experience = source.reweigh(experience, *told)
        ok = ran.get("finite", True) & improved["finite"]
        return TrainState(agent, experience, judge, key), {**ran, **improved, "finite": ok}

    return System(init, step, True, lambda saved, fresh: saved)


def on_host(parts: Parts) -> System:
    """The same loop with every state [seed, ...]; acting and learning are compiled."""
    algorithm, source, _ = parts
    assert isinstance(source, HostSource)
    replay = source if isinstance(source, Replayed) else None
    sampler = replay.sampler if replay else None
    settings: Any = (algorithm, parts.reward, source.spec, sampler, source.keys)  # hashable
    begun, split, acting, memory, learned = on_host_compiled(*settings)

    def init(key: Key) -> TrainState:
        agent, remembered, judge, k_source, key = begun(key)
        return TrainState(agent, source.init(k_source, remembered), judge, key)

    def step(state: TrainState, spare: Any) -> tuple[TrainState, Metrics]:
        key, k_draw, k_run, k_learn = split(state.key)
        policy = Policy(acting(state.agent), partial(memory, state.agent), state.agent)
        if not replay:
            experience, batch, ran = source.collect(state.source, policy, k_run)
            agent, judge, improved, _ = learned(spare, state, batch, k_draw, k_learn)
        else:  # what is learned from does not wait for what is done
            stored = replace(state.source, source=())
            learning = beside(learned, spare, state, stored, k_draw, k_learn)
            within, new, ran = replay.source.collect(state.source.source, policy, k_run)
            agent, judge, improved, told = learning()
            experience = replay.stored(state.source, within, new)
            experience = replay.reweigh(experience, *told) if told else experience
        return TrainState(agent, experience, judge, key), {**ran, **improved()}

    def reopen(saved: TrainState, fresh: TrainState) -> TrainState:
        return replace(saved, source=source.reopen(saved.source, fresh.source))

    return System(init, step, False, reopen)


@functools.lru_cache(maxsize=8)
def on_host_compiled(
    algorithm: Algorithm,
    reward: Reward,
    spec: Spec,
    sampler: Sampler | None,
    keys: Callable[[Key], Any],
) -> tuple[Any, ...]:
    """What acts and learns, over seeds; the same settings compile once in a process."""
    begun = partial(begin, algorithm, reward, spec)
    memory = jax.jit(jax.vmap(algorithm.memory, (0, None)), static_argnums=1)
    agent, remembered, *_, key = jax.eval_shape(begun, jax.random.PRNGKey(0))
    acting = reading(algorithm.act, agent, spec.zeros(spec.envs), remembered, key)
    improve, names = learning(algorithm, reward, sampler)
    # An agent that is used up lends its memory to the new one: that much of new pages would take
    # a fifth of an update from pixels.
    compiled = jax.jit(over_seeds(improve), donate_argnums=0, keep_unused=True)

    def split(key: Key) -> tuple[Any, ...]:
        key, k_run, k_learn = jax.random.split(key, 3)
        k_draw, k_run = jax.random.split(k_run) if sampler else (k_run, k_run)
        return key, k_draw, keys(k_run), k_learn

    def learned(spare: Any, state: TrainState, *batch: Any) -> tuple[Any, ...]:
        agent, judge, metrics, told = compiled(spare, state.agent, state.reward, *batch)
        # One array to fetch, not a dozen, and not before the environments have been stepped.
        return agent, judge, lambda: dict(zip(names, np.asarray(metrics).T, strict=True)), told

    return jax.jit(jax.vmap(begun)), jax.jit(jax.vmap(split)), acting, memory, learned


def learning(
    algorithm: Algorithm, reward: Reward, sampler: Sampler | None
) -> tuple[Callable[..., tuple[Any, ...]], list[str]]:
    """What improves one agent of a host, from a batch or by what it draws from a store, and the
    names of its metrics, known when it was traced."""
    names: list[str] = []

    def improve(spare: Any, agent: Any, judge: Any, found: Any, k_draw: Key, key: Key) -> Any:
        del spare
        batch = sampler(found, k_draw) if sampler else found
        agent, judge, metrics, told = learn(algorithm, reward, agent, judge, batch, key)
        names[:] = metrics
        return agent, judge, jnp.stack([jnp.float32(m) for m in metrics.values()]), told

    return improve, names


def begin(
    algorithm: Algorithm, reward: Reward, spec: Spec, key: Key
) -> tuple[Any, Memory, Any, Key, Key]:
    """A new agent, its memory, a new judge, and keys for the source and for what follows."""
    k_agent, k_source, k_reward, key = jax.random.split(key, 4)
    agent = algorithm.init(k_agent, spec)
    memory = algorithm.memory(agent, spec.envs)
    return agent, memory, reward.init(k_reward, spec), k_source, key


def learn(
    algorithm: Algorithm, reward: Reward, agent: Any, judge: Any, batch: Transition, key: Key
) -> tuple[Any, Any, Metrics, tuple[Any, ...]]:
    """Judges a batch and improves the agent by it; last comes what to tell the source, if any.

    That is the batch without what it has seen, and the `priority` that `update` left of its steps.
    """
    k_label, k_update = jax.random.split(key)
    judge, batch, judged = reward.label(judge, batch, k_label)
    agent, improved = algorithm.update(agent, batch, k_update)
    priority = improved.pop("priority", None)
    told = () if priority is None else (replace(batch, obs=(), next_obs=()), priority)
    metrics = {**judged, **jax.tree.map(jnp.mean, improved)}
    return agent, judge, {**metrics, "finite": finite(metrics)}, told
