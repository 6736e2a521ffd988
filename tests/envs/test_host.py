"""Host environments: sound ones are recorded truthfully, broken ones are diagnosed exactly."""

import gc
import importlib.util
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import gymnasium
import numpy as np
import pytest

from spinward.core import Box, Dict, Discrete, HostEnv, MultiDiscrete
from spinward.envs import classic, ids, processes
from spinward.envs.envpool import EnvPool
from spinward.envs.guards import Watchdog, require_finite
from spinward.envs.gymnasium import Gymnasium
from spinward.envs.pool import Pool
from spinward.errors import EnvironmentFailedError, NonFiniteError, SettingsError

BAD = str(Path(__file__).with_name("bad_envs.py"))
STEP = "(obs, reward, terminated, truncated, info)"


def has(*modules):
    return all(importlib.util.find_spec(module) for module in modules)


def bad(name, **options):
    return Gymnasium(f"{BAD}:{name}", **({"processes": 1} | options))


def zeros(env, envs):
    return np.zeros((envs, *env.spec.action.shape), np.float32)


def run(env, steps, envs=1):
    """The last of so many steps with zeros for actions."""
    stepper = env.open(envs)
    try:
        stepper.reset(np.arange(envs))
        for _ in range(steps):
            step = stepper.step(zeros(env, envs))
        return step
    finally:
        stepper.close()


def broken(env, steps):
    """What is said of an environment that breaks."""
    with pytest.raises((EnvironmentFailedError, NonFiniteError)) as caught:
        run(env, steps)
    said = re.sub(r" \(\S*bad_envs\.py:\d+\)", "", str(caught.value))  # see the test of lines
    return said.replace(env.id, "BAD"), caught.value


FAULTS = [
    ("RaisesInStep1", "env 0 of BAD raised in step 1: KeyError: 'wheel'"),
    ("RaisesInStep50", "env 0 of BAD raised in step 50: KeyError: 'wheel'"),
    ("WrongShape", "env 0 of BAD at step 1: observation has shape (3,), expected (4,)"),
    ("WrongDtype", "env 0 of BAD at step 1: observation has dtype int64, expected float32"),
    (
        "NotAnArray",
        "env 0 of BAD at step 1: observation is a list, expected an array of shape (4,)",
    ),
    ("Nothing", "env 0 of BAD at step 1: observation is None, expected an array of shape (4,)"),
    (
        "ArrayReward",
        "env 0 of BAD at step 1: reward is a ndarray of shape (1,), expected one number",
    ),
    ("TextReward", "env 0 of BAD at step 1: reward is a str, expected one number"),
    ("NoneReward", "env 0 of BAD at step 1: reward is None, expected one number"),
    ("TextFlag", "env 0 of BAD at step 1: terminated is 'no', expected True or False"),
    ("NoneFlag", "env 0 of BAD at step 1: truncated is None, expected True or False"),
    ("ListInfo", f"env 0 of BAD at step 1: step returned info as a list, expected {STEP}"),
    ("FourTuple", f"env 0 of BAD at step 1: step returned a tuple of 4, expected {STEP}"),
    ("NanReward", "reward of env 0 of BAD is nan at step 1 (expected finite numbers)"),
    ("InfiniteReward", "reward of env 0 of BAD is -inf at step 1 (expected finite numbers)"),
    ("NanObs", "observation[3] of env 0 of BAD is nan at step 1 (expected finite numbers)"),
    ("LateInfObs", "observation[2] of env 0 of BAD is inf at step 20 (expected finite numbers)"),
]
UNOPENED = [
    ("RaisesInInit", "env 0 of BAD raised in __init__: ValueError: no such level"),
    ("RaisesInReset", "env 0 of BAD raised in reset: ValueError: no map"),
    ("NoInfo", "env 0 of BAD in reset: reset returned a ndarray, expected (obs, info)"),
    ("DiesInReset", "BAD died when it was opened and reset: exited with code 9"),
]


