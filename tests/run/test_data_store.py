"""A data set on disk is the steps that were written, wherever its chunks and segments end."""

import dataclasses
import json
import random
import shutil

import jax
import numpy as np
import pytest
from twin import ALGORITHMS, logged, tiny

from spinward.cli import main
from spinward.core import Box, Dict, Discrete, Spec
from spinward.data import card, store
from spinward.data.card import Card
from spinward.data.checks import check_fit
from spinward.data.layout import Column, Layout, layout_of
from spinward.data.steps import StoreReader, open_data, read_data
from spinward.data.writer import Writer, created, ends
from spinward.envs.cartpole import CartPole
from spinward.errors import DamagedFileError, SettingsError
from spinward.experience.material import source_for
from spinward.experience.shuffle import shuffled
from spinward.experience.streamed import StreamedSteps
from spinward.experience.wanted import Logged, Samples
from spinward.run.experiment import DataChoice, Experiment
from spinward.run.run import create, load, train

SPEC = CartPole().spec


def episodes(lengths, rng, shape=(4,), terminated=True, actions=2):
    """Steps of episodes of these lengths, as columns: each ends terminated, or truncated."""
    rows, dtype = sum(lengths), np.float32 if len(shape) == 1 else np.uint8
    parts = [rng.integers(0, 255, (n + 1, *shape)).astype(dtype) for n in lengths]
    over = np.zeros(rows, bool)
    over[np.cumsum(lengths) - 1] = True
    return {
        "obs": np.concatenate([p[:-1] for p in parts]),
        "next_obs": np.concatenate([p[1:] for p in parts]),
        "action": rng.integers(0, actions, rows).astype(np.int32),
        "reward": rng.normal(size=rows).astype(np.float32),
        "terminated": over & terminated,
        "truncated": over & (not terminated),
    }


def written(folder, fields, pieces=(None,), spec=SPEC, stack=1, extras=None, about=None):
    """A data set of `fields`, in chunks that end with the rows `pieces`."""
    with created(folder) as temporary:
        writer = Writer(temporary, layout_of(spec, extras or {}, stack))
        first = 0
        for end in pieces:
            rows = slice(first, end)
            part = {k: jax.tree.map(lambda x: x[rows], v) for k, v in fields.items()}  # noqa: B023
            last = ends(part)
            time = first + np.concatenate([[0], last[:-1] + 1])
            writer.add(part, last, 0, time)
            first = end
        card.write(temporary, about or Card(spec.obs, spec.action))
    return folder


def assert_equal(found, fields):
    for name, value in fields.items():
        np.testing.assert_array_equal(found[name], value, err_msg=name)
        assert found[name].dtype == value.dtype, name


@pytest.mark.parametrize("pieces", [(None,), (3, 8, None), tuple(range(1, 20))])
def test_what_is_read_is_what_was_written_however_it_was_cut_into_chunks(pieces, tmp_path):
    fields = episodes([5, 1, 7, 6], np.random.default_rng(0))
    found = store.opened(written(tmp_path / "d", fields, pieces))
    found.check()
    rows = np.random.default_rng(1).permutation(19)
    assert_equal(found.at(rows), {k: v[rows] for k, v in fields.items()})
    assert not found.at(np.arange(19))["cut"].any()
    np.testing.assert_array_equal(found.begins(), [0, 5, 6, 13])
    episode, time = found.place(np.array([0, 4, 5, 6, 18]))
    assert episode.tolist() == [0, 0, 1, 2, 3] and time.tolist() == [0, 4, 0, 0, 5]


def test_what_is_read_does_not_depend_on_the_memory_that_it_may_take(tmp_path, monkeypatch):
    fields = episodes([5, 1, 7, 6], np.random.default_rng(0))
    found = store.opened(written(tmp_path / "d", fields))
    monkeypatch.setattr(store, "RESIDENT", 0)
    monkeypatch.setattr(store, "ONCE", 0)
    rows = np.random.default_rng(1).permutation(19)
    assert_equal(found.at(rows), {k: v[rows] for k, v in fields.items()})


def test_recordings_that_are_written_in_turn_are_read_one_after_another(tmp_path):
    rng = np.random.default_rng(0)
    one, other = episodes([4, 3], rng), episodes([6, 1], rng)
    with created(tmp_path / "d") as folder:
        writer = Writer(folder, layout_of(SPEC, {}))
        for rows in (slice(0, 2), slice(2, 7)):  # the first episodes of both are cut in two
            for origin, fields in enumerate((one, other)):
                part = {k: v[rows] for k, v in fields.items()}
                last = ends(part)
                start = np.concatenate([[0], last[:-1] + 1])
                writer.add(part, last, origin, rows.start + start)
        card.write(folder, Card(SPEC.obs, SPEC.action))
    found = store.opened(tmp_path / "d")
    assert len(found.orders[0].start) == 6
    whole = {k: np.concatenate([one[k], other[k]]) for k in one}
    assert_equal(found.at(np.arange(14)), whole)
    np.testing.assert_array_equal(found.begins(), [0, 4, 7, 13])


