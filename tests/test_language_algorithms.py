"""What must hold of every algorithm on texts: where it starts, what counts, and what does not."""

import functools
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from twin import ALGORITHMS, Letters, first, language_model, tiny, written

from spinward.algorithms import grpo
from spinward.algorithms.ppo import PPO
from spinward.core import Policy, replace
from spinward.envs.text import PAD
from spinward.errors import DamagedFileError, SettingsError
from spinward.experience.generation import without_prompts
from spinward.experience.material import source_for
from spinward.experience.text_settings import optimiser
from spinward.learning.minibatches import standardise
from spinward.networks.distributions import Categorical
from spinward.networks.language_policy import (
    Direction,
    Trained,
    log_prob_and_entropy,
    log_probs,
    policy,
    reference,
    sample_token,
    scores,
    value_head,
)
from spinward.rewards.reward_model_score import RewardModelScore
from spinward.targets.advantages import gae

WRITERS = ("ppo_tokens", "grpo")
READERS = ("sft", "reward_model", "dpo")


@functools.cache
def begun(name, **settings):
    """An algorithm, its first agent, and its first batch, with a prompt for each row."""
    algorithm = tiny(ALGORITHMS[name], **{"envs": 8, "epochs": 1, "minibatches": 1, **settings})
    key = jax.random.key(3)
    agent = first(algorithm, Letters().spec, key)
    if name in READERS:
        ranked = 1 if name == "sft" else 2
        source = replace(written(ranked), updates=1, batch=4)
        _, batch, _ = jax.jit(lambda k: source.collect(source.init(k, ()), None, k))(key)
        return algorithm, agent, jax.tree.map(lambda x: np.asarray(x)[0], batch)
    source = source_for(algorithm.wants(Letters().spec), Letters())
    acting = Policy(
        functools.partial(algorithm.act, agent), functools.partial(algorithm.memory, agent)
    )
    _, batch, _ = jax.jit(lambda k: source.collect((), acting, k))(key)
    return algorithm, agent, batch


@jax.jit
def said(algorithm, model, batch):
    """The log-probabilities of a batch."""
    return log_probs(policy(algorithm, model), batch)


references = jax.jit(reference)


def loss_of(name, model, batch):
    """The loss of a batch, with other constants where the algorithm needs such."""
    algorithm, _, _ = begun(name)
    before = -jnp.ones(batch.weight.shape)
    more = {
        "sft": (), "reward_model": (), "dpo": (before,),
        "ppo_tokens": (jnp.cos(jnp.arange(batch.weight.size)).reshape(batch.weight.shape),
                       before, before, 0.1),
        "grpo": (jnp.ones(batch.weight.shape), before, batch.weight),
    }[name]  # fmt: skip
    return algorithm.loss(model, batch, *more)[0]


def test_sampled_log_probabilities_are_those_of_reading_and_the_first_ratio_is_one():
    algorithm, agent, batch = begun("grpo")
    assert (batch.obs == PAD).any() and 0 < batch.weight.mean() < 1
    again = said(algorithm, agent.learner.model, batch)
    np.testing.assert_allclose(again, batch.weight * batch.extras["log_prob"], atol=1e-5)
    _, metrics = jax.jit(algorithm.update)(agent, batch, jax.random.key(0))
    assert abs(float(metrics["approx_kl"][0])) < 1e-6 and metrics["clip_fraction"][0] == 0.0
    assert abs(float(metrics["kl"])) < 1e-5  # it is the model that it began with


def test_tokens_are_drawn_as_often_as_their_probabilities_say_and_never_if_those_are_0():
    for odds in (
        np.array([0.0, 0.5, 0.2, 0.0, 0.3, 0.0]),
        np.array([0.0, 0.1, 0.0, 0.0, 0.0, 0.0, 0.2, 0.05, 0.25, 0.1, 0.3]),  # blocks of 3
    ):
        many = jnp.broadcast_to(jnp.log(jnp.asarray(odds)), (40_000, len(odds)))
        counts = np.bincount(
            sample_token(Categorical(many), jax.random.key(0)), minlength=len(odds)
        )
        assert (counts[odds == 0] == 0).all()
        assert (np.abs(counts - 40_000 * odds) <= 4 * np.sqrt(40_000 * odds)).all()
    flat = sample_token(Categorical(jnp.zeros((40_000, 3))), jax.random.key(1))
    assert flat.min() >= 0 and flat.max() == 2  # the last is reached, and nothing beyond it