@pytest.mark.parametrize(("name", "diagnosis"), FAULTS, ids=[name for name, _ in FAULTS])
def test_fault_in_a_step_is_named_with_env_step_and_field(name, diagnosis):
    said, _ = broken(bad(name), 60)
    assert said == diagnosis


@pytest.mark.parametrize(("name", "diagnosis"), UNOPENED, ids=[name for name, _ in UNOPENED])
def test_fault_before_the_first_step_is_named_when_the_spec_is_read(name, diagnosis):
    assert broken(bad(name), 1)[0] == diagnosis


def test_error_names_the_file_and_the_line_of_the_environment():
    with pytest.raises(EnvironmentFailedError) as caught:
        run(bad("RaisesInStep1"), 1)
    (line,) = (
        number
        for number, text in enumerate(Path(BAD).read_text().splitlines(), 1)
        if "wheel" in text
    )
    assert str(caught.value).endswith(f"KeyError: 'wheel' ({place(BAD)}:{line})")


def place(path):
    """A path as messages have it: relative where it is below the working directory."""
    return os.path.relpath(path) if path.startswith(os.getcwd() + os.sep) else path


def test_error_keeps_the_traceback_of_the_environment():
    _, error = broken(bad("RaisesInStep1"), 1)
    assert "bad_envs.py" in error.details and "in spoilt" in error.details


def test_hang_in_reset_is_found_in_time():
    begin = time.monotonic()
    said, _ = broken(bad("HangsInReset", timeout_s=1), 1)
    assert said == "BAD hung for 1 s when it was opened and reset; --timeout SECONDS waits longer"
    assert time.monotonic() - begin < 3


def test_hang_in_step_is_found_in_time_and_ends_a_run_without_restarts():
    begin = time.monotonic()
    said, _ = broken(bad("HangsInStep", timeout_s=2, restarts=0), 1)
    assert said == (
        "env 0 of BAD died once, last at step 1: hung for 2 s in step; all restarts=0 are used"
    )
    assert time.monotonic() - begin < 5


def test_crash_loop_is_given_up_before_the_budget():
    said, _ = broken(bad("DiesInStep1", restarts=100), 20)
    assert said == "env 0 of BAD died 5 times, last at step 1: exited with code 7 in step"


def test_budget_of_restarts_is_kept(capsys):
    said, _ = broken(bad("DiesInStep4", restarts=2), 50)
    assert said == (
        "env 0 of BAD died 3 times, last at step 4: exited with code 7 in step; "
        "all restarts=2 are used"
    )
    for i, line in enumerate(capsys.readouterr().err.splitlines(), 1):  # each when it happened
        told = "spinward: env 0 of BAD was lost at step 4: exited with code 7 in step; it begins"
        assert line.replace(f"{BAD}:DiesInStep4", "BAD") == f"{told} anew (restart {i} of 2)"
    assert i == 2


def test_the_budget_of_restarts_is_a_setting_of_the_command_line():
    env = ids.make(f"{BAD}:Counting", {"restarts": 3, "timeout_s": 7, "cut": True})
    assert (env.restarts, env.timeout_s, env.kwargs) == (3, 7, (("cut", True),))


def test_reasons_of_earlier_losses_are_kept():
    stepper = bad("Counting", restarts=1).open(1)
    stepper.reset(np.arange(1))
    stepper.step(np.zeros(1))
    os.kill(stepper.workers[0].process.pid, signal.SIGKILL)
    assert stepper.step(np.zeros(1)).weight == 0
    stepper.step(np.zeros(1))
    os.kill(stepper.workers[0].process.pid, signal.SIGTERM)
    told = "SIGTERM in step; all restarts=1 are used; others before: killed by SIGKILL in step"
    with pytest.raises(EnvironmentFailedError, match=told):
        stepper.step(np.zeros(1))