def test_a_cut_recording_ends_with_a_truncation_and_its_true_successor(tmp_path):
    fields = episodes([5, 4], np.random.default_rng(0))
    lost = {k: np.delete(v, [2, 8], 0) for k, v in fields.items()}  # a step within, and the end
    found = store.opened(written(tmp_path / "d", lost)).at(np.arange(7))
    assert found["cut"].tolist() == [False, True, False, False, False, False, True]
    assert found["truncated"].tolist() == found["cut"].tolist()
    np.testing.assert_array_equal(found["next_obs"], lost["next_obs"])


def test_images_are_stored_once_and_stacks_do_not_cross_an_episode(tmp_path):
    rng, lengths, stack = np.random.default_rng(0), [5, 1, 7], 3
    spec = Spec(Box((6, 6, stack), 0, 255, "uint8"), Discrete(2))
    single = [rng.integers(0, 255, (n + stack, 6, 6), dtype=np.uint8) for n in lengths]
    obs, following = [], []
    for images, n in zip(single, lengths, strict=True):
        stacks = [np.stack(images[i : i + stack], -1) for i in range(n + 1)]
        obs += stacks[:-1]
        following += stacks[1:]
    fields = episodes(lengths, rng, (6, 6))
    fields |= {"obs": np.stack(obs), "next_obs": np.stack(following)}
    folder = written(tmp_path / "d", fields, (2, None), spec, stack)
    assert (folder / "obs.bin").stat().st_size == 36 * (13 + 4 * stack)  # 4 segments
    found = store.opened(folder)
    rows = rng.permutation(13)
    for one_by_one in (False, True):
        steps = found.gathered(rows, one_by_one)
        assert_equal(steps, {k: v[rows] for k, v in fields.items()})
    data = open_data(folder, spec)
    want = Samples(1, 1, 2, 50, 100, 0)
    source = source_for(want, data=data)
    batch = source.layout.sample(source.ring, jax.random.PRNGKey(0))
    for i in range(50):
        at = np.flatnonzero((fields["obs"] == np.asarray(batch.obs)[0, 0, i]).all((1, 2, 3)))
        assert len(at) == 1 and batch.reward[0, 0, i] == fields["reward"][at[0]]
        np.testing.assert_array_equal(batch.next_obs[0, 0, i], fields["next_obs"][at[0]])
    assert (np.asarray(batch.weight) == 1).all()


def test_dict_observations_and_further_columns_are_kept(tmp_path):
    spec = Spec(Dict((("action_mask", Box((3,), 0, 1, "bool")), ("obs", Box((2,))))), Discrete(3))
    rng = np.random.default_rng(0)
    fields = episodes([4, 5], rng, (2,), actions=3)
    obs = {n: {"obs": fields[n]} for n in ("obs", "next_obs")}
    masks = rng.random((10, 3)) < 0.5
    for name, part in (("obs", masks[:9]), ("next_obs", masks[1:])):
        obs[name]["action_mask"] = part
    fields |= obs | {"action_prob": rng.random(9).astype(np.float32)}
    for name in ("obs", "next_obs"):  # the successor of step 3 is not the next observation
        fields[name] = {k: v.copy() for k, v in fields[name].items()}
    folder = written(tmp_path / "d", fields, (None,), spec, extras={"action_prob": ("float32", ())})
    steps = read_data(folder, spec)
    np.testing.assert_array_equal(steps.obs["action_mask"], masks[:9])
    np.testing.assert_array_equal(steps.next_obs["obs"], fields["next_obs"]["obs"])
    np.testing.assert_array_equal(steps.extras["action_prob"], fields["action_prob"])
    source = source_for(
        Samples(1, 1, 1, 4, 9, 0, keep=("action_prob",)), data=open_data(folder, spec)
    )
    batch = source.sample(jax.random.PRNGKey(0))
    assert batch.extras["action_prob"].shape == (1, 1, 4)