def test_what_is_told_of_tokens_is_their_log_probability_and_the_entropy():
    logits = jax.random.normal(jax.random.key(0), (3, 5, 7)) * 4.0 + 100.0
    action = jax.random.randint(jax.random.key(1), (3, 5), 0, 7)
    along = jax.random.normal(jax.random.key(2), (3, 5))

    def value(logits, own):
        distribution = Categorical(logits)
        if own:
            log_prob, entropy = log_prob_and_entropy(distribution, action)
        else:
            log_prob, entropy = distribution.log_prob(action), 0.0
        return (log_prob * along).sum() + jnp.sum(entropy), (log_prob, entropy)

    gradient = jax.value_and_grad(value, has_aux=True)
    (_, (log_prob, entropy)), found = gradient(logits, True)
    (_, (expected, _)), by_hand = gradient(logits, False)
    np.testing.assert_allclose(log_prob, expected, atol=2e-5)
    np.testing.assert_allclose(entropy, Categorical(logits).entropy(), atol=2e-5)
    np.testing.assert_allclose(found, by_hand, atol=2e-6)  # the entropy has none


@pytest.mark.parametrize("lora", [0, 2])
def test_a_prompt_read_once_for_its_group_has_the_log_probabilities_and_slopes_of_each(lora):
    algorithm, agent, batch = begun("grpo", lora=lora, group=4)
    own = without_prompts(batch, algorithm.rollout)
    before = len(batch.obs) - len(own.action)
    assert before > 0 and len(own.obs) == len(batch.obs) and len(own.reward) == algorithm.rollout
    weight = jnp.cos(jnp.arange(batch.weight.size)).reshape(batch.weight.shape)

    def said(model, batch, group):
        found = log_probs(policy(algorithm, model), batch, group)
        return (found * weight[-len(found) :]).sum(), found

    gradient = jax.jit(jax.value_and_grad(said, has_aux=True), static_argnums=2)
    (_, whole), expected = gradient(agent.learner.model, batch, 1)
    (_, found), gradients = gradient(agent.learner.model, own, 4)
    np.testing.assert_allclose(found, whole[before:], atol=1e-5)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-4), gradients, expected)
    again = jax.jit(reference, static_argnames="group")(algorithm, own, group=4)
    np.testing.assert_allclose(again, references(algorithm, batch)[before:], atol=1e-5)


def test_one_update_is_the_same_whether_texts_are_kept_in_groups_or_shuffled():
    algorithm, agent, batch = begun("grpo", accumulate=2)
    (one, _), (two, _) = (
        jax.jit(replace(algorithm, **settings).update)(agent, batch, jax.random.key(0))
        for settings in ({"epochs": 2}, {"minibatches": 2})
    )
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5),
        one.learner.model,
        two.learner.model,
    )
    assert any(
        jnp.abs(a - b).max() > 1e-4
        for a, b in zip(
            *map(jax.tree.leaves, (one.learner.model, agent.learner.model)), strict=True
        )
    )


def test_an_update_in_parts_is_that_of_the_whole_batch(monkeypatch):
    algorithm, agent, batch = begun("grpo", group=2, kl_in="loss_k2")
    agent = jax.tree.map(lambda x: x * 2.0 if x.dtype == jnp.float32 else x, agent)
    found = []
    for texts in (64, 4, 2):
        monkeypatch.setattr(grpo, "TEXTS", texts)
        parts = algorithm.parts((batch, batch.weight))[1]
        assert parts.shape == (max(1, 8 // texts), len(batch.obs), min(8, texts))
        found.append(jax.jit(lambda: algorithm.update(agent, batch, jax.random.key(0)))())
    for other in found[1:]:
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, atol=2e-5, rtol=1e-5), other, found[0]
        )
    _, metrics = found[0]
    chosen = policy(algorithm, agent.learner.model).unroll(batch)[0]
    entropy = (chosen.entropy() * batch.weight).sum() / batch.weight.sum()
    assert metrics["entropy"][0] == pytest.approx(float(entropy), rel=1e-5)
    assert metrics["kl_loss"][0] > 0 and metrics["clip_fraction"][0] > 0