def test_the_right_env_and_the_first_line_of_its_message_are_named():
    env = bad("RaisesForSeed13", processes=2)
    stepper = env.open(5)
    stepper.reset(np.arange(10, 15))
    for _ in range(4):
        stepper.step(np.zeros(5))
    with pytest.raises(
        EnvironmentFailedError, match=r"^env 3 of .* raised in step 5: Runtim.*luck \(.*\)$"
    ):
        stepper.step(np.zeros(5))
    with pytest.raises(EnvironmentFailedError, match="is closed"):
        stepper.step(np.zeros(5))


def require_truth(step, before):
    """Each row of `Counting` follows from the one before, or says that it was lost."""
    lost = step.weight == 0
    done = step.terminated | step.truncated
    np.testing.assert_array_equal(step.next_obs[lost], before[lost])
    assert (done[lost] & step.truncated[lost]).all() and not step.reward[lost].any()
    assert (step.next_obs[~lost] - before[~lost] == [0, 0, 1]).all()
    np.testing.assert_array_equal(step.obs[~done], step.next_obs[~done])
    np.testing.assert_array_equal(step.obs[done][:, 2], 0)
    ended = done & ~lost
    assert (step.obs[ended] - step.next_obs[ended] == [0, 1, -7]).all()
    assert not (step.obs[lost][:, 0] == before[lost][:, 0]).any()  # new seeds


def test_killed_workers_are_replaced_and_no_transition_is_torn():
    env = bad("Counting", processes=2, restarts=10)
    stepper, rng, lost = env.open(5), np.random.default_rng(0), 0
    before = stepper.reset(np.arange(5))
    try:
        for step in range(60):
            if step % 20 == 10:
                os.kill(stepper.workers[rng.integers(2)].process.pid, signal.SIGKILL)
            answer = stepper.step(np.zeros(5))
            require_truth(answer, before)
            before, lost = answer.obs, lost + int((answer.weight == 0).sum())
    finally:
        stepper.close()
    assert 6 <= lost <= 9  # three kills of two or three envs


def test_worker_that_dies_within_a_step_is_replaced_with_new_seeds():
    env = bad("KillsItself", processes=2)
    stepper, weights = env.open(3), []
    before = stepper.reset(np.array([10, 11, 12]))
    for _ in range(12):
        answer = stepper.step(np.zeros(3))
        require_truth(answer, before)
        before = answer.obs
        weights.append(answer.weight)
    stepper.close()
    lost = np.argwhere(np.stack(weights) == 0).tolist()
    assert lost == [[4, 0], [4, 1]]  # the first worker has two of the three


def test_hung_worker_is_replaced_within_twice_its_timeout():
    env = bad("HangsInStep", timeout_s=3, restarts=2)  # in which a busy machine starts a worker too
    stepper = env.open(1)
    stepper.reset(np.arange(1))
    begin = time.monotonic()
    answer = stepper.step(np.zeros(1))
    assert answer.weight == 0 and answer.truncated and 3 <= time.monotonic() - begin < 6
    stepper.close()


@pytest.mark.parametrize("cut", [True, False])
def test_pool_keeps_the_true_successor_and_resets_in_the_same_step(cut):
    env = bad("Counting", kwargs=(("cut", cut),), processes=2)
    stepper = env.open(3)
    before = stepper.reset(np.arange(3))
    ends = 0
    for _ in range(22):
        answer = stepper.step(np.zeros(3))
        require_truth(answer, before)
        assert not (answer.truncated if not cut else answer.terminated).any()
        np.testing.assert_array_equal(answer.reward, 2.0)  # actions are counted from 2
        before, ends = answer.obs, ends + int((answer.terminated | answer.truncated).sum())
    stepper.close()
    assert ends == 9


def test_results_are_copies_that_later_steps_leave_alone():
    stepper = bad("Counting").open(2)
    stepper.reset(np.arange(2))
    first = stepper.step(np.zeros(2))
    kept = first.obs.copy(), first.reward.copy()
    stepper.step(np.ones(2))
    np.testing.assert_array_equal(first.obs, kept[0])
    np.testing.assert_array_equal(first.reward, kept[1])
    stepper.close()


