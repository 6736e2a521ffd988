"""A search for settings: its space, its trials as one program, its folder, and its answer."""

import json
import shutil
import signal

import jax
import numpy as np
import pytest
from twin import ALGORITHMS

import spinward as sw
from spinward.algorithms.dqn import DQN
from spinward.algorithms.ppo import PPO
from spinward.cli.main import main
from spinward.cli.tune import all_alike, is_better, make_parser
from spinward.core import replace
from spinward.errors import DamagedFileError, SettingsError, Stopped
from spinward.programs.trials import Lanes
from spinward.run.assemble import assemble
from spinward.run.experiment import EnvChoice, Experiment
from spinward.tuning import folder, search, space
from spinward.tuning.space import NumberRange, ValueList

SMALL = {"steps": 1024, "seeds": 2, "logs": 4, "confirm": 0}
PPO_SMALL = PPO(envs=4, rollout=16, epochs=1, minibatches=1)


def test_texts_mean_values():
    asked = {"lr": "1e-4:1e-2:log", "epochs": "1:4", "gamma": "0.9,0.99", "hidden": "8,8|16"}
    assert space.space_of(PPO(), asked) == {
        "lr": NumberRange(1e-4, 1e-2, True, False),
        "epochs": NumberRange(1, 4, False, True),
        "gamma": ValueList((0.9, 0.99)),
        "hidden": ValueList(((8, 8), (16,))),
    }
    assert [str(v) for v in space.space_of(PPO(), asked).values()] == [
        "0.0001:0.01:log",
        "1:4",
        "0.9,0.99",
        "8,8|16",
    ]


def test_without_a_space_the_step_size_changes():
    assert space.space_of(PPO(lr=3e-3), {}) == {"lr": NumberRange(3e-4, 3e-2, True, False)}
    assert space.space_of(PPO(lr=0.5), {})["lr"].high == 1.0


@pytest.mark.parametrize(
    "name, text, error",
    [
        ("gama", "0.9:1", "no setting 'gama'; expected one of gamma"),
        ("gamma", "0.9:1.5", "gamma"),
        ("lr", "1e-2:1e-4", "the first number must be below the second"),
        ("entropy_coef", "0:1:log", "a logarithmic interval begins above 0"),
        ("lr", "a:b", "expected LOW:HIGH, LOW:HIGH:log"),
        ("epochs", "1.5:3", "expected LOW:HIGH, LOW:HIGH:log"),
        ("lr", "1e-3", "at least two different values"),
        ("lr", "1e-3:1e-2:linear", "schedule|expected LOW:HIGH"),
        ("lr", "nan:1", "expected two finite numbers"),
    ],
)
def test_impossible_values_are_refused(name, text, error):
    with pytest.raises(SettingsError, match=error):
        space.space_of(PPO(), {name: text})


def test_proposals_are_rounded_and_stay_within_their_bounds():
    one = {"lr": NumberRange(0.123466, 0.5, False, False), "epochs": NumberRange(1, 4, False, True)}
    assert space.settings_of(one, {"lr": 0.1234661, "epochs": 3}) == {"lr": 0.1235, "epochs": 3}
    one = {"lr": NumberRange(0.123446, 0.5, False, False)}
    assert space.settings_of(one, {"lr": 0.1234461}) == {"lr": 0.123446}


@pytest.fixture(scope="module")
def algorithms():
    return [replace(PPO_SMALL, lr=lr, gamma=gamma) for lr, gamma in ((1e-3, 0.9), (3e-2, 0.99))]


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    out = tmp_path_factory.mktemp("out")
    asked = {"lr": "1e-4:1e-1:log", "gamma": "0.9,0.99"}
    return sw.tune(PPO_SMALL, "CartPole-v1", asked, 6, trial_batch=3, out=out, name="t", **SMALL)


def trained(tmp_path, algorithm, env="CartPole-v1", **more):
    kept = {"steps": 1024, "seeds": 2, "logs": 4, "shards": 1, "out": tmp_path}
    return sw.train(algorithm, env, **{**kept, **more})


def test_a_trial_is_the_run_with_its_settings(done, tmp_path):
    for line in (done.trials[0], done.trials[4]):
        run = trained(tmp_path, replace(PPO_SMALL, **line["settings"]), name=str(line["number"]))
        steps, returns = run.curves()
        assert line["steps"] == steps.tolist()
        np.testing.assert_allclose(np.array(line["returns"], float), returns, rtol=1e-4)
        np.testing.assert_allclose(np.array(line["per_seed"], float), run.final(), rtol=1e-4)


