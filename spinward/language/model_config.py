"""`config.json` of a public language model, to a decoder's shape and back."""

from typing import Any

from spinward.errors import SettingsError
from spinward.networks.attention import Scaling
from spinward.networks.decoder import FAMILIES, Shape

GPT2 = {
    "vocab": "vocab_size", "width": "n_embd", "layers": "n_layer", "heads": "n_head",
    "context": "n_positions", "norm_eps": "layer_norm_epsilon",
}  # fmt: skip
OTHERS = {
    "vocab": "vocab_size", "width": "hidden_size", "layers": "num_hidden_layers",
    "heads": "num_attention_heads", "hidden": "intermediate_size",
    "context": "max_position_embeddings", "norm_eps": "rms_norm_eps",
}  # fmt: skip
MUST_BE: dict[str, tuple[Any, ...]] = {  # what a decoder can do, where a config speaks of it
    "activation_function": ("gelu_new", "gelu_pytorch_tanh"),
    "hidden_act": ("silu",),
    "scale_attn_weights": (True,),
    "scale_attn_by_inverse_layer_idx": (False,),
    "add_cross_attention": (False,),
    "use_sliding_window": (False,),
    "quantization_config": (None,),
    "partial_rotary_factor": (None, 1.0),
}
ARCHITECTURES = {
    "gpt2": "GPT2LMHeadModel", "llama": "LlamaForCausalLM", "qwen2": "Qwen2ForCausalLM",
    "qwen3": "Qwen3ForCausalLM",
}  # fmt: skip
SCALING_KEYS = {
    "linear": ("factor",),
    "llama3": ("factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings"),
}


def to_shape(config: dict[str, Any], origin: Any) -> Shape:
    """The shape that a config describes.

    Raises:
        SettingsError: it is of no family that is known, asks for what a decoder cannot do, or
            lacks something.
    """
    family = config.get("model_type")
    if family not in FAMILIES:
        raise SettingsError(f"{origin} is a {family!r}; expected one of {', '.join(FAMILIES)}")
    for name, allowed in MUST_BE.items():
        if name in config and config[name] not in allowed:
            told = f"{name}={config[name]!r}; a decoder has {allowed[0]!r}"
            raise SettingsError(f"{origin} has {told}")
    if odd := set(config.get("layer_types") or ()) - {"full_attention"}:
        raise SettingsError(f"{origin} has layers of {sorted(odd)[0]!r}, not of full attention")
    names = GPT2 if family == "gpt2" else OTHERS
    if missing := [name for name in names.values() if config.get(name) is None]:
        raise SettingsError(f"the config of {origin} lacks {', '.join(missing)}")
    known = {ours: config[theirs] for ours, theirs in names.items()}
    return Shape(**known, **(of_gpt2 if family == "gpt2" else of_llama)(config, origin))


def of_gpt2(config: dict[str, Any], origin: Any) -> dict[str, Any]:
    heads = config["n_head"]
    return {
        "family": "gpt2",
        "kv_heads": heads,
        "head_dim": config["n_embd"] // heads,
        "hidden": config.get("n_inner") or 4 * config["n_embd"],
        "tied": config.get("tie_word_embeddings", True),
        "qkv_bias": True,
        "out_bias": True,
        "mlp_bias": True,
    }


def of_llama(config: dict[str, Any], origin: Any) -> dict[str, Any]:
    family, heads = config["model_type"], config["num_attention_heads"]
    theta, scaling = rope(config, origin)
    bias = config.get("attention_bias", False)
    default_dim = 128 if family == "qwen3" else config["hidden_size"] // heads
    return {
        "family": family,
        "kv_heads": config.get("num_key_value_heads") or heads,
        "head_dim": config.get("head_dim") or default_dim,
        "tied": config.get("tie_word_embeddings", False),
        "rope_theta": float(theta),
        "rope_scaling": scaling,
        "qkv_bias": family == "qwen2" or bias,
        "out_bias": family != "qwen2" and bias,
        "mlp_bias": config.get("mlp_bias", False),
    }


def rope(config: dict[str, Any], origin: Any) -> tuple[float, Scaling]:
    """The slowest turn, and the scaling, which files have in one of two places."""
    found = config.get("rope_parameters") or config.get("rope_scaling") or {}
    theta = found.get("rope_theta", config.get("rope_theta", 10_000.0))
    kind = found.get("rope_type", found.get("type", "default"))
    if kind == "default":
        return theta, Scaling()
    if kind not in SCALING_KEYS:
        kinds = ", ".join(["default", *SCALING_KEYS])
        raise SettingsError(f"{origin} scales its positions by {kind!r}; expected one of {kinds}")
    if missing := [name for name in SCALING_KEYS[kind] if name not in found]:
        raise SettingsError(f"the {kind} scaling of {origin} lacks {', '.join(missing)}")
    return theta, Scaling(kind, *(found[name] for name in SCALING_KEYS[kind]))


def to_config(shape: Shape) -> dict[str, Any]:
    """A config that describes `shape`, with the keys of both old and new readers."""
    family = shape.family
    names = GPT2 if family == "gpt2" else OTHERS
    config = {theirs: getattr(shape, ours) for ours, theirs in names.items()}
    config |= {
        "model_type": family,
        "architectures": [ARCHITECTURES[family]],
        "tie_word_embeddings": shape.tied,
    }
    if family == "gpt2":
        return {**config, "n_inner": shape.hidden, "activation_function": "gelu_new"}
    scaling = shape.rope_scaling
    parts = (scaling.factor, scaling.low, scaling.high, scaling.context)
    keys = SCALING_KEYS.get(scaling.kind, ())
    rope = {"rope_type": scaling.kind, **dict(zip(keys, parts, strict=False))}
    return config | {
        "num_key_value_heads": shape.kv_heads,
        "head_dim": shape.head_dim,
        "hidden_act": "silu",
        "rope_theta": shape.rope_theta,
        "rope_scaling": rope if keys else None,
        "rope_parameters": {**rope, "rope_theta": shape.rope_theta},
        "attention_bias": shape.qkv_bias and family != "qwen2",
        "mlp_bias": shape.mlp_bias,
    }
