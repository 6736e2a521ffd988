"""Data sets are inspected, split, mixed and converted, and nothing of an episode is lost."""

import itertools
import json
import os
import re

import numpy as np
import pytest
from test_data_store import SPEC, episodes, written
from twin import logged

from spinward.cli import main
from spinward.core import Box, Dict, Discrete, Spec
from spinward.data import store
from spinward.data.card import Card
from spinward.data.formats import converted, exported
from spinward.data.inspection import inspected, of_steps
from spinward.data.mixing import Filter, mix, split
from spinward.data.plan import ImportOptions
from spinward.data.sharing import shared_episodes
from spinward.errors import DamagedFileError, SettingsError

h5py = pytest.importorskip("h5py")


def read(path):
    found = store.opened(path)
    found.check()
    return found.at(np.arange(found.rows))


def assert_equal(found, wanted, names=None):
    for name in names or wanted:
        np.testing.assert_array_equal(found[name], wanted[name], err_msg=name)


def by_episode(fields):
    """The episodes of steps, each as bytes."""
    over = np.flatnonzero(fields["terminated"] | fields["truncated"])
    parts = np.split(np.arange(len(fields["reward"])), over[:-1] + 1)
    names = ("obs", "next_obs", "action", "reward", "terminated", "truncated", "cut")
    return [b"".join(fields[n][rows].tobytes() for n in names if n in fields) for rows in parts]


@pytest.fixture
def data(tmp_path):
    return written(tmp_path / "a", episodes([5, 4, 8, 3, 6, 7, 2, 9], np.random.default_rng(0)))


def test_an_inspection_counts_what_there_is(tmp_path):
    fields = episodes([5, 4, 8, 3], np.random.default_rng(0), actions=2)
    for name in ("obs", "next_obs"):
        fields[name][:, 2] = 7.0
    fields["action"][:] = 0
    fields["truncated"][[8, 16]] = True
    fields["terminated"][[8, 16]] = False
    lost = {k: np.delete(v, [19], 0) for k, v in fields.items()}
    again = {k: np.concatenate([v, v[:5]]) for k, v in lost.items()}
    content = inspected(store.opened(written(tmp_path / "d", again)))
    assert content["rows"] == 24 and content["episodes"] == 5 and content["whole_episodes"] == 4
    assert content["ends"] == {"terminated": 2, "truncated": 2, "cut": 1}
    assert content["duplicates"]["count"] == 5 and content["duplicates"]["rows"] == [*range(19, 24)]
    assert {"obs[2]", "action"} <= set(content["constant"])
    assert content["actions"]["counts"] == [24, 0]
    returns = [fields["reward"][a:b].sum() for a, b in ((0, 5), (5, 9), (9, 17), (0, 5))]
    np.testing.assert_allclose(content["returns"]["mean"], np.mean(returns), rtol=1e-5)
    np.testing.assert_allclose(content["returns"]["std"], np.std(returns), rtol=1e-5)
    assert sum(content["returns"]["histogram"]["counts"]) == 4
    column = content["columns"]["obs"]
    np.testing.assert_allclose(column["mean"], again["obs"].mean(0), rtol=1e-5)
    np.testing.assert_allclose(column["std"], again["obs"].std(0), rtol=1e-5, atol=1e-6)
    text = " ".join(content["findings"])
    for part in ("equal to an earlier step: 5", "never differ: ", "never taken: 1"):
        assert part in text
    for part in ("1 episodes were cut", "no column action_prob"):
        assert part in text


def test_moments_do_not_depend_on_blocks_and_keep_small_differences(tmp_path, monkeypatch):
    from spinward.data import store as place

    fields = episodes([50, 40], np.random.default_rng(0))
    fields["reward"] = (1e4 + np.random.default_rng(1).normal(size=90)).astype(np.float32)
    path = written(tmp_path / "d", fields)
    whole = inspected(store.opened(path))
    monkeypatch.setattr(place, "BLOCK", 500)
    parts = inspected(store.opened(path))
    assert whole["ends"] == parts["ends"] and whole["returns"] == parts["returns"]
    for one in (whole, parts):
        exact = fields["reward"].astype(np.float64)
        np.testing.assert_allclose(one["columns"]["reward"]["std"], [exact.std()], rtol=1e-9)