def test_trial_0_is_what_the_search_starts_from(done):
    assert done.trials[0]["settings"] == {"lr": PPO_SMALL.lr, "gamma": PPO_SMALL.gamma}
    others = [line["settings"] for line in done.trials[1:]]
    assert len({json.dumps(values) for values in others}) == 5
    assert all(1e-4 <= v["lr"] <= 1e-1 and v["gamma"] in (0.9, 0.99) for v in others)


def test_the_best_has_the_highest_mean(done):
    means = [np.mean(line["per_seed"]) for line in done.trials]
    assert done.best == done.trials[int(np.argmax(means))]["settings"]
    assert done.confirmed["trial"] == int(np.argmax(means))


def test_trials_that_differ_in_numbers_are_one_program(monkeypatch, tmp_path):
    made: list[int] = []
    of = Lanes.of
    monkeypatch.setattr(
        Lanes, "of", lambda parts, group, seeds: made.append(len(group)) or of(parts, group, seeds)
    )
    asked = {"lr": "1e-4:1e-1:log", "epochs": "1,2"}
    tuning = sw.tune(PPO_SMALL, "CartPole-v1", asked, 5, trial_batch=5, out=tmp_path, **SMALL)
    epochs = [line["settings"]["epochs"] for line in tuning.trials]
    assert sorted(made) == sorted({epochs.count(1), epochs.count(2)} - {0})
    assert sum(made) == 5 and len(made) == 2


def test_a_lane_that_breaks_leaves_the_others_alone(algorithms):
    experiment = Experiment(PPO_SMALL, EnvChoice("CartPole-v1"), 1024, seeds=2)
    parts, keys = assemble(experiment).parts, experiment.keys()
    broken = [algorithms[0], replace(algorithms[1], lr=float("inf"))]
    after = {}
    for name, group in (("both", algorithms), ("one broke", broken)):
        lanes = Lanes.of(parts, group, 2)
        after[name] = lanes.advance(lanes.start(keys), 5)
    assert after["both"][1]["finite"].all()
    finite = after["one broke"][1]["finite"].astype(bool)
    assert finite[:2].all() and not finite[2:, -1].any()
    for a, b in zip(*(jax.tree.leaves(after[n][0].agent) for n in after), strict=True):
        np.testing.assert_array_equal(np.asarray(a)[:2], np.asarray(b)[:2])


def test_a_trial_that_breaks_has_a_reason_and_no_score(tmp_path):
    asked = {"lr": "1e-3,1e30"}
    tuning = sw.tune(PPO_SMALL, "CartPole-v1", asked, 6, trial_batch=6, out=tmp_path, **SMALL)
    broken = [line for line in tuning.trials if line["settings"]["lr"] == 1e30]
    assert broken and all(line["per_seed"] == [None, None] for line in broken)
    assert all(line["reason"].startswith("not finite after ") for line in broken)
    assert tuning.best == {"lr": 1e-3}


@pytest.mark.slow
def test_settings_that_do_not_fit_are_a_trial_without_a_score(tmp_path):
    asked = {"minibatches": "1,7"}  # 64 steps have no 7 equal parts
    tuning = sw.tune(PPO_SMALL, "CartPole-v1", asked, 6, trial_batch=6, out=tmp_path, **SMALL)
    odd = [line for line in tuning.trials if line["settings"]["minibatches"] == 7]
    assert odd and all("minibatches" in line["reason"] for line in odd)
    assert tuning.best == {"minibatches": 1}


def same(a, b):
    return [a.trials, a.confirmed] == [b.trials, b.confirmed]


def again(out, trials=6, watch=None):
    asked = {"lr": "1e-4:1e-1:log", "gamma": "0.9,0.99"}
    more = {**SMALL, "watch": watch}
    return sw.tune(
        PPO_SMALL, "CartPole-v1", asked, trials, trial_batch=3, out=out, name="t", **more
    )


def test_a_stopped_search_ends_as_one_that_was_not(done, tmp_path):
    seen: list[int] = []

    def stop(line):
        seen.append(line["number"])
        if len(seen) == 3:
            signal.raise_signal(signal.SIGTERM)

    with pytest.raises(Stopped, match=r"stopped after 3 of 6 trials.*the same command goes on"):
        again(tmp_path, watch=stop)
    assert [line["number"] for line in sw.Tuning(tmp_path / "t").trials] == [0, 1, 2]
    assert same(again(tmp_path), done)


def test_a_killed_search_loses_only_its_unfinished_line(done, tmp_path):
    path = again(tmp_path, trials=3).path / "trials.jsonl"
    whole = path.read_bytes()
    path.write_bytes(whole[: whole[:-1].rfind(b"\n") + 20])
    assert same(again(tmp_path), done)