def test_temperature_is_the_same_in_writing_in_reading_and_for_the_reference():
    algorithm, agent, batch = begun("grpo", temperature=0.5)
    again = said(algorithm, agent.learner.model, batch)
    np.testing.assert_allclose(again, batch.weight * batch.extras["log_prob"], atol=1e-5)
    np.testing.assert_allclose(references(algorithm, batch), again, atol=1e-5)
    colder = replace(algorithm, temperature=1.0)
    assert np.abs(said(colder, agent.learner.model, batch) - again).max() > 1e-2


@pytest.mark.parametrize("name", [*READERS, *WRITERS])
def test_what_is_not_chosen_and_what_is_padding_change_nothing(name):
    _, agent, batch = begun(name)
    key = jax.random.key(1)
    other = jax.random.randint(key, batch.action.shape, 0, 6)
    outside = batch.weight == 0
    junk = replace(
        batch,
        obs=jnp.where(batch.obs == PAD, -7, batch.obs),  # another number that is no token
        action=jnp.where(outside, other, batch.action),
        extras=jax.tree.map(lambda x: jnp.where(outside, 0.3, x), batch.extras),
    )
    value = jax.jit(jax.value_and_grad(functools.partial(loss_of, name)))
    (one, gradient), (two, gradient_of_junk) = (
        value(agent.learner.model, b) for b in (batch, junk)
    )
    assert float(one) == float(two) and np.isfinite(float(one))
    for a, b in zip(jax.tree.leaves(gradient), jax.tree.leaves(gradient_of_junk), strict=True):
        np.testing.assert_array_equal(a, b)
    assert any((a != 0).any() for a in jax.tree.leaves(gradient))


def test_a_text_alone_has_the_log_probabilities_it_has_among_others_with_padding():
    algorithm, agent, batch = begun("grpo")
    whole = said(algorithm, agent.learner.model, batch)
    for i in (0, 3, 5):
        start = int((batch.obs[:, i] != PAD).argmax())
        alone = jax.tree.map(lambda x, i=i, s=start: np.asarray(x)[s:, i : i + 1], batch)
        found = said(algorithm, agent.learner.model, alone)
        np.testing.assert_allclose(found[:, 0], whole[start:, i], atol=1e-5)


def test_the_loss_of_ppo_on_tokens_is_that_of_ppo():
    algorithm, agent, batch = begun("ppo_tokens")
    model = replace(agent.learner.model, head=value_head(8))
    advantage = jnp.sin(jnp.arange(batch.weight.size)).reshape(batch.weight.shape)
    returns = 0.5 * advantage

    @jax.jit
    def losses(model):
        ours = algorithm.loss(model, batch, advantage, returns, advantage, 0.1)
        tokens = policy(algorithm, model)
        return ours, PPO.loss(algorithm, tokens, batch, advantage, returns)[0]

    (found, metrics), own = losses(model)
    chosen, value, _ = jax.jit(lambda m: policy(algorithm, m).unroll(batch))(model)
    log_ratio = chosen.log_prob(batch.action) - batch.extras["log_prob"]
    scaled, count = standardise(advantage, batch.weight), batch.weight.sum()
    by_hand = -(batch.weight * np.exp(log_ratio) * scaled).sum() / count
    by_hand += 0.1 * 0.5 * (batch.weight * (value - returns) ** 2).sum() / count
    np.testing.assert_allclose(float(found), float(by_hand), rtol=1e-5, atol=1e-6)
    assert float(own) == float(found) and "kl_loss" not in metrics


