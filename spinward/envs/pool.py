"""Host environments in worker processes, which may crash, hang and be killed."""

import contextlib
import mmap
import sys
import time
import weakref
from collections import Counter
from collections.abc import Iterator
from typing import Any

import numpy as np

from spinward.core import Obs, Step
from spinward.envs import actions, workers
from spinward.envs.encoding import Leaf
from spinward.envs.guards import require_choice, require_finite
from spinward.envs.processes import LONGER, EnvWorker, Lost, answer, memory_of, start, stop, worded
from spinward.envs.remarks import Bounds
from spinward.errors import EnvironmentFailedError

SEEDS = 0x7FFFFFFF  # the range that all environments take
MOST_FAILURES = 5  # deaths in a row of one environment in its first step or before
REPORTED: set[str] = set()  # names of environments whose bounds were found to be wrong
BACK_OFF_S = 0.1  # before the second restart in a row, doubled for each further one


class Pool:
    """A stepper of `envs` environments, divided among worker processes."""

    def __init__(
        self, settings: dict[str, Any], envs: int, processes: int, timeout_s: float, restarts: int
    ) -> None:
        self.name, self.timeout_s, self.restarts = settings["name"][0], timeout_s, restarts
        self.shares = [s.tolist() for s in np.array_split(np.arange(envs), min(processes, envs))]
        parts = settings["parts"]
        row = [(p["name"], (envs, *p["shape"]), p["dtype"]) for p in parts]
        shape, dtype = actions.array_of(settings["form"])
        layout: workers.Layout = [
            *((f"{where}:{name}", *rest) for where in ("obs", "final") for name, *rest in row),  # type: ignore[misc]
            ("action", (envs, *shape), dtype),
            ("seeds", (envs,), "int64"),
            ("reward", (envs,), "float32"),
            ("terminated", (envs,), "bool"),
            ("truncated", (envs,), "bool"),
            ("count", (envs,), "int64"),
            ("where", (len(self.shares), 2), "int64"),
        ]
        self.names = [name for name, *_ in row]
        self.bounds = Bounds(tuple(Leaf.of(part) for part in parts))
        shared_file = memory_of(workers.size(layout))
        self.shared = workers.views(mmap.mmap(shared_file, workers.size(layout)), layout)
        self.settings = settings | {"task": "serve", "shared_file": shared_file, "layout": layout}
        self.deaths: Counter[int] = Counter()
        self.failures: Counter[int] = Counter()
        self.reasons: Counter[str] = Counter()
        self.losses = 0
        self.workers: list[EnvWorker] = []
        self.close = weakref.finalize(self, stop, self.workers, shared_file)
        self.last: Obs = None

    def reset(self, seeds: np.ndarray) -> Obs:
        """The first observations; the environments are opened by the first call."""
        self.seeds = np.asarray(seeds, np.int64) & SEEDS
        self.shared["seeds"][:] = self.seeds
        with self._closed_on_error():
            if not self.workers:
                self.workers += [self._start(share) for share in range(len(self.shares))]
            self._command(b"r")
            self.last = self._read("obs")
            require_finite(self.name, self.last, np.zeros(1), self._count)
            require_choice(self.name, self.last, self._count)
        return self.last

    def step(self, action: np.ndarray) -> Step:
        """What the environments answered, within `timeout_s` and the time of a restart."""
        with self._closed_on_error():
            self.shared["action"][...] = action
            lost = self._command(b"s")
            return self._step(lost)

    def _step(self, lost: list[int]) -> Step:
        shared, obs = self.shared, self._read("obs")
        reward, weight = shared["reward"].copy(), np.ones(len(self.seeds), np.float32)
        terminated, truncated = shared["terminated"].copy(), shared["truncated"].copy()
        if lost:
            reward[lost], weight[lost], terminated[lost], truncated[lost] = 0, 0, False, True
        next_obs, done = obs, terminated | truncated
        if done.any():
            next_obs = self._successors(obs, done, lost)
            require_finite(self.name, next_obs, reward, self._count)
        require_finite(self.name, obs, reward, self._count)
        require_choice(self.name, obs, self._count)
        self.last = obs
        return Step(obs, reward, terminated, truncated, next_obs, weight)

    def _successors(self, obs: Obs, done: np.ndarray, lost: list[int]) -> Obs:
        """The final observations of episodes; of a step that was lost, the one before it."""
        parts = {}
        for name in self.names:
            parts[name] = (obs if name == "" else obs[name]).copy()
            parts[name][done] = self.shared[f"final:{name}"][done]
            if lost:
                parts[name][lost] = (self.last if name == "" else self.last[name])[lost]
        return parts.get("", parts)

    def _read(self, where: str) -> Obs:
        rows = {name: self.shared[f"{where}:{name}"].copy() for name in self.names}
        if self.name not in REPORTED and self.bounds.check(rows):
            REPORTED.add(self.name)
            line = f"spinward: warning: {self.name}: {self.bounds.first}; it is used as it is"
            print(line, file=sys.stderr, flush=True)
        return rows.get("", rows)

    def _count(self, env: int) -> int:
        return int(self.shared["count"][env])

    @contextlib.contextmanager
    def _closed_on_error(self) -> Iterator[None]:
        if not self.close.alive:
            raise EnvironmentFailedError(f"{self.name} is closed")
        try:
            yield
        except BaseException:
            self.close()  # the workers may be in the middle of a step
            raise

    def _command(self, command: bytes) -> list[int]:
        """Sends a request to all workers; returns the environments whose worker was lost
        meanwhile."""
        for worker in self.workers:
            with contextlib.suppress(OSError):  # a death is found when the answer is read
                worker.link.send(command)
        began, gone = time.monotonic(), []
        for share in range(len(self.workers)):
            try:
                self._accept(share, began)
            except Lost as lost:
                self._replace(share, lost)
                gone += self.shares[share]
        return gone

    def _accept(self, share: int, began: float) -> None:
        def progress() -> bytes:
            counts = self.shared["count"][self.shares[share]]
            return self.shared["where"][share].tobytes() + counts.tobytes()

        error = answer(self.workers[share], self.timeout_s, began, progress)
        if error is not None:
            raise worded(self.name, error)

    def _start(self, share: int) -> EnvWorker:
        settings = self.settings | {"worker": share, "indices": self.shares[share]}
        return start(settings, settings["shared_file"])

    def _replace(self, share: int, lost: Lost) -> None:
        """Opens and resets the environments of a lost worker in a new one, with new seeds."""
        pause, envs = 0.0, self.shares[share]
        while True:
            self._count_loss(share, lost)
            time.sleep(pause)
            for env in envs:
                seeds = np.random.SeedSequence([int(self.seeds[env]), self.losses])
                self.shared["seeds"][env] = seeds.generate_state(1)[0] & SEEDS
            worker = self.workers[share] = self._start(share)
            try:
                with contextlib.suppress(OSError):
                    worker.link.send(b"r")
                return self._accept(share, time.monotonic())
            except Lost as again:
                lost, pause = again, max(2 * pause, BACK_OFF_S)

    def _count_loss(self, share: int, lost: Lost) -> None:
        """Counts a death, and raises where the run cannot continue."""
        self.workers[share].process.kill()
        stop([self.workers[share]])
        env, method = self.shared["where"][share].tolist()
        count, doing = self._count(env), workers.METHODS[method]
        hung = str(lost) == "hung"
        why = f"hung for {self.timeout_s:g} s in {doing}" if hung else f"{lost} in {doing}"
        if hung and method != workers.STEP:
            raise EnvironmentFailedError(f"env {env} of {self.name} {why}{LONGER}")
        self.losses += 1
        self.deaths[env] += 1
        self.reasons[why] += 1
        self.failures[env] = self.failures[env] + 1 if count <= 1 else 0
        if self.failures[env] < MOST_FAILURES and self.losses <= self.restarts:
            message = f"env {env} of {self.name} was lost at step {count}: {why}"
            used = f"restart {self.losses} of {self.restarts}"
            print(f"spinward: {message}; it begins anew ({used})", file=sys.stderr, flush=True)
            return
        times = "once" if self.deaths[env] == 1 else f"{self.deaths[env]} times"
        budget = f"; all restarts={self.restarts} are used" if self.losses > self.restarts else ""
        earlier = ", ".join(reason for reason in self.reasons if reason != why)
        others = f"; others before: {earlier:.500}" if earlier else ""
        raise EnvironmentFailedError(
            f"env {env} of {self.name} died {times}, last at step {count}: {why}{budget}{others}"
        )
