"""Files of models that lie, loop or eat memory: each is one line, and soon."""

import json
import struct
import time

import numpy as np
import pytest
import tokenizers
from safetensors.numpy import save_file
from test_pretrained import lay

from spinward.cli.main import main
from spinward.errors import DamagedFileError, SettingsError, SpinwardError
from spinward.language import gguf, limited, pretrained, tokenizer, weights
from spinward.language.chat import LARGEST, Template

TALK = [{"role": "user", "content": "Who is it?"}]
LLAMA = {
    "model_type": "llama", "vocab_size": 32, "hidden_size": 16, "num_hidden_layers": 2,
    "num_attention_heads": 4, "num_key_value_heads": 2, "intermediate_size": 20,
    "max_position_embeddings": 32, "rms_norm_eps": 1e-6,
}  # fmt: skip


@pytest.mark.parametrize(
    ("source", "told"),
    [
        ("{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}", "CPU"),
        ("{{ 7 ** (10 ** 9) }}", "CPU time|memory"),
        ("{{ 'a' * 10 ** 10 }}", "MemoryError"),
        pytest.param(
            "{{ '%1000000000d' | format(1) }}{{ '%1000000000d' | format(1) }}",
            "Memory|letters",
            marks=pytest.mark.slow,
        ),
        ("{{ 'a' | center(10 ** 10) }}", "MemoryError"),
        ("{% for i in range(99999) %}{{ 'a' * 10 ** 6 }}{% endfor %}", "more than 16777216"),
        ("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", "recursion"),
        ("{{ " + "(" * 9_000 + "1" + ")" * 9_000 + " }}", "recursion|code"),
        ("{% include '/etc/passwd' %}", "no loader"),
        ("{{ cycler.__init__.__globals__ }}", "refuses"),
    ],
)
def test_a_template_has_so_much_time_and_memory(source, told):
    began = time.process_time()
    with pytest.raises(SettingsError, match=told):
        Template(source).render(TALK)
    assert time.process_time() - began < 2.0  # of ours: the template has a process of its own


def test_a_template_whose_process_ended_is_rendered_by_another():
    found = Template(
        "{% if messages | length > 1 %}{% for i in range(99999) %}{% for j in range(99999) %}"
        "{% endfor %}{% endfor %}{% endif %}{{ messages[0].content }}"
    )
    assert found.render(TALK) == "Who is it?"
    with pytest.raises(SettingsError, match="more than 5 s of CPU time"):
        found.render(TALK * 2)
    assert found.render(TALK) == "Who is it?"


@pytest.mark.parametrize(
    "source", [7, [1], [{"name": "a"}], {"default": 3}, "x" * (LARGEST + 1)],
    ids=["number", "list", "no template", "no text", "too long"],
)  # fmt: skip
def test_what_is_no_template_is_a_damaged_file(source, tmp_path):
    with pytest.raises(DamagedFileError, match="chat template"):
        Template.of(tmp_path, {"chat_template": source})
    (tmp_path / "chat_template.jinja").write_bytes(b"caf\xe9")
    with pytest.raises(DamagedFileError, match="no UTF-8"):
        Template.of(tmp_path, {})


def words(**parts):
    """The content of a tokenizer.json of four words."""
    vocab = {"a": 0, "b": 1, "<end>": 2, "<s>": 3}
    content = json.loads(tokenizers.Tokenizer(tokenizers.models.WordLevel(vocab, "a")).to_str())
    content["pre_tokenizer"] = {"type": "Whitespace"}
    return {**content, **parts}


def written(folder, content, **config):
    (folder / "tokenizer.json").write_text(json.dumps(content))
    (folder / "tokenizer_config.json").write_text(json.dumps({"eos_token": "<end>", **config}))
    return folder


