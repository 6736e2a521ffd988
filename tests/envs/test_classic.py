"""The classic control environments against Gymnasium's own, step by step."""

from typing import Any, NamedTuple

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from spinward.core import Discrete
from spinward.envs import acrobot, cartpole, mountain_car, mountain_car_continuous, pendulum

TRANSITIONS = 10_000


class Case(NamedTuple):
    """An environment, Gymnasium's name for it, and the box its random states are drawn from."""

    env: Any
    name: str
    low: tuple[float, ...]
    high: tuple[float, ...]
    tolerance: float  # of the next state, relative and absolute
    angles: tuple[int, ...] = ()  # entries of the state that are equal modulo a turn

    def states(self, generator: np.random.Generator) -> np.ndarray:
        """Half of them anywhere, half within a twentieth of a side of the box."""
        low, high = np.asarray(self.low), np.asarray(self.high)
        share = generator.uniform(0.0, 1.0, (TRANSITIONS, low.size))
        edge = np.where(generator.random(share.shape) < 0.5, share / 20, 1 - share / 20)
        share[: TRANSITIONS // 2] = edge[: TRANSITIONS // 2]
        return (low + share * (high - low)).astype(np.float32)

    def actions(self, generator: np.random.Generator) -> np.ndarray:
        """Pushes go beyond the bounds by half, so that clipping shows."""
        space = self.env.spec.action
        if isinstance(space, Discrete):
            return generator.integers(0, space.n, TRANSITIONS)
        return generator.uniform(1.5 * space.low, 1.5 * space.high, (TRANSITIONS, 1)).astype("f4")


CARTPOLE = ((-2.5, -3.0, -0.25, -3.0), (2.5, 3.0, 0.25, 3.0))
ACROBOT = ((-3.1415, -3.1415, -12.56, -28.27), (3.1415, 3.1415, 12.56, 28.27))
CAR = ((-1.2, -0.07), (0.6, 0.07))
CASES = [
    Case(cartpole.CartPole(), "CartPole-v1", *CARTPOLE, 1e-6),
    # At up to five turns a second a step this long magnifies rounding; see the test in doubles.
    Case(acrobot.Acrobot(), "Acrobot-v1", *ACROBOT, 5e-4, (0, 1)),
    Case(mountain_car.MountainCar(), "MountainCar-v0", *CAR, 1e-6),
    Case(mountain_car_continuous.MountainCarContinuous(), "MountainCarContinuous-v0", *CAR, 1e-6),
    Case(pendulum.Pendulum(), "Pendulum-v1", (-30.0, -8.0), (30.0, 8.0), 1e-6),
]
each_case = pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])


def state_of(env: Any, physics: Any, time: int = 0) -> Any:
    """A state with these physics and this clock."""
    state, _ = env.reset(jax.random.key(0))
    return state.__class__(**{**vars(state), "physics": jnp.asarray(physics), "time": time})


def ours(env: Any, states: np.ndarray, actions: np.ndarray) -> list[np.ndarray]:
    """Next states, observations, rewards and terminations of one step from each state."""

    def step(physics, action):
        state, obs, reward, terminated, _ = env.step(
            state_of(env, physics), action, jax.random.key(0)
        )
        return state.physics, obs, reward, terminated

    return [np.asarray(x) for x in jax.jit(jax.vmap(step))(states, actions)]


def theirs(name: str, states: np.ndarray, actions: np.ndarray) -> list[np.ndarray]:
    """The same from Gymnasium, in double precision but where its own state is single."""
    env = gymnasium.make(name).unwrapped
    env.reset(seed=0)
    single = name == "MountainCarContinuous-v0"
    rows = []
    for state, action in zip(states, actions, strict=True):
        env.state = state if single else state.astype(np.float64)
        env.steps_beyond_terminated = None  # CartPole pays only for the first step past the end
        obs, reward, terminated, truncated, _ = env.step(action)
        assert not truncated
        rows.append((np.array(env.state, np.float64), obs, reward, terminated))
    return [np.array(column) for column in zip(*rows, strict=True)]


def without_turns(physics: np.ndarray, their_physics: np.ndarray, case: Case) -> np.ndarray:
    """Our physics with whole turns added to its angles, to lie next to theirs."""
    turned = physics.astype(np.float64)
    for angle in case.angles:
        assert (np.abs(physics[:, angle]) <= np.float32(np.pi)).all()
        turned[:, angle] -= 2 * np.pi * np.round((turned - their_physics)[:, angle] / (2 * np.pi))
    return turned


@each_case
def test_every_step_is_gymnasiums_step(case):
    generator = np.random.default_rng(0)
    states, actions = case.states(generator), case.actions(generator)
    physics, obs, reward, terminated = ours(case.env, states, actions)
    their_physics, their_obs, their_reward, their_terminated = theirs(case.name, states, actions)
    turned = without_turns(physics, their_physics, case)
    tolerance = {"rtol": case.tolerance, "atol": case.tolerance}
    np.testing.assert_allclose(turned, their_physics, **tolerance)
    np.testing.assert_allclose(obs, their_obs, rtol=case.tolerance, atol=3 * case.tolerance)
    np.testing.assert_allclose(reward, their_reward, rtol=2e-6, atol=2e-6)
    np.testing.assert_array_equal(terminated, their_terminated)
    if case.name != "Pendulum-v1":  # the others must have met both answers
        assert 0.01 < terminated.mean() < 0.99