def test_values_that_no_step_may_have_are_found_by_row(tmp_path):
    fields = episodes([5, 4], np.random.default_rng(0))
    fields["obs"][6, 1] = np.nan
    fields["reward"][[3, 4]] = np.inf
    fields["truncated"][4] = True
    fields["action"][2] = 9
    content = inspected(store.opened(written(tmp_path / "d", fields)))
    assert content["not_finite"] == {
        "obs": {"count": 1, "first_row": 6}, "reward": {"count": 2, "first_row": 3}}  # fmt: skip
    assert content["both_ends"] == 1 and content["outside"] == 1


def test_steps_that_differ_in_one_bit_are_not_equal():
    rng = np.random.default_rng(0)
    base = rng.normal(size=(1, 12)).astype(np.float32)
    rows = np.repeat(base, 385, 0)
    flat = rows.view(np.uint32)
    for bit in range(384):
        flat[bit + 1, bit // 32] ^= np.uint32(1) << np.uint32(bit % 32)
    hashes = of_steps({"obs": rows, "reward": np.zeros(385, np.float32)})
    assert len(set(hashes.tolist())) == 385


def test_the_inspect_command_prints_and_draws(data, tmp_path, capsys):
    page = tmp_path / "page.html"
    assert main.main(["data", "inspect", str(data), "--html", str(page)]) == 0
    said = capsys.readouterr().out
    assert "44 steps in 8 episodes" in said and "action 0: " in said and "█" in said
    text = page.read_text()
    assert text.count("<img src=") == 3 and "44 steps" in text and "<script" not in text
    assert not re.search(r"""(src|href|url)\W{0,3}http""", text)
    assert main.main(["data", "inspect", str(data), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["rows"] == 44
    assert main.main(["data", "inspct", str(data)]) == 2
    assert "did you mean inspect?" in capsys.readouterr().err


def test_npz_files_are_inspected_and_converted(tmp_path, capsys):
    np.savez(tmp_path / "x.npz", **logged(60))
    assert main.main(["data", "inspect", str(tmp_path / "x.npz"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["rows"] == 60
    converted(tmp_path / "x.npz", tmp_path / "d", ImportOptions())
    names = ("obs", "action", "reward", "next_obs", "terminated")
    assert_equal(read(tmp_path / "d"), logged(60), names)


def test_a_split_is_by_episode_and_loses_none(data, tmp_path):
    rows = split(data, tmp_path / "s", 0.25, seed=1)
    train, held = (read(tmp_path / "s" / name) for name in ("train", "validation"))
    assert rows == {"train": len(train["reward"]), "validation": len(held["reward"])}
    whole = by_episode(read(data))
    parts = by_episode(train), by_episode(held)
    assert [len(p) for p in parts] == [6, 2] and sorted([*parts[0], *parts[1]]) == sorted(whole)
    again = split(data, tmp_path / "t", 0.25, seed=1)
    assert again == rows and by_episode(read(tmp_path / "t/validation")) == parts[1]
    assert "6 of 8 episodes" in store.opened(tmp_path / "s/train").card.made
    with pytest.raises(SettingsError, match="leaves a part without any"):
        split(data, tmp_path / "u", 0.01, 0)


def test_a_mixture_has_its_weights_and_whole_episodes(data, tmp_path):
    other = written(tmp_path / "b", episodes([1] * 200, np.random.default_rng(1)))
    counts = mix([data, other], tmp_path / "m", [0.25, 0.75], 80, Filter(), seed=0)
    assert counts[1] == 60 and 20 <= counts[0] < 29
    pool = set(by_episode(read(data)) + by_episode(read(other)))
    found = by_episode(read(tmp_path / "m"))
    assert set(found) <= pool and len(set(found)) == len(found)
    assert mix([data, other], tmp_path / "all", [], 0, Filter(), 0) == [44, 200]
    with pytest.raises(SettingsError, match="there are 58 at most"):
        mix([data, other], tmp_path / "x", [0.75, 0.25], 1000, Filter(), 0)


def test_a_small_set_is_taken_again_until_it_has_its_share(data, tmp_path):
    other = written(tmp_path / "b", episodes([1] * 200, np.random.default_rng(1)))
    counts = mix([data, other], tmp_path / "m", [0.5, 0.5], 0, Filter(), 0, repeat=True)
    assert counts[1] == 200 and 200 <= counts[0] < 209
    found = by_episode(read(tmp_path / "m"))
    again = [found.count(episode) for episode in by_episode(read(data))]
    assert set(again) <= {4, 5} and sum(again) == len(found) - 200  # 44 steps: 4.5 times
    assert set(found) == set(by_episode(read(data))) | set(by_episode(read(other)))
    words = ["data", "mix", str(data), str(other), "--out", str(tmp_path / "x"), "--repeat"]
    assert main.main(words) == 2 and not (tmp_path / "x").exists()
    assert main.main([*words, "--weights", "0.9,0.1", "--rows", "500"]) == 0
    assert 500 <= store.opened(tmp_path / "x").rows < 515


@pytest.mark.parametrize("repeat", [False, True])
def test_a_set_without_episodes_has_no_share(repeat, data, tmp_path):
    fields = episodes([1] * 20, np.random.default_rng(1))
    low = written(tmp_path / "b", fields | {"reward": fields["reward"] - 1e3})
    which = Filter(low=-500.0)
    with pytest.raises(SettingsError, match=r"b: no episode is left of those that were asked for"):
        mix([low, data], tmp_path / "m", [0.3, 0.7], 0, which, 0, repeat=repeat)
    assert mix([low, data], tmp_path / "m", [0.0, 1.0], 0, which, 0, repeat=repeat) == [0, 44]
    with pytest.raises(SettingsError, match="expected 2 numbers, none below 0"):
        mix([low, data], tmp_path / "n", [float("inf"), 1.0], 0, Filter(), 0, repeat=repeat)


def test_episodes_that_two_sets_share_are_counted(data, tmp_path):
    split(data, tmp_path / "parts", 0.5, 0)
    train, held = (store.opened(tmp_path / "parts" / n) for n in ("train", "validation"))
    whole = store.opened(data)
    assert shared_episodes(held, train) == 0.0 and shared_episodes(train, whole) == 1.0
    assert shared_episodes(whole, train) == len(train.begins()) / 8


def test_filters_take_the_episodes_they_say(data, tmp_path):
    fields = read(data)
    bounds = np.cumsum([0, 5, 4, 8, 3, 6, 7, 2, 9])
    returns = [fields["reward"][a:b].sum() for a, b in itertools.pairwise(bounds)]
    best = sorted(range(8), key=lambda i: -returns[i])[:4]
    mix([data], tmp_path / "best", [], 0, Filter(best=0.5), 0)
    whole = by_episode(fields)
    assert by_episode(read(tmp_path / "best")) == [whole[i] for i in sorted(best)]
    mix([data], tmp_path / "long", [], 0, Filter(shortest=7), 0)
    assert by_episode(read(tmp_path / "long")) == [whole[i] for i in (2, 5, 7)]
    limit = float(np.median(returns))
    mix([data], tmp_path / "good", [], 0, Filter(low=limit), 0)
    assert len(by_episode(read(tmp_path / "good"))) == 4
    with pytest.raises(SettingsError, match="no episode of"):
        mix([data], tmp_path / "none", [], 0, Filter(low=1e9), 0)
    wide = Spec(Box((5,)), Discrete(2))
    shape = episodes([3], np.random.default_rng(0), (5,))
    with pytest.raises(SettingsError, match=r"of 5 float32.* of 4 float32"):
        mix([data, written(tmp_path / "w", shape, spec=wide)], tmp_path / "x", [], 0, Filter(), 0)


CONTINUOUS = Spec(Box((3,)), Box((2,), (-2.0, 0.0), (2.0, 1.0)))
PARTS = Spec(Dict((("goal", Box((2,))), ("image", Box((6, 6, 3), 0, 255, "uint8")))), Discrete(3))


def steps_of(spec, rng):
    """Steps of a spec: the last episode was cut."""
    fields = episodes([5, 4, 6], rng, (3,))
    fields["terminated"][8] = False
    fields["truncated"][8] = True
    if isinstance(spec.action, Box):
        fields["action"] = rng.uniform(-1, 1, (15, 2)).astype(np.float32)
    if isinstance(spec.obs, Dict):
        goal = episodes([5, 4, 6], rng, (2,))
        image = episodes([5, 4, 6], rng, (6, 6, 3))
        for name in ("obs", "next_obs"):
            fields[name] = {"goal": goal[name], "image": image[name]}
    return fields


@pytest.mark.parametrize("spec", [CONTINUOUS, PARTS])
def test_minari_reads_what_we_write_and_we_read_it_back(spec, tmp_path):
    minari = pytest.importorskip("minari")
    fields = steps_of(spec, np.random.default_rng(0))
    exported(written(tmp_path / "d", fields, spec=spec), tmp_path / "m", ImportOptions())
    theirs = minari.MinariDataset(tmp_path / "m/data")
    assert theirs.total_episodes == 3 and theirs.total_steps == 15
    assert theirs.action_space.contains(theirs[0].actions[0])
    first = 0
    for episode in theirs.iterate_episodes():
        rows = slice(first, first + len(episode))
        np.testing.assert_array_equal(episode.rewards, fields["reward"][rows])
        np.testing.assert_array_equal(episode.truncations, fields["truncated"][rows])
        if isinstance(spec.obs, Dict):
            image = fields["obs"]["image"][rows]
            np.testing.assert_array_equal(episode.observations["image"][:-1], image)
            last = fields["next_obs"]["goal"][rows][-1]
            np.testing.assert_array_equal(episode.observations["goal"][-1], last)
            np.testing.assert_array_equal(episode.actions, fields["action"][rows])
        else:
            action = spec.action.from_unit(fields["action"][rows])
            np.testing.assert_allclose(episode.actions, action, rtol=1e-6)
        first += len(episode)
    converted(tmp_path / "m", tmp_path / "back", ImportOptions())
    found = store.opened(tmp_path / "back")
    assert found.card.obs == spec.obs and found.card.action == spec.action
    back = read(tmp_path / "back")
    np.testing.assert_allclose(back.pop("action"), fields.pop("action"), atol=1e-6)
    for name in ("obs", "next_obs"):
        one, other = back.pop(name), fields.pop(name)
        (assert_equal(one, other) if isinstance(one, dict)
         else np.testing.assert_array_equal(one, other))  # fmt: skip
    assert_equal(back, fields)


def test_what_minari_itself_wrote_is_read(tmp_path, monkeypatch):
    minari = pytest.importorskip("minari")
    import gymnasium

    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
    env = minari.DataCollector(gymnasium.make("CartPole-v1", max_episode_steps=12))
    rng, wanted = np.random.default_rng(0), []
    for seed in range(4):
        obs, _ = env.reset(seed=seed)
        done = False
        while not done:
            action = int(rng.integers(2))
            after, reward, terminated, truncated, _ = env.step(action)
            wanted.append((obs, action, reward, terminated, truncated and not terminated, after))
            obs, done = after, terminated or truncated
    env.create_dataset("test/cartpole-v0", algorithm_name="random")
    env.close()
    options = ImportOptions(repair=("both-ends",))
    converted(tmp_path / "test/cartpole-v0", tmp_path / "d", options)
    found = read(tmp_path / "d")
    names = ("obs", "action", "reward", "terminated", "truncated", "next_obs")
    for name, column in zip(names, zip(*wanted, strict=True), strict=True):
        np.testing.assert_array_equal(found[name], np.array(column), err_msg=name)
    about = store.opened(tmp_path / "d").card
    assert about.env == "CartPole-v1" and about.action == Discrete(2)
    assert found["truncated"].any() and found["terminated"].any()


def d4rl(path, fields, following=False, **change):
    """A file as D4RL has it."""
    arrays = {
        "observations": fields["obs"], "actions": fields["action"],
        "rewards": fields["reward"][:, None], "terminals": fields["terminated"],
        "timeouts": fields["truncated"],
    } | ({"next_observations": fields["next_obs"]} if following else {}) | change  # fmt: skip
    with h5py.File(path, "w") as file:
        for name, values in arrays.items():
            if values is not None:
                file[name] = values
        file["metadata/algorithm"] = "SAC"
    return path


def flat_steps(rng):
    fields = episodes([5, 4, 6], rng, (3,))
    fields["terminated"][8], fields["truncated"][8] = False, True
    fields["action"] = rng.uniform(-1, 1, (15, 2)).astype(np.float32)
    return fields


@pytest.mark.parametrize("block", [4, 2**15])
def test_d4rl_files_are_read_with_their_ends(block, tmp_path, monkeypatch):
    from spinward.data import d4rl as place

    monkeypatch.setattr(place, "BLOCK", block)
    fields = flat_steps(np.random.default_rng(0))
    converted(d4rl(tmp_path / "x.hdf5", fields, True), tmp_path / "a", ImportOptions())
    found = read(tmp_path / "a")
    np.testing.assert_allclose(found.pop("action"), fields["action"], atol=1e-6)
    assert_equal(found, {k: v for k, v in fields.items() if k != "action"})
    # Without successors, step 8 has none, because time ran out; it is that of step 7.
    notes = converted(d4rl(tmp_path / "y.hdf5", fields), tmp_path / "b", ImportOptions())
    found, kept = read(tmp_path / "b"), np.delete(np.arange(15), 8)
    assert "1 last rows" in notes[0]
    np.testing.assert_array_equal(found["reward"], fields["reward"][kept])
    assert np.flatnonzero(found["truncated"]).tolist() == [7] and not found["cut"].any()
    inside = ~(found["terminated"] | found["truncated"])
    np.testing.assert_array_equal(found["next_obs"][inside], fields["next_obs"][kept][inside])
    np.testing.assert_array_equal(found["next_obs"][7], fields["obs"][8])


def test_broken_hdf5_files_are_told(tmp_path):
    rng = np.random.default_rng(0)
    fields, path = flat_steps(rng), tmp_path / "x.hdf5"
    nan = np.where(np.arange(15) == 7, np.nan, fields["reward"])
    both = fields["truncated"] | (np.arange(15) == 4)
    for change, message in (
        ({"timeouts": None}, "has no timeouts"),
        ({"terminals": None}, "lacks terminals"),
        ({"rewards": nan}, r"reward\[0\] of row 7 is nan"),
        ({"timeouts": both}, "row 4 .*both true"),
        ({"actions": 3 * fields["action"]}, "outside -1 to 1"),
        ({"rewards": fields["reward"][:-1]}, "differ in length"),
        ({"rewards": np.array(["a"] * 15, "S1")}, "not numbers"),
    ):
        with pytest.raises((DamagedFileError, SettingsError), match=message):
            converted(d4rl(path, fields, **change), tmp_path / "d", ImportOptions())
    whole = d4rl(path, fields).read_bytes()
    for size in (0, 10, 100, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:size])
        with pytest.raises(DamagedFileError, match=r"x\.hdf5"):
            converted(path, tmp_path / "d", ImportOptions())
    d4rl(path, fields, rewards=None)
    with h5py.File(tmp_path / "other.hdf5", "w") as file:
        file["rewards"] = fields["reward"]
    with h5py.File(path, "a") as file:
        file["rewards"] = h5py.ExternalLink("other.hdf5", "/rewards")
    with pytest.raises(DamagedFileError, match="rewards is a link, which is not followed"):
        converted(path, tmp_path / "d", ImportOptions())
    assert sorted(os.listdir(tmp_path)) == ["other.hdf5", "x.hdf5"]


def test_cards_say_where_the_steps_come_from(data, tmp_path):
    about = Card(SPEC.obs, SPEC.action, source="me", licence="CC0")
    path = written(tmp_path / "x", episodes([3, 3], np.random.default_rng(0)), about=about)
    mix([path, data], tmp_path / "m", [], 0, Filter(), 0)
    found = store.opened(tmp_path / "m").card
    assert found.source == "me; " and found.licence == "CC0" and "0.120" in found.made
    assert found.statistics["rows"] == 50
