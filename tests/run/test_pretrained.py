"""Public checkpoints: logits of the reference implementation, names, shapes, and bad files."""

import dataclasses
import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from spinward.errors import DamagedFileError, SettingsError
from spinward.language import pretrained, weights
from spinward.networks.decoder import Decoder, Shape

GOLDEN = np.load(Path(__file__).parent.parent / "data" / "decoders.npz", allow_pickle=False)
MODELS = ("gpt2", "llama", "llama_biased", "llama3", "llama_linear", "qwen2", "qwen3")


def tensors(model):
    prefix = f"{model}/weights/"
    return {n.removeprefix(prefix): GOLDEN[n] for n in GOLDEN if n.startswith(prefix)}


def lay(folder, model, change=lambda found: found, **config):
    """Writes a checkpoint as Transformers would, changed."""
    folder.mkdir(exist_ok=True)
    config = {**json.loads(str(GOLDEN[f"{model}/config"])), **config}
    (folder / "config.json").write_text(json.dumps(config))
    save_file(change(tensors(model)), folder / "model.safetensors")
    return folder


def answers(decoder, model):
    """The logits and, by the cache, the greedy continuation."""
    tokens, mask = jnp.asarray(GOLDEN[f"{model}/tokens"]), jnp.asarray(GOLDEN[f"{model}/mask"])
    steps = GOLDEN[f"{model}/greedy"].shape[1]
    hidden, cache = decoder.extend(tokens, mask, decoder.cache(len(tokens), 9 + steps))
    logits = decoder.logits(hidden)

    def step(carry, _):
        hidden, cache = carry
        scores = decoder.logits(hidden)
        chosen = scores.at[:, 28].set(-jnp.inf).argmax(-1)  # no end, as the script has it
        hidden, cache = decoder.extend(chosen[:, None], jnp.ones((3, 1)), cache)
        return (hidden[:, 0], cache), chosen

    _, chosen = jax.lax.scan(step, (hidden[:, -1], cache), length=steps)
    return logits, chosen.T


@pytest.mark.parametrize("model", MODELS)
def test_logits_and_greedy_text_are_those_of_the_reference(model, tmp_path):
    decoder = pretrained.load(lay(tmp_path / "model", model))
    logits, greedy = jax.jit(lambda d: answers(d, model))(decoder)
    real = GOLDEN[f"{model}/mask"] == 1
    np.testing.assert_allclose(logits[real], GOLDEN[f"{model}/logits"][real], atol=3e-6)
    np.testing.assert_array_equal(greedy, GOLDEN[f"{model}/greedy"])


@pytest.mark.parametrize("model", MODELS)
def test_what_is_saved_has_the_names_and_numbers_that_were_loaded(model, tmp_path):
    decoder = pretrained.load(lay(tmp_path / "model", model))
    pretrained.save(tmp_path / "copy", decoder)
    saved, original = load_file(tmp_path / "copy" / "model.safetensors"), tensors(model)
    assert saved.keys() == original.keys()
    jax.tree.map(np.testing.assert_array_equal, saved, dict(original))
    again = pretrained.load(tmp_path / "copy")
    assert again.shape == decoder.shape
    jax.tree.map(np.testing.assert_array_equal, again, decoder)


def test_shards_with_an_index_are_one_model(tmp_path):
    folder, found = lay(tmp_path / "model", "llama"), tensors("llama")
    (folder / weights.WHOLE).unlink()
    where = {name: f"model-{i % 2}.safetensors" for i, name in enumerate(found)}
    for shard in set(where.values()):
        save_file({n: x for n, x in found.items() if where[n] == shard}, folder / shard)
    (folder / weights.INDEX).write_text(json.dumps({"metadata": {}, "weight_map": where}))
    whole = pretrained.load(lay(tmp_path / "whole", "llama"))
    jax.tree.map(np.testing.assert_array_equal, pretrained.load(folder), whole)
    (folder / weights.INDEX).write_text(json.dumps({"weight_map": {"a": "../a.safetensors"}}))
    with pytest.raises(DamagedFileError, match="elsewhere"):
        pretrained.load(folder)


def test_bfloat16_stays_so_and_float16_becomes_float32(tmp_path):
    def half(found):
        return {n: x.astype(np.float16) for n, x in found.items()}

    def brain(found):
        return {n: np.asarray(x, jnp.bfloat16) for n, x in found.items()}

    kept = pretrained.load(lay(tmp_path / "brain", "llama", brain))
    assert {x.dtype.name for x in jax.tree.leaves(kept)} == {"bfloat16"}
    exact = pretrained.load(lay(tmp_path / "brain", "llama", brain), "float32")
    jax.tree.map(lambda a, b: np.testing.assert_array_equal(np.float32(a), b), kept, exact)
    assert {x.dtype.name for x in jax.tree.leaves(exact)} == {"float32"}
    widened = pretrained.load(lay(tmp_path / "half", "llama", half))
    assert {x.dtype.name for x in jax.tree.leaves(widened)} == {"float32"}


