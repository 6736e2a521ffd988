"""Whatever breaks is named, with the place and the time, and the last finite state is on disk."""

import dataclasses
import json

import jax
import numpy as np
import pytest
from twin import (
    ALGORITHMS,
    BreaksObs,
    BreaksReward,
    HostStamp,
    Sick,
    StampStepper,
    keys,
    parts,
    tiny,
)

from spinward.core import HostEnv
from spinward.envs import ids
from spinward.errors import (
    DamagedFileError,
    DiskError,
    EnvironmentFailedError,
    NonFiniteError,
    SettingsError,
    SpinwardError,
    Stopped,
)
from spinward.programs.choose import program
from spinward.run.assemble import assemble
from spinward.run.drive import drive
from spinward.run.experiment import Experiment
from spinward.run.run import load, train
from spinward.run.shards import error_kept
from spinward.run.watching import Options
from spinward.store import checkpoint

SEEDS, SEED, ITERATIONS = 2, 7, 20
SHARD = "shards/0"


def broken(algorithm, env, out):
    """The error that ends a run of 20 iterations, and its last checkpoint."""
    steps = ITERATIONS * algorithm.envs * algorithm.rollout
    with pytest.raises(NonFiniteError) as error:
        train(algorithm, env, steps, SEEDS, SEED, out=out, name="run", shards=1)
    assert error.value.exit_code == 3
    run = load(out / "run", trust=True)
    path, damaged = checkpoint.latest(run.path / SHARD / "checkpoints")
    assert not damaged
    experiment = run.experiment
    made = program(assemble(experiment).parts)
    fresh = made.start(experiment.keys())
    made.close()
    state, _ = checkpoint.load(path, fresh)
    for leaf in jax.tree.leaves(state):
        assert np.isfinite(np.asarray(leaf, np.float64)).all()
    return str(error.value), checkpoint.number(path), state


def first_to_break(env, algorithm):
    """The step, counted from 0, and the seed and env that reach `env.breaks` first."""
    start = program(parts(algorithm, env)).start(keys(SEEDS, SEED)).source
    left = env.breaks - 1 - np.asarray(start.env.time)
    seed, which = np.argwhere(left == left.min())[0]
    return int(left.min()), int(seed), int(which)


@pytest.mark.parametrize(
    ("env", "what"),
    [(BreaksObs, "next observation[1] is nan"), (BreaksReward, "reward is inf")],
    ids=["observation", "reward"],
)
def test_what_an_environment_breaks_is_named_with_env_step_and_iteration(env, what, tmp_path):
    algorithm = Sick()
    step, seed, which = first_to_break(env(), algorithm)
    iteration, at = divmod(step, algorithm.rollout)
    said, saved, state = broken(algorithm, f"twin:{env.__name__}", tmp_path)
    assert said.startswith(f"{what} in env {which} at step {at}: not finite in ")
    assert f"iteration {iteration + 1} " in said
    assert f"env steps {iteration * 32} to {(iteration + 1) * 32}" in said
    assert f"seed {SEED + seed};" in said
    assert saved == iteration > 2
    assert state.agent.updates.tolist() == [iteration] * SEEDS


@pytest.mark.parametrize("on", ["device", "host"])
@pytest.mark.parametrize(
    ("ill", "what"),
    [
        ("loss", "loss (loss) in minibatch 0"),
        ("gradient", "gradient"),
        ("parameter", "parameter agent.learner.model['w']"),
    ],
)
def test_what_an_update_breaks_is_named_with_its_iteration(ill, what, on, tmp_path, monkeypatch):
    if on == "host":
        monkeypatch.setattr(ids, "make", lambda name, settings=None: HostStamp())
    said, saved, state = broken(Sick(at=5, ill=ill), "CartPole-v1", tmp_path)
    # A host's broken parameter is gone when it is told: only the state before it was kept.
    assert said.startswith(what) or ((on, ill) == ("host", "parameter") and "a parameter:" in said)
    assert "not finite in iteration 6 (env steps 160 to 192)" in said
    assert "seed 7;" in said and str(tmp_path / "run") in said
    assert saved == 5 and state.agent.updates.tolist() == [5] * SEEDS
    logged = [p["iteration"] for p in load(tmp_path / "run").points]
    assert logged == [1, 2, 3, 4, 5]


@pytest.mark.parametrize("logs", [1, 4])
def test_the_last_finite_state_is_found_inside_a_long_log_interval(logs, tmp_path):
    experiment = Experiment(Sick(at=7, ill="loss"), "CartPole-v1", ITERATIONS * 32, logs=logs)
    (tmp_path / "config.json").write_text(experiment.to_json())
    shard = tmp_path / SHARD
    shard.mkdir(parents=True)
    with pytest.raises(NonFiniteError, match="iteration 8 "):
        drive(assemble(experiment), experiment, shard, Options())
    path, _ = checkpoint.latest(shard / "checkpoints")
    assert checkpoint.number(path) == 7


