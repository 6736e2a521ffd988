"""Makes the parts of a run, once, and checks them against each other.

Settings that name a model, a run or a rule are given a `Materials`, which reads each once.
"""

import dataclasses
import functools
import sys
from functools import cached_property
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from spinward.core import (
    Opens,
    Spec,
    replace,
)
from spinward.data import chunks
from spinward.data.steps import read_data
from spinward.envs.prompts import Prompts as FilePrompts
from spinward.envs.text import Corpus, Numbered, Text
from spinward.errors import SettingsError
from spinward.experience import replay_bytes as stored_bytes
from spinward.experience.material import Data, source_for
from spinward.experience.texts import TextBatches
from spinward.experience.wanted import Logged, Prompts, Samples, Texts, Want
from spinward.experience.workers import Workers
from spinward.language import models as language
from spinward.language import pretrained, reading
from spinward.language import rows as texts
from spinward.language.models import Model
from spinward.language.reading import READERS, Limits
from spinward.loop import Parts
from spinward.networks.language_policy import Direction, Trained, whole
from spinward.networks.lora import merged
from spinward.programs import choose
from spinward.run import folders
from spinward.run.config import from_config, read_config
from spinward.run.contradictions import TEXT, check_fit, check_rewards
from spinward.run.experiment import DataChoice, Experiment
from spinward.store import parameters as learned
from spinward.store import ranges

ROWS = 20_000  # of a task that writes its own texts, where no file is named


@dataclasses.dataclass(frozen=True)
class Assembled:
    """An experiment and what was made of it."""

    experiment: Experiment
    env: Any  # an Env, a HostEnv or a Text
    algorithm: Any  # with what it was to open
    want: Want

    @property
    def spec(self) -> Spec:
        spec: Spec = self.env.spec
        return spec

    @property
    def agent_spec(self) -> Spec:
        """What agents are made for: also how many environments act side by side."""
        if self.logged_only:
            return self.spec
        return replace(self.spec, envs=self.want.envs)  # type: ignore[union-attr]

    @property
    def on_texts(self) -> bool:
        return isinstance(self.want, Prompts | Texts)

    @property
    def logged_only(self) -> bool:
        """Whether no step is taken: `steps` of the run are updates."""
        data = self.experiment.data
        alone = isinstance(self.want, Samples) and data and data.share == 1.0
        return bool(alone) or isinstance(self.want, Logged | Texts)

    @property
    def store_bytes(self) -> int:
        """The memory that the store of one seed takes."""
        return 0 if self.logged_only else stored_bytes.wanted_bytes(self.want, self.spec)

    @cached_property
    def parts(self) -> Parts:
        """The parts of the loop."""
        experiment = self.experiment
        check_fit(experiment, self.algorithm, self.want, self.spec.players)
        if isinstance(experiment.reward, Opens):
            materials = Materials(experiment, self.env)
            reward = experiment.reward.opened(materials)
        else:
            reward = experiment.reward
        check_rewards(self.algorithm, reward)
        if needed := self.store_bytes:
            stored_bytes.require_ram(self.want.capacity, needed, experiment.seeds)  # type: ignore[union-attr]
        source: Any = source_for(self.want, self.env, self.data(), self.written(), self.actors())
        if experiment.workers and not isinstance(source, Workers):
            name = type(self.algorithm).__name__
            raise SettingsError(
                f"workers={experiment.workers}: the replay of {name} is in one process"
            )
        if experiment.log_data:
            source = chunks.recorded(source, experiment.plan(source.stride)[1])
        return Parts(self.algorithm, source, reward)

    @property
    def stride(self) -> int:
        return self.parts.source.stride

    @cached_property
    def on_device(self) -> bool:
        """Whether environments are part of the compiled program."""
        return not choose.on_host(self.parts)

    @cached_property
    def shards(self) -> list[Experiment]:
        """The experiment of each process that shares the seeds."""
        return folders.shards_of(self.experiment, self.on_device)

    def agents(self, run: Path, places: list[Path]) -> Any:
        """The agents [seed] of checkpoints of a run of this experiment, one of each shard."""
        return folders.last_agents(run, places, self.algorithm, self.agent_spec, self.experiment)

    def data(self) -> Data | None:
        choice = self.experiment.data
        if not choice or self.on_texts:
            return None
        return Data(read_data(Path(choice.path), self.spec), self.spec, choice.share)

    def written(self) -> TextBatches | None:
        """The texts to learn from, where that is what is wanted."""
        if not isinstance(self.want, Texts):
            return None
        env, words = self.env, self.env.vocabulary
        data, reader = self.experiment.data, READERS[self.want.kind]
        limits = Limits(self.want.context, data.skip, data.max_length)
        if data:
            found = reading.of_file(data.path, reader, words, limits)
        elif isinstance(env, Corpus):
            written, name = env.examples(self.want.kind, ROWS), self.experiment.env
            rows = [(f"row {i} of {name}", row) for i, row in enumerate(written, 1)]
            found = reading.read(lambda _: rows, reader, words, limits)
        else:
            raise SettingsError(
                f"{self.experiment.env} writes no texts itself: name a file with --data"
            )
        corpus = reading.corpus(found, data.held_out if data else 0.0)
        return TextBatches(corpus.data, self.spec, held=corpus.held, notes=corpus.notes)

    def actors(self) -> Any:
        """What makes rollouts whose environments live in actors."""
        experiment, algorithm = self.experiment, self.algorithm
        if not experiment.workers:
            return None

        def collect(envs: int, steps: int, corrects_lag: bool) -> Workers:
            if experiment.first_come and not corrects_lag:
                name = type(algorithm).__name__
                raise SettingsError(
                    f"first_come=True: {name} does not correct for an older policy; a2c does"
                )
            actors = experiment.workers, experiment.first_come
            source = Workers(envs, steps, experiment.env.make, algorithm, *actors)
            source.check()
            return source

        return collect