@pytest.mark.slow
def test_more_trials_continue_a_search(done, tmp_path):
    again(tmp_path, trials=3)
    assert same(again(tmp_path), done)


def test_another_question_is_refused(done):
    with pytest.raises(SettingsError, match=r"begun with space.gamma='0.9,0.99', and this search"):
        asked = {"lr": "1e-4:1e-1:log", "gamma": "0.9,0.95"}
        out = done.path.parent
        sw.tune(PPO_SMALL, "CartPole-v1", asked, 6, trial_batch=3, out=out, name="t", **SMALL)


@pytest.mark.parametrize(
    "text", [b"[]\n", b"{}\n", b'{"number": 0}\n', b"\xff\n", b"[" * 9999 + b"\n"]
)
def test_a_damaged_line_is_named(done, tmp_path, text):
    folder = tmp_path / "t"
    folder.mkdir()
    (folder / "trials.jsonl").write_bytes((done.path / "trials.jsonl").read_bytes() + text)
    with pytest.raises(DamagedFileError, match="line 7 is no trial"):
        sw.Tuning(folder).trials  # noqa: B018


def changed(done, tmp_path, change):
    """A copy of the search whose trials were changed."""
    shutil.copytree(done.path, tmp_path / "t")
    path = tmp_path / "t" / "trials.jsonl"
    lines = [json.loads(x) for x in path.read_text().splitlines()]
    change(lines)
    path.write_text("".join(json.dumps(x) + "\n" for x in lines))
    return tmp_path


@pytest.mark.parametrize(
    "change, error",
    [
        (lambda x: x.insert(1, x[0]), "line 2 is no trial .trial 0 is there twice"),
        (
            lambda x: x[2].update(per_seed=[float("nan")] * 2),
            "line 3 is no trial .NaN is no number",
        ),
        (
            lambda x: x[3].update(settings={"lr": "x"}),
            "the settings of trial 3, .* are not of this",
        ),
        (lambda x: x[3]["settings"].update(lr=7.0), "the settings of trial 3, .* are not of this"),
    ],
)
def test_trials_that_are_not_of_the_search_are_named_before_any_is_run(
    done, tmp_path, change, error, monkeypatch
):
    out = changed(done, tmp_path, change)
    monkeypatch.setattr(search, "run_batch", None)
    with pytest.raises(DamagedFileError, match=error):
        again(out, trials=9)


def test_two_processes_do_not_share_a_search(done):
    with folder.alone(done.path), pytest.raises(SettingsError, match="another process works on"):
        again(done.path.parent)


@pytest.mark.parametrize("name", ["trials", "trials.jsonl", "tune.json", "lock"])
def test_a_search_writes_through_no_link(tmp_path, name):
    outside, out = tmp_path / "outside", tmp_path / "out"
    outside.mkdir()
    more = {**SMALL, "out": out, "name": "t", "steps": 64}
    ask = PPO_SMALL, "gymnasium:CartPole-v1", {"lr": "1e-4,1e-2"}
    sw.tune(*ask, 1, **more)
    place = out / "t" / name
    if place.is_dir():
        shutil.rmtree(place)
    place.unlink(missing_ok=True)
    place.symlink_to(outside if name == "trials" else outside / name)
    with pytest.raises((DamagedFileError, SettingsError), match=r"a symbolic link|no search"):
        sw.tune(*ask, 5, **more)
    assert not list(outside.iterdir())


@pytest.mark.parametrize("name", ALGORITHMS)
def test_every_algorithm_has_its_flags_beside_those_of_a_search(name):
    words = [name, "CartPole-v1", "--tune", "lr=1e-4:1e-3", "--trial-batch", "3"]
    ask = make_parser(ALGORITHMS[name]).read(words)
    assert ask.trial_batch == 3 and ask.tune == [("lr", "1e-4:1e-3")]


def test_the_best_and_the_start_are_trained_on_other_seeds(tmp_path):
    start = replace(PPO_SMALL, lr=1e-7)  # which learns nothing
    more = {**SMALL, "steps": 8192, "confirm": 3}
    tuning = sw.tune(
        start, "CartPole-v1", {"lr": "1e-7,1e-3"}, 5, trial_batch=5, out=tmp_path, **more
    )
    answer = tuning.confirmed
    assert answer["settings"] == {"lr": 1e-3} and answer["seeds"] == [1000, 1001, 1002]
    run = trained(tmp_path, replace(start, lr=1e-3), steps=8192, seeds=3, seed=1000, name="r")
    np.testing.assert_allclose(answer["best"]["per_seed"], run.final(), rtol=1e-4)
    assert answer["best"]["mean"] > answer["start"]["mean"]
    assert answer["probability_of_improvement"] == 1.0