def test_every_changed_bit_is_told(tmp_path):
    fields = episodes([5, 4], np.random.default_rng(0))
    folder, rng = written(tmp_path / "d", fields, (4, None)), random.Random(0)
    names = [p.name for p in folder.iterdir() if p.stat().st_size]
    assert len(names) == 10  # 8 columns, the index and the card
    for _ in range(300):
        path = folder / rng.choice(names)
        whole = path.read_bytes()
        content = bytearray(whole)
        place = rng.randrange(8 * (len(content) - 1))  # the last byte ends a line
        content[place // 8] ^= 1 << place % 8
        path.write_bytes(content)
        with pytest.raises(DamagedFileError, match=str(folder)):
            read_data(folder, SPEC)
        path.write_bytes(whole)
    read_data(folder, SPEC)


def test_a_chunk_that_was_not_finished_is_passed_over(tmp_path):
    fields = episodes([5, 4], np.random.default_rng(0))
    folder = written(tmp_path / "d", fields)
    with open(folder / "obs.bin", "ab") as file:
        file.write(b"more")
    with open(folder / "store.jsonl", "ab") as file:
        file.write(b'{"rows": 12')
    assert_equal(store.opened(folder).at(np.arange(9)), fields)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"obs": np.full((9, 4), np.nan, np.float32)}, r"obs\[0\] of row 0 is nan, not finite"),
        ({"reward": np.float32([0] * 7 + [np.inf, 0])}, "reward of row 7 is inf"),
        ({"truncated": np.arange(9) == 4}, "row 4 .*both true"),
        ({"action": np.int32([0, 1, 0, 2, 0, 0, 2, 0, 0])}, "row 3 .2 rows.*outside 0 to 1"),
    ],
)
def test_a_step_that_cannot_be_is_told_by_row_and_column(change, message, tmp_path):
    fields = episodes([5, 4], np.random.default_rng(0)) | change
    folder = written(tmp_path / "d", fields)
    for memory in (1.0, 0.0):
        with pytest.raises(DamagedFileError, match=message):
            open_data(folder, SPEC, memory_gib=memory)


def test_a_probability_outside_its_range_is_told(tmp_path):
    extras = {"action_prob": ("float32", ())}
    for wrong in (0.0, -0.5, 1.5):
        fields = episodes([5, 4], np.random.default_rng(0))
        fields["action_prob"] = np.float32([0.5, 1.0, wrong, *[0.5] * 6])
        folder = written(tmp_path / str(wrong), fields, extras=extras)
        with pytest.raises(DamagedFileError, match=r"row 2 .*outside \(0, 1\]"):
            read_data(folder, SPEC)


def test_segments_that_do_not_follow_each_other_are_told_by_the_name_of_their_file(tmp_path):
    written(tmp_path / "data", episodes((3, 4), np.random.default_rng(0)))
    path = tmp_path / "data/start.bin"
    starts = np.frombuffer(path.read_bytes(), np.int64)
    path.write_bytes((starts + (starts > 0) * 2**40).tobytes())
    with pytest.raises(DamagedFileError, match=r"start\.bin: its segments do not follow"):
        store.opened(tmp_path / "data")


def test_a_card_keeps_its_spaces_and_tells_when_it_was_changed(tmp_path):
    for obs in (
        Box((3,), (-1.0, 0.0, -np.inf), 4.0),
        Dict((("a", Box((2, 2, 1), 0, 255, "uint8")),)),
    ):
        for action in (Discrete(7), Box((2,), -2.0, (1.0, 3.0))):
            about = Card(obs, action, source="me", features=("a", "b"))
            card.write(tmp_path, about)
            assert card.read(tmp_path) == about
    content = json.loads((tmp_path / "card.json").read_text())
    content["licence"] = "anything"
    (tmp_path / "card.json").write_text(json.dumps(content))
    with pytest.raises(DamagedFileError, match=r"card\.json"):
        card.read(tmp_path)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (dataclasses.replace(SPEC, action=Discrete(3)), "actions 0 to 1; Task has actions 0 to 2"),
        (dataclasses.replace(SPEC, obs=Box((11,))), "of 4 float32.*Task has observations of 11"),
        (dataclasses.replace(SPEC, action=Box((1,))), "actions 0 to 1; .* of 1 float32"),
    ],
)
def test_a_data_set_of_other_spaces_is_refused_with_the_numbers(spec, message):
    with pytest.raises(SettingsError, match=message):
        check_fit("d", Card(SPEC.obs, SPEC.action), spec, "Task")


def test_actions_in_other_bounds_are_refused():
    one, other = (Card(Box((3,)), Box((1,), -high, high)) for high in (1.0, 2.0))
    check_fit("d", one, Spec(Box((3,)), one.action))
    with pytest.raises(SettingsError, match=r"within -1 to 1; .* within -2 to 2"):
        check_fit("d", one, Spec(Box((3,)), other.action))


