"""What a model writes: the same as reading it again says, judged, sorted, and told."""

import json
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tokenizers
from tokenizers import decoders, models, pre_tokenizers

from spinward.cli.main import main
from spinward.core import config
from spinward.envs.grammar import Grammar, GrammarWords
from spinward.envs.prompts import FilePrompts
from spinward.errors import NonFiniteError, SettingsError
from spinward.experience.generation import sample
from spinward.language import models as language
from spinward.language import pretrained
from spinward.language.chat import Template
from spinward.language.tokenizer import Tokenizer
from spinward.networks.decoder import Decoder, Shape
from spinward.networks.language_policy import Trained
from spinward.networks.layers import Linear
from spinward.networks.sampling import Sampling
from spinward.run import assemble
from spinward.run import generate as generating
from spinward.run.generate import generate

ECHO = "{% for m in messages %}{{ m.role + m.content }}{% endfor %}"


def model(vocab, context=24):
    shape = Shape.small(vocab, width=16, layers=1, heads=2, context=context, family="gpt2")
    like = jax.eval_shape(lambda: Decoder.init(jax.random.key(0), shape))
    random = np.random.default_rng(0)
    return jax.tree.map(lambda x: jnp.float32(0.3 * random.normal(size=x.shape)), like)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A checkpoint whose tokens are bytes."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    own = tokenizers.Tokenizer(models.BPE({c: i for i, c in enumerate(letters)}, []))
    own.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    own.decoder = decoders.ByteLevel()
    own.add_special_tokens(["<end>"])
    path = tmp_path_factory.mktemp("model")
    Tokenizer(own, own.token_to_id("<end>"), Template(ECHO)).save(path)
    pretrained.save(path, model(257))
    return path


@pytest.fixture
def runs(monkeypatch, tmp_path):
    """A run of a policy on the grammar, and reward models that like or cannot read its words."""
    decoder = model(GrammarWords.size)
    head = Linear(jnp.cos(jnp.arange(16.0))[:, None], jnp.ones(1))
    found = {"judge": head, "policy": None, "broken": Linear(jnp.full((16, 1), jnp.nan), head.b)}
    made = SimpleNamespace(env=Grammar())
    monkeypatch.setattr(assemble, "of_run", lambda n, *_, **__: (Trained(decoder, found[n]), made))
    monkeypatch.setattr(
        assemble, "model", lambda name, older: language.Model(decoder, GrammarWords())
    )
    (tmp_path / "policy" / "shards").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    return decoder, head


def test_log_probabilities_are_those_of_reading_what_was_written():
    decoder, sampling, end = model(13), Sampling(3.0, 8, 0.95), 10
    prompt = jnp.array([[-1, -1, 3], [1, 2, 5], [-1, 7, 8]] * 4)
    found = sample(decoder, sampling, prompt, 9, end, jax.random.key(3))
    tokens = np.asarray(found.tokens)
    whole = jnp.concatenate([prompt, found.tokens], 1)

    @jax.jit
    def again(decoder):
        read = sampling(decoder.logits(decoder.hidden(whole, whole >= 0)[:, 2:-1]))
        return read.log_prob(jnp.maximum(found.tokens, 0))

    real = tokens >= 0
    np.testing.assert_allclose(found.log_prob[real], again(decoder)[real], atol=1e-5)
    assert (found.log_prob[~real] == 0).all()
    for row in tokens:
        last = list(row).index(end) if end in row else len(row)
        assert (row[: last + 1] >= 0).all() and (row[last + 1 :] == -1).all()
    assert (~real).any() and real[:, -1].any()  # some end, and some run out of room


def test_a_checkpoint_writes_the_same_with_the_same_seed(folder):
    first = generate(folder, ["abc", "x"], 6, 2, seed=1)
    assert first == generate(folder, ["abc", "x"], 6, 2, seed=1)
    assert first != generate(folder, ["abc", "x"], 6, 2, seed=2)
    assert [a.prompt for a in first] == ["abc", "x"]
    assert all(len(a.completions) == 2 and a.completions[0].score is None for a in first)
    coldest = generate(folder, ["abc"], 6, 4, Sampling(temperature=0.0))[0].completions
    assert coldest == coldest[:1] * 4 and coldest[0].log_prob > -0.01
    talk = [{"role": "a", "content": "bc"}]  # the template only says who speaks
    one, two = generate(folder, [talk, "abc"], 6, 2, Sampling(0.0))
    assert one.completions == two.completions == coldest[:2] and one.prompt == "bc"


def test_completions_come_the_best_first_with_the_reward_models_scores(runs):
    decoder, head = runs
    (answer,) = generate("policy", ["<bos> the film"], 8, 4, reward_model="judge")
    scores = [c.score for c in answer.completions]
    assert scores == sorted(scores, reverse=True) and len(set(scores)) > 1
    rows = np.full((4, 11), -1)
    for row, c in zip(rows, answer.completions, strict=True):
        words = ["<bos> the film", c.text, "<eos>" * c.finished]
        tokens = GrammarWords().encode(" ".join(words))
        row[: len(tokens)] = tokens
    last = (rows >= 0).sum(1) - 1
    hidden = jax.jit(lambda d: d.hidden(jnp.asarray(rows), rows >= 0))(decoder)
    np.testing.assert_allclose(head(hidden[np.arange(4), last])[:, 0], scores, atol=1e-4)


