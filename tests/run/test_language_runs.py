"""The three steps as runs that build on one another, and what they refuse before they begin."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tokenizers import Tokenizer, models, pre_tokenizers

import spinward
from spinward.algorithms.grpo import GRPO
from spinward.algorithms.ppo import PPO
from spinward.algorithms.ppo_tokens import PPOTokens
from spinward.algorithms.reward_model import RewardModel
from spinward.algorithms.sft import SFT
from spinward.cli import train as command
from spinward.core import replace
from spinward.envs.grammar import Grammar
from spinward.errors import DamagedFileError, SettingsError, SpinwardError
from spinward.language import models as language
from spinward.language import pretrained
from spinward.networks.decoder import Decoder, Shape
from spinward.rewards.reward_model_score import RewardModelScore
from spinward.rewards.verifier import Verifier
from spinward.run.assemble import assemble, of_run
from spinward.run.assemble import model as model_of
from spinward.run.experiment import Experiment

TINY = {"width": 8, "layers": 1, "heads": 2, "context": 14, "rollout": 9}


@pytest.fixture(scope="module")
def steps(tmp_path_factory):
    """SFT, a reward model and PPO on it, of a few updates each."""
    folder = tmp_path_factory.mktemp("steps")
    pairs = folder / "pairs.jsonl"
    pairs.write_text("\n".join(json.dumps(row) for row in Grammar().examples("pairs", 8)))
    out = {"out": folder, "checkpoint_s": 0.0}
    sft = spinward.train(SFT(batch=4, updates=2, **TINY), "Grammar", 4, name="sft", **out)
    model = RewardModel(batch=4, updates=2, rollout=9, lr=1e-3)
    more = {"data": pairs, "model": sft.path, "name": "judge", **out}
    judge = spinward.train(model, "Grammar", 4, **more)
    settings = PPOTokens(envs=8, rollout=9, epochs=1, kl_target=1.0, kl_horizon=80.0)
    reward = RewardModelScore(str(judge.path), texts=8)
    more = {"reward": reward, "model": sft.path, "name": "ppo", **out}
    return sft, judge, spinward.train(settings, "Grammar", 144, seeds=1, **more)


def test_each_step_begins_with_what_the_one_before_has_learned(steps):
    sft, judge, ppo = steps
    first, first_experiment = of_run(str(sft.path))
    model = model_of(str(sft.path))
    for a, b in zip(jax.tree.leaves(model.decoder), jax.tree.leaves(first.decoder), strict=True):
        np.testing.assert_array_equal(a, b)
    assert model.vocabulary.end == Grammar.end and first_experiment.experiment.env.name == "Grammar"
    point = ppo.points[0]
    assert abs(point["kl"][0]) < 1e-5  # from where it began
    assert abs(point["score"][0]) < 2.0 and point["episode_return"] != point["score"]
    assert of_run(str(judge.path))[0].head is not None
    assert ppo.experiment.model == str(sft.path)
    assert assemble(ppo.experiment).parts.algorithm.start.shape == first.decoder.shape


def test_the_price_of_a_nat_falls_while_the_distance_is_below_its_target(steps):
    price = steps[2].curves("kl_coef")[1][0]
    assert price[0] == pytest.approx(0.05) and price[1] == pytest.approx(0.05 * 0.98)


def test_a_policy_that_writes_is_evaluated_by_the_scores_of_its_task(steps):
    score = steps[0].evaluate(6, explore=True)
    assert score.returns.shape == (1, 6) and (np.abs(score.returns) <= 1.0).all()


def test_low_rank_changes_of_a_run_are_merged_where_it_is_built_on(steps, tmp_path):
    algorithm = GRPO(envs=4, group=2, rollout=9, lora=2)
    run = assemble(Experiment(algorithm, "Grammar", 36, model=str(steps[0].path))).parts.algorithm
    agent = run.init(jax.random.key(0), Grammar().spec)
    assert len(jax.tree.leaves(agent.learner.model.decoder)) == 14  # two for each projection
    assert run.start is not None


@pytest.mark.parametrize(
    ("algorithm", "settings", "said"),
    [
        (GRPO(), {}, "GRPO starts from a language model.*--model"),
        (SFT(), {"env": "CartPole-v1"}, "SFT writes text, and needs a task of text"),
        (PPO(), {"env": "CartPole-v1", "model": "m"}, "PPO does not learn from texts"),
        (SFT(), {"env": "text"}, "text needs a model"),
        (SFT(), {"workers": 2}, "workers=2 cannot be used with texts"),
        (SFT(context=8), {}, "row 1 of Grammar: 11 tokens, of which 3 are the prompt"),
        (SFT(), {"model": "nowhere"}, "there is no such folder"),
        (SFT(), {"data": "nowhere.jsonl"}, "there is no file nowhere.jsonl"),
    ],
)
def test_what_cannot_work_is_refused_before_anything_is_made(algorithm, settings, said):
    experiment = Experiment(algorithm, steps=1, **{"env": "Grammar", **settings})
    with pytest.raises(SettingsError, match=said):
        assert assemble(experiment).parts


def test_prompts_and_judges_that_cannot_be_used_are_refused(steps):
    more = {"model": str(steps[0].path)}
    with pytest.raises(SettingsError, match="Grammar has prompts of its own"):
        assert assemble(Experiment(GRPO(), "Grammar", 1, data="rows.jsonl", **more)).parts
    with pytest.raises(SettingsError, match="--reward-model"):
        assert assemble(
            Experiment(PPOTokens(), "Grammar", 1, reward=RewardModelScore(), **more)
        ).parts


def test_a_comparison_without_a_difference_is_refused_by_its_row(steps, tmp_path):
    path = tmp_path / "rows.jsonl"
    same = {"prompt": "<bos> the film", "chosen": "was fun", "rejected": "was fun"}
    path.write_text(json.dumps({**same, "rejected": "was bad"}) + "\n" + json.dumps(same))
    experiment = Experiment(RewardModel(), "Grammar", 1, data=str(path), model=str(steps[0].path))
    with pytest.raises(SpinwardError, match=r"rows.jsonl, row 2: chosen and rejected"):
        assert assemble(experiment).parts


@pytest.fixture
def checkpoint(tmp_path, monkeypatch):
    """A public checkpoint of a word for each token, and a file of prompts."""
    own = Tokenizer(models.WordLevel({f"w{i}": i for i in range(15)} | {"<end>": 15}, "w0"))
    own.pre_tokenizer = pre_tokenizers.Whitespace()
    monkeypatch.chdir(tmp_path)
    decoder = Decoder.init(jax.random.key(0), Shape.small(16, 8, 1, 2, 12))
    pretrained.save(tmp_path / "model", decoder)
    own.save("model/tokenizer.json")
    (tmp_path / "model" / "tokenizer_config.json").write_text('{"eos_token": "<end>"}')
    (tmp_path / "rows.jsonl").write_text('{"prompt": "w1 w2"}\n{"prompt": "w3"}\n')
    return decoder


def test_a_public_checkpoint_learns_from_prompts_of_a_file(checkpoint, tmp_path):
    (tmp_path / "score.py").write_text("def score(prompt, completion): return len(prompt) % 3\n")
    reward = Verifier("score.py:score")
    more = {"data": "rows.jsonl", "model": "model", "reward": reward, "out": tmp_path}
    run = spinward.train(GRPO(envs=8, group=4, rollout=4), "text", 32, **more)
    # "w1 w2" has 2 and "w3" has 2 letters over a multiple of 3
    assert run.points[0]["score"] == [2.0] and np.isfinite(run.points[0]["loss"]).all()


def test_a_checkpoint_whose_numbers_are_not_finite_is_refused(checkpoint):
    broken = jax.tree.map(lambda x: x.at[0].set(jnp.nan), checkpoint.layers.q)
    decoder = replace(checkpoint, layers=replace(checkpoint.layers, q=broken))
    with pytest.raises(DamagedFileError, match=r"model='m': layers.q.w has numbers that are not"):
        language.finite("m", language.Model(decoder, None))


def test_the_command_line_has_the_model_and_the_judge(steps):
    sft, judge, _ = steps
    words = ["ppo-tokens", "Grammar", "--model", str(sft.path), "--reward-model", str(judge.path)]
    kind = command.settings.find("algorithms", words[0])
    experiment = command.experiment_of(kind, command.make_parser(kind).read(words))
    assert isinstance(experiment.algorithm, PPOTokens) and experiment.algorithm.envs == 256
    assert experiment.model == str(sft.path) and experiment.reward == RewardModelScore(
        str(judge.path)
    )
