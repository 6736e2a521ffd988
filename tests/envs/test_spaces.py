"""Spaces of all kinds: what an agent sees of them, and what reaches the environment."""

import functools
import math
import sys
from pathlib import Path

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
from gymnasium import spaces

from spinward.core import Box, Dict, Hybrid, MultiDiscrete, Spec
from spinward.envs import actions, encoding, ids, remarks
from spinward.envs.cartpole import CartPole
from spinward.envs.check import check
from spinward.envs.gymnasium import Gymnasium
from spinward.envs.stacked import Stacked
from spinward.errors import SettingsError
from spinward.networks.distributions import (
    Gaussian,
    Joint,
    MultiCategorical,
    of_each_step,
)
from spinward.networks.heads import ActorCritic, width
from spinward.networks.torso import Images

FILE = Path(__file__).with_name("space_envs.py")


def made(name, **options):
    return Gymnasium(f"{FILE}:{name}", **({"processes": 1} | options))


def test_scaled_actions_stay_in_boxes_of_two_decimals():
    random = np.random.default_rng(0)
    units = np.array([-7.0, -1.0, -0.999999, 0.0, 0.3, 0.999999, 1.0, 7.0], np.float32)
    over = 0
    for low, high in np.round(np.sort(random.uniform(-9, 9, (500, 2)), -1), 2):
        for dtype in (np.float32, np.float64):
            theirs = spaces.Box(np.array([low]), np.array([high]), dtype=dtype)
            bounds = float(theirs.low[0]), float(theirs.high[0])
            ours = Box((1,), *bounds)
            numpy = ours.from_unit(np.repeat(units[:, None], 1, 1))
            device = np.asarray(ours.from_unit(jnp.asarray(units)[:, None]))
            assert all(theirs.contains(x.astype(dtype)) for x in (*numpy, *device)), (low, high)
            np.testing.assert_allclose(numpy, device, rtol=1e-5, atol=1e-6)
            plain = bounds[0] + (np.clip(units, -1, 1) + np.float32(1)) * np.float32(
                (bounds[1] - bounds[0]) / 2
            )
            over += int((plain.astype(np.float32) > theirs.high[0]).any())
            np.testing.assert_allclose(numpy[:, 0], plain, rtol=1e-5, atol=1e-5)
    assert over > 50  # so many of these boxes are left by scaling without clipping


def test_an_entry_without_two_bounds_is_counted_from_the_number_within_nearest_to_0():
    box = Box((4,), (-1.0, 5.0, -math.inf, -math.inf), (3.0, math.inf, 2.0, math.inf))
    assert not box.bounded and Box((2,), -1.0, (2.0, 3.0)).bounded
    for array in (np.array, jnp.array):
        rows = array([[0.5, -1.0, 4.0, 7.0], [-9.0, 2.0, -3.0, -7.0]], dtype=np.float32)
        found = box.from_unit(rows)
        np.testing.assert_array_equal(found, [[2.0, 5.0, 2.0, 7.0], [-1.0, 7.0, -3.0, -7.0]])
    units = np.array([[0.5, 1.0, -4.0, 7.0]], np.float32)
    np.testing.assert_array_equal(box.scale.inverse(box.from_unit(units)), units)
    largest = float(np.finfo(np.float32).max)
    free = Box((1,), -largest, largest)
    assert not free.bounded and free.from_unit(np.array([3.5], np.float32)) == [3.5]


