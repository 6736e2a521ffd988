"""Runs an experiment in its folder: advance, log, save; stop on request or on a fault."""

import time
from pathlib import Path

import jax
import numpy as np

from spinward import interrupts, schedules
from spinward.core import LimitsRewards, Metrics, TrainState
from spinward.data.recorder import data_log
from spinward.errors import NonFiniteError, Stopped
from spinward.evaluation import offline_probes, q_diagnostics, texts
from spinward.evaluation.episodes import Agents
from spinward.experience.replay import Replay
from spinward.faults import explain, failure, in_metrics, unfinite
from spinward.loop import at as parts_at
from spinward.programs.choose import program
from spinward.programs.seeds import Program
from spinward.rewards.environment import Environment
from spinward.run import warm_start
from spinward.run.assemble import Assembled
from spinward.run.between import Changes
from spinward.run.candidates import Candidates
from spinward.run.config import read_config
from spinward.run.evaluations import Evaluations
from spinward.run.experiment import Experiment
from spinward.run.folders import run_of
from spinward.run.out_of_bounds import BoundsRemark
from spinward.run.stopping import stopping
from spinward.run.text_samples import TextSamples
from spinward.run.watching import STOP, Acting, Options, Point
from spinward.store import checkpoint, integrity, points
from spinward.store import log as record

SAVING_SHARE = 0.05  # largest share of a run's time for saving
CHUNK_S = 0.2  # length of a chunk; stop requests are seen between chunks


def drive(made: Assembled, shard: Experiment, folder: Path, options: Options) -> None:
    """Trains the seeds of one shard to the end, from the newest checkpoint in `folder` if there is
    one.

    Raises:
        DamagedFileError: the checkpoint is damaged, or the settings or the log do not match it.
        Stopped: Ctrl-C, SIGTERM or the watcher stopped the run; everything is saved.
        NonFiniteError: a value was not finite; the last finite state is saved.
        DiskError: a file could not be written.
    """
    Driver(made, shard, folder, options).run()


