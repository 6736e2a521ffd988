"""A score in Python: what it is called with, what it pays, and what is refused beforehand."""

from types import SimpleNamespace

import jax
import numpy as np
import pytest

import spinward
from spinward.algorithms.grpo import GRPO
from spinward.algorithms.ppo import PPO
from spinward.algorithms.sft import SFT
from spinward.cli import train as command
from spinward.core import Transition
from spinward.envs.grammar import WORDS, Grammar, GrammarWords
from spinward.envs.text import PAD
from spinward.errors import NonFiniteError, SettingsError
from spinward.experience.generation import Generation
from spinward.rewards import verifier
from spinward.rewards.verifier import Verifier
from spinward.run.assemble import assemble
from spinward.run.experiment import Experiment
from spinward.run.run import load
from spinward.store import settings

HERE = "test_verifier"


READER = SimpleNamespace(vocabulary=GrammarWords, rows=lambda: None)


def words_with_o(prompt, completion):
    return sum("o" in word for word in completion.split())


def length_of_prompt(prompt, completion):
    return len(prompt)


def nothing(prompt, completion):
    return None


def no_number(prompt, completion):
    return float("nan")


def broken(prompt, completion):
    return completion.split()[0]


def dislikes_films(prompt, completion):
    if "film" in completion:
        raise ValueError("a film")
    return 1.0


def batch_of(rows):
    """Steps [time, env] through texts of words, of which each has `|` before what was written."""
    time = max(len(row.split()) - 1 for row in rows)
    tokens = np.full((time, len(rows)), PAD)
    chosen = np.zeros((time, len(rows)))
    for i, row in enumerate(rows):
        before, _, after = row.partition(" | ")
        before, after = GrammarWords().encode(before), GrammarWords().encode(after)
        tokens[: len(before) + len(after), i] = before + after
        chosen[len(before) : len(before) + len(after), i] = 1
    obs, following, weight = tokens[:-1], tokens[1:], chosen[1:]
    done = (weight > 0) & (np.r_[chosen[2:], 0 * chosen[:1]] == 0)
    fields = {"action": np.maximum(following, 0), "reward": 0 * weight, "terminated": done}
    arrays = {"obs": obs, "next_obs": following, "truncated": 0 * done > 0, "weight": weight}
    return jax.tree.map(jax.numpy.asarray, Transition(**arrays, **fields, extras={}))


def test_it_is_called_with_two_texts_and_pays_at_the_last_token(monkeypatch):
    seen = []
    monkeypatch.setattr(verifier, "loaded", lambda place: lambda *t: seen.append(t) or len(seen))
    batch = batch_of(["<bos> the film | was good <eos>", "<bos> the game | was <eos>"])
    reward = Verifier("any").opened(READER)
    _, paid, metrics = jax.jit(reward.label)((), batch, jax.random.key(0))
    assert seen == [("<bos> the film", "was good"), ("<bos> the game", "was")]
    assert paid.reward[:, 0].tolist() == [0, 0, 0, 0, 1]
    assert paid.reward[:, 1].tolist() == [0, 0, 0, 2, 0] and metrics["score"] == 1.5


def test_all_seeds_are_scored_in_one_call(monkeypatch):
    calls = []
    monkeypatch.setattr(verifier, "loaded", lambda place: calls.append(place) or words_with_o)
    rows = ["<bos> the film | was good <eos>", "<bos> the film | looked odd <eos>"]
    one, other = batch_of(rows), batch_of(rows[::-1])
    both = jax.tree.map(lambda *x: jax.numpy.stack(x), one, other)
    reward = Verifier("any").opened(READER)
    found = jax.jit(jax.vmap(lambda b: reward.label((), b, None)[1].reward.sum(0)))(both)
    assert found.tolist() == [[1, 2], [2, 1]] and calls == ["any"]


@pytest.mark.parametrize(
    ("name", "error", "said"),
    [
        ("nothing", SettingsError, "gives None for an empty completion of '<bos> the .*a number"),
        ("no_number", NonFiniteError, "gives nan for an empty completion"),
        ("broken", SettingsError, "fails on an empty completion of .*IndexError"),
        ("HERE", SettingsError, "is a str; expected a function"),
        ("absent", SettingsError, "has no absent"),
    ],
)
def test_a_function_that_gives_no_score_is_refused_before_training(name, error, said):
    reward = Verifier(f"{HERE}:{name}").opened(READER)
    with pytest.raises(error, match=said):
        reward.try_once(Generation(Grammar(), 1, 1))


@pytest.mark.parametrize(
    ("algorithm", "env", "said"),
    [(SFT(), "Grammar", "SFT learns from texts as they are"), (PPO(), "CartPole-v1", "no texts")],
)
def test_an_algorithm_that_writes_nothing_has_no_verifier(algorithm, env, said):
    with pytest.raises(SettingsError, match=said):
        assert assemble(Experiment(algorithm, env, 1, reward=Verifier(f"{HERE}:nothing"))).parts


@pytest.mark.slow
def test_a_function_that_fails_on_the_way_is_told_with_the_text_it_failed_on(tmp_path):
    tiny = {"width": 8, "layers": 1, "heads": 2, "context": 14, "rollout": 9}
    sft = spinward.train(SFT(batch=4, updates=2, **tiny), "Grammar", 2, out=tmp_path, name="sft")
    algorithm = GRPO(envs=8, group=4, rollout=9, kl_in="")
    reward = Verifier(f"{HERE}:dislikes_films")
    more = {"reward": reward, "model": sft.path, "out": tmp_path, "name": "grpo"}
    said = r"dislikes_films failed on '.*film.*' after '<bos> the .*ValueError\('a film'\)"
    with pytest.raises(NonFiniteError, match=said):
        spinward.train(algorithm, "Grammar", 20 * 72, **more)
    assert list((tmp_path / "grpo/shards/0/checkpoints").iterdir())
    assert "a film" in reward.failure()
    reward.opened(READER).try_once(Generation(Grammar(), 1, 1))
    assert reward.failure() == ""  # and is not told of the next run


def test_a_run_learns_from_it_and_needs_trust_to_go_on(tmp_path):
    tiny = {"width": 8, "layers": 1, "heads": 2, "context": 14, "rollout": 9}
    sft = spinward.train(SFT(batch=4, updates=2, **tiny), "Grammar", 2, out=tmp_path, name="sft")
    words = ["grpo", "Grammar", "--model", str(sft.path), "--reward", f"{HERE}:words_with_o"]
    kind = settings.find("algorithms", "grpo")
    reward = command.experiment_of(kind, command.make_parser(kind).read(words)).reward
    assert reward == Verifier(f"{HERE}:words_with_o")
    more = {"reward": reward, "model": sft.path, "out": tmp_path, "name": "grpo", "seeds": 2}
    algorithm = GRPO(envs=64, group=8, rollout=9, lr=0.02, kl_in="")
    run = spinward.train(algorithm, "Grammar", 20 * 576, shards=1, **more)
    score = run.curves("score")[1]
    share = sum("o" in word for word in WORDS) / len(WORDS)
    assert abs(score[:, 0] / 9 - share).max() < 0.2  # of a model that knows nothing
    assert (score[:, -1] > score[:, 0] + 1.0).all()
    with pytest.raises(SettingsError, match="scored by test_verifier:words_with_o; --trust"):
        load(run.path).train()