@pytest.mark.parametrize(
    "parts",
    [
        {"normalizer": {"type": "Precompiled", "precompiled_charsmap": "AAAA"}},
        {"normalizer": {"type": "Precompiled", "precompiled_charsmap": "BAAAAP////8AAA=="}},
        {"pre_tokenizer": {"type": "FixedLength", "length": 0}},
        {
            "post_processor": {
                "type": "TemplateProcessing",
                "single": [{"Sequence": {"id": "B", "type_id": 0}}],
                "pair": [],
                "special_tokens": {},
            }
        },
        {"model": {"type": "WordLevel", "vocab": {}, "unk_token": "a"}, "pre_tokenizer": "none"},
    ],
)
def test_a_tokenizer_that_panics_or_fails_is_a_damaged_file(parts, tmp_path, capfd):
    with pytest.raises(DamagedFileError, match=r"tokenizer\.json is damaged"):
        tokenizer.load(written(tmp_path, words(**parts)), 4)
    assert capfd.readouterr().err == ""


def test_a_text_on_which_the_tokenizer_panics_is_one_line(tmp_path):
    class Panics(BaseException):
        pass

    Panics.__name__ = tokenizer.PANIC

    class Own:
        def encode(self, text, add_special_tokens):
            raise Panics("index out of bounds")

        decode = encode

    found = tokenizer.Tokenizer(Own(), 0)
    with pytest.raises(SettingsError, match=r"fails on 'ab': .*index out of bounds"):
        found.encode("ab")
    own = tokenizer.load(written(tmp_path, words()), 4)
    with pytest.raises(SettingsError, match="the tokenizer fails on"):
        own.encode("\ud800")  # half of a pair, which JSON can write and UTF-8 cannot
    Own.encode = lambda self, text, add_special_tokens: (_ for _ in ()).throw(KeyboardInterrupt)
    with pytest.raises(KeyboardInterrupt):
        found.encode("ab")


def slow(pattern):
    """A tokenizer.json with a regular expression of its own."""
    split = {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated"}
    return words(pre_tokenizer={**split, "invert": False})


def test_a_regular_expression_of_a_tokenizer_has_so_much_time(tmp_path, monkeypatch, capfd):
    """It takes twice as long for each letter: 22 take 0.05 s, and the text has 20 times 22."""
    own = tokenizer.load(written(tmp_path, slow("(x+x+)+y")), 4)
    assert own.encode("a b x") and own.decode([0, 1]) == "a b"
    monkeypatch.setattr(limited, "SECONDS", 0.1)
    with pytest.raises(SettingsError, match=r"the tokenizer fails on 'xxxx.*more than 0 s"):
        own.encode(("x" * 22 + "!") * 20)
    monkeypatch.undo()
    with pytest.raises(SettingsError, match="retry-limit-in-match"):  # its own limit, a panic
        own.encode("x" * 40 + "!")
    written(tmp_path, slow("(W+W+)+y"))
    monkeypatch.setattr(limited, "SECONDS", 0.0)
    monkeypatch.setattr(tokenizer, "TEXT", ("W" * 22 + "!") * 4)
    with pytest.raises(DamagedFileError, match=r"tokenizer\.json is damaged: TooLong"):
        tokenizer.load(tmp_path, 4)
    assert capfd.readouterr().err == ""


def test_a_tokenizer_with_regular_expressions_reads_as_without_limits(tmp_path):
    written(tmp_path, slow(r"\s+"))
    bare = tokenizers.Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    own = tokenizer.load(tmp_path, 4)
    assert isinstance(own.own, limited.Limited)
    for text in ("", "a b", "a  b a", "b"):
        found, expected = own.encoding(text), bare.encode(text, add_special_tokens=False)
        assert (found.ids, found.offsets) == (expected.ids, expected.offsets)
    own.save(tmp_path / "copy")
    saved = (tmp_path / "copy/tokenizer.json").read_text()
    assert json.loads(saved) == json.loads(bare.to_str())


def test_a_tokenizer_that_asks_to_cut_or_to_pad_does_neither(tmp_path):
    cut = {"direction": "Right", "max_length": 2, "strategy": "LongestFirst", "stride": 0}
    pad = {
        "strategy": {"Fixed": 9}, "direction": "Right", "pad_to_multiple_of": None, "pad_id": 0,
        "pad_type_id": 0, "pad_token": "a",
    }  # fmt: skip
    found = tokenizer.load(written(tmp_path, words(truncation=cut, padding=pad)), 4)
    assert found.encode("a b b a b") == [0, 1, 1, 0, 1]


@pytest.mark.parametrize(
    ("config", "told"),
    [
        ({"eos_token": 7}, "is no token"),
        ({"bos_token": [1], "add_bos_token": True}, "is no token"),
        ({"eos_token": None}, "does not say"),
        ({"bos_token": "<q>", "add_bos_token": True}, "'<q>', which it has not"),
    ],
)
def test_special_tokens_that_are_none_are_told(config, told, tmp_path):
    with pytest.raises(SpinwardError, match=told):
        tokenizer.load(written(tmp_path, words(), **config), 4)


@pytest.mark.parametrize("end", [-1, 4, 2**40])
def test_an_end_beyond_the_vocabulary_is_told(end, tmp_path):
    written(tmp_path, words(), eos_token=None)
    (tmp_path / "config.json").write_text(json.dumps({"eos_token_id": end}))
    with pytest.raises(DamagedFileError, match="that ends a text is none"):
        tokenizer.load(tmp_path, 4)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("vocab_size", "32"), ("vocab_size", -1), ("vocab_size", 2**60), ("vocab_size", 32.0),
        ("hidden_size", True), ("hidden_size", [16]), ("num_hidden_layers", 10**9),
        ("num_attention_heads", 0), ("num_attention_heads", {}), ("num_key_value_heads", 3),
        ("num_key_value_heads", "2"), ("head_dim", -4), ("head_dim", 3), ("head_dim", 1e300),
        ("intermediate_size", 0), ("max_position_embeddings", 10**30),
        ("rms_norm_eps", "small"), ("rms_norm_eps", -1.0), ("rms_norm_eps", float("nan")),
        ("rope_theta", 0), ("rope_theta", "10000"), ("rope_theta", float("inf")),
        ("rope_parameters", []), ("rope_scaling", "linear"),
        ("rope_scaling", {"type": "linear", "factor": "2"}),
        ("rope_scaling", {"type": "linear", "factor": 0}),
        ("rope_scaling", {"type": "linear", "rope_theta": []}),
        ("tie_word_embeddings", 1), ("attention_bias", "no"), ("mlp_bias", {}),
        ("layer_types", "full_attention"), ("model_type", ["llama"]),
    ],
)  # fmt: skip
def test_a_value_of_the_wrong_kind_in_a_config_is_named(name, value, tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({**LLAMA, name: value}))
    with pytest.raises(DamagedFileError, match=r"the config of .* is damaged: "):
        pretrained.load(tmp_path)