@pytest.mark.parametrize(
    ("space", "action", "expected"),
    [
        (spaces.Box(0, 10, (2,), np.int32), [9.6, -3.0], np.array([10, 0], np.int32)),
        (spaces.Box(0.1, 0.3, (1,), np.float64), [np.float32(0.3)], np.array([0.3])),
        (spaces.Discrete(3, start=-1), 2, np.int64(1)),
        (spaces.MultiBinary((2, 2)), [1, 0, 0, 1], np.array([[1, 0], [0, 1]], np.int8)),
        (spaces.Dict({"b": spaces.Discrete(3, start=5)}), 2, {"b": 7}),
        (
            spaces.Tuple((spaces.Discrete(3), spaces.Dict({"x": spaces.Discrete(2)}))),
            [2, 1],
            (2, {"x": 1}),
        ),
        (
            spaces.Tuple(
                (spaces.Box(-1, 1, (2,)), spaces.Discrete(4), spaces.MultiDiscrete([2, 3]))
            ),
            [3.0, 1.0, 2.0, 0.25, -9.0],  # the choices come first
            (np.array([0.25, -1.0], np.float32), 3, np.array([1, 2])),
        ),
    ],
)
def test_an_agents_action_becomes_one_of_the_space(space, action, expected):
    form = actions.action_form(space)
    found = actions.decoder(form)(np.array(action, actions.array_of(form)[1]))
    assert space.contains(found)
    flat, _ = jax.tree.flatten((found, expected))
    for one, other in zip(flat[: len(flat) // 2], flat[len(flat) // 2 :], strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(
    "name",
    ["Steer", "Doubles", "Whole", "Halves", "HalfOpen", "LargestFloats", "Choices", "Numbers"],
)
def test_actions_of_a_policy_are_in_the_space_of_the_environment(name):
    env = made(name)
    space, random = env.spec.action, np.random.default_rng(1)
    stepper = env.open(2)
    try:
        stepper.reset(np.arange(2))
        for scale in (0.5, 1.0, 5.0, 1e4):
            if isinstance(space, Box):
                action = (scale * random.normal(size=(2, *space.shape))).astype(np.float32)
            else:
                action = np.stack([random.integers(0, space.sizes) for _ in range(2)])
            stepper.step(np.asarray(space.from_unit(action)))  # asserts that they are
    finally:
        stepper.close()


def test_dicts_and_tuples_of_actions_become_the_simplest_space():
    assert made("Choices").spec.action == MultiDiscrete((2, 2, 3))
    assert made("Numbers").spec.action == Box((3,), (-2.0, -2.0, 0.0), (2.0, 2.0, 1.0))
    assert made("Hybrid").spec.action == Hybrid((3,), Box((1,), -1.0, 1.0))
    assert made("Whole").spec.action == Box((1,), 0.0, 10.0)


def test_parts_of_dicts_and_tuples_are_seen_by_their_paths():
    env = made("Nested")
    unit = (0.0, 1.0)
    assert dict(env.spec.obs.items) == {
        "goal.0": Box((1,), -5.0, 5.0),
        "goal.1": Box((2,), *unit),
        "robot.at": Box((2,), -1.0, 1.0),
        "robot.gear": Box((3,), *unit),
    }
    assert env.notes == ("observation mission is a text, which is left out",)
    stepper = env.open(1)
    try:
        stepper.reset(np.arange(1))
        obs = stepper.step(np.zeros(1, np.int64)).obs
    finally:
        stepper.close()
    expected = {
        "goal.0": [[1]],
        "goal.1": [[1, 0]],
        "robot.at": [[0.5, -0.5]],
        "robot.gear": [[0, 0, 1]],
    }
    assert {name: x.tolist() for name, x in obs.items()} == expected


def test_a_matrix_is_a_vector_with_a_note_or_a_picture_where_that_is_asked_for():
    vector, picture = made("Matrix"), made("Matrix", matrices="image")
    assert vector.spec.obs == Box((12,), 0.0, 255.0, "uint8")
    (note,) = vector.notes
    assert "3 x 4, is read as a vector; --env.matrices image" in note
    assert picture.spec.obs == Box((3, 4, 1), 0.0, 255.0, "uint8") and picture.notes == ()
    for env, shape in ((vector, (12,)), (picture, (3, 4, 1))):
        parts = tuple(encoding.leaves(spaces.Box(0, 255, (3, 4), np.uint8), {}, env.matrices))
        obs = np.arange(12, dtype=np.uint8).reshape(3, 4)
        np.testing.assert_array_equal(encoding.encode(parts, obs, {})[""], obs.reshape(shape))
    with pytest.raises(SettingsError, match="matrices='bars' must be vector or image"):
        _ = made("Matrix", matrices="bars").spec


def test_channels_that_come_first_are_moved_with_their_bounds():
    low = np.stack([np.zeros((5, 6)), np.full((5, 6), 7)])
    space = spaces.Box(low.astype(np.uint8), np.uint8(200) + low.astype(np.uint8), dtype=np.uint8)
    (part,) = encoding.leaves(space, {})
    assert part.shape == (5, 6, 2) and part.low[:4] == [0.0, 7.0, 0.0, 7.0]
    image = np.arange(60, dtype=np.uint8).reshape(2, 5, 6)
    found = encoding.encode((part,), image, {})[""]
    assert found[1, 2].tolist() == [8, 38]  # the same place in both channels


@pytest.mark.parametrize(
    ("name", "words"),
    [("FourAxes", r"shape \(2, 3, 4, 5\); expected a number, a vector, a matrix or an image")],
)
def test_what_cannot_be_read_is_refused_in_one_line(name, words):
    with pytest.raises(SettingsError, match=words):
        _ = made(name).spec


def test_images_are_divided_by_their_bounds_only_where_these_say_something():
    largest = float(np.finfo(np.float32).max)
    for low, high, expected in (
        (0.0, 255.0, 255.0),
        (-math.inf, math.inf, 1.0),
        (0.0, 0.0, 1.0),
        (0.0, math.inf, 1.0),
        (-largest, largest, 1.0),
        (-4.0, 0.0, 4.0),
        (0.0, 1.0, 1.0),
    ):
        images = Images.init(jax.random.key(0), Box((12, 12, 1), low, high))
        assert images.high == expected
        bright, dark = images(jnp.full((12, 12, 1), expected)), images(jnp.zeros((12, 12, 1)))
        assert float(jnp.abs(bright - dark).max()) > 1e-3


def test_an_observation_outside_its_bounds_is_told_once(capfd):
    env = made("Leaves")
    for _ in range(2):  # as training and an evaluation open it
        stepper = env.open(2)
        try:
            stepper.reset(np.arange(2))
            seen = [stepper.step(np.zeros(2, np.int64)).obs for _ in range(4)]
        finally:
            stepper.close()
    assert seen[2][:, 1].tolist() == [1.5, 1.5]  # it is used as it is
    said = [line for line in capfd.readouterr().err.splitlines() if "outside" in line]
    assert len(said) == 1
    assert "observation[1] is 1.5, outside its bounds -1 to 1; it is used as it is" in said[0]


def test_bounds_that_float32_rounds_are_no_fault():
    space = spaces.Box(np.array([0.1]), np.array([0.3]), dtype=np.float64)
    bounds = remarks.Bounds(encoding.leaves(space, {}))
    edges = np.array([[0.1], [0.3]], np.float32)
    assert not bounds.check({"": edges}) and bounds.check({"": edges + np.float32(0.001)})
    assert bounds.first == "observation[0] is 0.301, outside its bounds 0.1 to 0.3"


def test_a_method_that_gives_masks_is_obeyed():
    env = made("Methodical")
    assert env.spec.action == MultiDiscrete((2, 3))
    assert dict(env.spec.obs.items)["action_mask"].shape == (5,)
    assert [f for f in check(env, steps=40) if not f.ok] == []  # with legal actions alone
    (finding,) = (f for f in check(made("WrongMask")) if not f.ok)
    assert finding.what == "action mask" and "expected (5,)" in finding.actual
    (finding,) = (f for f in check(made("NoChoice")) if not f.ok)
    assert finding.what == "the observation of step 2" and "allows no action" in finding.actual


def test_a_mask_in_info_counts_beside_a_dict_of_observations():
    env = made("MaskBesideParts")
    assert [name for name, _ in env.spec.obs.items] == ["x", "action_mask"]
    assert [f for f in check(env, steps=20) if not f.ok] == []


def test_stacked_values_are_side_by_side_and_begin_anew_with_each_episode():
    (part,) = encoding.leaves(spaces.Box(-9, 9, (2,)), {}, "vector", 3)
    assert part.shape == (6,) and part.one == (2,)
    encoder = encoding.Encoder((part,))

    def row(*values):
        return np.array(values, np.float32)

    assert encoder.first(row(1, 2), {})[""].tolist() == [1, 2, 1, 2, 1, 2]
    assert encoder(row(3, 4), {})[""].tolist() == [1, 2, 1, 2, 3, 4]
    assert encoder(row(5, 6), {})[""].tolist() == [1, 2, 3, 4, 5, 6]
    assert encoder(row(7, 8), {})[""].tolist() == [3, 4, 5, 6, 7, 8]
    assert encoder.first(row(0, 0), {})[""].tolist() == [0] * 6
    (number,) = encoding.leaves(spaces.Box(np.float32(-1), np.float32(1), ()), {}, "vector", 2)
    assert number.shape == (2,)
    (image,) = encoding.leaves(spaces.Box(0, 255, (4, 5), np.uint8), {}, "image", 4)
    assert image.shape == (4, 5, 4)


def test_a_pool_keeps_the_stack_of_the_true_successor():
    env = ids.make(f"{FILE}:Base", {"stack": 2, "processes": 1})
    assert env.spec.obs.shape == (4,)
    stepper = env.open(1)
    try:
        stepper.reset(np.arange(1))
        steps = [stepper.step(np.zeros(1, np.int64)) for _ in range(5)]
    finally:
        stepper.close()
    times = [(s.obs[0, 0], s.obs[0, 2], s.next_obs[0, 0], s.next_obs[0, 2]) for s in steps]
    np.testing.assert_allclose(times[0], [0.0, 0.1, 0.0, 0.1], atol=1e-6)
    np.testing.assert_allclose(times[3], [0.3, 0.4, 0.3, 0.4], atol=1e-6)
    np.testing.assert_allclose(times[4], [0.0, 0.0, 0.4, 0.5], atol=1e-6)


def test_an_environment_in_jax_is_stacked_alike():
    env = ids.make("CartPole-v1", {"stack": 3})
    assert isinstance(env, Stacked) and env.spec.obs.shape == (12,)
    assert env.spec.obs.high[:4] == env.spec.obs.high[4:8] or isinstance(env.spec.obs.high, float)
    key = jax.random.key(0)
    plain, one = CartPole().reset(key)
    state, obs = env.reset(key)
    np.testing.assert_array_equal(obs, jnp.concatenate([one, one, one]))
    plain, two, *rest = CartPole().step(plain, jnp.int32(1), key)
    state, obs, *others = env.step(state, jnp.int32(1), key)
    np.testing.assert_array_equal(obs, jnp.concatenate([one, one, two]))
    assert [float(x) for x in rest] == [float(x) for x in others]
    with pytest.raises(SettingsError, match="stack=0 must be a whole number, at least 1"):
        ids.make("CartPole-v1", {"stack": 0})


@functools.cache
def joint():
    logits = jnp.log(jnp.array([0.5, 0.25, 0.25, 0.9, 0.1]))
    choices = MultiCategorical(logits, (3, 2))
    return Joint(choices, Gaussian(jnp.array([0.5, -1.0]), jnp.log(jnp.array([2.0, 0.5]))))


def test_a_joint_distribution_is_the_sum_of_its_parts():
    action = jnp.array([1.0, 0.0, 1.5, -0.5])
    normal = scipy.stats.norm.logpdf([1.5, -0.5], [0.5, -1.0], [2.0, 0.5]).sum()
    assert joint().log_prob(action) == pytest.approx(math.log(0.25) + math.log(0.9) + normal, 1e-5)
    choices = scipy.stats.entropy([0.5, 0.25, 0.25]) + scipy.stats.entropy([0.9, 0.1])
    normals = sum(scipy.stats.norm.entropy(0, s) for s in (2.0, 0.5))
    assert joint().entropy() == pytest.approx(choices + normals, 1e-5)
    assert joint().mode().tolist() == [0.0, 0.0, 0.5, -1.0]
    other = Joint(
        MultiCategorical(jnp.zeros(5), (3, 2)), Gaussian(jnp.array([0.5, 0.0]), jnp.zeros(2))
    )
    kl = math.log(3) + math.log(2) - choices  # from a uniform choice
    # KL of normals: log(1/s) + (s^2 + d^2 - 1) / 2.
    kl += -math.log(2.0) + 1.5 + -math.log(0.5) + (0.25 + 1.0 - 1.0) / 2
    assert other.kl_from(joint()) == pytest.approx(kl, 1e-5)
    rows = jax.vmap(joint().sample)(jax.random.split(jax.random.key(0), 4000))
    assert float((rows[:, 0] == 0).mean()) == pytest.approx(0.5, abs=0.03)
    assert float((rows[:, 1] == 1).mean()) == pytest.approx(0.1, abs=0.02)
    assert float(rows[:, 2].std()) == pytest.approx(2.0, abs=0.1)
    wide = of_each_step(Joint(joint().choices, Gaussian(jnp.zeros((7, 2)), jnp.zeros(2))))
    assert wide.numbers.log_std.shape == (7, 2)


def test_a_mask_forbids_choices_of_a_hybrid_action():
    spec = Spec(
        Dict((("x", Box((2,))), ("action_mask", Box((3,), 0.0, 1.0, "uint8")))),
        Hybrid((3,), Box((1,), -1.0, 1.0)),
    )
    assert width(spec.action) == 4
    model = ActorCritic.init(jax.random.key(0), spec, (4,), "tanh")
    obs = {"x": jnp.ones((50, 2)), "action_mask": jnp.tile(jnp.array([0, 1, 0]), (50, 1))}
    policy, _, _ = model.step(obs, ())
    action = policy.sample(jax.random.key(1))
    assert action.shape == (50, 2) and (action[:, 0] == 1.0).all()


@pytest.fixture
def on_path(monkeypatch):
    monkeypatch.syspath_prepend(str(FILE.parent))
    yield
    gymnasium.registry.pop("Package-v0", None)
    sys.modules.pop("space_envs", None)


def test_an_id_of_a_package_is_opened_by_both_names(on_path):
    env = ids.make("space_envs:Package-v0")
    assert env.spec.action == Box((1,), -0.5, pytest.approx(0.7))
    assert [f for f in check(env, steps=20) if not f.ok] == []


def test_minigrid_is_opened_by_its_package():
    pytest.importorskip("minigrid", exc_type=ImportError)
    env = ids.make("minigrid:MiniGrid-Empty-5x5-v0", {"processes": 1})
    assert dict(env.spec.obs.items) == {
        "direction": Box((4,), 0.0, 1.0),
        "image": Box((7, 7, 3), 0.0, 255.0, "uint8"),
    }
    assert env.notes == ("observation mission is a text, which is left out",)


def test_an_unknown_id_is_told_the_form_of_packages(on_path):
    with pytest.raises(SettingsError, match=r"is named highway_env:highway-fast-v0$"):
        ids.make("highway-fast-v0")
    with pytest.raises(SettingsError, match=r"package:ID, as minigrid:MiniGrid-Empty-5x5-v0$"):
        ids.make("Nowhere-v7")


@pytest.mark.parametrize(
    "name", ["Steer", "Hybrid", "Nested", "Matrix", "ChannelsFirst", "Leaves", "Stale", "HalfOpen"]
)
def test_what_training_accepts_the_check_accepts(name):
    env = made(name)
    assert [f for f in check(env, steps=12) if not f.ok] == []
    stepper = env.open(1)
    try:
        stepper.reset(np.arange(1))
    finally:
        stepper.close()


@pytest.mark.parametrize("name", ["FourAxes", "Breaks", "WrongMask"])
def test_what_the_check_refuses_training_refuses(name):
    assert [f for f in check(made(name)) if not f.ok]
    with pytest.raises(Exception, match=r"shape|KeyError"):
        stepper = made(name).open(1)
        try:
            stepper.reset(np.arange(1))
            stepper.step(np.zeros((1, *made(name).spec.action.shape), np.int64))
        finally:
            stepper.close()
