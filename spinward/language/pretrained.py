"""Public checkpoints of language models: `config.json` and safetensors, read and written.

Names and shapes must be exactly those of the family; what a decoder cannot do is refused.
"""

import json
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from spinward.errors import SettingsError
from spinward.language import weights
from spinward.language.model_config import to_config, to_shape
from spinward.networks.decoder import Decoder, Shape
from spinward.networks.lora import merged
from spinward.store import arrays
from spinward.store.files import write_atomically

LLAMA = {  # our leaves and theirs; {} is the layer
    "embedding": "model.embed_tokens.weight",
    "head": "lm_head.weight",
    "norm.scale": "model.norm.weight",
    "layers.attention_norm.scale": "model.layers.{}.input_layernorm.weight",
    "layers.mlp_norm.scale": "model.layers.{}.post_attention_layernorm.weight",
    **{f"layers.{x}_norm.scale": f"model.layers.{{}}.self_attn.{x}_norm.weight" for x in "qk"},
    **{
        f"layers.{ours}.{leaf}": f"model.layers.{{}}.{theirs}.{name}"
        for leaf, name in (("w", "weight"), ("b", "bias"))
        for ours, theirs in (
            *((x, f"self_attn.{x}_proj") for x in "qkv"),
            ("out", "self_attn.o_proj"),
            *((x, f"mlp.{x}_proj") for x in ("gate", "up", "down")),
        )
    },
}
GPT2 = {
    "embedding": "transformer.wte.weight",
    "positions": "transformer.wpe.weight",
    "head": "lm_head.weight",
    "norm.scale": "transformer.ln_f.weight",
    "norm.b": "transformer.ln_f.bias",
    **{
        f"layers.{ours}.{leaf}": f"transformer.h.{{}}.{theirs}.{name}"
        for ours, theirs, own in (
            ("attention_norm", "ln_1", "scale"),
            ("mlp_norm", "ln_2", "scale"),
            *((x, f"attn.{x}", "w") for x in "qkv"),  # one matrix `c_attn` in the file
            ("out", "attn.c_proj", "w"),
            ("up", "mlp.c_fc", "w"),
            ("down", "mlp.c_proj", "w"),
        )
        for leaf, name in ((own, "weight"), ("b", "bias"))
    },
}
FUSED = "attn.c_attn."
SCORE = "score.weight"  # of a reward model: [1, width], read at the last token
BUFFERS = (".attn.bias", ".attn.masked_bias", ".rotary_emb.inv_freq")  # no parameters


def load(folder: Path, dtype: str = "") -> Decoder:
    """The model of a folder, in its own type of numbers or in `dtype`.

    Raises:
        SettingsError: the model is of no family that is known, does what a decoder cannot do, or
            has names or shapes that do not fit, all of which are listed.
        DamagedFileError: a file is corrupt.
    """
    shape = to_shape(weights.read_json(folder / "config.json"), folder)
    named = weights.read(folder)
    if shape.family == "gpt2":
        named = unfused(named, shape)
    return assembled(named, shape, folder, dtype)


def assembled(named: dict[str, np.ndarray], shape: Shape, origin: Any, dtype: str = "") -> Decoder:
    """A decoder of arrays by their public names, each layer's by itself."""
    like = jax.eval_shape(lambda: Decoder.init(jax.random.key(0), shape))
    leaves, wrong, used = [], [], set()
    for ours, leaf in arrays.named(like).items():
        names = public(ours, shape)
        wanted = stored_shape(ours, leaf, shape)
        used.update(names)
        for name in names:
            if name not in named:
                wrong.append(f"{name} is missing")
            elif named[name].shape != wanted:
                wrong.append(f"{name} is {list(named[name].shape)}, not {list(wanted)}")
        if not wrong:
            leaves.append(stacked([named[name] for name in names], ours, shape, dtype))
    tied = {"lm_head.weight"} if shape.tied else set()
    extra = named.keys() - used - tied - {SCORE}
    wrong += [f"{n} is not part of it" for n in sorted(extra) if not n.endswith(BUFFERS)]
    if wrong:
        what = f"{origin} is no {shape.family} as its config has it"
        raise SettingsError(f"{what}: {'; '.join(wrong)}")
    return jax.tree.unflatten(jax.tree.structure(like), leaves)


