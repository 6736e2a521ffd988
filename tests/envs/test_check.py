"""`check` finds what is wrong with an environment and says what to change."""

import re
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest

from spinward.core import Box, Discrete, Spec
from spinward.envs import ids
from spinward.envs.cartpole import CartPole
from spinward.envs.check import Finding, check
from spinward.envs.gymnasium import Gymnasium

BAD = str(Path(__file__).with_name("bad_envs.py"))
STEP = "(obs, reward, terminated, truncated, info)"


def faults(env, **options):
    return [finding for finding in check(env, **options) if not finding.ok]


@pytest.mark.parametrize(
    "env", ["CartPole-v1", "Pendulum-v1", CartPole(), Gymnasium("CartPole-v1"), f"{BAD}:Parts"]
)
def test_sound_environments_have_no_faults_and_enough_was_looked_at(env):
    found = check(env, steps=40)
    assert [finding for finding in found if not finding.ok] == [] and len(found) >= 5


BROKEN = [
    ("RaisesInInit", "the environment opens", "ValueError: no such level"),
    ("RaisesInReset", "reset", "ValueError: no map"),
    ("NoInfo", "reset", "reset returned a ndarray, expected (obs, info)"),
    ("RaisesInStep1", "step 1", "KeyError: 'wheel'"),
    ("RaisesInStep50", "step 50", "KeyError: 'wheel'"),
    ("FourTuple", "step 1", f"step returned a tuple of 4, expected {STEP}"),
    ("ArrayReward", "step 1", "reward is a ndarray of shape (1,), expected one number"),
    ("NanReward", "step 1", "reward is nan"),
    ("NoneFlag", "step 1", "truncated is None, expected True or False"),
    ("NanObs", "the observation of step 1", "observation[3] is nan"),
    (
        "WrongShape",
        "the observation of step 1",
        "observation has shape (3,), expected (4,)",
    ),
    (
        "WrongDtype",
        "the observation of step 1",
        "observation has dtype int64, expected float32",
    ),
]
HABITS = [
    ("Stale", "fresh observations", "the same array object again, overwritten"),
    ("Unseeded", "seeding", "two episodes with seed 7 differ at step 1"),
    (
        "FirstChannels",
        "reading",
        "observation has its channels first, (3, 32, 32); agents see them last",
    ),
    ("Unbounded", "action bounds", "Box(-inf, inf, (2,), float32)"),
]


@pytest.mark.parametrize(("name", "what", "found"), BROKEN, ids=[row[0] for row in BROKEN])
def test_one_fault_is_one_finding_with_a_fix(name, what, found):
    (finding,) = faults(f"{BAD}:{name}", steps=60)
    place = r" \(\S*bad_envs\.py:\d+\)"
    assert (finding.what, re.sub(place, "", finding.actual)) == (what, found)
    assert finding.fix and finding.expected


@pytest.mark.parametrize(("name", "what", "found"), HABITS, ids=[row[0] for row in HABITS])
def test_a_habit_that_training_accepts_is_a_note(name, what, found):
    rows = check(f"{BAD}:{name}", steps=60)
    assert [row for row in rows if not row.ok] == []
    assert (what, found) in [(row.what, row.actual) for row in rows if row.fix]


def test_unsupported_space_is_found():
    (finding,) = faults(f"{BAD}:Texts")
    assert finding.what == "observation space" and "Text" in finding.actual


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("HangsInStep", "hung for 1 s"),
        ("DiesInStep4", "died: exited with code 7"),
        ("DiesInReset", "died: exited with code 9"),
    ],
)
def test_hang_and_crash_are_findings(name, found):
    (finding,) = faults(f"{BAD}:{name}", timeout_s=1 if name == "HangsInStep" else 60)
    assert finding.what == "survives" and finding.actual.endswith(found)


def test_advice_comes_with_findings_that_are_fine():
    advice = {f.what: f.actual for f in check(f"{BAD}:Counting", steps=3) if f.ok and f.fix}
    assert advice == {
        "observation: precision": "float64, which the agent sees as float32",
        "first action": "start=2, which the agent counts from 0",
        "episodes end": "none in 3 random steps",
    }


def test_something_else_is_said_to_be_so():
    (finding,) = check(3)
    assert not finding.ok and finding.actual == "a int"


class Device:
    """A JAX environment; a test spoils one of its answers."""

    spec = Spec(Box((2,), -1.0, 1.0), Discrete(2))

    def __init__(self, **spoilt):
        self.spoilt = spoilt

    def reset(self, key):
        return jnp.int32(0), jnp.zeros(2)

    def step(self, state, action, key):
        answer = {
            "state": state + 1,
            "obs": jnp.ones(2),
            "reward": jnp.float32(1),
            "terminated": state > 3,
            "truncated": jnp.bool_(False),
        }
        return tuple((answer | self.spoilt).values())


