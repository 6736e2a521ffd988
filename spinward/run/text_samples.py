"""Texts that a policy writes while it learns, with the reward of each: of the same prompts, so that
what changes is the policy."""

import json
import math
from pathlib import Path
from typing import Any

import jax
import numpy as np

from spinward.core import TrainState
from spinward.envs.text import PAD
from spinward.evaluation import texts
from spinward.experience.generation import Generation
from spinward.loop import Parts
from spinward.store import files, text_points
from spinward.store.text_points import FILE, TextSample

COUNT = 4  # prompts
POINTS = 20  # log points that are kept: the first, and the newest
LONGEST = 2_000  # characters of a text


class TextSamples:
    """The texts of a shard's first seed, in its folder. Of other algorithms there are none."""

    def __init__(self, made: Any, folder: Path, seed: int) -> None:
        self.vocabulary = made.env.vocabulary if made.on_texts else None
        self.folder, self.key = folder, jax.random.PRNGKey(seed)

    def take(self, parts: Parts, state: TrainState, iteration: int, env_steps: int) -> str:
        """Writes what the policy writes at a log point, and returns the first text in words."""
        if self.vocabulary is None or not isinstance(parts.source, Generation):
            return ""
        first = jax.tree.map(lambda x: np.asarray(x)[0], (state.agent, state.reward))
        task, more = parts.source.task, (*first, self.key, COUNT)
        batch = texts.written_once(parts.algorithm, task, parts.reward, *more)
        samples = read_off(jax.device_get(batch), self.vocabulary)
        point = {"iteration": iteration, "env_steps": env_steps}
        before = [p for p in text_points.read(self.folder) if p["iteration"] < iteration]
        kept = [*before[:1], *before[1:][-(POINTS - 2) :]]
        content = [*kept, {**point, "texts": [s._asdict() for s in samples]}]
        data = json.dumps(content, allow_nan=False).encode()
        files.write_atomically(self.folder / FILE, data)
        return in_words(samples[0])


def read_off(batch: Any, vocabulary: Any) -> list[TextSample]:
    """The texts of steps [time, env], and the sum of the rewards of each; None where that is no
    finite number, as where a function of the user's fails on a text. Training does not end for a
    text that it does not learn from."""
    samples = []
    for env in range(batch.weight.shape[1]):
        acted = np.flatnonzero(batch.weight[:, env] > 0)
        asked = batch.obs[: acted[0] + 1, env] if len(acted) else batch.obs[:, env]
        answer = batch.action[acted, env].tolist()
        ended = bool(answer) and answer[-1] == vocabulary.end
        words = vocabulary.decode(answer[:-1] if ended else answer)
        prompt = vocabulary.decode([int(t) for t in asked if t != PAD])
        total = float(batch.reward[:, env].sum())
        reward = round(total, 6) if math.isfinite(total) else None
        samples.append(TextSample(prompt[-LONGEST:], words[:LONGEST], reward))
    return samples


def in_words(sample: TextSample) -> str:
    text = " ".join(f"{sample.prompt[-20:]} > {sample.completion}".split())
    short = text if len(text) <= 60 else text[:57] + "..."
    printable = "".join(c if c.isprintable() else "?" for c in short)
    return f'"{printable}" {"-" if sample.reward is None else f"{sample.reward:.3g}"}'