def test_acrobot_in_doubles_is_gymnasiums_to_their_rounding():
    case, generator = CASES[1], np.random.default_rng(1)
    states, actions = case.states(generator), case.actions(generator)
    with jax.enable_x64(True):
        physics, obs, _, _ = ours(case.env, states.astype(np.float64), actions)
    their_physics, their_obs, _, _ = theirs(case.name, states, actions)
    assert physics.dtype == np.float64
    turned = without_turns(physics, their_physics, case)
    np.testing.assert_allclose(turned, their_physics, rtol=1e-11, atol=1e-11)
    np.testing.assert_allclose(obs, their_obs, rtol=1e-6, atol=1e-6)  # theirs are single


@each_case
def test_spaces_and_time_limit_are_the_registered_ones(case):
    env = gymnasium.make(case.name)
    spec = case.env.spec
    assert case.env.limit == gymnasium.spec(case.name).max_episode_steps
    assert spec.obs.shape == env.observation_space.shape
    np.testing.assert_allclose(spec.obs.low, env.observation_space.low, rtol=1e-6)
    np.testing.assert_allclose(spec.obs.high, env.observation_space.high, rtol=1e-6)
    if isinstance(spec.action, Discrete):
        assert spec.action.n == env.action_space.n
    else:
        assert spec.action.shape == env.action_space.shape
        assert (spec.action.low, spec.action.high) == (
            env.action_space.low.item(),
            env.action_space.high.item(),
        )


@each_case
def test_resets_are_spread_as_gymnasiums_are(case):
    keys = jax.random.split(jax.random.key(1), 8192)
    states, obs = jax.jit(jax.vmap(case.env.reset))(keys)
    physics = np.asarray(states.physics)
    env = gymnasium.make(case.name).unwrapped
    env.reset(seed=0)
    theirs = np.array([(env.reset(), np.array(env.state))[1] for _ in range(8192)])
    marks = [0.0, 0.1, 0.25, 0.5, 0.75, 0.9, 1.0]
    allowed = np.array([0.005, 0.03, 0.03, 0.03, 0.03, 0.03, 0.005])[:, None]  # ends are sharp
    width = np.maximum(np.ptp(theirs, axis=0), 1e-9)
    off = np.abs(np.quantile(physics, marks, axis=0) - np.quantile(theirs, marks, axis=0))
    assert (off < allowed * width).all()
    limits = {"CartPole-v1": 0.05, "Acrobot-v1": 0.1, "Pendulum-v1": np.array([np.pi, 1.0])}
    centre, half = (0.0, limits[case.name]) if case.name in limits else ([-0.5, 0], [0.1, 0])
    assert (np.abs(physics - centre) <= np.asarray(half) + 1e-6).all()
    assert np.asarray(obs).shape == (8192, *case.env.spec.obs.shape)
    assert (np.asarray(states.time) == 0).all()


@each_case
def test_the_first_observation_is_gymnasiums_of_the_same_state(case):
    state, obs = case.env.reset(jax.random.key(3))
    env = gymnasium.make(case.name).unwrapped
    env.reset(seed=0)
    env.state = np.asarray(state.physics)
    made = {"Acrobot-v1": "_get_ob", "Pendulum-v1": "_get_obs"}.get(case.name)
    np.testing.assert_allclose(obs, getattr(env, made)() if made else env.state, rtol=1e-6)


@each_case
def test_the_clock_truncates_at_the_limit_and_not_before(case):
    env = type(case.env)(limit=3)
    state, _ = env.reset(jax.random.key(0))
    action = jnp.zeros(env.spec.action.shape, jnp.int32)
    flags = []
    for _ in range(3):
        state, _, _, terminated, truncated = env.step(state, action, jax.random.key(0))
        flags.append((bool(terminated), bool(truncated)))
    assert flags == [(False, False), (False, False), (False, True)]
    assert int(state.time) == 3


@pytest.mark.parametrize(
    ("case", "physics"),
    [
        (CASES[0], [2.39, 3.0, 0.0, 0.0]),
        (CASES[1], [np.pi, 0.0, 0.0, 0.0]),
        (CASES[2], [0.49, 0.06]),
        (CASES[3], [0.44, 0.06]),
    ],
    ids=["CartPole", "Acrobot", "MountainCar", "MountainCarContinuous"],
)
def test_an_end_at_the_limit_is_a_termination_alone(case, physics):
    state = state_of(case.env, np.float32(physics), case.env.limit - 1)
    action = jnp.zeros(case.env.spec.action.shape, jnp.int32)
    _, _, _, terminated, truncated = case.env.step(state, action, jax.random.key(0))
    assert bool(terminated)
    assert not bool(truncated)


@each_case
def test_pictures_show_the_state(case):
    action = jnp.ones(case.env.spec.action.shape, jnp.int32)
    low, high = (np.float32(x) * 0.5 for x in (case.low, case.high))
    first = case.env.render(state_of(case.env, low))
    second = case.env.render(state_of(case.env, high))
    assert first.shape == second.shape == (300, 400, 3)
    assert first.dtype == np.uint8
    assert 0.002 < (first != second).any(-1).mean() < 0.5
    np.testing.assert_array_equal(first, case.env.render(state_of(case.env, low)))
    stepped, *_ = case.env.step(state_of(case.env, low), action, jax.random.key(0))
    assert (case.env.render(stepped) != first).any()


def test_the_pendulums_arrow_points_the_way_it_is_pushed():
    env = pendulum.Pendulum()
    state = state_of(env, [np.pi, 0.0])
    state, *_ = env.step(state, jnp.array([5.0]), jax.random.key(0))
    assert float(state.torque) == 2.0
    orange = (np.abs(env.render(state).astype(int) - (230, 126, 52)) < 30).all(-1)
    assert orange[:, :200].sum() > 2 * orange[:, 200:].sum()
