"""A run is assembled once, models are opened once, and settings of parts are given by flags."""

import numpy as np
import pytest
from twin import ALGORITHMS, tiny

from spinward.cli import main as command
from spinward.cli.parser import own_settings
from spinward.errors import SettingsError
from spinward.experience.logged import LoggedSteps
from spinward.experience.replay import Replay
from spinward.language import models as language
from spinward.run import assemble as place
from spinward.run import reopened, run
from spinward.run.assemble import assemble
from spinward.run.config import from_config, read_config
from spinward.run.experiment import DataChoice, EnvChoice, Experiment
from spinward.run.run import load, train


@pytest.fixture
def count(monkeypatch):
    """Counts how often something is assembled."""
    calls = []
    real = place.assemble

    def counted(experiment):
        calls.append(experiment)
        return real(experiment)

    for module in (place, run, reopened):
        monkeypatch.setattr(module, "assemble", counted)
    return calls


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """The folder of a small run."""
    run = train(tiny(ALGORITHMS["dqn"]), "CartPole-v1", 40, out=tmp_path_factory.mktemp("small"))
    return str(run.path)


def test_training_assembles_a_run_once(count, tmp_path, capsys):
    words = ["train", "dqn", "CartPole-v1", "--steps", "2200", "--out", str(tmp_path)]
    assert command.main([*words, "--warmup", "200", "--explore-steps", "500"]) == 0
    assert len(count) == 1


NEVER = ("report", "plot", "label")  # read what a run has written
COMMANDS = (  # on a run; those of games and of language models are below
    "resume RUN",
    "evaluate RUN --episodes 2",
    "evaluate RUN --episodes 2 --env CartPole-Endless",
    "report RUN",
    "plot RUN",
    "watch RUN --frames 2 --out OUT.gif",
    "export RUN --out OUT",
    "data record RUN --steps 20 --out OUT",
    "label RUN --people",
)


@pytest.mark.parametrize("words", COMMANDS)
def test_every_command_assembles_a_run_once(words, small, count, tmp_path, capsys):
    places = {"RUN": small, "OUT": str(tmp_path / "out")}
    given = [places.get(w, w.replace("OUT.", f"{places['OUT']}.")) for w in words.split()]
    code = command.main(given)
    assert code == 0 or given[0] == "label"  # nobody labels in this run
    assert len(count) <= 1
    assert count or words.split()[0] in NEVER


@pytest.mark.slow
def test_commands_on_games_assemble_each_run_once(count, tmp_path, capsys, monkeypatch):
    runs = [
        str(
            train(
                tiny(ALGORITHMS["alphazero"], game=None), "TicTacToe", 8, out=tmp_path, name=name
            ).path
        )
        for name in "ab"
    ]
    count.clear()
    assert command.main(["tournament", *runs, "--games", "2"]) == 0
    assert len(count) == 2
    count.clear()
    monkeypatch.setattr("builtins.input", lambda *_: "q")
    command.main(["play", runs[0]])
    assert len(count) == 1
    capsys.readouterr()


@pytest.mark.slow
def test_a_language_model_is_opened_once_however_often_it_is_asked_for(count, tmp_path):
    sft = train(
        tiny(ALGORITHMS["sft"], start=None, context=64), "Grammar", 2, out=tmp_path, name="sft"
    )
    scorer = train(tiny(ALGORITHMS["reward_model"], start=None), "Grammar", 2, out=tmp_path,
                  name="scorer", model=sft.path)  # fmt: skip
    count.clear()
    place.trained_at.cache_clear()
    from spinward.rewards.reward_model_score import RewardModelScore

    algorithm = tiny(ALGORITHMS["ppo_tokens"], start=None)
    train(algorithm, "Grammar", 16, out=tmp_path, name="ppo", model=sft.path,
          reward=RewardModelScore(str(scorer.path)))  # fmt: skip
    opened = [experiment.algorithm.__class__.__name__ for experiment in count]
    assert sorted(opened) == ["PPOTokens", "RewardModel", "SFT"]
    assert place.trained_at.cache_info().misses == 2
    first, _ = place.of_run(str(sft.path))
    hits = place.trained_at.cache_info().hits
    assert place.of_run(str(sft.path))[0] is first
    assert place.trained_at.cache_info().hits == hits + 1
    place.trained_at.cache_clear()
    for words in (
        ["generate", str(sft.path), "--prompt", "<bos> the film", "--tokens", "4", "--best-of", "2",
         "--reward-model", str(scorer.path)],
        ["export", str(sft.path), "--out", str(tmp_path / "out")],
        ["evaluate", str(tmp_path / "ppo"), "--episodes", "4"],
        ["resume", str(tmp_path / "ppo")],
    ):  # fmt: skip
        count.clear()
        assert command.main(words) == 0
        opened = [experiment.algorithm.__class__.__name__ for experiment in count]
        assert len(opened) == len(set(opened)), words