def test_a_column_that_no_data_set_has_is_refused():
    good = layout_of(SPEC, {}).to_json()
    assert Layout.from_json(json.loads(json.dumps(good))) == layout_of(SPEC, {})
    for bad in ([["../x", "step", "bool", []]], [["x", "step", "object", []]],
                [["x", "step", "bool", [-1]]], [["x", "step", "bool", [2**40]]],
                [list(Column("action", "step", "int32", ()))]):  # fmt: skip
        with pytest.raises(ValueError, match="found the column"):
            Layout.from_json({"columns": good["columns"] + bad, "stack": 1})


@pytest.mark.parametrize("rows", [1, 2, 7, 64, 1000])
def test_a_shuffle_draws_every_row_once_in_each_turn(rows):
    order = shuffled(np.arange(3 * rows), rows, (5, 6)).reshape(3, rows)
    for turn in order:
        np.testing.assert_array_equal(np.sort(turn), np.arange(rows))
    some = shuffled(np.arange(rows, 2 * rows), rows, (5, 6))
    np.testing.assert_array_equal(some, order[1])
    if rows > 100:
        assert (order[0] != order[1]).mean() > 0.9
        assert (order[0] != shuffled(np.arange(rows), rows, (5, 7))).mean() > 0.9


def test_a_shuffle_puts_every_row_anywhere():
    rows, draws = 16, 4000
    orders = shuffled(np.arange(rows * draws), rows, (1, 2)).reshape(draws, rows)
    for place in (0, 7, 15):
        counts = np.bincount(orders[:, place], minlength=rows)
        chi_squared = ((counts - draws / rows) ** 2 / (draws / rows)).sum()
        assert chi_squared < 37.7  # 99.9 % of 15 degrees of freedom


def test_streamed_batches_are_the_steps_themselves(tmp_path):
    fields = episodes([5, 4, 8, 3], np.random.default_rng(0))
    reader = StoreReader(store.opened(written(tmp_path / "d", fields)))
    source = StreamedSteps(reader, SPEC, 4, 4, window=2)
    keys = jax.vmap(jax.random.PRNGKey)(np.arange(2))
    state, seen = source.init(keys, ()), []
    for _ in range(3):
        state, batch, _ = source.collect(state, None, None)
        assert batch.reward.shape == (2, 4, 2, 4)
        seen.append(batch.reward)
    source.close()
    first = np.concatenate([s[:, :, 0].reshape(2, -1) for s in seen], 1)[:, :19]
    for seed in range(2):
        np.testing.assert_array_equal(np.sort(first[seed]), np.sort(fields["reward"][:19]))
    row = {r: i for i, r in enumerate(fields["reward"].tolist())}
    pairs = np.stack(seen)
    for a, b in zip(pairs[..., 0, :].ravel(), pairs[..., 1, :].ravel(), strict=True):
        assert row[float(b)] == row[float(a)] + 1
    _, batch, _ = source.collect(dataclasses.replace(state, iteration=state.iteration - 1), 0, 0)
    np.testing.assert_array_equal(batch.reward, seen[-1])


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return written(tmp_path_factory.mktemp("data") / "d", logged(300))


@pytest.mark.parametrize("name", ["bc", "dqn", "cql_discrete"])
def test_streamed_data_train_and_resume_exactly(name, data, tmp_path):
    more = {"updates": 5} if name == "bc" else {"normalise_obs": name == "cql_discrete"}
    algorithm = tiny(ALGORITHMS[name], **more)
    choice = DataChoice(str(data), memory_gib=0.0)
    experiment = Experiment(algorithm, "CartPole-v1", 100, seeds=2, logs=4, data=choice)
    whole = create(experiment, tmp_path, "whole").train()
    assert isinstance(whole.made.parts.source, StreamedSteps)
    assert "read as they are drawn" in whole.made.logged.note
    part = create(experiment, tmp_path, "part")
    with pytest.raises(Exception, match="stopped"):
        part.train(lambda point: "stop" if point.iteration >= 5 else None)
    part = load(tmp_path / "part").train()
    one, other = (r.agents().agent for r in (whole, part))
    jax.tree.map(np.testing.assert_array_equal, one, other)
    logs = [r.path / "shards/0/metrics.jsonl" for r in (whole, part)]
    assert logs[0].read_bytes() == logs[1].read_bytes()