class Driver:
    """A running experiment: the open program, the log and the current iteration."""

    def __init__(self, made: Assembled, shard: Experiment, folder: Path, options: Options):
        self.experiment, self.made, self.folder = shard, made, folder
        self.parts = made.parts
        self.options = options
        self.stride = made.stride
        self.iterations, self.log_every = self.experiment.plan(self.stride)
        self.program: Program = program(self.parts)
        self.longest_chunk = 1  # iterations that fit in CHUNK_S, as far as known
        self.config = integrity.config_digest(run_of(folder))
        self.changes = Changes(folder / "between", options.between, self.log_every)
        self.evaluations = Evaluations(made, shard, folder)
        self.candidates = Candidates(made, folder, self.iterations)
        self.bounds = BoundsRemark(str(shard.env), made.env, self.parts.source.spec)
        self.texts = TextSamples(made, folder, shard.seed)
        self.interval = record.Interval()

    def run(self) -> None:
        state, self.iteration, log = self.restore()
        self.probes = offline_probes.OfflineProbes(self.parts, state)
        self.candidates.restore(self.iteration)
        about = self.experiment, self.iteration > 0
        self.data = data_log(self.folder / "data", self.parts.source, state, *about)
        if self.options.older:
            integrity.drop_newer(self.folder / "checkpoints", self.iteration)
        run = run_of(self.folder)
        self.log = record.Log(self.folder / "metrics.jsonl", run, *log)
        self.over = self.has_reached(run)  # the return at which it ends
        self.times = record.Log(self.folder / "times.jsonl", run)
        if self.experiment.start_from and not self.iteration:
            self.save(state, 0)  # so that the run no longer depends on the other one
        self.began, self.from_iteration = time.monotonic(), self.iteration
        try:
            with stopping() as asked:
                interrupts.all_saved(True)  # while the first chunk compiles
                self.loop(state, asked)
                if self.data:
                    self.data.finish()
        finally:
            interrupts.all_saved(False)
            self.log.close()
            self.times.close()
            self.program.close()

    def has_reached(self, run: Path) -> bool:
        """Whether the last log point has the return at which the run ends."""
        last = points.read(self.folder / "metrics.jsonl", run)[-1:] if self.iteration else []
        return any(map(self.evaluations.reached, last))

    def restore(self) -> tuple[TrainState, int, tuple[int, str | None]]:
        """The state to continue from, its iteration, and the size and digest of its log."""
        checkpoints = self.folder / "checkpoints"
        if not checkpoint.checkpoints(checkpoints):
            integrity.require_kept(self.folder)
            state = self.program.start(self.experiment.keys())
            self.check_rewards(state)
            if self.experiment.start_from:
                first_seed = read_config(run_of(self.folder) / "config.json")["seed"]
                state = warm_start.started(state, self.experiment, first_seed)
            return state, 0, (0, None)
        return self.read(integrity.choose(checkpoints, self.options.older).path)

    def check_rewards(self, state: TrainState) -> None:
        """Refuses rewards of the random steps before the first update that lie outside the limits
        of an algorithm which learns from the environment's rewards."""
        (algorithm, *_), source = schedules.ends(self.parts.algorithm), self.parts.source
        plain = isinstance(self.parts.reward, Environment)
        if plain and isinstance(algorithm, LimitsRewards) and isinstance(source, Replay):
            rows = int(np.asarray(state.source.rows).flat[0])
            rewards = np.asarray(state.source.data.reward[:, :rows])
            algorithm.check_rewards(float(rewards.min()), float(rewards.max()))

    def read(self, path: Path) -> tuple[TrainState, int, tuple[int, str | None]]:
        number = checkpoint.number(path)
        keys = jax.vmap(lambda k: jax.random.fold_in(k, number))(self.experiment.keys())
        fresh = self.program.fresh(keys)
        state, info = checkpoint.load(path, fresh)
        run, shard, vouched = run_of(self.folder), self.experiment, integrity.vouched(path, info)
        integrity.check_config(run, path, vouched, shard.seed, shard.seeds)
        self.interval = record.interval(path, info)
        self.evaluations.restore(info, number, fresh.agent)
        return self.program.reopen(state, fresh), number, (vouched.size, vouched.digest)

    def loop(self, state: TrainState, asked: list[int]) -> None:
        saved_at, saving_s = time.monotonic(), 0.0
        while self.iteration < self.iterations and not self.over:
            if not asked and self.changes.waits(self.iteration, state):
                time.sleep(CHUNK_S)
                continue
            if not asked:
                state = self.forward(self.changes.at(self.iteration, state), asked)
            since = time.monotonic() - saved_at
            due = since > max(self.options.checkpoint_s, saving_s / SAVING_SHARE)
            ends = self.over or self.iteration == self.iterations
            if due or asked or ends:
                before = time.monotonic()
                self.save(state, self.iteration)
                saved_at = time.monotonic()
                saving_s = saved_at - before
            if asked and not ends:
                raise Stopped(
                    f"stopped at {self.iteration * self.stride:,} of "
                    f"{self.iterations * self.stride:,} steps, all saved; "
                    f"continue with: spinward resume {run_of(self.folder)}"
                )

    def forward(self, state: TrainState, asked: list[int]) -> TrainState:
        """The state after the next chunk, which is logged."""
        state, metrics = self.advance(state, self.chunk_size(state))
        self.interval.add(metrics)
        at_point = self.iteration % self.log_every == 0
        if self.data and (at_point or self.data.due(state)):
            self.data.take(state)
        if at_point:
            self.report(state, asked)
        return state

    def chunk_size(self, state: TrainState) -> int:
        """How many iterations the next chunk has: at most up to the next log point, and not more
        than the data set can still take from the ring."""
        upto = self.log_every - self.iteration % self.log_every
        room = self.data.room(state) if self.data else upto
        return max(1, min(upto, self.longest_chunk, room))

    def advance(self, state: TrainState, iterations: int) -> tuple[TrainState, Metrics]:
        """The state after a chunk. On a fault, names the cause and saves the last finite state."""
        began = time.monotonic()
        try:
            after, metrics = self.program.advance(state, iterations, self.iteration)
            interrupts.all_saved(False)
        except NonFiniteError as error:  # from a host environment, before an update used the value
            reached, done = error.reached
            self.save(reached, self.iteration + done)
            raise
        if time.monotonic() - began < CHUNK_S / 2:
            self.longest_chunk = max(self.longest_chunk, 2 * iterations)
        if metrics["finite"].all():
            self.iteration += iterations
            return after, metrics
        if self.program.repeats:
            before, self.iteration, seed = self.locate(self.iteration)
            what = explain(parts_at(self.parts, self.iteration), seed_of(before, seed))
        else:
            self.iteration += metrics["finite"].shape[1] - 1
            before, seed = after, int(metrics["finite"][:, -1].argmin())
            what = in_metrics({k: v[seed, -1] for k, v in metrics.items()}) or "a parameter"
        self.save(before, self.iteration)
        raise NonFiniteError(
            f"{what}: not finite in iteration {self.iteration + 1} (env steps "
            f"{self.iteration * self.stride:,} to {(self.iteration + 1) * self.stride:,}) of "
            f"{self.experiment.env}, seed {self.experiment.seed + seed}; the last finite state is "
            f"saved in {run_of(self.folder)}"
        )

    def locate(self, good: int) -> tuple[TrainState, int, int]:
        """The state before the iteration that was not finite, the iteration's number, and the seed,
        found by repeating. All iterations up to `good` were finite."""
        state, at, _ = self.restore()
        while at < self.iterations:
            state = self.changes.at(at, state, asks=False)
            upto = self.log_every - at % self.log_every
            size = min(upto, good - at) if at < good else 1
            before = jax.tree.map(lambda x: x.copy(), state) if at >= good else state
            state, metrics = self.program.advance(state, size, at)
            if at >= good:
                for seed in range(self.experiment.seeds):
                    fine = metrics["finite"][seed].all()
                    if not fine or any(unfinite(seed_of(state, seed).agent)):
                        return before, at, seed
                if at > good + self.log_every:
                    break
            self.interval.add(metrics)
            if (at + size) % self.log_every == 0:
                self.interval = record.Interval()
            at += size
        reason = failure(self.parts.reward) or "is memory damaged?"
        raise NonFiniteError(f"training broke, but not when it was repeated; {reason}")

    def report(self, state: TrainState, asked: list[int]) -> None:
        """Writes a log point, and asks the watcher whether to continue."""
        env_steps, steps = (n * self.stride for n in (self.iteration, self.iterations))
        line = self.interval.line(self.iteration, env_steps)
        point, points = (n // self.log_every for n in (self.iteration, self.iterations))
        measured = point % max(1, points // q_diagnostics.POINTS) == 0
        parts = parts_at(self.parts, self.iteration)
        line |= q_diagnostics.measure(parts, state, self.interval.running_max, measured)
        if measured or point == points:
            line |= texts.measure(parts, state.agent)
        if point % max(1, points // offline_probes.POINTS) == 0 or point == points:
            line |= self.probes.measure(parts, state)
        self.candidates.keep(state.agent, self.iteration)
        self.bounds.check(state)
        agents = Agents(parts.algorithm, state.agent, self.made.env, self.experiment.seeds)
        line |= self.evaluations.measure(agents, self.iteration, self.iterations)
        self.over = self.evaluations.reached(line)
        self.interval = record.Interval()
        self.log.write(line)
        seconds, done = time.monotonic() - self.began, self.iteration - self.from_iteration
        self.times.write({"env_steps": env_steps, "seconds": round(seconds, 3)})
        at = self.iteration, self.iterations, env_steps, steps
        sample = self.texts.take(parts, state, self.iteration, env_steps)
        try:
            here = Acting(self.made, agents)
            if self.options.watch(Point(*at, line, seconds, done, here, sample)) == STOP:
                asked.append(0)
        except BaseException:
            self.save(state, self.iteration)
            raise

    def save(self, state: TrainState, iteration: int) -> None:
        if self.data:  # ends a chunk of data here, so that a resumed run can continue from it
            self.data.take(state)
            self.data.write()
        info = {
            "env_steps": iteration * self.stride,
            "log_bytes": self.log.sync(),
            "log_sha256": self.log.digest(),
            "config_file_sha256": self.config,
            "interval": self.interval.to_json(),
            **self.evaluations.save(iteration),
        }
        checkpoint.save(self.folder / "checkpoints", iteration, state, info)
        integrity.note_saved(run_of(self.folder), self.folder, iteration)


def seed_of(state: TrainState, seed: int) -> TrainState:
    """The state of one seed."""
    return jax.tree.map(lambda x: np.asarray(x)[seed], state)
