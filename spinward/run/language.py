"""What a run on texts is made from: a model to begin with, its vocabulary, and texts or prompts."""

import functools
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from spinward.envs import ids
from spinward.envs.prompts import Prompts, padded
from spinward.envs.text import Text
from spinward.errors import DamagedFileError, SettingsError
from spinward.experience.texts import Texts
from spinward.networks.decoder import Decoder
from spinward.networks.language_policy import Trained, whole
from spinward.networks.lora import merged
from spinward.run import texts

TEXT = "text"  # the name of the task whose prompts are in a file
ROWS = 20_000  # of a task that writes its own texts, where no file is named
READERS = {"completions": texts.completion, "pairs": texts.pair}


class Model(NamedTuple):
    """A language model, and how text becomes its tokens."""

    decoder: Decoder
    vocabulary: Any


def model(name: str) -> Model:
    """The model in the folder of a public checkpoint, in a GGUF file, that of the first seed of a
    run, or `smollm2`, which a package has.

    Raises:
        SettingsError: there is none, or it has no tokenizer.
        DamagedFileError: a file is corrupt, or a parameter is not finite.
    """
    if not (Path(name) / "shards").is_dir():
        return public(name)
    trained, experiment = of_run(name)
    return Model(trained.decoder, task(experiment).vocabulary)


@functools.lru_cache(maxsize=1)  # the parts of an experiment ask for it one by one
def public(name: str) -> Model:
    """The model in the folder of a public checkpoint, in a GGUF file, or in a package."""
    from spinward.run import gguf, pretrained, tokenizer

    path = gguf.smollm2() if name == gguf.SMOLLM2 else Path(name)
    if path.suffix == ".gguf":
        return finite(name, Model(*gguf.load(path)))
    if not path.is_dir():
        raise SettingsError(f"model={name!r}: there is no such folder")
    decoder = pretrained.load(path)
    return finite(name, Model(decoder, tokenizer.load(path, decoder.shape.vocab)))


def finite(name: str, found: Model) -> Model:
    """Raises DamagedFileError for a model whose numbers are not finite, as no text's would be."""
    for path, leaf in jax.tree_util.tree_leaves_with_path(found.decoder):
        if not bool(jnp.isfinite(leaf).all()):
            part = jax.tree_util.keystr(path).lstrip(".")
            raise DamagedFileError(f"model={name!r}: {part} has numbers that are not finite")
    return found


def of_run(name: str, seed: int = 0) -> tuple[Trained, Any]:
    """What a seed of a run on texts has learned, and the run's experiment."""
    from spinward.run.run import load

    run = load(name)
    agents = run.agents()
    if not hasattr(agents.algorithm, "start"):
        raise SettingsError(f"{name} trained no language model")
    learned = jax.tree.map(lambda x: x[seed], agents.agent.learner.model)
    return Trained(merged(whole(agents.algorithm, learned)), learned.head), run.experiment


def task(experiment: Any) -> Any:
    """The task of an experiment on texts: of the name, or prompts of its data."""
    if experiment.env != TEXT:
        found = ids.make(experiment.env)
        if not isinstance(found, Text):
            raise SettingsError(
                f"{experiment.env} is no task of text; Grammar, Couplets and text are"
            )
        return found
    if not experiment.model:
        raise SettingsError(f"{TEXT} needs a model, whose tokens it is written in: --model")
    decoder, vocabulary = model(experiment.model)
    rows = None
    if experiment.data and not hasattr(experiment.algorithm, "reads"):
        found = [texts.prompt(*row, vocabulary) for row in texts.rows_of(Path(experiment.data))]
        rows = padded(found)
    return Prompts(rows, decoder.shape.vocab, vocabulary.end, vocabulary)


def vocabulary(experiment: Any) -> Any:
    """What the tokens of an experiment on texts stand for.

    Raises:
        SettingsError: its task has numbers only.
    """
    found = getattr(task(experiment), "vocabulary", None)
    if found is None:
        raise SettingsError(f"{experiment.env} has no vocabulary to write its tokens as text with")
    return found


def material(experiment: Any) -> Any:
    """What an algorithm on texts learns from: texts of its data, or a task to write in."""
    found, kind = task(experiment), getattr(experiment.algorithm, "reads", "")
    data = experiment.data
    if not kind:
        if data and experiment.env != TEXT:
            raise SettingsError(f"{experiment.env} has prompts of its own, and cannot use {data}")
        if not data and experiment.env == TEXT:
            raise SettingsError("text needs prompts: name a file of rows with --data")
        return found
    if data:
        rows = list(texts.rows_of(Path(data)))
    elif hasattr(found, "rows") and callable(found.rows):
        written = found.rows(kind, ROWS)
        rows = [(f"row {i} of {experiment.env}", row) for i, row in enumerate(written, 1)]
    else:
        raise SettingsError(f"{experiment.env} writes no texts itself: name a file with --data")
    read = READERS[kind]
    laid = texts.laid_out(
        [(where, read(where, row, found.vocabulary)) for where, row in rows], context(experiment)
    )
    return Texts(laid, found.spec)


def context(experiment: Any) -> int:
    """Tokens that the model of an experiment can read."""
    if experiment.model:
        return model(experiment.model).decoder.shape.context
    return getattr(experiment.algorithm, "context", 0)