def test_what_cannot_be_streamed_is_refused(data, tmp_path):
    big = open_data(data, SPEC, share=0.5, memory_gib=0.0)
    with pytest.raises(SettingsError, match=r"raise data\.memory_gib"):
        source_for(Samples(1, 1, 1, 4, 100, 10), CartPole(), big)
    with pytest.raises(SettingsError, match=r"raise data\.memory_gib"):
        source_for(Samples(1, 1, 1, 4, 100, 10, prioritised=True), None, big._replace(share=1.0))
    with pytest.raises(SettingsError, match="the data lack action_prob"):
        source_for(Samples(1, 1, 1, 4, 100, 10, keep=("action_prob",)), None,
                   big._replace(share=1.0))  # fmt: skip
    assert source_for(Logged(1, 4), None, big).stride == 1


def test_only_steps_and_seeds_that_can_be_are_recorded(tmp_path, capsys):
    run = train(tiny(ALGORITHMS["ppo"]), "CartPole-v1", 16, 2, out=tmp_path, name="run")
    out = ["--out", str(tmp_path / "data")]
    for words, said in (
        (["--steps", "0"], "steps=0 must be at least 1"),
        (["--steps", "-8"], "steps=-8 must be at least 1"),
        (["--seed", "2"], "seed=2 must be 0 to 1: the run has 2"),
        (["--seed", "-1"], "seed=-1 must be 0 to 1"),
        (["--out", str(tmp_path)], "exists"),
    ):
        assert main.main(["data", "record", str(run.path), *out, *words]) == 2
        assert said in capsys.readouterr().err and not (tmp_path / "data").exists()


def test_a_card_stands_in_for_an_environment(data, tmp_path, capsys):
    out = ["--out", str(tmp_path), "--name", "r"]
    small = ["--steps", "50", "--updates", "10"]
    assert main.main(["train", "bc", "--data", str(data), *small, *out]) == 0
    assert "no environment: evaluation needs one" in capsys.readouterr().err
    run = load(tmp_path / "r")
    assert run.policy()(np.zeros(4, np.float32)) in (0, 1)
    assert main.main(["evaluate", str(run.path), "--episodes", "2"]) == 2
    assert "evaluate can name one with --env" in capsys.readouterr().err
    for words in (["data", "record", str(run.path), "--out", str(tmp_path / "x")],
                  ["watch", str(run.path)]):  # fmt: skip
        assert main.main(words) == 2
        assert "learned without an environment" in capsys.readouterr().err
    assert main.main(["evaluate", str(run.path), "--episodes", "2", "--env", "CartPole-v1"]) == 0
    assert main.main(["train", "bc", "data", *out[:2]]) == 2
    assert "no data: without an environment" in capsys.readouterr().err
    assert main.main(["train", "bc", "--data", "x.csv", *out[:2]]) == 2
    assert "x.csv is a table: make a data set of it" in capsys.readouterr().err
    assert main.main(["train", "ppo", "--data", str(data), *out[:2]]) == 2
    assert main.main(["train", "bc", *out[:2]]) == 2
    assert "required: env" in capsys.readouterr().err
    assert main.main(["train", "bc", "Pendulum-v1", "--data", str(data), *out[:2]]) == 2
    assert "of 4 float32" in capsys.readouterr().err
    shutil.rmtree(run.path)
    assert train("bc", steps=50, data=data, out=tmp_path).made.spec.obs == SPEC.obs


def test_data_with_masks_are_held_out_learned_from_and_evaluated_with(tmp_path, monkeypatch):
    """A dict observation, in as many episodes as some are held out of."""
    from spinward.run.off_policy import evaluate_offline

    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    table = tmp_path / "x.jsonl"
    with open(table, "w") as file:
        for i in range(160):
            allowed = [True, bool(rng.integers(2))]
            action = int(rng.integers(2)) if allowed[1] else 0
            row = {"episode": i // 4, "time": i % 4, "obs_0": float(rng.normal()), "obs_1": 5.0 * i,
                   "action": action, "reward": float(action), "terminated": i % 4 == 3,
                   "action_prob": 0.5 if allowed[1] else 1.0,
                   "allowed_0": allowed[0], "allowed_1": allowed[1]}  # fmt: skip
            file.write(json.dumps(row) + "\n")
    pytest.importorskip("pyarrow")
    assert main.main(["data", "import", "x.jsonl", "--out", "d"]) == 0
    words = ["--hidden", "8", "--preset", "none", "--name", "masked"]
    assert main.main(["train", "cql_discrete", "--data", "d", "--steps", "300", *words]) == 0
    found = evaluate_offline(load("runs/masked"), tmp_path / "d", updates=200, resamples=20)
    assert found["episodes"] == 40 and found["estimates"]["direct method"]["value"] < 4.0
    # Nearly all that is allowed is wanted, and nothing that is not.
    assert found["outside_share"] == 0.0
