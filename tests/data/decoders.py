"""Writes decoders.npz: tiny random models of Transformers and their logits, for test_pretrained.py.

pip install torch==2.13.0 transformers==5.23.0, then: python tests/data/decoders.py
"""

import json
from pathlib import Path

import numpy as np
import torch
from transformers import AutoModelForCausalLM, GPT2Config, LlamaConfig, Qwen2Config, Qwen3Config

SMALL = {
    "vocab_size": 29, "hidden_size": 12, "num_hidden_layers": 2, "num_attention_heads": 2,
    "intermediate_size": 20, "max_position_embeddings": 32,
}  # fmt: skip
SHARED = {**SMALL, "num_attention_heads": 4, "num_key_value_heads": 2, "hidden_size": 16}
LLAMA3 = {
    "rope_type": "llama3", "rope_theta": 500.0, "factor": 4.0, "low_freq_factor": 1.0,
    "high_freq_factor": 4.0, "original_max_position_embeddings": 16,
}  # fmt: skip
LINEAR = {"rope_type": "linear", "rope_theta": 100.0, "factor": 2.0}
CONFIGS = {
    "gpt2": GPT2Config(vocab_size=29, n_embd=12, n_layer=2, n_head=2, n_positions=32, n_inner=20),
    "llama": LlamaConfig(**SHARED, tie_word_embeddings=False, rms_norm_eps=1e-5),
    "llama_biased": LlamaConfig(**SMALL, attention_bias=True, mlp_bias=True),
    "llama3": LlamaConfig(**SHARED, tie_word_embeddings=True, rope_parameters=LLAMA3),
    "llama_linear": LlamaConfig(**SMALL, tie_word_embeddings=True, rope_parameters=LINEAR),
    "qwen2": Qwen2Config(**SHARED, tie_word_embeddings=True),
    "qwen3": Qwen3Config(**SHARED, tie_word_embeddings=False, head_dim=6),
}
STEPS = 6  # of the greedy continuation

arrays = {}
for seed, (name, config) in enumerate(CONFIGS.items()):
    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_config(config, attn_implementation="eager").eval()
    with torch.no_grad():
        for parameter in model.parameters():  # norms and biases too, or they would not be tested
            parameter.add_(0.15 * torch.randn_like(parameter))
    tokens = torch.randint(0, 29, (3, 9))
    mask = (torch.arange(9) >= torch.tensor([[0], [2], [5]])).long()
    tokens = tokens * mask
    position = (mask.cumsum(-1) - 1).clamp(min=0)
    with torch.no_grad():
        logits = model(tokens, attention_mask=mask, position_ids=position).logits
        greedy = model.generate(
            tokens, attention_mask=mask, max_new_tokens=STEPS, min_new_tokens=STEPS,
            do_sample=False, pad_token_id=0, eos_token_id=28,
        )[:, 9:]  # fmt: skip
    arrays[f"{name}/config"] = np.array(json.dumps(config.to_diff_dict()))
    kept = {"tokens": tokens, "mask": mask, "logits": logits, "greedy": greedy}
    arrays |= {f"{name}/{k}": v.numpy() for k, v in kept.items()}
    state = model.state_dict()
    if config.tie_word_embeddings:
        state.pop("lm_head.weight")
    arrays |= {f"{name}/weights/{k}": v.numpy() for k, v in state.items()}
np.savez_compressed(Path(__file__).with_suffix(".npz"), **arrays)
