"""Experience from actors of Ray (Moritz et al., 2018), on this machine or on a cluster.

Each actor holds a share of the environments and a copy of the policy, and returns whole batches. An
actor that dies is replaced by a new actor with new environments, which gets the same request again.
So each batch arrives exactly once and complete, or not at all.
"""

import dataclasses
import sys
from collections.abc import Callable
from functools import cached_property, partial
from typing import Any

import jax
import numpy as np

from spinward.core import (
    HostEnv,
    Key,
    Memory,
    Metrics,
    Policy,
    Spec,
    Threaded,
    Transition,
    replace,
)
from spinward.errors import EnvironmentFailedError, SettingsError
from spinward.experience import ffi
from spinward.experience.callback_source import CallbackSource, Host
from spinward.experience.cluster import require_ray, start
from spinward.experience.rollout import Rollout
from spinward.experience.vector import Vector
from spinward.networks.per_env import ENV_INDEX

MOST_FAILURES = 5  # consecutive deaths of one worker without a batch in between
EPISODE = ("episode_return", "episode_length")  # means over the episodes of a batch


@dataclasses.dataclass(frozen=True, eq=False)
class Workers:
    """Steps `envs` environments for each seed `steps` times, divided among `workers` actors.

    A batch holds the steps of all actors with the newest policy. With `first_come`, a batch holds
    the steps of the first actor that is done. Its policy may be some updates old (`lag`), and the
    extras hold the numbers of its environments (networks/per_env.py).
    """

    envs: int
    steps: int
    make: Callable[[], Any]  # an Env or a HostEnv; called in each actor
    algorithm: Any  # whose `act` and `memory` the actors use
    workers: int = 1
    first_come: bool = False
    pool: "ActorPool" = dataclasses.field(default_factory=lambda: ActorPool())

    def check(self) -> None:
        if self.workers < 1 or self.envs % self.workers:
            raise SettingsError(f"workers={self.workers} does not divide envs={self.envs}")

    @property
    def share(self) -> int:
        return self.envs // self.workers

    @cached_property
    def spec(self) -> Spec:
        return replace(self.make().spec, envs=self.envs)

    @property
    def stride(self) -> int:
        return (self.share if self.first_come else self.envs) * self.steps

    @property
    def keys(self) -> Callable[[Key], Key]:
        return whole

    def init(self, key: Key, memory: Memory) -> tuple[()]:
        """Starts all actors for `key` [seed]; their environments open with the first batch."""
        self.check()
        self.pool.start_all(self, key)
        return ()

    def reopen(self, saved: Any, fresh: Any) -> Any:
        """The fresh state: environments in actors cannot resume an episode."""
        return fresh

    def close(self) -> None:
        self.pool.stop_all()

    def collect(
        self, state: tuple[()], policy: Policy, key: Key
    ) -> tuple[tuple[()], Transition, Metrics]:
        self.pool.publish(policy.agent)
        for worker in self.pool.idle():
            self.pool.ask(worker, numbered(key, worker))
        workers = [self.pool.first()] if self.first_come else range(self.workers)
        batches, metrics, lags = zip(*map(self.pool.answer, workers), strict=True)
        batch = jax.tree.map(lambda *x: np.concatenate(x, 2), *batches)
        if not self.first_come:
            return state, batch, merged(metrics)
        index: Any = workers[0] * self.share + np.arange(self.share, dtype=np.int32)
        index = np.broadcast_to(index, batch.reward.shape)
        batch = replace(batch, extras={**batch.extras, ENV_INDEX: index})
        return state, batch, {**merged(metrics), "lag": np.full(len(index), float(lags[0]))}


def whole(key: Key) -> Key:
    """The seed's key itself; each actor derives its own keys."""
    return key


folded = jax.jit(jax.vmap(jax.random.fold_in, (0, None)))


def numbered(key: Key, number: int) -> np.ndarray:
    """The keys [seed] of a worker, derived from `key` by its number."""
    return np.asarray(folded(key, number))


def merged(metrics: tuple[Metrics, ...]) -> Metrics:
    """The number of episodes, and the means over all episodes."""
    episodes = sum(np.asarray(m["episodes"]) for m in metrics)
    share = 1.0 / np.maximum(episodes, 1)
    means = {name: sum(m[name] * m["episodes"] for m in metrics) * share for name in EPISODE}
    finite = {"finite": np.all([m["finite"] for m in metrics], 0)} if "finite" in metrics[0] else {}
    return {"episodes": episodes, **means, **finite}


