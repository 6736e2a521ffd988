"""One loop: run the policy, evaluate what it did, improve it.

`stages` is one iteration of one seed, stage by stage; `system` is the loop closed over its parts.
What runs it for many seeds, on a device or a host, is in `programs/`.
"""

from collections.abc import Iterator
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from spinward import schedules
from spinward.core import (
    Algorithm,
    Context,
    Fits,
    Key,
    Likelihood,
    Memory,
    Metrics,
    OwnLoop,
    Policy,
    Reward,
    Source,
    Spec,
    System,
    TrainState,
    Transition,
    replace,
    static,
    struct,
)
from spinward.experience.logged import LoggedSteps
from spinward.experience.replay import Replay
from spinward.experience.streamed import StreamedSteps
from spinward.learning.steps import freeze
from spinward.trees import finite

Store = Replay | LoggedSteps  # batches are sampled from a store, and priorities go back to it


@struct
class Freeze:
    """The parts of an agent that do not learn."""

    parts: tuple[str, ...] = static(default=())


class Parts(NamedTuple):
    """The parts of a system. Its leaves are the settings that are floats, and the data."""

    algorithm: Algorithm
    source: Source
    reward: Reward
    freeze: Freeze = Freeze()


class Stage(NamedTuple):
    """The result of one stage of an iteration."""

    name: str  # collect, sample, label or update
    state: TrainState
    batch: Transition  # after this stage
    metrics: Metrics  # of this stage; the metrics of `update` have an entry for each minibatch


def at(parts: Parts, iteration: Any) -> Parts:
    """Parts with the values that schedules among their settings have in an iteration."""
    fixed = schedules.fixed
    return parts._replace(
        algorithm=fixed(parts.algorithm, iteration), reward=fixed(parts.reward, iteration)
    )


def has_schedules(parts: Parts) -> bool:
    return bool(schedules.of(parts.algorithm) or schedules.of(parts.reward))


def stepped(parts: Parts, state: TrainState, iteration: Any) -> tuple[TrainState, Metrics]:
    """The state after the iteration of this number, and its metrics, among them the values of
    schedules that it does not have anyway."""
    if not has_schedules(parts):
        return system(parts).step(state)
    now = at(parts, iteration)
    state, metrics = system(now).step(state)
    pairs = ((parts.algorithm, now.algorithm), (parts.reward, now.reward))
    return state, {**scheduled(pairs), **metrics}


def scheduled(pairs: tuple[tuple[Any, Any], ...]) -> Metrics:
    """The values that schedules have, as metrics: pairs of settings with schedules and without."""
    return {name: getattr(now, name) for settings, now in pairs for name in schedules.of(settings)}


def system(parts: Parts) -> System:
    """The loop of one seed, closed over its parts; an algorithm may bring its own. Where settings
    are schedules, the loop is that of the first iteration."""
    parts = at(parts, 0)
    if isinstance(parts.algorithm, OwnLoop):
        return parts.algorithm.system(parts.source, parts.reward)
    return System(partial(init, parts), partial(step, parts))


def init(parts: Parts, key: Key) -> TrainState:
    algorithm, source, reward, _ = parts
    first = first_agent(algorithm, reward, source.spec, key, parts.freeze)
    agent, memory, reward_state, k_source, key = first
    return TrainState(fitted(parts, agent), source.init(k_source, memory), reward_state, key)


def fitted(parts: Parts, agent: Any) -> Any:
    """The agent with its statistics of the logged steps, where it keeps them and there are any."""
    source = parts.source.logged if isinstance(parts.source, Replay) else parts.source
    if not isinstance(parts.algorithm, Fits):
        return agent
    if isinstance(source, StreamedSteps):
        return parts.algorithm.fit(agent, source.pieces())
    return (
        parts.algorithm.fit(agent, source.ring.data) if isinstance(source, LoggedSteps) else agent
    )