def processes_of(parent):
    shown = subprocess.run(
        ["ps", "-o", "pid=", "--ppid", str(parent)], capture_output=True, text=True
    )
    return shown.stdout.split()


def test_nothing_is_left_when_a_process_that_never_closes_is_killed():
    script = (
        "import sys, time; from spinward.envs.gymnasium import Gymnasium; import numpy as np\n"
        f"s = Gymnasium({BAD + ':HangsInStep'!r}, processes=2).open(2); s.reset(np.arange(2))\n"
        "print(*[w.process.pid for w in s.workers], flush=True); s.step(np.zeros(2))"
    )
    child = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    workers = [int(pid) for pid in child.stdout.readline().split()]
    child.kill()
    child.wait()
    child.stdout.close()
    deadline = time.monotonic() + 10
    while any(Path(f"/proc/{pid}").exists() for pid in workers) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert len(workers) == 2 and not any(Path(f"/proc/{pid}").exists() for pid in workers)


def test_closed_and_forgotten_pools_leave_no_process_and_no_open_file():
    def files():
        return len(os.listdir("/proc/self/fd"))

    gc.collect()  # what other tests have left to be closed is not counted
    env = bad("Counting", processes=2)
    before = files()
    for forget in (False, True):
        stepper = env.open(2)
        stepper.reset(np.arange(2))
        pids = [worker.process.pid for worker in stepper.workers]
        if not forget:
            stepper.close()
        del stepper
        assert not any(Path(f"/proc/{pid}").exists() for pid in pids)
    assert files() == before


class Slow:
    """A worker that answers after a while."""

    def __init__(self, after_s):
        self.link, self.other = socket.socketpair()
        self.process = subprocess.Popen(["sleep", "5"])
        threading.Timer(after_s, self.other.sendall, [b"k"]).start()


@pytest.mark.parametrize("kind", ["progress", "queued"])
def test_a_worker_that_gets_on_or_waits_for_a_core_does_not_hang(kind, monkeypatch):
    began = time.monotonic()
    queued = kind == "queued"
    monkeypatch.setattr(processes, "queued_s", lambda pid: (time.monotonic() - began) * queued)
    worker = Slow(0.9)
    try:
        progress = {} if queued else {"progress": time.monotonic}
        assert processes.answer(worker, 0.3, began, **progress) is None
        assert 0.8 < time.monotonic() - began < 2.0
        monkeypatch.setattr(processes, "queued_s", lambda pid: 7.0)
        with pytest.raises(processes.Lost, match="hung"):
            processes.answer(worker, 0.3, time.monotonic())
        assert time.monotonic() - began < 2.0
    finally:
        worker.process.kill()
        worker.process.wait()


def test_the_time_that_a_process_waits_for_a_core_does_not_grow_while_it_sleeps():
    sleeper = subprocess.Popen(["sleep", "5"])
    try:
        time.sleep(0.2)
        before = processes.queued_s(sleeper.pid)
        time.sleep(0.3)
        assert processes.queued_s(sleeper.pid) - before < 0.05
    finally:
        sleeper.kill()
        sleeper.wait()
    assert processes.queued_s(sleeper.pid) == 0.0  # there is no such process


def test_worker_starts_without_jax():
    env = bad("Counting")
    stepper = env.open(1)
    stepper.reset(np.arange(1))
    maps = Path(f"/proc/{stepper.workers[0].process.pid}/maps").read_text()
    stepper.close()
    assert "numpy" in maps and "jaxlib" not in maps


def trajectory(env, envs, steps, seed=3):
    stepper, rng = env.open(envs), np.random.default_rng(0)
    space = env.spec.action
    found = [stepper.reset(np.arange(seed, seed + envs))]
    for _ in range(steps):
        shape = (envs, *space.shape)
        box = isinstance(space, Box)
        action = rng.uniform(-1, 1, shape) if box else rng.integers(0, space.n, shape)
        found += stepper.step(action.astype(np.float32) if box else action)
    stepper.close()
    return found