def test_a_model_that_has_changed_is_read_anew(tmp_path):
    file = tmp_path / "model.bin"
    file.write_bytes(b"1")
    before = language.stamp(tmp_path)
    assert language.stamp(tmp_path) == before
    file.write_bytes(b"22")
    assert language.stamp(tmp_path) != before


def test_environments_and_data_are_values_with_settings_that_a_config_keeps(tmp_path):
    env = EnvChoice("Pendulum-v1", {"limit": 50})
    data = DataChoice("some.npz", 0.25)
    experiment = Experiment(tiny(ALGORITHMS["sac"]), env, 10, data=data)
    (tmp_path / "config.json").write_text(experiment.to_json())
    found = from_config(read_config(tmp_path / "config.json"))
    assert (found.env, found.data) == (env, data) and found == experiment
    assert experiment.env.make().limit == 50
    plain = Experiment(tiny(ALGORITHMS["sac"]), "Pendulum-v1", 10)
    assert '"env": "Pendulum-v1"' in plain.to_json() and '"data": ""' in plain.to_json()
    with pytest.raises(SettingsError, match="Pendulum-v1 has no setting 'limits'; did you mean"):
        EnvChoice("Pendulum-v1", {"limits": 3}).make()
    with pytest.raises(SettingsError, match=r"data\.share=0\.0 must be above 0"):
        Experiment(tiny(ALGORITHMS["sac"]), "Pendulum-v1", 10, data=DataChoice("d", 0.0)).check()


def test_dotted_flags_are_settings_of_parts(tmp_path, capsys):
    words = [
        "--env.limit",
        "50",
        "x",
        "--reward.beta=0.5",
        "--env.fine-print",
        "true",
    ]
    rest, own = own_settings(words, ("env", "reward"))
    assert rest == ["x"]
    assert own == {"env": {"limit": 50, "fine_print": True}, "reward": {"beta": 0.5}}
    with pytest.raises(SettingsError, match=r"--env\.limit needs a value"):
        own_settings(["--env.limit", "--seeds"], ("env",))
    out = ["--out", str(tmp_path), "--name", "r", "--steps", "100"]
    words = ["train", "ppo", "Pendulum-v1", "--envs", "2", "--rollout", "16", "--minibatches", "2"]
    assert (
        command.main([*words, *out, "--env.limit", "8", "--reward", "rnd", "--reward.beta", "0.3"])
        == 0
    )
    run = load(tmp_path / "r")
    assert run.experiment.env == EnvChoice("Pendulum-v1", {"limit": 8})
    assert run.experiment.reward.beta == 0.3
    assert run.points[-1]["episode_length"] == [8.0]
    assert command.main([*words, *out[:-4], "--reward", "rnd", "--reward.bta", "0.3"]) == 2
    assert "did you mean beta" in capsys.readouterr().err


@pytest.fixture(scope="module")
def logged_run(tmp_path_factory):
    """CartPole as a random policy plays it, kept."""
    out = tmp_path_factory.mktemp("logged")
    dqn = tiny(ALGORITHMS["dqn"], warmup=512, capacity=4096, explore_steps=10**6, batch=32)
    return train(dqn, "CartPole-v1", 2000, out=out, name="log", log_data=True)


SLOW = [pytest.param(n, marks=pytest.mark.slow) for n in ("c51", "qr_dqn", "ensemble_dqn")]