@pytest.mark.slow
def test_scores_can_be_evaluations_and_replay_is_searched_too(tmp_path):
    dqn = DQN(envs=2, capacity=256, warmup=64, batch=8)
    more = {**SMALL, "steps": 256}
    tuning = sw.tune(
        dqn, "CartPole-v1", {"lr": "1e-4:1e-2:log"}, 2, evaluate_episodes=3, out=tmp_path, **more
    )
    run = trained(tmp_path, dqn, steps=256, name="r")
    expected = run.evaluate(3).returns.mean(1)
    np.testing.assert_allclose(tuning.trials[0]["per_seed"], expected, rtol=1e-5)


@pytest.mark.slow
def test_environments_on_a_host_are_runs_of_their_own(tmp_path):
    tuning = sw.tune(
        PPO_SMALL, "gymnasium:CartPole-v1", {"lr": "1e-4,1e-2"}, 2, out=tmp_path, name="t", **SMALL
    )
    run = sw.load(tmp_path / "t" / "trials" / "1")
    assert tuning.trials[1]["per_seed"] == run.final().tolist()
    assert run.config["algorithm"]["fields"]["lr"] == tuning.trials[1]["settings"]["lr"]


@pytest.mark.parametrize(
    "more, error",
    [({"trials": 0}, "trials=0"), ({"confirm": -1}, "confirm=-1"), ({"steps": 0}, "steps=0")],
)
def test_a_question_that_cannot_work_leaves_nothing(tmp_path, more, error):
    with pytest.raises(SettingsError, match=error):
        sw.tune("ppo", "CartPole-v1", out=tmp_path / "runs", **{**SMALL, **more})
    assert not (tmp_path / "runs").exists()


def test_the_command_refuses_it_before_it_says_anything_else(tmp_path, capsys):
    words = ["tune", "ppo", "CartPole-v1", "--trials", "0", "--out", str(tmp_path / "x")]
    assert main(words) == 2
    assert capsys.readouterr().err == "spinward: trials=0 must be at least 1\n"


def test_equal_scores_say_nothing_of_settings():
    one, other = ({"per_seed": [x, 2.0], "reason": ""} for x in (1.0, 3.0))
    assert all_alike([one, one]) and not all_alike([one, other]) and not all_alike([one])


def test_a_missing_optuna_is_named(monkeypatch, tmp_path):
    monkeypatch.setitem(__import__("sys").modules, "optuna", None)
    with pytest.raises(SettingsError, match=r"needs Optuna: pip install -e '.\[tune\]'"):
        sw.tune("ppo", "CartPole-v1", out=tmp_path / "runs", **SMALL)
    assert not (tmp_path / "runs").exists()


def test_the_command_prints_its_answer_and_goes_on(tmp_path, capsys):
    words = "tune ppo CartPole-v1 --tune lr=1e-3,1e-2 --trials 3 --steps 1024 --seeds 2 --logs 4"
    words += (
        f" --confirm 0 --envs 4 --rollout 16 --epochs 1 --minibatches 1 --out {tmp_path} --name t"
    )
    assert main(words.split()) == 0
    first = capsys.readouterr()
    assert "best of 3 trials: lr=" in first.out and "train with it: spinward train ppo" in first.out
    assert "--envs 4 --rollout 16 --epochs 1 --minibatches 1 --lr 0.01 --steps 1024" in first.out
    assert "trial 2: lr=" in first.err
    assert (tmp_path / "t" / "trials.png").read_bytes().startswith(b"\x89PNG")
    assert main([*words.split(), "--json"]) == 0
    again = capsys.readouterr()
    assert json.loads(again.out)["trials"] == 3 and "trial 2: " not in again.err


@pytest.mark.parametrize(
    "answer, better",
    [
        ({"trial": 0}, False),
        ({"trial": 3}, True),  # without a check
        ({"trial": 3, "best": {"value": 2.0}, "start": {"value": 1.0}}, True),
        ({"trial": 3, "best": {"value": 1.0}, "start": {"value": 1.0}}, False),
        ({"trial": 3, "best": {"value": 1.0}, "start": {"value": 2.0}}, False),
        ({"trial": 3, "best": {"value": None}, "start": {"value": 2.0}}, False),
        ({"trial": 3, "best": {"value": 1.0}, "start": {"value": None}}, True),
    ],
)
def test_other_seeds_decide_what_is_advised(answer, better):
    assert is_better(answer) == better


def test_search_is_public():
    assert search.tune is sw.tune and search.Tuning is sw.Tuning