def reproducible():
    yield Gymnasium("CartPole-v1")
    yield Gymnasium("Pendulum-v1", processes=2)
    if has("envpool"):
        yield EnvPool("HalfCheetah-v4")
        yield EnvPool("Pong-v5", threads=2)


@pytest.mark.parametrize("env", reproducible(), ids=lambda env: f"{type(env).__name__}-{env.id}")
def test_seeds_and_actions_say_all(env):
    assert isinstance(env, HostEnv)
    one, two = trajectory(env, 3, 60), trajectory(env, 3, 60)
    for a, b in zip(one, two, strict=True):
        np.testing.assert_array_equal(a, b)
    other = trajectory(env, 3, 60, seed=30)
    assert any(not np.array_equal(a, b) for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize("processes", [0, 2])
def test_cartpole_rows_are_those_of_single_cartpoles(processes):
    """With time limits of 12, so that both kinds of end occur."""
    limit = (("max_episode_steps", 12),)
    stepper = Gymnasium("CartPole-v1", limit, processes=processes).open(4)
    singles = [gymnasium.make("CartPole-v1", **dict(limit)) for _ in range(4)]
    obs = stepper.reset(np.arange(4))
    for env, single in enumerate(singles):
        np.testing.assert_allclose(obs[env], single.reset(seed=env)[0], rtol=1e-5, atol=1e-7)
    rng, ends = np.random.default_rng(1), np.zeros(2, int)
    for _ in range(200):
        action = rng.integers(0, 2, 4) if rng.random() < 0.5 else np.ones(4, int)
        step = stepper.step(action)
        for env, single in enumerate(singles):
            found, reward, terminated, truncated, _ = single.step(int(action[env]))
            np.testing.assert_allclose(step.next_obs[env], found, rtol=1e-5, atol=1e-6)
            assert step.reward[env] == reward and step.terminated[env] == terminated
            assert step.truncated[env] == (truncated and not terminated)
            if terminated or truncated:
                found, _ = single.reset()
            np.testing.assert_allclose(step.obs[env], found, rtol=1e-5, atol=1e-6)
        ends += step.terminated.sum(), step.truncated.sum()
    stepper.close()
    assert (ends > 5).all()


@pytest.mark.skipif(not has("envpool"), reason="needs envpool")
def test_envpool_resets_in_the_same_step_and_keeps_the_true_successor():
    """HalfCheetah's time limit of 5 ends all at once, Hopper's falls end some."""
    env = EnvPool("HalfCheetah-v4", (("max_episode_steps", 5),))
    stepper = env.open(3)
    first = stepper.reset(np.arange(3))
    for count in range(1, 12):
        step = stepper.step(np.ones((3, 6), np.float32))
        assert step.truncated.all() == (count % 5 == 0) and not step.terminated.any()
        assert (step.next_obs is step.obs) == (count % 5 != 0)
        # At rest at the start, the legs have been moving for a while at the end.
        assert np.abs(step.next_obs[:, 8:]).max() > 1
        if count % 5 == 0:
            assert np.abs(step.obs[:, 8:]).max() < 0.5
            assert not np.array_equal(step.obs, first)
    stepper.close()


@pytest.mark.skipif(not has("envpool"), reason="needs envpool")
def test_envpool_resets_only_the_envs_that_ended():
    env = EnvPool("Hopper-v4")
    stepper, rng = env.open(4), np.random.default_rng(0)
    obs, some = stepper.reset(np.arange(4)), 0
    height = obs[:, 0]
    for _ in range(200):
        step = stepper.step(rng.uniform(-1, 1, (4, 3)).astype(np.float32))
        done = step.terminated | step.truncated
        np.testing.assert_array_equal(step.obs[~done], step.next_obs[~done])
        if done.any():
            some += 0 < done.sum() < 4
            fallen = (step.next_obs[done][:, 0] < 0.7) | (np.abs(step.next_obs[done][:, 1]) > 0.2)
            assert (fallen | (np.abs(step.next_obs[done][:, 1:]) > 99).any(axis=1)).all()
            assert (np.abs(step.obs[done][:, 0] - height.mean()) < 0.02).all()
        assert (np.abs(step.next_obs[:, 0] - obs[:, 0]) < 0.2).all()  # no row jumps
        obs = step.obs
    stepper.close()
    assert some > 3


@pytest.mark.skipif(not has("envpool"), reason="needs envpool")
def test_envpool_atari_has_channels_last():
    env = EnvPool("Pong-v5")
    assert env.spec.obs == Box((84, 84, 4), 0.0, 255.0, "uint8") and env.spec.action == Discrete(6)
    obs, *answers = trajectory(env, 2, 30)
    last, newest = answers[-6], answers[-6][..., -1]
    assert obs.shape == last.shape == (2, 84, 84, 4) and obs.dtype == np.uint8
    # Successive frames differ by a ball and paddles, rows of one frame by all of the picture.
    assert np.mean(last[..., -2] != newest) < 0.1 and newest.std() > 5
    np.testing.assert_array_equal(answers[-12][..., -1], last[..., -2])  # the stack moves on


@pytest.mark.skipif(not has("ale_py", "cv2"), reason="needs ale-py and OpenCV")
def test_gymnasium_atari_has_channels_last():
    env = Gymnasium("ALE/Pong-v5", processes=1)
    assert env.spec.obs == Box((84, 84, 4), 0.0, 255.0, "uint8") and env.spec.action == Discrete(6)
    obs, *answers = trajectory(env, 1, 10)
    last = answers[-6]
    assert obs.shape == last.shape == (1, 84, 84, 4)
    np.testing.assert_array_equal(answers[-12][..., -1], last[..., -2])


@pytest.mark.skipif(has("cv2"), reason="OpenCV is there")
def test_atari_without_its_packages_says_what_to_install():
    with pytest.raises(SettingsError, match=re.escape("pip install -e '.[atari]'")):
        _ = Gymnasium("ALE/Pong-v5").spec


@pytest.mark.skipif(not has("mujoco", "imageio"), reason="needs mujoco and imageio")
@pytest.mark.parametrize("processes", [1, 3])
def test_mujoco_in_threads_is_what_worker_processes_give(processes):
    env = Gymnasium("Hopper-v5", processes=processes)  # whose episodes end by a fall
    assert env.spec.obs.shape == (11,) and env.spec.obs.dtype == "float32"
    assert env.spec.action == Box((3,), -1.0, 1.0) and env.limit == 1000
    threads = env.open(4)
    assert isinstance(threads, classic.Singles) and len(threads.shares) == processes
    workers = Pool(env.settings | env._description(), 4, 2, 60, 0)
    try:
        first = [each.reset(np.arange(4)) for each in (threads, workers)]
        np.testing.assert_array_equal(*first)
        ends = 0
        for action in np.random.default_rng(0).uniform(-1, 1, (60, 4, 3)).astype(np.float32):
            a, b = threads.step(action), workers.step(action)
            for name in ("obs", "reward", "terminated", "truncated", "next_obs"):
                np.testing.assert_array_equal(getattr(a, name), getattr(b, name))
            ends += int(a.terminated.sum())
        assert ends > 0
    finally:
        threads.close()
        workers.close()


def test_only_gymnasiums_own_robots_are_stepped_in_this_process():
    assert not classic.is_mujoco("Hopper-v5", {"xml_file": "mine.xml"})
    assert not classic.is_mujoco("CartPole-v1", {}) and not classic.is_mujoco("nothing-v0", {})
    assert classic.is_mujoco("Hopper-v5", {"ctrl_cost_weight": 0.1}) == has("mujoco")


def test_dict_observation_with_a_mask_and_choices_from_one():
    env = bad("Parts")
    boxes = (("action_mask", Box((7,), 0.0, 1.0, "uint8")), ("place", Box((2,), -1.0, 1.0)))
    assert env.spec.obs == Dict(boxes) and env.spec.action == MultiDiscrete((3, 4))
    stepper = env.open(2)
    obs = stepper.reset(np.arange(2))
    step = stepper.step(np.array([[0, 3], [2, 1]]))
    stepper.close()
    assert (
        obs["action_mask"].tolist() == [[1, 0, 1, 1, 1, 1, 1]] * 2
        and obs["action_mask"].dtype == np.uint8
    )
    assert step.reward.tolist() == [14, 32]
    assert step.next_obs["place"].tolist() == [[0.5, 0.5]] * 2


def test_mask_of_info_and_discrete_observation():
    env = bad("Masked")
    boxes = (("obs", Box((3,), 0.0, 1.0)), ("action_mask", Box((2,), 0.0, 1.0, "uint8")))
    assert env.spec.obs == Dict(boxes)
    stepper = env.open(1)
    obs = stepper.reset(np.arange(1))
    step = stepper.step(np.zeros(1))
    stepper.close()
    assert obs["obs"].tolist() == [[1, 0, 0]] and obs["action_mask"].tolist() == [[1, 0]]
    assert step.obs["obs"].tolist() == [[0, 0, 1]] and step.obs["action_mask"].tolist() == [[0, 1]]


WRONG = [
    (
        Gymnasium("CartPoll-v1"),
        r"no environment 'CartPoll-v1' in Gymnasium; the nearest are CartPole",
    ),
    (bad("Texts"), r"observation space Text.* is not supported: it must be a Box, Discrete"),
    (bad("Sound", kwargs=(("hook", lambda: 0),)), r"kwargs cannot be sent to a worker process"),
    (EnvPool("Pongs-v5"), r"no environment 'Pongs-v5' in EnvPool; the nearest are Pong-v5"),
    (EnvPool("Pong-v5", (("frames", 3),)), r"Pong-v5 of EnvPool has no setting 'frames'"),
]


@pytest.mark.parametrize(("env", "words"), WRONG, ids=[str(n) for n in range(len(WRONG))])
def test_wrong_settings_are_said_in_words(env, words):
    if isinstance(env, EnvPool) and not has("envpool"):
        pytest.skip("needs envpool")
    with pytest.raises(SettingsError, match=words):
        _ = env.spec


def test_missing_envpool_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "envpool", None)
    with pytest.raises(SettingsError, match=re.escape("pip install -e '.[envpool]'")):
        EnvPool("Ant-v4").open(1)


