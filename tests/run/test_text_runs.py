"""Runs on texts of one's own: what they are scored by, what a reward is given, and that they open
from any folder and are exported whole."""

import json
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tokenizers import Tokenizer, models, pre_tokenizers

import spinward
from spinward.algorithms.dpo import DPO
from spinward.algorithms.grpo import GRPO
from spinward.algorithms.reward_model import RewardModel
from spinward.algorithms.sft import SFT
from spinward.cli.main import main
from spinward.errors import SettingsError
from spinward.language import pretrained
from spinward.networks.decoder import Decoder, Shape
from spinward.networks.language_policy import policy
from spinward.report import results
from spinward.rewards.reward_model_score import RewardModelScore
from spinward.rewards.verifier import Verifier
from spinward.run.assemble import assemble, of_run, scorer
from spinward.run.experiment import DataChoice, Experiment
from spinward.run.progress import Line
from spinward.run.run import load

WORDS = 16
END = WORDS - 1
TEMPLATE = (
    "{% if tools %}w9 {% endif %}{% for m in messages %}{{ m.role | replace('user', 'w7') "
    "| replace('assistant', 'w8') }} {{ m.content }} <end> {% endfor %}"
    "{% if add_generation_prompt %}w8 {% endif %}"
)
JUDGE = """
import json
SEEN = []
def right(prompt, completion, answer, level=0, **more):
    SEEN.append((prompt, completion, answer, level, sorted(more)))
    return float(prompt.split()[-1] == answer)
def plain(prompt, completion): return float(len(prompt))
def talks(conversation, written, answer):
    return float(conversation[-1]["content"] == answer)
def lacks(prompt, completion, grade): return 0.0
"""


def lines(path, rows):
    path.write_text("\n".join(json.dumps(row) for row in rows))
    return path


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A folder with a public checkpoint of a word for each token, texts and a reward."""
    folder = tmp_path_factory.mktemp("home")
    own = Tokenizer(models.WordLevel({f"w{i}": i for i in range(END)} | {"<end>": END}, "w0"))
    own.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    shape = Shape.small(WORDS, 8, 1, 2, 24)
    pretrained.save(folder / "model", Decoder.init(jax.random.key(0), shape))
    own.save(str(folder / "model" / "tokenizer.json"))
    config = {"eos_token": "<end>", "bos_token": "w1", "chat_template": TEMPLATE}
    (folder / "model" / "tokenizer_config.json").write_text(json.dumps(config))
    more = {"eos_token_id": [END, 3], "temperature": 0.6}
    (folder / "model" / "generation_config.json").write_text(json.dumps(more))
    lines(folder / "texts.jsonl", [{"prompt": f"w{i}", "completion": "w2 w3"} for i in range(9)])
    pairs = [{"prompt": f"w{i}", "chosen": "w2", "rejected": f"w{i} w4"} for i in range(9)]
    lines(folder / "pairs.jsonl", [*pairs, {"prompt": "w1", "chosen": "w2", "rejected": "w2"}])
    asked = [{"prompt": f"w5 w{i}", "answer": f"w{i}", "level": i, "id": "x"} for i in range(4)]
    lines(folder / "asked.jsonl", [*asked, {"prompt": "w5 w5 w5", "answer": "w4"}])
    (folder / "judge.py").write_text(JUDGE)
    return folder


@pytest.fixture(scope="module")
def runs(home):
    """A run of each kind, from within the folder, by paths that are relative to it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(home)
        out = {"model": "model", "out": "runs", "checkpoint_s": 0.0, "logs": 2}
        few = {"batch": 4, "updates": 2, "rollout": 4, "lr": 1e-2}
        pairs = DataChoice("pairs.jsonl", skip=True)
        sft = spinward.train(SFT(**few), "text", 4, data="texts.jsonl", name="sft", **out)
        judge = spinward.train(RewardModel(**few), "text", 4, data=pairs, name="judge", **out)
        dpo = spinward.train(DPO(**few), "text", 4, data=pairs, name="dpo", **out)
        paid = Verifier("judge.py:right")
        writes = GRPO(envs=4, group=2, rollout=4)
        grpo = spinward.train(writes, "text", 32, data="asked.jsonl", reward=paid, name="g", **out)
    return {name: home / run.path for name, run in
            (("sft", sft), ("judge", judge), ("dpo", dpo), ("grpo", grpo))}  # fmt: skip