class Worker:
    """A share of the environments, in an actor."""

    def __init__(self, make: Callable[[], Any], algorithm: Any, envs: int, steps: int) -> None:
        self.make, self.algorithm, self.envs, self.steps = make, algorithm, envs, steps
        act, memory = jax.vmap(algorithm.act), jax.vmap(algorithm.memory, (0, None))
        self.act, self.memory = jax.jit(act), jax.jit(memory, static_argnums=1)
        self.compiled, self.state = jax.jit(jax.vmap(self.one_seed)), None

    def collect(self, agent: Any, key: Key, first: Key) -> tuple[Transition, Metrics]:
        """A batch as NumPy arrays. The first call opens the environments with the keys `first`."""
        if self.state is None:
            self.open(agent, first)
        self.state, batch, metrics = self.run(agent, key)
        return jax.device_get((batch, metrics))

    def open(self, agent: Any, key: Key) -> None:
        """Opens the environments: in the actor, so that their errors reach the run."""
        env = self.make()
        env = env.on_one_core() if isinstance(env, Threaded) else env
        in_python = isinstance(env, HostEnv)
        make = Vector if in_python else Rollout
        self.source: Any = make(env, self.envs, self.steps)
        self.call: Callable[..., Any] = lambda program, *args: program(*args)
        if in_python and ffi.available():  # from inside the program that acts
            in_python, host = False, Host(env)
            self.source, self.call = CallbackSource(self.source.spec, self.steps), host.checked
            host.open(len(key) * self.envs)
        self.run = self.on_host if in_python else self.on_device
        init = self.source.init if in_python else jax.vmap(self.source.init)
        self.state = self.call(init, key, self.memory(agent, self.envs))

    def on_host(self, agent: Any, key: Key) -> Any:
        policy = Policy(partial(self.act, agent), partial(self.memory, agent), agent)
        return self.source.collect(self.state, policy, key)

    def on_device(self, agent: Any, key: Key) -> Any:
        return self.call(self.compiled, agent, self.state, key)

    def one_seed(self, agent: Any, state: Any, key: Key) -> Any:
        act, memory = (partial(f, agent) for f in (self.algorithm.act, self.algorithm.memory))
        return self.source.collect(state, Policy(act, memory, agent), key)


class ActorPool:
    """The actors of a `Workers`, their pending requests and the newest policy: a resource."""

    def __init__(self) -> None:
        self.actors: list[Any] = []
        self.ours = False  # whether this process started Ray

    def start_all(self, source: Workers, key: Key) -> None:
        self.stop_all()
        ray = require_ray()
        self.ours = not ray.is_initialized()
        if self.ours:
            start(ray, source.workers)
        room = int(ray.cluster_resources().get("CPU", 0))
        if room < source.workers:
            raise SettingsError(f"workers={source.workers}, but Ray has {room} CPUs for them")
        self.ray, self.lost, self.source, self.key = ray, ray.exceptions, source, key
        lost = ray.exceptions
        self.deaths = lost.RayActorError, lost.ObjectLostError, lost.OutOfMemoryError
        self.losses, self.version, self.agent = 0, 0, None
        self.pending: dict[Any, int] = {}  # from a request to its worker, oldest first
        self.asked: dict[int, tuple[Any, ...]] = {}
        self.failures = [0] * source.workers
        self.first_keys = [numbered(key, i) for i in range(source.workers)]
        self.actors = [self.actor() for _ in range(source.workers)]

    def actor(self) -> Any:
        source, cache = self.source, jax.config.values["jax_compilation_cache_dir"]
        variables = {"NPROC": "1", "JAX_PLATFORMS": "cpu"}
        if cache and self.ours:
            variables |= {
                "JAX_COMPILATION_CACHE_DIR": str(cache),
                "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0.1",
                "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
            }
        options = {"num_cpus": 1, "max_restarts": 0, "runtime_env": {"env_vars": variables}}
        kind = self.ray.remote(**options)(Worker)
        return kind.remote(source.make, source.algorithm, source.share, source.steps)

    def publish(self, agent: Any) -> None:
        """Makes `agent` the newest policy: later requests act with it."""
        self.agent = self.ray.put(jax.device_get(agent))
        self.version += 1

    def idle(self) -> list[int]:
        return [i for i in range(len(self.actors)) if i not in self.asked]

    def ask(self, worker: int, key: np.ndarray) -> None:
        actor = self.actors[worker]
        answer = actor.collect.remote(self.agent, key, self.first_keys[worker])
        self.pending[answer] = worker
        self.asked[worker] = (answer, key, self.version)

    def first(self) -> int:
        """The first worker that is done or dead; of several, the one with the oldest request."""
        done, _ = self.ray.wait(list(self.pending), num_returns=1)
        return self.pending[done[0]]

    def answer(self, worker: int) -> tuple[Transition, Metrics, int]:
        """The batch of a worker, its metrics, and the number of updates since its policy."""
        while True:
            answer, key, version = self.asked.pop(worker)
            del self.pending[answer]
            try:
                batch, metrics = self.ray.get(answer)
            except self.lost.RayTaskError as error:
                raise (error.cause if isinstance(error.cause, Exception) else error) from None
            except self.deaths as error:
                self.replace_actor(worker, error)
                self.ask(worker, key)
                continue
            self.failures[worker] = 0
            return batch, metrics, self.version - version

    def replace_actor(self, worker: int, error: Exception) -> None:
        """Replaces a dead actor by a new one with new environments."""
        self.losses += 1
        self.failures[worker] += 1
        why = " ".join(str(error).split())[-500:]  # Ray tells the cause last
        if self.failures[worker] >= MOST_FAILURES:
            raise EnvironmentFailedError(
                f"worker {worker} died {MOST_FAILURES} times in a row: {why}"
            )
        message = f"worker {worker} was lost (number {self.losses}), and another takes its place"
        print(f"spinward: {message}: {why}", file=sys.stderr, flush=True)
        self.ray.kill(self.actors[worker])
        self.first_keys[worker] = numbered(self.key, len(self.actors) + self.losses)
        self.actors[worker] = self.actor()

    def stop_all(self) -> None:
        """Ends all actors, and Ray if this process started Ray."""
        for actor in self.actors:
            self.ray.kill(actor)
        if self.actors and self.ours:
            self.ray.shutdown()
        self.actors = []