@pytest.mark.parametrize(
    ("spoilt", "what", "found"),
    [
        ({"obs": jnp.ones(3)}, "observation of step", "float32[3]"),
        ({"obs": jnp.ones(2, jnp.int32)}, "observation of step", "int32[2]"),
        ({"state": jnp.float32(1)}, "state", "['float32[]']"),
        ({"reward": jnp.ones(1)}, "reward", "float32[1]"),
        ({"terminated": jnp.float32(0)}, "terminated", "float32[]"),
        ({"truncated": jnp.bool_(True)}, "flags", "both in one step"),
        ({"reward": jnp.float32(jnp.nan)}, "values", "a nan or an infinity"),
    ],
)
def test_faults_of_a_jax_environment_are_found(spoilt, what, found):
    (finding,) = faults(Device(**spoilt), steps=10)
    assert (finding.what, finding.actual) == (what, found) and finding.fix


def test_jax_environment_that_never_ends_is_noted():
    never = Device(terminated=jnp.bool_(False))
    (finding,) = [f for f in check(never, steps=10) if f.what == "episodes end"]
    assert finding == Finding(True, "episodes end", "an end", "none in 10 steps", finding.fix)
    assert finding.fix


@pytest.mark.parametrize("name", ["Game2048-v1", "Tetris-v0", "Maze-v0"])
def test_jumanji_environments_keep_to_the_protocol(name):
    pytest.importorskip("jumanji", exc_type=ImportError)
    assert faults(ids.make(f"jumanji:{name}"), steps=20) == []


def test_a_joint_choice_in_jumanji_is_what_its_mask_and_its_own_step_say():
    jumanji = pytest.importorskip("jumanji", exc_type=ImportError)
    ours, theirs, key = ids.make("jumanji:Tetris-v0"), jumanji.make("Tetris-v0"), jax.random.key(3)
    assert ours.spec.action == Discrete(40)
    state, obs = ours.reset(key)
    other, step = theirs.reset(key)
    assert dict(ours.spec.obs.items)["grid"] == Box((100,), 0.0, 1.0)
    for _ in range(4):
        mask = step.observation.action_mask
        assert obs["action_mask"].tolist() == mask.reshape(-1).tolist()
        pair = next(zip(*mask.nonzero(), strict=True))  # a rotation and a column
        state, obs, reward, terminated, truncated = ours.step(
            state, jnp.int32(10 * pair[0] + pair[1]), key
        )
        other, step = theirs.step(other, jnp.array(pair, jnp.int32))
        assert obs["grid"].tolist() == step.observation.grid.reshape(-1).tolist()
        assert float(reward) == float(step.reward) and not terminated and not truncated


def test_jumanji_tells_an_end_from_a_time_limit_by_the_discount():
    pytest.importorskip("jumanji", exc_type=ImportError)
    from jumanji.types import termination, truncation

    from spinward.envs import jumanji

    class Ends:
        def __init__(self, end):
            self.end = end

        def step(self, state, action):
            return state, self.end(reward=jnp.array([1.0, 2.0]), observation=(), shape=(2,))

    for end, expected in ((termination, (True, False)), (truncation, (False, True))):
        env = jumanji.Jumanji("Ends")
        found = jumanji.Made(Ends(end), {}, Discrete(2), (), jnp.int32)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(jumanji, "made", lambda *_, found=found: found)
            _, _, reward, *ended = env.step((), jnp.int32(0), None)
        assert float(reward) == 3.0 and tuple(map(bool, ended)) == expected


@pytest.mark.parametrize("name", ["CartPole-v1", "MetaMaze-misc"])
def test_gymnax_environments_keep_to_the_protocol(name):
    pytest.importorskip("gymnax", exc_type=ImportError)
    from spinward.envs.gymnax import Gymnax

    assert faults(Gymnax(name), steps=300) == []


def test_gymnax_time_limit_truncates_and_a_fall_terminates():
    pytest.importorskip("gymnax", exc_type=ImportError)
    from spinward.envs.gymnax import Gymnax

    env = Gymnax("CartPole-v1")
    state, _ = env.reset(jax.random.key(0))
    late = state.replace(time=499)
    _, obs, _, terminated, truncated = env.step(late, jnp.int32(0), jax.random.key(0))
    assert truncated and not terminated and abs(obs).max() > 0.1  # no reset
    fallen = state.replace(theta=jnp.float32(1.0))
    _, obs, _, terminated, truncated = env.step(fallen, jnp.int32(0), jax.random.key(0))
    assert terminated and not truncated and obs[2] > 0.9