def test_the_price_is_paid_token_by_token_and_the_score_at_the_end():
    """Against the sum that GAE with gamma and lambda of 1 is, where the values are 0."""
    algorithm, agent, batch = begun("ppo_tokens", kl_coef=0.5, lam=1.0)
    far = replace(algorithm, start=jax.tree.map(lambda x: 1.5 * x, language_model()))
    away = batch.weight * (batch.extras["log_prob"] - references(far, batch))
    rewards = np.asarray(batch.reward - 0.5 * away)
    expected = np.asarray(batch.weight) * np.cumsum(rewards[::-1], 0)[::-1]
    judged, zero = replace(batch, reward=batch.reward - 0.5 * away), jnp.zeros_like(away)
    np.testing.assert_allclose(gae(judged, zero, zero, 1.0, 1.0), expected, atol=1e-5)
    _, metrics = jax.jit(far.update)(agent, batch, jax.random.key(0))
    assert abs(float(metrics["approx_kl"][0])) < 1e-6 and metrics["clip_fraction"][0] == 0.0
    np.testing.assert_allclose(metrics["kl"], away.sum(0).mean(), rtol=1e-4)
    np.testing.assert_allclose(
        metrics["value_loss"][0], 0.5 * (expected**2).sum() / batch.weight.sum(), rtol=1e-3
    )


def test_the_members_of_a_group_have_one_prompt():
    _, _, batch = begun("grpo")
    prompts = np.asarray(batch.obs[:2]).T.reshape(4, 2, 2)
    assert (prompts[:, 0] == prompts[:, 1]).all()
    assert len({tuple(p[0]) for p in prompts}) > 1


def test_dpo_starts_at_log_2_and_its_reference_has_no_slope():
    algorithm, agent, batch = begun("dpo")
    before = references(algorithm, batch, temperature=1.0)
    loss, metrics = jax.jit(algorithm.loss)(agent.learner.model, batch, before)
    assert float(loss) == pytest.approx(np.log(2), abs=1e-6) and abs(metrics["margin"]) < 1e-6
    gradient = jax.jit(jax.grad(lambda s: reference(replace(algorithm, start=s), batch).sum()))(
        language_model()
    )
    assert all((x == 0).all() for x in jax.tree.leaves(gradient))


def test_a_reward_model_reads_the_last_token_and_its_scores_have_mean_0_and_standard_deviation_1():
    _, agent, _ = begun("reward_model")
    _, _, batch = begun("grpo")
    model = agent.learner.model
    model = replace(model, head=Direction(jax.random.normal(jax.random.key(5), (8, 1))))
    found = np.asarray(jax.jit(scores)(model, batch))
    hidden = jax.jit(lambda decoder, tokens: decoder.hidden(tokens, tokens >= 0))
    for i in range(8):
        tokens = np.concatenate([np.asarray(batch.obs)[:1, i], np.asarray(batch.next_obs)[:, i]])
        last = hidden(model.decoder, tokens[tokens != PAD][None])[0, -1]
        np.testing.assert_allclose(found[i], float(model.head(last)[0]), rtol=2e-4, atol=1e-5)
    reward = RewardModelScore("somewhere", unfinished=-5.0, texts=16, model=model)
    state = reward.init(jax.random.key(0), Letters().spec)
    label = jax.jit(reward.label)
    for _ in range(2):
        state, labelled, metrics = label(state, batch, jax.random.key(0))
    np.testing.assert_allclose([state.mean, state.std], [found.mean(), found.std()], rtol=1e-4)
    again, _, _ = label(state, labelled, jax.random.key(0))
    assert float(again.texts) == 16.0  # it has seen enough
    score, finished = np.asarray(labelled.reward.sum(0)), np.asarray(batch.terminated.any(0))
    expected = (found - found.mean()) / found.std()
    np.testing.assert_allclose(score[finished], expected[finished], atol=1e-4)
    assert (score[~finished] == -5.0).all() and (~finished).any() and finished.any()
    assert (np.asarray(labelled.reward != 0) <= np.asarray(batch.done)).all()
    assert np.isfinite(float(metrics["score"]))


def test_a_reward_model_without_a_score_or_with_parameters_that_are_not_finite_is_refused():
    decoder = language_model()
    with pytest.raises(SettingsError, match="--reward-model"):
        RewardModelScore().opened(None)
    with pytest.raises(SettingsError, match="trained a policy"):
        RewardModelScore("r").opened(SimpleNamespace(trained=lambda name: Trained(decoder, None)))
    broken = Trained(decoder, Direction(jnp.full((8, 1), jnp.nan)))
    with pytest.raises(DamagedFileError, match="not finite"):
        RewardModelScore("r").opened(SimpleNamespace(trained=lambda name: broken))