def step(parts: Parts, state: TrainState) -> tuple[TrainState, Metrics]:
    """The state after one iteration, and its metrics."""
    results = {stage.name: stage for stage in stages(parts, state)}
    collected = results["collect"].metrics if "collect" in results else {}
    updated = summary(results["label"].metrics, results["update"].metrics)
    ok = collected.get("finite", True) & updated["finite"]
    return results["update"].state, {**collected, **updated, "finite": ok}


def stages(parts: Parts, state: TrainState) -> Iterator[Stage]:
    """One iteration: take steps, sample a batch from the store, label the batch, update the agent,
    and give the new priorities to the store.

    `faults.py` searches for a bad value between the stages.
    """
    algorithm, source, reward, _ = parts
    key, k_collect, k_learn = jax.random.split(state.key, 3)
    policy = Policy(partial(algorithm.act, state.agent), partial(algorithm.memory, state.agent))
    if isinstance(source, Replay):
        k_sample, k_steps = source.split(k_collect)
        inner, new, collected = source.source.collect(state.source.source, policy, k_steps)
        yield Stage("collect", replace(state, source=inner), new, collected)
        ring, batch = source.add_and_sample(replace(state.source, source=()), new, k_sample)
        experience: Any = replace(ring, source=inner)
        yield Stage("sample", replace(state, source=experience), batch, {})
    else:
        experience, batch, collected = source.collect(state.source, policy, k_collect)
        name = "sample" if isinstance(source, LoggedSteps) else "collect"
        yield Stage(name, replace(state, source=experience), batch, collected)
    context = context_of(replays(source), algorithm, state.agent)
    learned = learning(algorithm, reward, context, state.agent, state.reward, batch, k_learn)
    for name, agent, reward_state, labelled, metrics, priorities in learned:
        if priorities:
            assert isinstance(source, Store)
            experience = source.update_priorities(experience, batch, *priorities)
        state = TrainState(agent, experience, reward_state, key)
        yield Stage(name, state, labelled, metrics)


def replays(source: Source) -> bool:
    """Whether batches are sampled from a store."""
    stores = isinstance(source, Replay) and not source.passes_on
    return stores or isinstance(source, LoggedSteps)


def context_of(replayed: bool, algorithm: Algorithm, agent: Any) -> Context:
    """What a reward knows about a batch."""
    if replayed or not isinstance(algorithm, Likelihood):
        return Context(replayed)
    return Context(replayed, partial(algorithm.log_prob, agent))


def first_agent(
    algorithm: Algorithm, reward: Reward, spec: Spec, key: Key, kept: Freeze = Freeze()
) -> tuple[Any, Memory, Any, Key, Key]:
    """A new agent, its memory, the state of its reward, a key for the source, and the next key."""
    k_agent, k_source, k_reward, key = jax.random.split(key, 4)
    agent = freeze(algorithm.init(k_agent, spec), kept.parts)
    memory = algorithm.memory(agent, spec.envs)
    return agent, memory, reward.init(k_reward, spec), k_source, key


def learning(
    algorithm: Algorithm,
    reward: Reward,
    context: Context,
    agent: Any,
    reward_state: Any,
    batch: Transition,
    key: Key,
) -> Iterator[tuple[str, Any, Any, Transition, Metrics, list[Array]]]:
    """The two stages that improve an agent: label the batch, then learn from the labelled batch.
    The last of each is the priorities of the batch, if there are any."""
    k_label, k_update = jax.random.split(key)
    reward_state, batch, labelled = reward.label(reward_state, batch, k_label, context)
    yield "label", agent, reward_state, batch, labelled, []
    agent, improved, *priorities = algorithm.update(agent, batch, k_update)
    yield "update", agent, reward_state, batch, improved, priorities


def summary(labelled: Metrics, improved: Metrics) -> Metrics:
    """The metrics of an iteration, means over minibatches, and whether all are finite."""
    means = {name: jnp.mean(x) for name, x in improved.items()}
    metrics = {**labelled, **means}
    return {**metrics, "finite": finite(metrics)}