def test_id_that_only_this_process_has_registered_reaches_the_workers():
    gymnasium.register("Counting-v3", f"{BAD}:Counting", max_episode_steps=4)
    try:
        assert run(Gymnasium("Counting-v3"), 4).truncated.all()
    finally:
        del gymnasium.registry["Counting-v3"]


def test_large_but_finite_numbers_are_no_fault_and_opposite_infinities_are():
    huge = np.full((2, 3), 3e38, np.float32)
    require_finite("x", huge, np.zeros(2, np.float32), int)
    huge[1, 0], huge[1, 2] = np.inf, -np.inf
    with pytest.raises(NonFiniteError, match=r"observation\[0\] of env 1 of x is inf at step 1 "):
        require_finite("x", huge, np.zeros(2, np.float32), int)


def test_watchdog_interrupts_a_step_in_python():
    watchdog = Watchdog("x", 0.2)
    begin = time.monotonic()
    with pytest.raises(EnvironmentFailedError, match=r"x hung for 0.2 s in step"):
        watchdog.run(time.sleep, 20)
    assert time.monotonic() - begin < 1.5
    assert watchdog.run(int, "3") == 3  # and goes on watching
    watchdog.close()


def test_watchdog_ends_a_process_that_cannot_be_interrupted():
    script = (
        "import threading, signal; from spinward.envs.guards import Watchdog\n"
        "signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGALRM])\n"
        "import time; Watchdog('x', 0.2).run(time.sleep, 20)"
    )
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert ended.returncode == 5
    assert ended.stderr == "x hung for 0.2 s in step, and cannot be interrupted\n"
