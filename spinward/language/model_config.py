"""`config.json` of a public language model, to a decoder's shape and back."""

import math
from typing import Any

from spinward.errors import DamagedFileError, SettingsError
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
COUNTS = {  # of our names, the most that a file may ask for
    "vocab": 2**24, "width": 2**17, "layers": 2**12, "heads": 2**12, "kv_heads": 2**12,
    "head_dim": 2**14, "hidden": 2**20, "context": 2**24,
}  # fmt: skip
FLAGS = ("tie_word_embeddings", "attention_bias", "mlp_bias", "use_sliding_window",
    "scale_attn_weights", "scale_attn_by_inverse_layer_idx", "add_cross_attention",
)  # fmt: skip


def to_shape(config: dict[str, Any], origin: Any) -> Shape:
    """The shape that a config describes.

    Raises:
        SettingsError: it is of no family that is known, asks for what a decoder cannot do, or
            lacks something.
        DamagedFileError: a value is of another type than it can be, or absurd.
    """
    check_types(config, origin)
    family = config.get("model_type")
    if family not in FAMILIES:
        raise SettingsError(f"{origin} is a {family!r}; expected one of {', '.join(FAMILIES)}")
    for name, allowed in MUST_BE.items():
        if name in config and config[name] not in allowed:
            message = f"{name}={config[name]!r}; a decoder has {allowed[0]!r}"
            raise SettingsError(f"{origin} has {message}")
    if odd := [x for x in config.get("layer_types") or () if x != "full_attention"]:
        raise SettingsError(f"{origin} has layers of {odd[0]!a:.40}, not of full attention")
    names = GPT2 if family == "gpt2" else OTHERS
    if missing := [name for name in names.values() if config.get(name) is None]:
        raise SettingsError(f"the config of {origin} lacks {', '.join(missing)}")
    known = {ours: config[theirs] for ours, theirs in names.items()}
    for name in ("width", "heads"):  # which others are derived from
        check_count(name, known[name], origin)
    more = (of_gpt2 if family == "gpt2" else of_llama)(config, origin)
    return checked({**known, **more}, origin)


def checked(values: dict[str, Any], origin: Any) -> Shape:
    """A shape of values from a file, each of which can be.

    Raises:
        DamagedFileError: a value is no number of its kind, or absurd, or two do not fit.
    """
    for name in COUNTS:
        if name in values:
            check_count(name, values[name], origin)
    for name in ("norm_eps", "rope_theta"):
        check_positive(name, values.get(name, 1.0), origin)
    if values["heads"] % values["kv_heads"]:
        message = f"kv_heads={values['kv_heads']} do not divide heads={values['heads']}"
        raise DamagedFileError(f"the config of {origin} is damaged: {message}")
    if values["head_dim"] % 2 and values.get("family") != "gpt2":  # which turns nothing
        message = f"head_dim={values['head_dim']} is odd: it has to be an even number"
        raise DamagedFileError(f"the config of {origin} is damaged: {message}")
    return Shape(**values)


def check_count(name: str, value: Any, origin: Any) -> None:
    most = COUNTS[name]
    if type(value) is not int or not 1 <= value <= most:
        message = f"{name}={value!a:.40} is no whole number from 1 to {most}"
        raise DamagedFileError(f"the config of {origin} is damaged: {message}")


def check_positive(name: str, value: Any, origin: Any) -> None:
    fine = isinstance(value, int | float) and not isinstance(value, bool)
    if not fine or not 0.0 < value < 1e30 or not math.isfinite(value):
        message = f"{name}={value!a:.40} is no positive number"
        raise DamagedFileError(f"the config of {origin} is damaged: {message}")


def check_types(config: dict[str, Any], origin: Any) -> None:
    """Raises DamagedFileError for a value of another type than a config has there."""
    wanted: tuple[tuple[tuple[str, ...], type, str], ...] = (
        (("model_type",), str, "a text"),
        (FLAGS, bool, "true or false"),
        (("rope_parameters", "rope_scaling"), dict, "an object"),
        (("layer_types",), list, "a list"),
    )
    for names, kind, wording in wanted:
        for name in names:
            value = config.get(name)
            if value is not None and not isinstance(value, kind):
                wording = f"{name}={value!a:.40} is not {wording}"
                raise DamagedFileError(f"the config of {origin} is damaged: {wording}")


def of_gpt2(config: dict[str, Any], origin: Any) -> dict[str, Any]:
    heads = config["n_head"]
    return {
        "family": "gpt2",
        "kv_heads": heads,
        "head_dim": config["n_embd"] // heads,
        "hidden": config.get("n_inner") or 4 * config["n_embd"],
        "tied": flag(config, "tie_word_embeddings", True),
        "qkv_bias": True,
        "out_bias": True,
        "mlp_bias": True,
    }


def of_llama(config: dict[str, Any], origin: Any) -> dict[str, Any]:
    family, heads = config["model_type"], config["num_attention_heads"]
    theta, scaling = rope(config, origin)
    bias = flag(config, "attention_bias")
    default_dim = 128 if family == "qwen3" else config["hidden_size"] // heads
    return {
        "family": family,
        "kv_heads": config.get("num_key_value_heads") or heads,
        "head_dim": config.get("head_dim") or default_dim,
        "tied": flag(config, "tie_word_embeddings"),
        "rope_theta": theta,
        "rope_scaling": scaling,
        "qkv_bias": family == "qwen2" or bias,
        "out_bias": family != "qwen2" and bias,
        "mlp_bias": flag(config, "mlp_bias"),
    }


def flag(config: dict[str, Any], name: str, default: bool = False) -> bool:
    """A value that may be absent, or null."""
    value = config.get(name)
    return default if value is None else value


def rope(config: dict[str, Any], origin: Any) -> tuple[float, Scaling]:
    """The slowest turn, and the scaling, which files have in one of two places."""
    settings = config.get("rope_parameters") or config.get("rope_scaling") or {}
    theta = settings.get("rope_theta", config.get("rope_theta", 10_000.0))
    check_positive("rope_theta", theta, origin)
    theta = float(theta)
    kind = settings.get("rope_type", settings.get("type", "default"))
    if kind == "default":
        return theta, Scaling()
    if not isinstance(kind, str) or kind not in SCALING_KEYS:
        kinds = ", ".join(["default", *SCALING_KEYS])
        raise SettingsError(f"{origin} scales its positions by {kind!r}; expected one of {kinds}")
    if missing := [name for name in SCALING_KEYS[kind] if name not in settings]:
        raise SettingsError(f"the {kind} scaling of {origin} lacks {', '.join(missing)}")
    for name in SCALING_KEYS[kind]:
        check_positive(name, settings[name], origin)
    return theta, Scaling(kind, *(settings[name] for name in SCALING_KEYS[kind]))


def to_config(shape: Shape, scores: bool = False) -> dict[str, Any]:
    """A config that describes `shape`, with the keys of both old and new readers; one that `scores`
    texts is what others call a classifier of one label."""
    family = shape.family
    architecture = ARCHITECTURES[family]
    if scores:
        architecture = architecture.replace("LMHeadModel", "ForCausalLM")
        architecture = architecture.replace("CausalLM", "SequenceClassification")
    names = GPT2 if family == "gpt2" else OTHERS
    config = {theirs: getattr(shape, ours) for ours, theirs in names.items()}
    config |= {
        "model_type": family,
        "architectures": [architecture],
        "tie_word_embeddings": shape.tied,
    }
    if scores:
        config |= {"id2label": {"0": "score"}, "label2id": {"score": 0}}
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