@pytest.mark.parametrize(
    ("name", "value"),
    [("layer_types", [[1]]), ("rope_scaling", {"type": [1]}), ("hidden_act", [1]),
     ("quantization_config", {"bits": 4})],
)  # fmt: skip
def test_a_value_that_a_decoder_has_not_is_named(name, value, tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({**LLAMA, name: value}))
    with pytest.raises(SettingsError):
        pretrained.load(tmp_path)


def test_a_config_as_large_as_a_disk_is_not_read(tmp_path):
    with open(tmp_path / "config.json", "wb") as file:
        file.truncate(2**40)  # a hole, which takes no room
    with pytest.raises(DamagedFileError, match="more than"):
        pretrained.load(tmp_path)


def head(entries, body=b"\0" * 16):
    text = entries if isinstance(entries, bytes) else json.dumps(entries).encode()
    return len(text).to_bytes(8, "little") + text + body


def entry(shape=(2, 2), offsets=(0, 16), dtype="F32"):
    return {"dtype": dtype, "shape": shape, "data_offsets": offsets}


@pytest.mark.parametrize(
    "data",
    [
        head({"a": entry(shape=[2**62, 2**62])}),
        head({"a": entry(shape=[-2, -2])}),
        head({"a": entry(shape=[2.0, 2.0])}),
        head({"a": entry(shape=[True, 4])}),
        head({"a": entry(shape=[10**400])}),
        head({"a": entry(shape=[1] * 10_000)}),
        head({"a": entry(shape="22")}),
        head({"a": entry(shape={"2": 2})}),
        head({"a": entry(offsets=[0, 2**70])}),
        head({"a": entry(offsets=[-16, 0])}),
        head({"a": entry(offsets=[0.0, 16.0])}),
        head({"a": entry(offsets=[0])}),
        head({"a": entry(dtype=["F32"])}),
        head({"a": entry(dtype="F4")}),
        head({"a": {**entry(), "more": 1}}),
        head({"a": 3}),
        head({"a": entry(), "b": entry()}),
        head({"a": entry(shape=[3], offsets=[0, 12]), "b": entry(shape=[2], offsets=[8, 16])}),
        head(b'{"a": ' + json.dumps(entry()).encode() + b', "a": ' + json.dumps(entry()).encode()
             + b"}"),
        head(b"[" * 100_000),
        (2**40).to_bytes(8, "little") + b"{}",
        (2**64 - 1).to_bytes(8, "little") + b"{}",
    ],
)  # fmt: skip
def test_a_head_of_arrays_that_lies_is_a_damaged_file(data, tmp_path):
    (tmp_path / weights.WHOLE).write_bytes(data)
    with pytest.raises(DamagedFileError):
        weights.read(tmp_path)


