"""Text to tokens and back, chat templates, and which tokens the assistant has said."""

import json

import numpy as np
import pytest
import tokenizers
from tokenizers import decoders, models, pre_tokenizers, trainers

from spinward.errors import DamagedFileError, SettingsError
from spinward.language import tokenizer
from spinward.language.chat import Template

CHATML = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + "
    "message['content'] + '<|im_end|>' + '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
FORGETFUL = "{% for m in messages[-2:] %}{{ m.role + ': ' + m.content + '<|im_end|>' }}{% endfor %}"
TALK = [
    {"role": "user", "content": "Who is it?"},
    {"role": "assistant", "content": "It is I."},
    {"role": "user", "content": "Oh."},
    {"role": "assistant", "content": "Yes, it is."},
]


@pytest.fixture(scope="module")
def own():
    found = tokenizers.Tokenizer(models.BPE())
    found.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    found.decoder = decoders.ByteLevel()
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=300, special_tokens=special, initial_alphabet=alphabet, show_progress=False
    )
    found.train_from_iterator(["it is what it is, said the fox to the other fox"] * 3, trainer)
    return found


def lay(folder, own, **config):
    folder.mkdir(exist_ok=True)
    own.save(str(folder / "tokenizer.json"))
    content = {"eos_token": "<|im_end|>", "chat_template": CHATML, **config}
    (folder / "tokenizer_config.json").write_text(json.dumps(content))
    return folder


def test_text_comes_back_and_special_tokens_are_single_numbers(own, tmp_path):
    found = tokenizer.load(lay(tmp_path, own), own.get_vocab_size())
    for text in ("it is the fox", "Ünïcode \u2014 \U0001f98a\n\ttoo"):
        tokens = found.encode(text)
        assert found.decode(tokens) == text
        assert found.decode(np.array([-1, *tokens, found.end, -1])) == text
    assert found.encode("fox<|im_end|>")[-1] == found.end == own.token_to_id("<|im_end|>")
    assert found.prompt("fox") == found.encode("fox")
    started = tokenizer.load(
        lay(tmp_path, own, bos_token={"content": "<|endoftext|>"}, add_bos_token=True), 320
    )
    assert started.prompt("fox") == [own.token_to_id("<|endoftext|>"), *found.encode("fox")]


def test_a_conversation_is_the_template_and_the_assistants_part_is_marked(own, tmp_path):
    found = tokenizer.load(lay(tmp_path, own), 300)
    tokens, said = found.answers(TALK)
    text = "".join(f"<|im_start|>{m['role']}\n{m['content']}<|im_end|>\n" for m in TALK)
    assert own.decode(tokens, skip_special_tokens=False) == text
    marked = own.decode([t for t, s in zip(tokens, said, strict=True) if s], False)
    assert marked == "It is I.<|im_end|>Yes, it is.<|im_end|>"
    assert found.chat(TALK) == tokens
    prompt = found.chat(TALK[:3], continues=True)
    assert prompt == tokens[: len(prompt)]
    assert own.decode(prompt, False).endswith("assistant\n")
    assert [*prompt, *found.answer(TALK[:3], TALK[3:])] == tokens[:-1]  # but for a newline


def test_templates_are_read_from_wherever_they_stand(tmp_path):
    config = {
        "chat_template": [{"name": "tools", "template": "t"}, {"name": "default", "template": "d"}]
    }
    assert Template.of(tmp_path, config).source == "d"
    (tmp_path / "chat_template.json").write_text('{"chat_template": "j"}')
    assert Template.of(tmp_path, {}).source == "j"
    (tmp_path / "chat_template.jinja").write_text("{{ bos_token }}{{ [1] | tojson }}{{ '<' }}")
    found = Template.of(tmp_path, {"bos_token": {"content": "<s>"}, "chat_template": "other"})
    assert found.render(TALK) == "<s>[1]<"
    marked = (
        "{%- for m in messages -%}{% generation %}{{ m.content }}{%- endgeneration %}{%- endfor %}"
    )
    assert Template(marked).render(TALK[:1]) == "Who is it?"


@pytest.mark.parametrize(
    ("source", "told"),
    [
        ("{{ raise_exception('roles must alternate') }}", "roles must alternate"),
        ("{{ messages.__class__.__mro__ }}", "refuses"),  # the sandbox
        ("{{ messages.append(1) }}", "refuses"),
        ("{% for %}", "cannot be read"),
        ("{{ missing.thing }}", "refuses"),
    ],
)
def test_templates_that_fail_or_reach_out_are_told(source, told):
    with pytest.raises(SettingsError, match=told):
        Template(source).render(TALK)


def test_a_template_that_changes_earlier_turns_cannot_be_learned_from():
    with pytest.raises(SettingsError, match="before message 2"):
        Template(FORGETFUL).spans(TALK)


@pytest.mark.parametrize(
    ("vocab", "config", "told"),
    [
        (200, {}, "the model has 200 tokens: they do not belong together"),
        (9_000, {}, "do not belong together"),
        (300, {"eos_token": "</s>"}, "'</s>', which it has not"),
        (300, {"eos_token": None}, "does not say which token ends a text"),
    ],
)
def test_a_tokenizer_that_does_not_fit_is_refused(own, tmp_path, vocab, config, told):
    with pytest.raises(SettingsError, match=told):
        tokenizer.load(lay(tmp_path, own, **config), vocab)


def test_the_end_is_taken_from_the_model_where_the_tokenizer_has_none(own, tmp_path):
    lay(tmp_path, own, eos_token=None)
    (tmp_path / "config.json").write_text('{"eos_token_id": [2, 0]}')
    assert tokenizer.load(tmp_path, 300).end == 2


def test_files_that_are_absent_or_damaged_are_told_apart(own, tmp_path):
    with pytest.raises(SettingsError, match=r"no tokenizer\.json"):
        tokenizer.load(tmp_path, 300)
    (tmp_path / "tokenizer.json").write_text('{"model": 3}')
    with pytest.raises(DamagedFileError, match="is damaged"):
        tokenizer.load(tmp_path, 300)


def test_what_is_saved_reads_the_same(own, tmp_path):
    first = tokenizer.load(lay(tmp_path / "one", own, bos_token="<|endoftext|>"), 300)
    first.save(tmp_path / "two")
    second = tokenizer.load(tmp_path / "two", 300)
    assert (second.end, second.prompt("it is")) == (first.end, first.prompt("it is"))
    assert second.answers(TALK) == first.answers(TALK)
