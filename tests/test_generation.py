"""Completions as experience: against a policy whose every token is known, and a real decoder."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from spinward.core import Policy, config
from spinward.envs.text import PAD, Text, token_spec
from spinward.errors import SettingsError
from spinward.experience.generation import Generation
from spinward.networks.decoder import Decoder, Shape
from spinward.networks.distributions import Categorical

END, STEPS, PROMPT = 9, 4, 3


@config
class Sums:
    """Prompts of 2 or 3 digits; the score of a completion is the sum of its tokens and its task's
    number, less 100 where it has no end."""

    @property
    def spec(self):
        return token_spec(10)

    prompt, end, vocabulary = PROMPT, END, None

    def reset(self, key):
        k_length, k_digit = jax.random.split(key)
        digit = jax.random.randint(k_digit, (), 1, 5)
        prompt = jnp.stack([digit, digit + 1, digit])
        short = jnp.arange(PROMPT) < jax.random.randint(k_length, (), 0, 2)
        return digit, jnp.where(short, PAD, prompt)

    def score(self, state, completion):
        total = jnp.where(completion == PAD, 0, completion).sum() + state
        return jnp.float32(total) - 100.0 * ~(completion == END).any()


def act(obs, memory, key):
    """Says one more than what was read last, and 9 after 5; remembers how much it has read."""
    read = jnp.repeat(obs, len(memory) // obs.shape[1], 1) if obs.ndim == 2 else obs[None]
    memory = memory + (read != PAD).sum(0)
    action = jnp.where(read[-1] >= 5, END, read[-1] + 1)
    return action, memory, {"memory": memory}


COUNTING = Policy(act, lambda envs: jnp.zeros(envs, jnp.int32))


@pytest.fixture(scope="module")
def collected():
    source = Generation(Sums(), 8, STEPS, group=2)
    _, batch, metrics = jax.jit(lambda key: source.collect((), COUNTING, key))(jax.random.key(5))
    return jax.tree.map(np.asarray, batch), metrics


def test_rows_are_what_a_loop_in_python_makes_of_each_prompt(collected):
    batch, metrics = collected
    assert isinstance(Sums(), Text)
    assert batch.obs.shape == (PROMPT - 1 + STEPS, 8)
    endings = set()
    for env in range(8):
        digit = int(batch.obs[1, env]) - 1
        prompt, token, written = list(batch.obs[:PROMPT, env]), digit, []
        assert prompt[1:] == [digit + 1, digit] and prompt[0] in (digit, PAD)
        while len(written) < STEPS and token != END:
            token = END if token >= 5 else token + 1
            written.append(token)
        rows, first = len(batch.obs), PROMPT - 1
        last = first + len(written) - 1
        whole = prompt + written + [PAD] * (STEPS - len(written))
        reads = [*whole[: last + 1], *[PAD] * (rows - last - 1)]
        follows = [*whole[1 : last + 2], *[PAD] * (rows - last - 1)]
        np.testing.assert_array_equal(batch.obs[:, env], reads)
        np.testing.assert_array_equal(batch.next_obs[:, env], follows)
        np.testing.assert_array_equal(batch.action[first : last + 1, env], written)
        weight = [first <= t <= last for t in range(rows)]
        np.testing.assert_array_equal(batch.weight[:, env], weight)
        at_last = np.arange(rows) == last
        done = batch.terminated[:, env], batch.truncated[:, env]
        np.testing.assert_array_equal(done[0], at_last & (token == END))
        np.testing.assert_array_equal(done[1], at_last & (token != END))
        score = sum(written) + digit - 100 * (token != END)
        np.testing.assert_array_equal(batch.reward[:, env], np.where(at_last, score, 0.0))
        counted = np.cumsum(np.array(reads) != PAD)[first:]
        np.testing.assert_array_equal(batch.extras["memory"][first:, env], counted)
        endings.add(token == END)
    assert endings == {True, False} and (batch.obs == PAD).any()
    assert metrics["episode_return"] == pytest.approx(batch.reward.sum(0).mean(), rel=1e-6)
    assert metrics["episode_length"] == batch.weight.sum(0).mean()
    assert metrics["finished"] == batch.terminated.any(0).mean() and metrics["finite"]
    assert (batch.action[: PROMPT - 1] >= 0).all()  # a prompt's, of weight 0, can be looked up


def test_a_group_is_columns_side_by_side_of_one_prompt(collected):
    prompts = collected[0].obs[:PROMPT].T.reshape(4, 2, PROMPT)
    np.testing.assert_array_equal(prompts[:, 0], prompts[:, 1])
    assert len({tuple(p) for p in prompts[:, 0]}) > 1
    with pytest.raises(SettingsError, match="group=3 does not divide envs=8"):
        Generation(Sums(), 8, STEPS, group=3).check()


def test_log_probs_of_sampling_are_those_of_reading_the_batch_again():
    shape = Shape.small(10, width=16, context=8, family="qwen2")
    like = jax.eval_shape(lambda: Decoder.init(jax.random.key(0), shape))
    random = np.random.default_rng(0)
    decoder = jax.tree.map(lambda x: jnp.float32(0.2 * random.normal(size=x.shape)), like)
    source = Generation(Sums(), 16, STEPS)

    def chosen(hidden):
        return Categorical(decoder.logits(hidden) / 0.7)

    def act(obs, memory, key):
        tokens = obs.T if obs.ndim == 2 else obs[:, None]
        hidden, memory = decoder.extend(tokens, tokens != PAD, memory)
        choice = chosen(hidden[:, -1])
        action = choice.sample(key)
        return action, memory, {"log_prob": choice.log_prob(action)}

    policy = Policy(act, lambda envs: decoder.cache(envs, PROMPT + STEPS))

    @jax.jit
    def run(key):
        _, batch, _ = source.collect((), policy, key)
        again = decoder.hidden(batch.obs.T, batch.obs.T != PAD).swapaxes(0, 1)
        return batch, chosen(again).log_prob(batch.action)

    batch, again = run(jax.random.key(1))
    counts = batch.weight == 1
    np.testing.assert_allclose(batch.extras["log_prob"][counts], again[counts], atol=1e-5)
    assert (batch.extras["log_prob"][counts] > -20).all()
    assert len({tuple(c) for c in batch.action.T.tolist()}) > 4
    other, _ = run(jax.random.key(2))
    assert (other.action != batch.action).any()
    jax.tree.map(np.testing.assert_array_equal, run(jax.random.key(1))[0], batch)
