"""The guide from texts to a model that people like: each of its commands, in their order, with a
program in place of the people."""

import json
import math
import re
import shlex
import time
from pathlib import Path

import jax
import numpy as np
import pytest

tokenizers = pytest.importorskip("tokenizers")
from tokenizers import Tokenizer, models, pre_tokenizers  # noqa: E402

from spinward.board import views  # noqa: E402
from spinward.cli.label import make_parser  # noqa: E402
from spinward.cli.main import main  # noqa: E402
from spinward.core import Transition  # noqa: E402
from spinward.evaluation import texts as evaluated_texts  # noqa: E402
from spinward.language import pretrained  # noqa: E402
from spinward.networks.decoder import Decoder, Shape  # noqa: E402
from spinward.people import database as databases  # noqa: E402
from spinward.people import texts  # noqa: E402
from spinward.people.accounts import Accounts  # noqa: E402
from spinward.people.labels import Labels  # noqa: E402
from spinward.run import text_samples  # noqa: E402
from spinward.store import text_points  # noqa: E402

PAGE = Path(__file__).parents[2] / "docs" / "guide" / "language_from_people.md"
SHELL = re.compile(r"^```sh\n(.*?)^```$", re.S | re.M)
WORDS = 12
END = WORDS - 1
GOOD = "w9"  # the more of it, the better
QUICK = {  # flags that make a command small
    "sft": ["--steps", "8", "--batch", "8"],
    "reward-model": ["--steps", "40", "--batch", "4", "--lr", "1e-2"],
    "ppo-tokens": ["--steps", "9600", "--envs", "16", "--rollout", "4", "--lr", "3e-3", "--logs",
                   "10", "--minibatches", "2", "--kl-coef", "0.01"],
    "generate": ["--tokens", "4"],
}  # fmt: skip


def lines(path, rows):
    path.write_text("\n".join(json.dumps(row) for row in rows))


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A folder with the model and the files that the page begins with."""
    own = Tokenizer(models.WordLevel({f"w{i}": i for i in range(END)} | {"<end>": END}, "w0"))
    own.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    shape = Shape.small(WORDS, 16, 1, 2, 24)
    pretrained.save(tmp_path / "models/small", Decoder.init(jax.random.key(0), shape))
    own.save(str(tmp_path / "models/small/tokenizer.json"))
    config = {"eos_token": "<end>", "bos_token": "w1"}
    (tmp_path / "models/small/tokenizer_config.json").write_text(json.dumps(config))
    rows = [{"prompt": f"w{i}", "completion": f"w{j} w{k}"}
            for i in range(2, 6) for j, k in ((2, 3), (9, 4), (5, 9), (6, 7))]  # fmt: skip
    lines(tmp_path / "texts.jsonl", rows)
    lines(tmp_path / "prompts.jsonl", [{"prompt": f"w{i} w{j}"} for i in (2, 3) for j in range(6)])
    monkeypatch.chdir(tmp_path)
    return tmp_path


def like(text):
    return text.split().count(GOOD)


def label(words):
    """Asks as the page's command does, and answers every question by the number of good words."""
    ask = make_parser().read(words)
    Path(ask.run).mkdir(exist_ok=True)
    database = databases.of_run(Path(ask.run), create=True)
    asked = texts.ask(database, texts.of_file(Path(ask.texts)))
    labels, who = Labels(database), Accounts(database, 1.0).named("Ann").id
    while question := labels.next(who):
        ordered = sorted(question.items, key=lambda i: -like(labels.item(i).content.decode()))
        if len(ordered) == 2:
            values = [like(labels.item(i).content.decode()) for i in question.items]
            side = "first" if values[0] > values[1] else "second"
            answer = "equal" if values[0] == values[1] else side
            labels.answer(who, question.id, answer, f"a{question.id} {time.monotonic()}")
        else:
            labels.rank(who, question.id, tuple(ordered), f"r{question.id}")
    database.close()
    return asked