def public(ours: str, shape: Shape) -> list[str]:
    """The public names of a leaf of the decoder: one name, or one for each layer."""
    pattern = (GPT2 if shape.family == "gpt2" else LLAMA)[ours]
    return [pattern.format(i) for i in range(shape.layers)] if "{}" in pattern else [pattern]


def turned_over(ours: str, shape: Shape) -> bool:
    """Whether a matrix is [outputs, inputs] in the file: all but those of GPT-2 are."""
    return ours.startswith("layers.") and ours.endswith(".w") and shape.family != "gpt2"


def stored_shape(ours: str, leaf: Any, shape: Shape) -> tuple[int, ...]:
    """The shape of each array in the file that belongs to a leaf of the decoder."""
    size = leaf.shape[1:] if ours.startswith("layers.") else leaf.shape
    return size[::-1] if turned_over(ours, shape) else size


def stacked(parts: list[np.ndarray], ours: str, shape: Shape, dtype: str) -> jax.Array:
    """A leaf of the decoder. float16 becomes float32, because float16 overflows in training."""
    kind = dtype or ("float32" if parts[0].dtype == np.float16 else parts[0].dtype)
    parts = [x.T for x in parts] if turned_over(ours, shape) else parts
    whole = np.stack(parts) if ours.startswith("layers.") else parts[0]
    return jnp.asarray(whole, kind)


def unfused(named: dict[str, np.ndarray], shape: Shape) -> dict[str, np.ndarray]:
    """GPT-2's arrays with separate queries, keys and values, and with the prefix that some files
    lack."""
    result: dict[str, np.ndarray] = {}
    for name, array in named.items():
        bare = name.startswith(("wte.", "wpe.", "h.", "ln_f."))
        name = f"transformer.{name}" if bare else name
        whole = array.shape[-1:] == (3 * shape.width,)
        if FUSED in name and whole:
            thirds = zip("qkv", np.split(array, 3, -1), strict=True)
            result |= {name.replace(FUSED, f"attn.{x}."): third for x, third in thirds}
        else:
            result[name] = array
    return result


def load_score(folder: Path) -> np.ndarray | None:
    """The score [width, 1] of a reward model's folder; None where it has none.

    Raises:
        SettingsError: it is not one number of each text.
    """
    score = weights.read(folder).get(SCORE)
    if score is not None and (score.ndim != 2 or len(score) != 1):
        raise SettingsError(f"{folder}: {SCORE} is {list(score.shape)}; expected [1, width]")
    return None if score is None else np.asarray(score, np.float32).T


def save(
    folder: Path, decoder: Decoder, config: dict[str, Any] | None = None, score: Any = None
) -> None:
    """Writes a folder that `load`, and whatever reads public checkpoints, can read, with more of
    `config`, such as ids of tokens. A model with a `score` [width, 1] is a reward model.

    A low-rank change that is attached is taken into the weights.
    """
    shape, named = decoder.shape, {}
    for ours, leaf in arrays.named(merged(decoder)).items():
        whole = np.asarray(leaf)
        parts = whole if ours.startswith("layers.") else [whole]
        for name, part in zip(public(ours, shape), parts, strict=True):
            named[name] = part.T if turned_over(ours, shape) else part
    if shape.family == "gpt2":
        named = fused(named)
    if score is not None:
        named[SCORE] = np.asarray(score).T
    folder.mkdir(parents=True, exist_ok=True)
    weights.write(folder, named)
    dtype = decoder.embedding.dtype.name
    content = {**to_config(shape, score is not None), "torch_dtype": dtype, **(config or {})}
    write_atomically(folder / "config.json", (json.dumps(content, indent=1) + "\n").encode())


def fused(named: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """GPT-2's arrays with queries, keys and values in one matrix."""
    result = {n: x for n, x in named.items() if not any(f"attn.{p}." in n for p in "qkv")}
    for name in named:
        if "attn.q." in name:
            thirds = [named[name.replace("attn.q.", f"attn.{p}.")] for p in "qkv"]
            result[name.replace("attn.q.", FUSED)] = np.concatenate(thirds, -1)
    return result