def test_a_run_draws_a_prompt_of_its_task_which_scores_what_is_written(runs):
    (answer,) = generate("policy", (), 8, 4, seed=3)
    assert answer.prompt.startswith("<bos> the ")
    assert [c.score for c in answer.completions] == [-1.0] * 4  # a random model breaks the form
    (answer,) = generate("policy", ["<bos> the film"], 8, 4)
    assert answer.completions[0].score == -1.0


def test_a_task_that_judges_by_what_it_drew_does_not_judge_other_prompts(runs, monkeypatch):
    @config
    class Nouns(Grammar):
        def reset(self, key):
            prompt = super().reset(key)[1]
            return prompt[-1], prompt

    monkeypatch.setattr(assemble, "of_run", lambda n, **_: (None, SimpleNamespace(env=Nouns())))
    given, drawn = (generate("policy", p, 8, 4)[0] for p in (["<bos> the film"], ()))
    assert given.completions[0].score is None and drawn.completions[0].score == -1.0


@pytest.mark.parametrize(
    ("ask", "told"),
    [
        ({"tokens": -1}, "tokens=-1 must be at least 0"),
        ({"count": 0}, "count=0"),
        ({"sampling": Sampling(-1.0)}, "temperature=-1.0"),
        ({"sampling": Sampling(1.0, -2)}, "top_k=-2"),
        ({"sampling": Sampling(1.0, 0, 0.0)}, "top_p=0.0"),
        ({"prompts": [""]}, "a prompt is empty"),
        ({"prompts": ()}, "has no prompts of its own"),
        ({"tokens": 22}, "prompt of 3 tokens and tokens=22 more are longer than the model's"),
    ],
)
def test_what_cannot_work_is_told_before_anything_is_written(folder, ask, told):
    with pytest.raises(SettingsError, match=told):
        generate(folder, **{"prompts": ["abc"], **ask})


def test_reward_models_that_do_not_fit_are_told(runs, monkeypatch, folder):
    with pytest.raises(SettingsError, match="policy trained a policy; expected a reward model"):
        generate("policy", (), 8, 4, reward_model="policy")
    with pytest.raises(NonFiniteError, match="score of a completion is not finite"):
        generate("policy", (), 8, 4, reward_model="broken")
    monkeypatch.setattr(assemble, "model", lambda name, older: language.public(name))
    with pytest.raises(
        SettingsError, match=f"{GrammarWords.size} tokens and the model has 257: they do not fit"
    ):
        generate(str(folder), ["abc"], 6, 4, reward_model="judge")


def test_the_command_prints_texts_or_one_document_and_keeps_the_best(
    folder, runs, capsys, monkeypatch
):
    words = ["generate", "policy", "--prompt", "<bos> the film", "--tokens", "8"]
    assert main([*words, "--best-of", "4", "--reward-model", "judge", "--json"]) == 0
    out = capsys.readouterr()
    (row,) = json.loads(out.out)
    (kept,) = row["completions"]
    best = generate("policy", ["<bos> the film"], 8, 4, reward_model="judge")[0].completions[0]
    assert kept == best._asdict() and "at most 0.636 nats" in out.err
    assert main([*words, "--count", "4"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 4
    monkeypatch.setattr(
        assemble, "of_run", lambda n, **_: (None, SimpleNamespace(env=FilePrompts()))
    )
    assert main([*words, "--best-of", "4"]) == 2
    assert "needs a score" in capsys.readouterr().err
    assert main([*words, "--best-of", "4", "--count", "2"]) == 2
    monkeypatch.setattr(assemble, "model", lambda name, older: language.public(name))
    assert main(["generate", str(folder / "nowhere"), "--prompt", "a"]) == 2
    assert "there is no such folder" in capsys.readouterr().err
    rows = folder / "rows.jsonl"
    rows.write_text('{"prompt": "abc"}\n{"prompt": "c"}\n')
    assert (
        main(["generate", str(folder), "--data", str(rows), "--tokens", "6", "--count=2", "--json"])
        == 0
    )
    assert [r["prompt"] for r in json.loads(capsys.readouterr().out)] == ["abc", "c"]


def test_what_is_written_to_a_file_harms_no_other_and_is_told_in_json(
    folder, tmp_path, capsys, monkeypatch
):
    rows, out = tmp_path / "rows.jsonl", tmp_path / "out.jsonl"
    rows.write_text('{"prompt": "abc"}\n')
    (tmp_path / "link").symlink_to(rows)
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    words = ["generate", str(folder), "--data", str(rows), "--tokens", "4", "--count", "2", "--out"]
    assert main([*words, str(out), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"path": str(out), "prompts": 1}
    (row,) = map(json.loads, out.read_text().splitlines())
    assert row["prompt"] == "abc" and len(row["completions"]) == 2
    monkeypatch.setattr(generating, "generate", None)  # all of it is known before
    kept = {p.name: p.read_bytes() for p in tmp_path.iterdir() if p.is_file()}
    for place, said in (("rows.jsonl", "exists"), ("out.jsonl", "exists"), ("link", "exists"),
                        ("dangling", "exists"), ("missing/out.jsonl", "there is no folder"),
                        ("rows.jsonl/out", "there is no folder"), (".", "exists")):  # fmt: skip
        assert main([*words, str(tmp_path / place)]) == 2
        assert said in capsys.readouterr().err
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir() if p.is_file()} == kept
    assert not (tmp_path / "nowhere").exists() and not (tmp_path / "missing").exists()