def test_a_head_that_is_as_long_as_a_disk_is_not_read(tmp_path):
    with open(tmp_path / weights.WHOLE, "wb") as file:
        file.write((2**39).to_bytes(8, "little"))
        file.truncate(2**40)
    with pytest.raises(DamagedFileError, match="cut off"):
        weights.read(tmp_path)


def test_what_an_honest_package_writes_is_read_as_before(tmp_path):
    arrays = {"a": np.arange(6.0, dtype=np.float32).reshape(2, 3), "b": np.zeros((0, 4), np.int8)}
    save_file(arrays, tmp_path / weights.WHOLE)
    found = weights.read(tmp_path)
    assert found.keys() == arrays.keys()
    for name in arrays:
        np.testing.assert_array_equal(found[name], arrays[name])


def text(letters):
    return struct.pack("<Q", len(letters)) + letters


@pytest.mark.parametrize(
    "data",
    [
        struct.pack("<IQQ", 3, 2**60, 0),
        struct.pack("<IQQ", 3, 0, 2**60),
        struct.pack("<IQQ", 3, 0, 5),
        struct.pack("<IQQ", 9, 0, 0),
        struct.pack("<IQQ", 3, 0, 1) + struct.pack("<Q", 2**63),
        struct.pack("<IQQ", 3, 0, 1) + text(b"a") + struct.pack("<I", 99),
        struct.pack("<IQQ", 3, 0, 1) + text(b"a") + struct.pack("<IIQ", 9, 8, 2**60),
        struct.pack("<IQQ", 3, 0, 1) + text(b"a") + struct.pack("<IIQ", 9, 4, 2**20),
        struct.pack("<IQQ", 3, 0, 1) + text(b"a") + struct.pack("<IIQ", 9, 9, 1),
        struct.pack("<IQQ", 3, 1, 0) + text(b"a") + struct.pack("<I", 2**31),
        struct.pack("<IQQ", 3, 1, 0) + text(b"a") + struct.pack("<IQQIQ", 2, 2**60, 2**60, 0, 0),
        struct.pack("<IQQ", 3, 1, 0) + text(b"a") + struct.pack("<IQQIQ", 2, 4, 4, 0, 2**50),
        struct.pack("<IQQ", 3, 1, 0) + text(b"\xff") + struct.pack("<IQQIQ", 2, 4, 4, 0, 0),
        b"",
    ],
)
def test_a_gguf_file_that_counts_what_it_has_not_is_damaged(data, tmp_path):
    pytest.importorskip("gguf")
    path = tmp_path / "model.gguf"
    path.write_bytes(b"GGUF" + data)
    began = time.process_time()
    with pytest.raises(DamagedFileError, match=r"model\.gguf is no GGUF file"):
        gguf.load(path)
    assert time.process_time() - began < 2.0


@pytest.mark.parametrize("lacks", ["llama.block_count", "tokenizer.ggml.tokens"])
def test_a_gguf_file_that_lacks_a_value_says_which(lacks):
    with pytest.raises(DamagedFileError, match=f"m.gguf is damaged: {lacks} is None"):
        gguf.needed({}, "m.gguf", lacks)


def test_the_command_line_says_one_line_and_exits_with_4(tmp_path, capfd):
    folder = lay(tmp_path / "model", "llama", num_hidden_layers="2")
    assert main(["generate", str(folder), "--prompt", "a"]) == 4
    told = capfd.readouterr().err
    assert told.count("\n") == 1 and "layers='2' is no whole number" in told