def test_runs_open_from_any_folder(runs, home, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name, path in runs.items():
        run = load(path, trust=True)
        assert run.evaluate(4).returns.shape[0] == 1, name
        assert run.experiment.model == str(home / "model")
    assert load(runs["grpo"]).experiment.reward.function == f"{home / 'judge.py'}:right"
    assert main(["generate", str(runs["sft"]), "--prompt", "w1", "--tokens", "2"]) == 0


@pytest.mark.parametrize(
    ("name", "file"),
    [("sft", "model/tokenizer_config.json"), ("sft", "model/model.safetensors"),
     ("judge", "model/config.json"), ("dpo", "pairs.jsonl"), ("sft", "texts.jsonl")],
)  # fmt: skip
def test_a_changed_model_or_file_of_texts_is_refused_by_name(runs, home, name, file, capsys):
    path = home / file
    whole = path.read_bytes()
    named = path if file.endswith("jsonl") else path.parent
    path.write_bytes(whole + b" ")
    try:
        assert main(["evaluate", str(runs[name]), "--trust"]) == 4
    finally:
        path.write_bytes(whole)
    said = capsys.readouterr().err
    assert str(named) in said and "was changed; put it back" in said
    assert main(["evaluate", str(runs[name]), "--trust"]) == 0


def test_a_reward_model_that_learned_more_is_refused_by_name(runs, home, capsys):
    judge, copy = runs["judge"], home / "judge-copy"
    shutil.copytree(judge, copy)
    more = {"model": str(home / "model"), "out": home / "runs", "name": "scored"}
    writes, reward = GRPO(envs=4, group=2, rollout=4), RewardModelScore(str(copy))
    run = spinward.train(writes, "text", 32, reward=reward, data=home / "asked.jsonl", **more)
    load(copy).extend(8).train()
    assert main(["resume", str(run.path)]) == 4
    said = capsys.readouterr().err
    assert f"{copy}: expected the reward model with SHA-256" in said


def test_a_run_that_learns_texts_is_scored_by_the_loss_on_those_held_out(runs):
    run = load(runs["sft"])
    source = run.made.parts.source
    assert source.held.weight.shape[0] == 1 and source.rows == 8
    score = run.evaluate(3).to_json()
    learned = of_run(str(runs["sft"]))[0]
    batch = jax.tree.map(lambda x: jnp.asarray(x)[0].T, source.held)
    chosen, _, _ = policy(run.made.algorithm, learned, 1.0).unroll(batch)
    loss = -(chosen.log_prob(batch.action) * batch.weight).sum() / batch.weight.sum()
    assert score["mean"] == pytest.approx(float(loss), rel=1e-5) and score["episodes"] == 1
    assert score["metric"] == "loss per token on held-out texts" and 0 <= score["accuracy"][0] <= 1
    assert run.points[-1]["held_out_nll"] == pytest.approx([float(loss)], rel=1e-5)
    shown = results.summary(run)
    assert shown["iqm"] == pytest.approx(float(loss), rel=1e-5)
    page = results.write_report(run).read_text()
    assert "held-out loss per token" in page and "episode return" not in page


@pytest.mark.parametrize("name", ["judge", "dpo"])
def test_a_run_on_comparisons_is_scored_by_its_accuracy_on_those_held_out(runs, name, capsys):
    run = load(runs[name])
    score = run.evaluate(3).to_json()
    assert score["metric"] == "preference accuracy on held-out pairs"
    assert score["mean"] in (0.0, 1.0) and score["episodes"] == 1
    assert results.summary(run)["value"] == run.points[-1]["held_out_accuracy"][0] == score["mean"]
    assert main(["evaluate", str(runs[name])]) == 0
    assert "preference accuracy on held-out pairs, 1 in all" in capsys.readouterr().out


def test_a_reward_of_ones_own_is_what_a_run_is_scored_by(runs, capsys):
    run = load(runs["grpo"], trust=True)
    score = run.evaluate(64, explore=True, seed=3)
    assert score.metric.startswith("reward of ") and score.metric.endswith("judge.py:right")
    assert score.returns.mean() == pytest.approx(0.8, abs=0.2)  # the last of five prompts is wrong
    assert set(np.unique(score.returns)) == {0.0, 1.0}
    assert 0.0 < results.summary(run)["iqm"] == np.mean(run.curves("score")[1][:, -1])
    progress = Line(run.experiment)
    progress.metrics |= run.points[-1]
    assert progress.value().startswith("reward 0.") or progress.value() == "reward 1"
    assert main(["evaluate", str(runs["grpo"])]) == 2
    told = capsys.readouterr().err
    assert "scored by" in told and "--trust" in told


def test_a_reward_gets_the_columns_of_its_row(runs, home):
    from spinward.rewards import verifier

    score = verifier.loaded(f"{home / 'judge.py'}:right")
    seen = score.__globals__["SEEN"]
    seen.clear()
    load(runs["grpo"], trust=True).evaluate(64, seed=1)
    assert len(seen) == 64
    rows = [json.loads(line) for line in (home / "asked.jsonl").read_text().splitlines()]
    by_prompt = {row["prompt"]: row for row in rows}
    assert {prompt for prompt, *_ in seen} == by_prompt.keys()
    for prompt, _, answer, level, more in seen:
        row = by_prompt[prompt]
        assert (answer, level) == (row["answer"], row.get("level", 0))
        assert more == (["id"] if "id" in row else [])


def test_a_function_of_two_texts_is_given_no_more(home):
    experiment = made(home, "plain")
    experiment.parts.reward.try_once(experiment.parts.source)
    task = experiment.env
    found = experiment.parts.reward.scorer(*completions(task, [0, 4]))
    assert found.tolist() == [len("w5 w0"), len("w5 w5 w5")]


def test_a_conversation_is_given_as_it_was(home):
    talk = [{"role": "user", "content": "w2"}]
    rows = [{"prompt": talk, "answer": "w2"}, {"prompt": talk, "answer": "w3"}]
    made_of = made(home, "talks", lines(home / "talks.jsonl", rows))
    made_of.parts.reward.try_once(made_of.parts.source)
    assert made_of.parts.reward.scorer(*completions(made_of.env, [0, 1, 1])).tolist() == [1, 0, 0]


def test_a_column_that_a_reward_needs_and_a_row_lacks_is_told_before_training(home):
    made_of = made(home, "lacks")
    with pytest.raises(SettingsError, match="'grade', which prompt 1 lacks; it has prompt,"):
        made_of.parts.reward.try_once(made_of.parts.source)


def made(home, function, data=""):
    reward = Verifier(f"{home / 'judge.py'}:{function}")
    algorithm = GRPO(envs=4, group=2, rollout=4)
    data = str(data or home / "asked.jsonl")
    more = {"reward": reward, "data": data, "model": str(home / "model")}
    return assemble(Experiment(algorithm, "text", 32, **more))


def completions(task, numbers):
    """Tokens, weights and row numbers of so many prompts, each with an empty completion."""
    prompts = task.rows[np.array(numbers)].T
    tokens = np.concatenate([prompts, np.full((1, len(numbers)), END)])
    weight = np.zeros((len(prompts), len(numbers)))
    weight[-1] = 1
    return tokens, weight, np.array(numbers)


def test_a_task_without_a_score_needs_a_reward(home):
    more = {"data": str(home / "asked.jsonl"), "model": str(home / "model")}
    with pytest.raises(SettingsError, match=r"text has none of its own: .*--reward"):
        assert assemble(Experiment(GRPO(envs=4, group=2, rollout=4), "text", 32, **more)).parts


def test_what_is_exported_has_the_ids_and_the_generation_config(runs, tmp_path):
    out = tmp_path / "exported"
    assert main(["export", str(runs["sft"]), "--out", str(out)]) == 0
    config = json.loads((out / "config.json").read_text())
    assert (config["eos_token_id"], config["bos_token_id"]) == (END, 1)
    generation = json.loads((out / "generation_config.json").read_text())
    assert generation == {"eos_token_id": [END, 3], "temperature": 0.6, "bos_token_id": 1}
    words = json.loads((out / "tokenizer_config.json").read_text())
    assert words == {"eos_token": "<end>", "bos_token": "w1", "chat_template": TEMPLATE}
    first, again = of_run(str(runs["sft"]))[0].decoder, pretrained.load(out)
    jax.tree.map(np.testing.assert_array_equal, first, again)


def test_a_reward_model_is_exported_with_its_score_and_judges_from_there(runs, tmp_path):
    out = tmp_path / "exported"
    assert main(["export", str(runs["judge"]), "--out", str(out)]) == 0
    config = json.loads((out / "config.json").read_text())
    assert config["architectures"] == ["LlamaForSequenceClassification"]
    assert list(config["id2label"]) == ["0"]
    run, folder = scorer(str(runs["judge"])), scorer(str(out))
    jax.tree.map(np.testing.assert_array_equal, run, folder)
    reader = type("Reader", (), {"trained": staticmethod(scorer)})
    assert RewardModelScore(str(out)).opened(reader).model.head.w.shape == (8, 1)
    with pytest.raises(SettingsError, match="trained a policy"):
        RewardModelScore(str(runs["sft"])).opened(reader)


def test_the_command_line_says_what_was_left_out_and_held_out(home, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(home)
    words = ["train", "reward_model", "text", "--model", "model", "--data", "pairs.jsonl"]
    words += ["--steps", "1", "--batch", "2", "--updates", "1", "--out", str(tmp_path)]
    assert main([*words, "--name", "refused"]) == 2
    assert "pairs.jsonl, row 10: chosen and rejected" in capsys.readouterr().err
    assert not (tmp_path / "refused").exists()
    assert main([*words, "--skip", "--held-out", "0.3", "--name", "skipped"]) == 0
    captured = capsys.readouterr()
    told = captured.err + captured.out
    assert "1 of 10 rows skipped; the first: " in told and "3 of 9 rows held out" in told
    assert "held-out preference accuracy" in told
    assert main([*words, "--skip", "--max-length", "2", "--name", "none"]) == 2
    assert "no row can be used" in capsys.readouterr().err
    assert main([*words, "--held-out", "1", "--name", "none"]) == 2
    assert "held_out=1.0 must be at least 0 and below 1" in capsys.readouterr().err
