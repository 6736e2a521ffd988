"""GRPO by TRL (PyTorch and Transformers) on a Llama of the same size, with a score in Python."""

import os

os.environ |= {"HF_HUB_OFFLINE": "1", "TRL_EXPERIMENTAL_SILENCE": "1"}

import tempfile
from typing import Any

import torch
import transformers
import trl
from datasets import Dataset
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast, TrainerCallback

from benchmarks import measure
from benchmarks.measure import Cost


class Clock(TrainerCallback):
    """When the first update was done, after which programs and buffers are warm."""

    started: Cost | None = None

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if self.started is None:
            self.started = measure.spent()


def tokenizer(vocab: int) -> PreTrainedTokenizerFast:
    """A word for each token."""
    words = {f"w{i}": i for i in range(vocab)} | {"<pad>": vocab, "<eos>": vocab + 1}
    own = Tokenizer(models.WordLevel(words, unk_token="w0"))
    own.pre_tokenizer = pre_tokenizers.Whitespace()
    return PreTrainedTokenizerFast(tokenizer_object=own, pad_token="<pad>", eos_token="<eos>")


def main() -> None:
    ask = measure.request()
    chosen, vocab = ask.settings, ask.settings["vocab"]
    torch.set_num_threads(1)
    torch.manual_seed(ask.seed)
    shape = LlamaConfig(
        vocab_size=vocab + 2,
        hidden_size=chosen["width"],
        intermediate_size=chosen["hidden"],
        num_hidden_layers=chosen["layers"],
        num_attention_heads=chosen["heads"],
        num_key_value_heads=chosen["heads"],
        max_position_embeddings=chosen["prompt"] + chosen["steps"],
        tie_word_embeddings=True,
        pad_token_id=vocab,
        eos_token_id=vocab + 1,
        bos_token_id=None,
    )
    scores: list[float] = []

    def score(completion_ids: list[list[int]], **_: Any) -> list[float]:
        found = [sum(i >= vocab // 2 for i in ids) / len(ids) for ids in completion_ids]
        scores.append(sum(found) / len(found))
        return found

    tokens = chosen["envs"] * chosen["steps"]
    updates = 1 + ask.env_steps // tokens
    drawn = torch.randint(0, vocab, (chosen["envs"] * updates, chosen["prompt"])).tolist()
    prompts = Dataset.from_dict({"prompt": [" ".join(f"w{i}" for i in row) for row in drawn]})
    settings = trl.GRPOConfig(
        output_dir=tempfile.mkdtemp(prefix="trl-bench-"),
        per_device_train_batch_size=chosen["envs"],
        gradient_accumulation_steps=1,
        num_generations=chosen["group"],
        max_completion_length=chosen["steps"],
        generation_kwargs={"min_new_tokens": chosen["steps"]},
        learning_rate=chosen["lr"],
        lr_scheduler_type="constant",
        epsilon=chosen["clip"],
        beta=0.0,
        loss_type="grpo",
        temperature=1.0,
        max_steps=updates,
        use_cpu=True,
        bf16=False,
        gradient_checkpointing=False,
        save_strategy="no",
        logging_strategy="no",
        report_to="none",
        disable_tqdm=True,
        seed=ask.seed,
    )
    clock = Clock()
    learner = trl.GRPOTrainer(
        LlamaForCausalLM(shape),
        reward_funcs=score,
        args=settings,
        train_dataset=prompts,
        processing_class=tokenizer(vocab),
        callbacks=[clock],
    )
    learner.train()
    total = measure.spent()
    assert clock.started is not None
    measure.report(
        "trl",
        total=total,
        started=clock.started,
        train=measure.between(clock.started, total),
        env_steps=updates * tokens,
        env_steps_train=(updates - 1) * tokens,
        final_return=scores[-1],
        return_kind="mean score of the last batch",
        trl=trl.__version__,
        transformers=transformers.__version__,
        torch=torch.__version__,
    )


if __name__ == "__main__":
    main()
