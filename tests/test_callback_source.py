"""Host environments called from inside a compiled program, against those called from outside."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from twin import ALGORITHMS, Clock, HostClock, assert_same, copied, keys, parts, tiny

from spinward.core import MASK, Box, Dict, MultiDiscrete, Policy, Spec, Step, replace
from spinward.errors import EnvironmentFailedError, NonFiniteError
from spinward.experience import ffi
from spinward.experience.callback_source import CallbackSource, Host
from spinward.experience.material import innermost
from spinward.experience.vector import Vector
from spinward.programs import calling, device, python
from spinward.programs.calling import ROWS
from spinward.programs.choose import program

ENVS, STEPS, SEEDS = 4, 12, 3


def test_programs_can_call_this_process_here():
    assert ffi.available()


@pytest.mark.parametrize(
    "dtype", [bool, "int8", "int16", "int32", "uint8", "uint16", "uint32", "float16", "float32"]
)
def test_a_call_hands_over_arrays_and_takes_them(dtype):
    given = (np.arange(24).reshape(2, 3, 4) % 2).astype(dtype)

    def swapped(args, results):
        assert args[0].dtype == given.dtype
        results[0][...] = args[0].transpose(2, 1, 0)
        results[1][...] = args[0].sum()

    shapes = [jax.ShapeDtypeStruct((4, 3, 2), dtype), jax.ShapeDtypeStruct((), np.float32)]
    ask = jax.jit(lambda x: ffi.call("swapped", shapes, x))
    turned, total = ffi.SERVER.run({"swapped": swapped}, ask, given)
    np.testing.assert_array_equal(turned, given.transpose(2, 1, 0))
    assert total == given.sum()


@dataclasses.dataclass(frozen=True)
class Masked:
    """Sees a dict, moves two joints, and loses its second environment in every third step."""

    @property
    def spec(self):
        obs = Dict((("b", Box((2, 3), dtype="uint8")), (MASK, Box((5,), 0.0, 1.0))))
        return Spec(obs, MultiDiscrete((2, 3)))

    def open(self, envs):
        return MaskedStepper(envs)


class MaskedStepper:
    def __init__(self, envs):
        self.envs, self.time = envs, 0

    def obs(self, number):
        picture = np.arange(6).reshape(2, 3) + 10 * np.arange(self.envs)[:, None, None] + number
        return {"b": picture.astype(np.uint8), MASK: np.ones((self.envs, 5), np.float32)}

    def reset(self, seeds):
        return self.obs(0)

    def step(self, action):
        assert action.shape == (self.envs, 2)
        self.time += 1
        lost = (np.arange(self.envs) == 1) & (self.time % 3 == 0)
        over = (np.arange(self.envs) == 2) & (self.time % 4 == 0)
        reward = np.where(lost, 0.0, action.sum(1) + self.time).astype(np.float32)
        weight = np.where(lost, 0.0, 1.0).astype(np.float32)
        seen = self.obs(self.time), self.obs(100 + self.time)
        return Step(seen[0], reward, over, lost & ~over, seen[1], weight)

    def close(self):
        pass


def counting(spec):
    """Random actions of a spec, and a memory that counts its calls."""

    def act(obs, memory, key):
        some = jax.tree.leaves(obs)[0]
        return spec.action.sample(key, some.shape[:1]), memory + 1, {"memory": memory}

    return Policy(act, lambda envs: jnp.zeros(envs, jnp.int32))


@pytest.mark.parametrize("env", [HostClock(), Masked()], ids=["clock", "masked"])
def test_batches_are_those_of_vector_for_the_same_keys(env):
    vector, host = Vector(env, ENVS, STEPS), Host(env)
    policy = counting(env.spec)
    outside = policy._replace(
        act=jax.jit(jax.vmap(policy.act)), memory=jax.vmap(policy.memory, None, axis_size=SEEDS)
    )
    state = vector.init(keys(SEEDS), jnp.zeros((SEEDS, ENVS), jnp.int32))
    source = CallbackSource(vector.spec, STEPS)
    host.open(SEEDS * ENVS)
    begin = jax.jit(jax.vmap(lambda k: source.init(k, policy.memory(ENVS))))
    twins = host.run(begin, keys(SEEDS))
    collect = jax.jit(jax.vmap(lambda s, k: source.collect(s, policy, k)))
    for i in range(2):
        state, expected, measured = vector.collect(state, outside, keys(SEEDS, 10 * i))
        twins, batch, metrics = host.run(collect, twins, keys(SEEDS, 10 * i))
        assert_same(copied(batch), copied(expected))
        for name in measured:
            np.testing.assert_allclose(metrics[name], measured[name], rtol=1e-6)
        assert metrics["episodes"].sum() > 0 and metrics["finite"].all()
    np.testing.assert_array_equal(state.memory, twins.memory)
    np.testing.assert_allclose(state.total, twins.total, rtol=1e-6)
    np.testing.assert_array_equal(state.length, twins.length)
    vector.close()
    host.close()


def test_which_program_runs_depends_on_where_the_environment_is_and_on_the_agents_size(monkeypatch):
    for place in (calling, device, python):
        monkeypatch.setattr(place, "program", lambda parts, *host, place=place: (place, parts))
    small, large = tiny(ALGORITHMS["dqn"]), tiny(ALGORITHMS["dqn"], hidden=(700, 700))
    place, called = program(parts(small, HostClock()))
    assert place is calling and isinstance(innermost(called.source), CallbackSource)
    assert innermost(called.source).spec == replace(HostClock().spec, envs=4)
    assert program(parts(large, HostClock()))[0] is python
    assert program(parts(small, Clock()))[0] is device


@pytest.mark.parametrize("large", [1, 10**9], ids=["in Python", "called"])
def test_many_iterations_are_those_of_shorter_stretches(large, monkeypatch):
    monkeypatch.setattr("spinward.programs.choose.LARGE", large)
    algorithm = tiny(ALGORITHMS["dqn"])
    whole, halves = (program(parts(algorithm, HostClock())) for _ in range(2))
    count = ROWS + 10
    state, metrics = whole.advance(whole.start(keys(2)), count)
    twin = halves.start(keys(2))
    twin, first = halves.advance(twin, 1)
    twin, second = halves.advance(twin, count - 1)
    assert_same(copied(state), copied(twin))
    assert metrics["loss"].shape == (2, count)
    for name in metrics:
        joined = np.concatenate([first[name], second[name]], 1)
        np.testing.assert_array_equal(metrics[name], joined)
    whole.close()
    halves.close()


@dataclasses.dataclass(frozen=True)
class Breaking:
    """Raises `error` in its step `at`; 0 is the reset."""

    at: int
    error: type

    @property
    def spec(self):
        return HostClock().spec

    def open(self, envs):
        stepper, step, reset, taken = HostClock().open(envs), None, None, [0]
        step, reset = stepper.step, stepper.reset

        def stepped(action):
            taken[0] += 1
            if taken[0] == self.at:
                raise self.error(f"broke in step {self.at}")
            assert taken[0] < self.at, "stepped after it broke"
            return step(action)

        def began(seeds):
            if self.at == 0:
                raise self.error("broke in step 0")
            return reset(seeds)

        stepper.step, stepper.reset = stepped, began
        return stepper


def test_a_state_from_before_the_iteration_that_an_environment_broke_is_told():
    algorithm = tiny(ALGORITHMS["ppo"])  # four steps in an iteration
    whole, breaks = program(parts(algorithm, HostClock())), None
    breaks = program(parts(algorithm, Breaking(10, NonFiniteError)))
    expected, _ = whole.advance(whole.start(keys(2)), 2)
    with pytest.raises(NonFiniteError, match="broke in step 10") as caught:
        breaks.advance(breaks.start(keys(2)), 5)
    state, done = caught.value.reached
    assert done == 2
    assert_same(copied(state.agent), copied(expected.agent))
    assert_same(copied(state.key), copied(expected.key))
    whole.close()
    breaks.close()


def test_a_ring_that_an_environment_broke_in_can_be_learned_from():
    algorithm = tiny(ALGORITHMS["dqn"])
    breaks = program(parts(algorithm, Breaking(16 // 4 + 10, NonFiniteError)))  # after a warm-up
    with pytest.raises(NonFiniteError) as caught:
        breaks.advance(breaks.start(keys(2)), 5)
    state, done = caught.value.reached
    assert done == 2
    ring = state.source.data
    assert all(np.isfinite(x).all() for x in jax.tree.leaves((ring.reward, ring.obs)))
    lost = np.asarray(ring.weight[:, 4 + 8 : 4 + 12]) == 0  # the rows of the iteration that broke
    assert lost[:, 1:].all() and not lost[:, 0].any()
    assert np.asarray(ring.truncated[:, 4 + 8 : 4 + 12])[lost].all()
    whole = program(parts(algorithm, HostClock()))
    state = whole.reopen(state, whole.fresh(keys(2)))
    _, metrics = whole.advance(state, 20)
    assert metrics["finite"].all()
    whole.close()
    breaks.close()


@pytest.mark.parametrize("at", [0, 1])
def test_other_errors_of_environments_reach_whoever_runs_the_program(at):
    algorithm = tiny(ALGORITHMS["ppo"])
    broken = program(parts(algorithm, Breaking(at, EnvironmentFailedError)))
    with pytest.raises(EnvironmentFailedError, match=f"broke in step {at}"):
        broken.advance(broken.start(keys(1)), 1)
    broken.close()


@dataclasses.dataclass(frozen=True)
class Arm:
    """Notes what it is told to do, in units of its own."""

    told: list = dataclasses.field(default_factory=list)

    @property
    def spec(self):
        return Spec(Box((1,)), Box((2,), (-1.0, 0.0), (1.0, 4.0)))

    def open(self, envs):
        arm = self

        class Stepper:
            def reset(self, seeds):
                return np.zeros((envs, 1), np.float32)

            def step(self, action):
                arm.told.append(action)
                no, one = np.zeros(envs, bool), np.ones(envs, np.float32)
                obs = np.zeros((envs, 1), np.float32)
                return Step(obs, one, no, no, obs, one)

            def close(self):
                pass

        return Stepper()


def test_actions_arrive_in_units_of_the_environment_and_stay_in_the_policy_s_in_the_batch():
    arm = Arm()
    host, source = Host(arm), CallbackSource(dataclasses.replace(arm.spec, envs=2), 1)
    wanted = jnp.array([[2.0, -1.0], [0.5, 0.5]])
    policy = Policy(lambda obs, memory, key: (wanted, memory, {}), lambda n: ())
    host.open(2)
    state = host.run(jax.jit(lambda k: source.init(k, ())), keys(1)[0])
    _, batch, _ = host.run(jax.jit(lambda s, k: source.collect(s, policy, k)), state, keys(1)[0])
    np.testing.assert_array_equal(arm.told[0], [[1.0, 0.0], [0.5, 3.0]])
    np.testing.assert_array_equal(batch.action[0], wanted)


def test_one_call_steps_the_environments_of_all_seeds_also_where_they_act_alike():
    arm = Arm()
    host, source = Host(arm), CallbackSource(dataclasses.replace(arm.spec, envs=ENVS), STEPS)
    policy = Policy(lambda obs, memory, key: (jnp.zeros((ENVS, 2)), memory, {}), lambda n: ())
    host.open(SEEDS * ENVS)
    state = host.run(jax.jit(jax.vmap(lambda k: source.init(k, ()))), keys(SEEDS))
    collect = jax.jit(jax.vmap(lambda s, k: source.collect(s, policy, k)))
    host.run(collect, state, keys(SEEDS))
    assert [action.shape for action in arm.told] == [(SEEDS * ENVS, 2)] * STEPS