@pytest.mark.parametrize("name", ["dqn", "rem", *SLOW])
def test_q_learners_learn_from_logged_data_by_their_own_files(name, logged_run, tmp_path):
    algorithm = tiny(ALGORITHMS[name], n_step=3)
    run = train(algorithm, "CartPole-v1", 40, 2, out=tmp_path, data=logged_run.path, shards=1)
    source = run.made.parts.source
    assert isinstance(source, LoggedSteps) and source.layout.window == 3
    assert run.points[-1]["env_steps"] == 40 and "episode_return" not in run.points[-1]
    assert np.isfinite(run.points[-1]["loss"]).all()
    assert run.evaluate(3).returns.shape == (2, 3)
    # No checkpoint holds the data.
    from spinward.store import checkpoint

    path, _ = checkpoint.latest(run.path / "shards/0/checkpoints")
    assert not [leaf for leaf in checkpoint.verify(path).leaves if leaf.startswith("source")]


@pytest.mark.parametrize("name", ["sac", pytest.param("ddpg", marks=pytest.mark.slow), "td3"])
def test_actor_critics_learn_from_logged_data_by_their_own_files(name, tmp_path):
    log = train(tiny(ALGORITHMS["sac"], warmup=64, capacity=512), "Pendulum-v1", 400,
                out=tmp_path, name="log", log_data=True)  # fmt: skip
    run = train(tiny(ALGORITHMS[name]), "Pendulum-v1", 20, out=tmp_path, data=log.path)
    assert np.isfinite(run.points[-1]["loss" if name != "sac" else "td_loss"]).all()


def test_prioritised_replay_of_logged_data_draws_what_errors_are_large(logged_run, tmp_path):
    run = train(tiny(ALGORITHMS["dqn"], prioritised=True), "CartPole-v1", 40, out=tmp_path,
                data=logged_run.path)  # fmt: skip
    assert np.isfinite(run.points[-1]["loss"]).all()


def test_a_share_of_every_batch_may_be_logged_and_the_rest_the_agents_own(logged_run, tmp_path):
    data = DataChoice(str(logged_run.path), 0.25)
    run = train(tiny(ALGORITHMS["dqn"]), "CartPole-v1", 200, out=tmp_path, data=data)
    source = run.made.parts.source
    assert isinstance(source, Replay)
    assert (source.layout.batch, source.logged.layout.batch) == (6, 2)
    assert run.points[-1]["env_steps"] >= 200 and "episodes" in run.points[-1]
    with pytest.raises(SettingsError, match="leaves no window of data"):
        train(tiny(ALGORITHMS["dqn"]), "CartPole-v1", 200, out=tmp_path,
              data=DataChoice(str(logged_run.path), 0.01))  # fmt: skip
    with pytest.raises(SettingsError, match="PPO learns by taking steps, and cannot use data"):
        train(tiny(ALGORITHMS["ppo"]), "CartPole-v1", 200, out=tmp_path, data=logged_run.path)


def test_logged_steps_follow_each_other_and_cuts_are_truncations(logged_run):
    steps = assemble(
        Experiment(tiny(ALGORITHMS["dqn"]), "CartPole-v1", 1, data=str(logged_run.path))
    ).parts.source.ring.data
    obs, next_obs = (np.asarray(x)[:, 0] for x in (steps.obs, steps.next_obs))
    done = np.asarray(steps.terminated | steps.truncated)[:, 0]
    follows = (obs[1:] == next_obs[:-1]).all(1)
    assert (follows == ~done[:-1]).all() and done[-1]
    assert 0 < np.asarray(steps.truncated).sum() < 10  # of each environment the last


def test_a_run_is_scored_in_another_environment_that_fits(logged_run, capsys):
    own = logged_run.evaluate(5).returns
    other = logged_run.evaluate(5, env="gymnasium:CartPole-v1").returns
    assert own.shape == other.shape == (1, 5)
    with pytest.raises(SettingsError, match=r"Acrobot-v1 shows .* trained in CartPole-v1"):
        logged_run.evaluate(5, env="Acrobot-v1")
    words = ["evaluate", str(logged_run.path), "--episodes", "2", "--json"]
    assert command.main([*words, "--env", "gymnasium:CartPole-v1"]) == 0
    assert '"episodes": 2' in capsys.readouterr().out