@pytest.mark.parametrize(
    ("name", "settings", "said"),
    [
        ("grpo", {"start": None}, "GRPO starts from a language model"),
        ("grpo", {"group": 3}, "group=3 does not divide envs=8"),
        ("grpo", {"group": 1}, "group=1 must be at least 2"),
        ("grpo", {"lora": 8}, "a rank of 8 must be above 0 and below"),
        ("grpo", {"temperature": 0.0}, "temperature=0.0 must be above 0"),
        ("grpo", {"rollout": 7}, "longer than the model's context = 8"),
        ("grpo", {"aggregation": "mean"}, "aggregation='mean' is not one of sequence"),
        ("ppo_tokens", {"kl_in": "k9"}, "kl_in='k9' is not one of reward"),
        ("ppo_tokens", {"minibatches": 3}, "minibatches=3 does not divide envs"),
        ("dpo", {"loss_type": "hinge"}, "loss_type='hinge' is not one of sigmoid, ipo"),
        ("sft", {"start": None, "family": "gpt9"}, "family='gpt9' is not one of gpt2"),
        ("sft", {"start": None, "heads": 3}, "width=8 must be an even number"),
    ],
)
def test_what_cannot_work_is_said_before_anything_runs(name, settings, said):
    algorithm = tiny(ALGORITHMS[name], **{"envs": 8, **settings})
    with pytest.raises(SettingsError, match=said):
        algorithm.check(Letters().spec)
        source_for(algorithm.wants(Letters().spec), Letters())


def test_a_model_of_another_vocabulary_is_refused():
    from spinward.envs.grammar import Grammar

    with pytest.raises(SettingsError, match="the model has 6 tokens and the task 35"):
        tiny(ALGORITHMS["dpo"]).check(Grammar().spec)


def test_low_rank_changes_alone_are_learned_and_begin_with_none():
    algorithm, agent, batch = begun("grpo", lora=2)
    np.testing.assert_array_equal(
        said(algorithm, agent.learner.model, batch), references(algorithm, batch)
    )
    gradient = jax.jit(jax.grad(lambda m: said(algorithm, m, batch).sum()))(agent.learner.model)
    assert all((x.b != 0).any() for x in gradient.decoder.deltas.values())
    assert len(jax.tree.leaves(gradient)) == 2 * len(gradient.decoder.deltas)


def test_groups_whose_scores_are_alike_teach_nothing_and_break_nothing():
    algorithm, agent, batch = begun("grpo", kl_in="")
    alike = replace(batch, reward=jnp.where(batch.done, 0.7, 0.0))
    after, metrics = jax.jit(algorithm.update)(agent, alike, jax.random.key(0))
    assert float(metrics["grad_norm"][0]) == 0.0 and float(metrics["groups_alike"]) == 1.0
    for a, b in zip(
        jax.tree.leaves(agent.learner.model), jax.tree.leaves(after.learner.model), strict=True
    ):
        np.testing.assert_array_equal(a, b)


def test_the_distance_from_the_start_is_measured_where_it_is_not_paid_for():
    algorithm, agent, batch = begun("grpo", kl_in="")
    away = jax.tree.map(lambda x: x + 0.1 * jnp.cos(jnp.arange(x.size)).reshape(x.shape), agent)
    written = said(algorithm, away.learner.model, batch)
    moved = replace(batch, extras={**batch.extras, "log_prob": written})
    before = references(algorithm, moved)
    _, metrics = jax.jit(algorithm.update)(agent, moved, jax.random.key(0))
    expected = (batch.weight * (written - before)).sum(0).mean()
    assert abs(float(expected)) > 0.01
    np.testing.assert_allclose(metrics["kl"], expected, rtol=1e-4)


def test_accumulated_gradients_are_one_step_of_their_mean():
    whole, parts = (optimiser(tiny(ALGORITHMS["sft"], accumulate=n), 0.1) for n in (1, 2))
    model, first, second = (jnp.array(x) for x in ([1.0, 2.0], [0.3, -0.1], [0.1, 0.2]))
    expected, _ = whole.update(0.5 * (first + second), whole.init(model), model)
    nothing, state = parts.update(first, parts.init(model), model)
    found, _ = parts.update(second, state, model)
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    assert (nothing == 0).all()