def test_gpt2_files_without_prefix_and_with_buffers_are_read(tmp_path):
    def older(found):
        bare = {n.removeprefix("transformer."): x for n, x in found.items()}
        return {**bare, "h.0.attn.bias": np.ones((1, 1, 32, 32), np.float32)}

    found = pretrained.load(lay(tmp_path / "older", "gpt2", older))
    expected = pretrained.load(lay(tmp_path / "model", "gpt2"))
    jax.tree.map(np.testing.assert_array_equal, found, expected)


def test_the_older_place_of_the_rotation_is_read(tmp_path):
    newer = pretrained.load(lay(tmp_path / "newer", "llama3")).shape
    rope = json.loads(str(GOLDEN["llama3/config"]))["rope_parameters"]
    theta = rope.pop("rope_theta")
    older = {"rope_parameters": None, "rope_scaling": rope, "rope_theta": theta}
    assert pretrained.load(lay(tmp_path / "older", "llama3", **older)).shape == newer


def test_all_names_and_shapes_that_do_not_fit_are_listed(tmp_path):
    def broken(found):
        found.pop("model.norm.weight")
        found["model.layers.1.mlp.up_proj.weight"] = np.zeros((16, 20), np.float32)
        return {**found, "model.layers.2.mlp.up_proj.weight": np.zeros(3, np.float32)}

    with pytest.raises(SettingsError) as error:
        pretrained.load(lay(tmp_path / "model", "llama", broken))
    told = str(error.value)
    assert "model.norm.weight is missing" in told
    assert "model.layers.1.mlp.up_proj.weight is [16, 20], not [20, 16]" in told
    assert "model.layers.2.mlp.up_proj.weight is not part of it" in told
    assert told.count(";") == 2


@pytest.mark.parametrize(
    ("model", "config", "told"),
    [
        ("llama", {"model_type": "mamba"}, "is a 'mamba'; expected one of gpt2, llama"),
        ("llama", {"hidden_act": "gelu"}, "hidden_act='gelu'; a decoder has 'silu'"),
        ("llama", {"rope_scaling": {"type": "yarn"}, "rope_parameters": None}, "by 'yarn'"),
        ("llama", {"rope_parameters": {"rope_type": "llama3"}}, "lacks factor, low_freq_factor"),
        ("qwen2", {"use_sliding_window": True}, "use_sliding_window=True"),
        ("qwen3", {"layer_types": ["sliding_attention"]}, "'sliding_attention'"),
        ("gpt2", {"n_embd": None}, "lacks n_embd"),
        ("gpt2", {"scale_attn_by_inverse_layer_idx": True}, "scale_attn_by_inverse_layer_idx"),
        ("llama", {"num_hidden_layers": 3}, "model.layers.2.input_layernorm.weight is missing"),
    ],
)
def test_a_model_that_a_decoder_cannot_be_is_refused(model, config, told, tmp_path):
    with pytest.raises(SettingsError, match=told):
        pretrained.load(lay(tmp_path / "model", model, **config))


def test_files_that_are_damaged_or_absent_are_told_apart(tmp_path):
    folder = lay(tmp_path / "model", "llama")
    data = (folder / weights.WHOLE).read_bytes()
    for bad in (data[:100], data[:-4], b"", b"\x00" * 8 + data[8:], data[:8] + b"!" + data[9:]):
        (folder / weights.WHOLE).write_bytes(bad)
        with pytest.raises(DamagedFileError):
            pretrained.load(folder)
    (folder / weights.WHOLE).unlink()
    with pytest.raises(SettingsError, match="has neither"):
        pretrained.load(folder)
    (folder / "config.json").write_text("[1]")
    with pytest.raises(DamagedFileError, match="expected an object"):
        pretrained.load(folder)


def test_a_model_made_here_is_saved_and_read_again(tmp_path):
    shape = Shape.small(11, width=8, heads=2, layers=1, context=8, family="qwen3")
    shape = dataclasses.replace(shape, kv_heads=1)
    made = Decoder.init(jax.random.key(0), shape)
    pretrained.save(tmp_path / "made", made)
    again = pretrained.load(tmp_path / "made")
    assert again.shape == made.shape
    jax.tree.map(np.testing.assert_array_equal, again, made)