def test_the_error_that_ends_a_run_of_one_process_is_kept_until_it_is_trained_again(tmp_path):
    from spinward.board.reading import read

    with pytest.raises(NonFiniteError) as error:
        train(Sick(at=3, ill="loss"), "CartPole-v1", steps=160, logs=5, out=tmp_path, name="run")
    row = read(tmp_path / "run")
    assert row.state == "failed" and row.error == str(error.value) and "iteration 4" in row.error
    with error_kept(tmp_path / "run" / SHARD):  # as when it is resumed
        assert read(tmp_path / "run").state == "stopped"
    with pytest.raises(Stopped), error_kept(tmp_path / "run" / SHARD):
        raise Stopped("by a person")
    assert read(tmp_path / "run").state == "stopped"


def test_replayed_faults_are_named_where_they_happened(tmp_path):
    algorithm = tiny(ALGORITHMS["dqn"])
    said, saved, state = broken(algorithm, "twin:BreaksObs", tmp_path)
    assert said.startswith("next observation[1] is nan in env ")
    assert 0 <= saved < ITERATIONS
    held = np.asarray(state.source.source.env.time)  # the first to break is in the next rollout
    left = BreaksObs().breaks - held
    assert left.min() <= algorithm.rollout
    seed, which = np.argwhere(left == left.min())[0]
    assert f"in env {which} at step {left.min() - 1}:" in said and f"seed {SEED + seed};" in said


def test_what_a_warm_up_breaks_is_not_blamed_on_an_environment_of_the_sample(tmp_path):
    algorithm = tiny(ALGORITHMS["dqn"])
    with pytest.raises(NonFiniteError, match=r"^a replayed (next )?observation\[1\] is nan: not"):
        train(algorithm, "twin:BreaksWarmUp", 320, SEEDS, SEED, out=tmp_path, shards=1)


def test_a_step_size_that_breaks_ppo_leaves_it_as_it_was(tmp_path):
    said, saved, _ = broken(tiny(ALGORITHMS["ppo"], lr=1e30), "CartPole-v1", tmp_path)
    assert saved == 0 and "iteration 1 " in said
    assert "loss (" in said and "minibatch 1" in said
    assert not (tmp_path / "run" / SHARD / "metrics.jsonl").read_bytes()


@pytest.mark.slow
def test_what_breaks_in_the_process_of_a_shard_is_told_by_the_run(tmp_path):
    with pytest.raises(NonFiniteError, match=r"iteration 1 .* seed [78];") as error:
        train(tiny(ALGORITHMS["ppo"], lr=1e30), "CartPole-v1", 320, 2, SEED, out=tmp_path, shards=2)
    assert error.value.exit_code == 3


@dataclasses.dataclass(frozen=True)
class HostBroken:
    """A host environment whose guard finds an observation that is not finite at its step 30."""

    @property
    def spec(self):
        return HostStamp().spec

    def open(self, envs):
        return HostBrokenStepper(envs)


class HostBrokenStepper:
    def __init__(self, envs):
        self.healthy, self.steps = StampStepper(envs), 0

    def reset(self, seeds):
        return self.healthy.reset(seeds)

    def step(self, action):
        self.steps += 1
        if self.steps == 30:
            raise NonFiniteError("observation[1] of env 2 of Broken is nan at step 30")
        return self.healthy.step(action)

    def close(self):
        self.healthy.close()


def test_what_a_host_environment_breaks_is_told_and_the_state_before_is_saved(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(ids, "make", lambda name, settings=None: HostBroken())
    with pytest.raises(NonFiniteError, match="env 2 of Broken is nan at step 30"):
        train(Sick(), "CartPole-v1", 20 * 32, SEEDS, out=tmp_path, name="run")
    path, _ = checkpoint.latest(tmp_path / "run" / SHARD / "checkpoints")
    assert checkpoint.number(path) == 3  # of 8 steps each
    points = [json.loads(x) for x in (tmp_path / "run" / SHARD / "metrics.jsonl").open()]
    assert [p["iteration"] for p in points] == [1, 2, 3]


def test_a_host_environment_can_be_given_by_its_name():
    assert isinstance(ids.make("twin:HostStamp"), HostEnv)


def test_every_error_has_its_exit_code():
    codes = {
        SpinwardError: 1,
        SettingsError: 2,
        DiskError: 2,
        NonFiniteError: 3,
        DamagedFileError: 4,
        EnvironmentFailedError: 5,
        Stopped: 130,
    }
    assert {kind: kind.exit_code for kind in codes} == codes