@pytest.mark.slow
def test_every_command_of_the_page_leads_to_a_model_that_is_liked_more(home, capsys):
    commands = [shlex.split(x)[1:] for block in SHELL.findall(PAGE.read_text())
                for x in block.splitlines()]  # fmt: skip
    assert [c[0] for c in commands].count("label") == 5 and commands[-1][0] == "label"
    asked = 0
    for command, *words in commands:
        if command == "label" and "--texts" in words:
            asked += label(words)
        elif command != "board":  # it serves until it is stopped
            more = QUICK.get(words[0] if command == "train" else command, [])
            assert main([command, *words, *more]) == 0, (command, words, capsys.readouterr().err)
    rows = [json.loads(x) for x in (home / "labels.jsonl").read_text().splitlines()]
    assert asked > 12 and len(rows) > 30
    better = sum(like(r["chosen"]) > like(r["rejected"]) for r in rows)
    worse = sum(like(r["chosen"]) < like(r["rejected"]) for r in rows)
    assert better > 10 and worse == 0
    shares = []
    for name in ("samples", "better"):
        answers = [json.loads(x) for x in (home / f"{name}.jsonl").read_text().splitlines()]
        every = [text for row in answers for text in row["completions"]]
        shares.append(sum(map(like, every)) / len(every))
    assert shares[1] > shares[0] + 0.3  # good words in a text

    shown = views.texts(home / "runs/better")
    assert [p["env_steps"] for p in shown] == sorted(p["env_steps"] for p in shown)
    assert len(shown) == 2 and len(shown[0]["texts"]) == 4
    prompts = [[t["prompt"] for t in p["texts"]] for p in shown]
    assert prompts[0] == prompts[1] and all(p.startswith("w") for p in prompts[0])
    rewards = [sum(t["reward"] for t in p["texts"]) for p in shown]
    assert rewards[1] > rewards[0]


ODD = [{"prompt": 1}, {"completion": None}, {"completion": ["a"]}, {"reward": "1"},
       {"reward": True}, {"reward": math.nan}, {"reward": math.inf}, {"reward": 10**400},
       {"reward": [1]}, {"more": 1}]  # fmt: skip


def point_with(change):
    text = {"prompt": "a", "completion": "b", "reward": 1.0} | change
    return json.dumps([{"iteration": 1, "env_steps": 2, "texts": [text]}]).encode()


def test_damaged_texts_are_no_texts(tmp_path, capsys):
    for content in (b"", b"[]", b"{", b'[{"iteration": 1}]', b'[{"iteration": "x", "texts": []}]',
                    b'[{"iteration": 1, "env_steps": 2, "texts": [{"prompt": 1}]}]',
                    b'{"iteration": 1}', b'"text"', b"3", *map(point_with, ODD)):  # fmt: skip
        (tmp_path / text_points.FILE).write_bytes(content)
        assert text_points.read(tmp_path) == []
    (tmp_path / text_points.FILE).unlink()
    assert text_points.read(tmp_path) == []
    assert "damaged" not in capsys.readouterr().out


def batch_of(reward):
    """Texts of two prompts, of one token each and two that the policy chose."""
    obs = np.array([[2, 3], [4, 5], [6, 7]], np.int32)
    action = np.array([[4, 5], [6, 7], [8, 9]], np.int32)
    weight = np.array([[0, 0], [1, 1], [1, 1]], np.float32)
    flags = np.zeros((3, 2), bool)
    return Transition(obs, action, np.asarray(reward, np.float32), flags, flags, obs, weight, {})


class Words:
    end = 11

    def decode(self, tokens):
        return " ".join(f"w{i}" for i in tokens)


def test_a_reward_that_is_no_number_is_shown_as_none_and_ends_no_training(tmp_path):
    samples = text_samples.read_off(batch_of([[0, 0], [0, np.nan], [1.5, np.inf]]), Words())
    assert [(s.completion, s.reward) for s in samples] == [("w6 w8", 1.5), ("w7 w9", None)]
    assert text_samples.in_words(samples[1]) == '"w3 w5 > w7 w9" -'
    assert text_samples.in_words(samples[0]) == '"w2 w4 > w6 w8" 1.5'
    point = {"iteration": 1, "env_steps": 2, "texts": [s._asdict() for s in samples]}
    (tmp_path / text_points.FILE).write_text(json.dumps([point], allow_nan=False))
    assert text_points.read(tmp_path) == [point]


def test_a_text_and_its_reward_are_drawn_with_keys_of_their_own():
    """A reward that draws numbers would otherwise draw those that chose the tokens."""
    keys = []

    class Source:
        def collect(self, state, policy, key):
            keys.append(key)
            return state, batch_of(np.zeros((3, 2))), {}

    class Reward:
        def label(self, state, batch, key):
            keys.append(key)
            return state, batch, {}

    class Writer:
        rollout = 3

        def act(self): ...
        def memory(self): ...

    key = jax.random.PRNGKey(0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(evaluated_texts, "Generation", lambda *_: Source())
        evaluated_texts.written_once.__wrapped__(Writer(), None, Reward(), (), (), key, 2)
    assert len({np.asarray(k).tobytes() for k in (*keys, key)}) == 3
