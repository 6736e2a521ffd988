"""Kitchens, their demonstrations, and the experiment that joins them."""

import runpy
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest

from spinward.cli import main
from spinward.data import store
from spinward.experiments import bridge_data, kitchens
from spinward.experiments.bridge_data import CLAIMED, SHARES, SIZES, Successes, concluded
from spinward.experiments.kitchens import Kitchen, Room
from spinward.experiments.looking import places

EXAMPLE = Path(__file__).parents[2] / "examples/bridge_data"


def open_scene():
    """A scene with its wall out of the way."""
    return Room.of(0, 0)._replace(walls=np.array([[2.0, 2.0, 3.0, 3.0]]))


def test_a_block_is_held_from_the_first_touch_and_only_where_it_is_asked_for():
    rng = np.random.default_rng(0)
    for task, carried in ((0, False), (3, True)):
        kitchen = Kitchen(open_scene(), task, 1, rng)
        kitchen.agent, kitchen.block = np.array([[0.2, 0.5]]), np.array([[0.36, 0.5]])
        kitchen.zones[0, 0] = (0.9, 0.5)
        kitchen.destination = kitchen.zones[:, 0]
        for _ in range(8):
            kitchen.step(np.array([[1.0, 0.0]]))
        np.testing.assert_allclose(kitchen.agent, [[0.2 + 8 * 0.08, 0.5]])
        np.testing.assert_allclose(kitchen.block, kitchen.agent if carried else [[0.36, 0.5]])
        assert kitchen.held[0] == carried and kitchen.solved()[0]


def test_walls_stop_and_are_gone_around():
    scene = Room.of(0, 0)._replace(walls=np.array([[0.45, 0.0, 0.55, 0.8]]))
    kitchen = Kitchen(scene, 0, 1, np.random.default_rng(0))
    kitchen.agent = np.array([[0.4, 0.4]])
    kitchen.step(np.array([[1.0, 0.5]]))  # along the wall, not through it
    np.testing.assert_allclose(kitchen.agent, [[0.4, 0.44]])
    far = kitchens.distances(scene, np.array([[0.9, 0.1]]))[0]
    assert np.isinf(far[8, 3]) and far[14, 1] == 0.0
    # From (0.1, 0.1) the way leads below the wall: more than straight across.
    assert far[1, 1] > 20 > 13


def test_demonstrations_solve_their_task_and_are_as_recorded(tmp_path):
    rng = np.random.default_rng(0)
    shown = kitchens.demonstrations(Room.of(2, 0), 4, 5, rng)
    assert len(shown) == 5 and all(e["terminated"].sum() == e["terminated"][-1] for e in shown)
    kitchens.record(tmp_path / "d", shown, "here")
    found = store.opened(tmp_path / "d")
    fields = found.at(np.arange(found.rows))
    np.testing.assert_array_equal(
        fields["obs"]["things"], np.concatenate([e["obs"]["things"] for e in shown])
    )
    assert (fields["obs"]["task"].argmax(1) == 4).all() and len(found.begins()) == 5


def test_a_picture_shows_what_a_list_says():
    kitchen = Kitchen(open_scene(), 0, 3, np.random.default_rng(1), kitchens.PICTURES)
    kitchen.block = np.array([[0.2, 0.8]] * 3)
    kitchen.agent = np.array([[0.8, 0.2]] * 3)
    image = kitchen.observe()["image"]
    assert image.shape == (3, 32, 32, 3) and (image[:, 6, 25] == 0).all()  # row is y
    assert (image[:, 25, 6] == 255).all()
    listed = Kitchen(open_scene(), 0, 3, np.random.default_rng(1)).observe()["things"]
    assert listed.shape == (3, kitchens.LISTED)


def test_a_spatial_softmax_finds_the_brightest_place():
    x = np.zeros((2, 5, 5, 1), np.float32)
    x[0, 4, 1, 0] = x[1, 0, 3, 0] = 100.0
    np.testing.assert_allclose(places(jnp.asarray(x)), [[1.0, -0.5], [-1.0, 0.5]], atol=1e-5)
    np.testing.assert_allclose(places(jnp.zeros((1, 5, 5, 1))), [[0.0, 0.0]], atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("scale", ["laptop", "paper"])
def test_the_experiment_runs(scale):
    size = SIZES[scale]._replace(updates=100, bridge=1, episodes=20)
    scores = bridge_data.compared(0, size)
    assert set(scores) == {"random moves", "target", "bridge", *(f"joint {p}" for p in SHARES)}
    assert all(0 <= x <= 100 for score in scores.values() for x in score)


def seeds(joint=(60, 40), target=20, bridge=40, chance=5):
    return [
        {"random moves": Successes(0, chance), "target": Successes(target + i, 0),
         "bridge": Successes(bridge - i, 50), CLAIMED: Successes(joint[0] + i, joint[1] + i)}
        for i in range(5)
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("scores", "verdict", "failing"),
    [
        (seeds(), "reproduced", ""),
        (seeds(target=46), "not reproduced", "above the target alone"),
        (seeds(bridge=70), "not reproduced", "above the bridge alone"),
        (seeds(chance=45), "not reproduced", "above random moves"),
    ],
)
def test_each_part_of_the_rule_decides(scores, verdict, failing):
    made = concluded("laptop", scores)
    assert made.verdict == verdict and failing in made.why
    published = {row.what: row.published for row in made.rows if row.published}
    assert published == {
        f"{CLAIMED}: the target's task, % of episodes": 50.0,
        "target: the target's task, % of episodes": 22.0,
    }


def test_the_example_joins_two_sets_by_weights(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    app = runpy.run_path(str(EXAMPLE / "kitchen.py"))
    app["demonstrate"]("target", "bridge", each=1)
    words = [
        "data",
        "mix",
        "target",
        "bridge",
        "--weights",
        "0.3,0.7",
        "--repeat",
        "--out",
        "joint",
    ]
    assert main.main(words) == 0
    joint, bridge = (store.opened(name) for name in ("joint", "bridge"))
    tasks = joint.at(np.arange(joint.rows))["obs"]["task"].argmax(1)
    assert set(tasks) == set(range(6)) and joint.rows > 1.3 * bridge.rows
    assert main.main(["train", "bc", "--data", "joint", "--steps", "100", "--name", "joint"]) == 0
    app["score"]("runs/joint", episodes=20)
    assert "bring the block to red" in capsys.readouterr().out