def assemble(experiment: Experiment) -> Assembled:
    """What a run is made of; its parts are made when they are first asked for, and once.

    Raises:
        SettingsError: settings that cannot work.
        DamagedFileError: a file that they name is corrupt.
    """
    experiment.check()
    env = task(experiment) if experiment.env.name == TEXT else experiment.env.make()
    ranges.check(env)
    algorithm = experiment.algorithm
    if isinstance(algorithm, Opens):
        algorithm = algorithm.opened(Materials(experiment, env))
    algorithm.check(env.spec)
    want = algorithm.wants(env.spec)
    if isinstance(env, FilePrompts) and isinstance(want, Prompts) and experiment.data:
        env = with_prompts(env, experiment.data, want)
    return Assembled(experiment, env, algorithm, want)


class Materials:
    """What the settings of an experiment may ask for: a `core.Reader`."""

    def __init__(self, experiment: Experiment, env: Any) -> None:
        self.experiment, self.env = experiment, env

    def start(self) -> Any:
        """The decoder that the run begins with; None where no model is named."""
        return model(self.experiment.model).decoder if self.experiment.model else None

    def vocabulary(self) -> Any:
        """What the tokens of the run's texts stand for.

        Raises:
            SettingsError: its task has numbers only.
        """
        found = self.env.vocabulary if isinstance(self.env, Text) else None
        if found is None:
            raise SettingsError(
                f"{self.experiment.env} has no vocabulary to write its tokens as text with"
            )
        return found

    def rows(self) -> Any:
        """The row of a number, where the prompts are rows of a file."""
        return self.env.given if isinstance(self.env, Numbered) else None

    def trained(self, run: str) -> Trained:
        return scorer(run)

    arrays = staticmethod(learned.read)


def task(experiment: Experiment) -> FilePrompts:
    """The task of continuing the prompts of a file, in the tokens of the run's model."""
    if not experiment.model:
        raise SettingsError(f"{TEXT} needs a model, whose tokens it is written in: --model")
    decoder, vocabulary = model(experiment.model)
    return FilePrompts(None, decoder.shape.vocab, vocabulary.end, vocabulary)


def with_prompts(env: FilePrompts, data: DataChoice, want: Prompts) -> FilePrompts:
    """`env` with the prompts of a file, after each of which there is room to write."""
    room = want.context - want.steps if want.context else sys.maxsize
    limits = Limits(room, data.skip, data.max_length)
    found = reading.of_file(data.path, texts.prompt, env.vocabulary, limits)
    given = reading.given(found, env.vocabulary)
    return replace(env, rows=reading.prompts(found), given=given, notes=found.notes)


def scorer(name: str, older: bool = False) -> Trained:
    """The language model of a run with its head, or that of a folder it was exported to."""
    if not Path(name).is_dir() or (Path(name) / "shards").is_dir():
        return of_run(name, older=older)[0]
    score = pretrained.load_score(Path(name))
    head = None if score is None else Direction(jnp.asarray(score))
    return Trained(language.public(name).decoder, head)


def model(name: str, older: bool = False) -> Model:
    """The model in the folder of a public checkpoint, in a GGUF file, that of the first seed of a
    run, or `smollm2`, which a package has.

    Raises:
        SettingsError: there is none, or it has no tokenizer.
        DamagedFileError: a file is corrupt, or a parameter is not finite.
    """
    if not (Path(name) / "shards").is_dir():
        return language.public(name)
    trained, made = of_run(name, older=older)
    return Model(trained.decoder, made.env.vocabulary)


def of_run(name: str, seed: int = 0, older: bool = False) -> tuple[Trained, Assembled]:
    """What a seed of a run on texts has learned, and what the run is made of. An `older` checkpoint
    may be used where the newest is damaged."""
    path = Path(name).resolve()
    config = read_config(path / "config.json")
    damaged = folders.verify(path, config, older)
    chosen = folders.chosen(path, older)
    for line in dict.fromkeys([*damaged, *(line for each in chosen for line in each.damaged)]):
        print(f"spinward: warning: {line}; an older one is used", file=sys.stderr)
    places = tuple(each.path for each in chosen)
    return trained_at(str(path), seed, places, language.stamp(path / "shards"))


@functools.lru_cache(maxsize=4)
def trained_at(
    name: str, seed: int, places: tuple[Path, ...], stamp: language.Stamp
) -> tuple[Trained, Assembled]:
    """The same, of a run whose files are as `stamp` has them."""
    path = Path(name)
    made = assemble(from_config(read_config(path / "config.json"), False, path / "config.json"))
    if not made.on_texts:
        raise SettingsError(f"{name} trained no language model")
    agents = made.agents(path, list(places))
    decoder = jax.tree.map(lambda x: x[seed], agents.learner.model)
    return Trained(merged(whole(made.algorithm, decoder)), decoder.head), made
