"""Makes the parts of a run once, and checks that the parts fit each other.

Settings that name a model, a run or a rule get a `Materials`, which reads each file once.
"""

import dataclasses
import functools
import itertools
import sys
from functools import cached_property
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from spinward import schedules
from spinward.core import Game, Opens, Spec, replace
from spinward.data import recorder, store
from spinward.data.steps import open_data
from spinward.envs import boards, recorded
from spinward.envs.check import try_once
from spinward.envs.prompts import FilePrompts
from spinward.envs.text import Corpus, Numbered, Text
from spinward.errors import SettingsError
from spinward.experience import replay_bytes as stored_bytes
from spinward.experience.material import Data, source_for
from spinward.experience.texts import TextBatches
from spinward.experience.wanted import Logged, Prompts, Samples, Texts, Want
from spinward.experience.workers import Workers
from spinward.language import models as language
from spinward.language import pretrained, reading
from spinward.language.models import Model
from spinward.language.reading import READERS, Limits
from spinward.loop import Freeze, Parts
from spinward.networks.language_policy import Direction, Trained, whole
from spinward.networks.lora import merged
from spinward.programs import choose
from spinward.run import contradictions, folders, inputs
from spinward.run.actors import actors
from spinward.run.config import from_config, read_config
from spinward.run.contradictions import TEXT
from spinward.run.experiment import Experiment
from spinward.run.given_prompts import with_prompts
from spinward.store import parameters as learned
from spinward.store import ranges

ROWS = 20_000  # of a task that writes its own texts, where no file is named


@dataclasses.dataclass(frozen=True)
class Assembled:
    """An experiment with its environment and its opened algorithm."""

    experiment: Experiment
    env: Any  # an Env, a HostEnv or a Text
    algorithm: Any  # after `opened`
    want: Want

    @property
    def spec(self) -> Spec:
        spec: Spec = self.env.spec
        return spec

    @property
    def agent_spec(self) -> Spec:
        """The spec that agents are made for, with the number of environments."""
        if self.logged_only:
            return self.spec
        return replace(self.spec, envs=self.want.envs)  # type: ignore[union-attr]

    @property
    def on_texts(self) -> bool:
        return isinstance(self.want, Prompts | Texts)

    @property
    def logged_only(self) -> bool:
        """Whether the run takes no env steps; then `steps` counts updates."""
        data = self.experiment.data
        alone = isinstance(self.want, Samples) and data and data.share == 1.0
        return bool(alone) or isinstance(self.want, Logged | Texts)

    @property
    def store_bytes(self) -> int:
        """The bytes of RAM that the store of one seed takes."""
        return 0 if self.logged_only else stored_bytes.wanted_bytes(self.want, self.spec)

    @cached_property
    def parts(self) -> Parts:
        """The parts of the loop."""
        experiment = self.experiment
        try_once(experiment.env.name, self.env)
        inputs.require(experiment, ("data", "reward_model", "demos"))
        if isinstance(experiment.reward, Opens):
            materials = Materials(experiment, self.env)
            reward = experiment.reward.opened(materials)
        else:
            reward = experiment.reward
        for algorithm, labeller in itertools.product(
            *map(schedules.ends, (self.algorithm, reward))
        ):
            contradictions.check_rewards(algorithm, labeller)
        if needed := self.store_bytes:
            stored_bytes.require_ram(self.want, needed, experiment.seeds)
        makers = actors(experiment, self.algorithm)
        source: Any = source_for(self.want, self.env, self.logged, self.texts(), makers)
        if experiment.workers and not isinstance(source, Workers):
            name = type(self.algorithm).__name__
            raise SettingsError(
                f"workers={experiment.workers}: the replay of {name} is in one process"
            )
        if experiment.log_data:
            source = recorder.recorded(source, experiment.plan(source.stride)[1])
        iterations, _ = experiment.plan(source.stride)
        contradictions.check_length(experiment, self.algorithm, iterations)
        over = functools.partial(schedules.over, iterations=iterations)
        return Parts(over(self.algorithm), source, over(reward), Freeze(experiment.freeze))

    def acting(self, iteration: int) -> Any:
        """The algorithm with the values of its schedules in an iteration."""
        changes = schedules.of(self.algorithm)
        return schedules.fixed(self.parts.algorithm, iteration) if changes else self.algorithm

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
        return folders.last_agents(run, places, self.acting(0), self.agent_spec, self.experiment)

    @cached_property
    def logged(self) -> Data | None:
        """The logged steps to learn from, if there are any."""
        choice = self.experiment.data
        if not choice or self.on_texts:
            return None
        sizes = choice.share, choice.memory_gib
        data = open_data(Path(choice.path), self.spec, *sizes, str(self.experiment.env))
        return data.hold_out(choice.held_out if choice.share == 1.0 else 0.0)

    def texts(self) -> TextBatches | None:
        """The texts to learn from, if the algorithm wants texts."""
        if not isinstance(self.want, Texts):
            return None
        env, vocabulary = self.env, self.env.vocabulary
        data, reader = self.experiment.data, READERS[self.want.kind]
        limits = Limits(self.want.context, data.skip, data.max_length)
        if data:
            rows_read = reading.of_file(data.path, reader, vocabulary, limits)
        elif isinstance(env, Corpus):
            examples, name = env.examples(self.want.kind, ROWS), self.experiment.env
            rows = [(f"row {i} of {name}", row) for i, row in enumerate(examples, 1)]
            rows_read = reading.read(lambda _: rows, reader, vocabulary, limits)
        else:
            raise SettingsError(
                f"{self.experiment.env} writes no texts itself: name a file with --data"
            )
        corpus = reading.corpus(rows_read, data.held_out if data else 0.0)
        return TextBatches(corpus.data, self.spec, held=corpus.held, notes=corpus.notes)


def assemble(experiment: Experiment) -> Assembled:
    """The assembled run. Its parts are made once, when `parts` is first read.

    Raises:
        SettingsError: settings that cannot work.
        DamagedFileError: a file that they name is corrupt.
    """
    experiment.check()
    stands_in = experiment.env.name == recorded.NAME
    inputs.require(experiment, ("model", "rule", *(["data"] if stands_in else [])))
    env = env_of(experiment)
    ranges.check(env)
    algorithm = experiment.algorithm
    if isinstance(algorithm, Opens):
        algorithm = algorithm.opened(Materials(experiment, env))
    for settings in schedules.ends(algorithm):
        settings.check(env.spec)
    want = schedules.ends(algorithm)[0].wants(env.spec)
    if isinstance(env, FilePrompts) and isinstance(want, Prompts) and experiment.data:
        env = with_prompts(env, experiment.data, want)
    made = Assembled(experiment, env, algorithm, want)
    contradictions.check_fit(experiment, algorithm, want, env.spec.players)
    contradictions.check_steps(experiment, algorithm, made.logged_only)
    return made


class Materials:
    """The files that an experiment's settings may request: a `core.Reader`."""

    def __init__(self, experiment: Experiment, env: Any) -> None:
        self.experiment, self.env = experiment, env

    def start(self) -> Any:
        """The initial decoder of the run; None where no model is named."""
        return model(self.experiment.model, None).decoder if self.experiment.model else None

    def vocabulary(self) -> Any:
        """The vocabulary of the run's texts.

        Raises:
            SettingsError: the task has no vocabulary.
        """
        vocabulary = self.env.vocabulary if isinstance(self.env, Text) else None
        if vocabulary is None:
            raise SettingsError(
                f"{self.experiment.env} has no vocabulary to write its tokens as text with"
            )
        return vocabulary

    def game(self) -> Game:
        """The rules of the run's game for two."""
        return boards.rules(self.env, str(self.experiment.env))

    def rows(self) -> Any:
        """From the number of a row to the row, where prompts are rows of a file; otherwise None."""
        return self.env.given if isinstance(self.env, Numbered) else None

    def trained(self, run: str) -> Trained:
        return scorer(run, None)

    arrays = staticmethod(learned.read)


def env_of(experiment: Experiment) -> Any:
    """The environment of a run, or what stands in for one."""
    if experiment.env.name == recorded.NAME:
        return store.env_of(experiment.data.path)
    return task(experiment) if experiment.env.name == TEXT else experiment.env.make()


def task(experiment: Experiment) -> FilePrompts:
    """The task of continuing the prompts of a file, in the tokens of the run's model."""
    if not experiment.model:
        raise SettingsError(f"{TEXT} needs a model, which gives its tokens: name one with --model")
    decoder, vocabulary = model(experiment.model, None)
    return FilePrompts(None, decoder.shape.vocab, vocabulary.end, vocabulary)


def scorer(name: str, older: bool | None = False) -> Trained:
    """The language model with its head: of a run, or of a folder with an exported model."""
    if not Path(name).is_dir() or (Path(name) / "shards").is_dir():
        return of_run(name, older=older)[0]
    score = pretrained.load_score(Path(name))
    head = None if score is None else Direction(jnp.asarray(score))
    return Trained(language.public(name).decoder, head)


def model(name: str, older: bool | None = False) -> Model:
    """The model in the folder of a public checkpoint, in a GGUF file, of the first seed of a run,
    or `smollm2`, which comes in a package.

    Raises:
        SettingsError: there is none, or it has no tokenizer.
        DamagedFileError: a file is corrupt, or a parameter is not finite.
    """
    if not (Path(name) / "shards").is_dir():
        return language.public(name)
    trained, made = of_run(name, older=older)
    return Model(trained.decoder, made.env.vocabulary)


def of_run(
    name: str, seed: int = 0, older: bool | None = False, checkpoint: str | int = "last"
) -> tuple[Trained, Assembled]:
    """The model that one seed of a run on texts has learned, and the assembled run. With `older`,
    an older checkpoint replaces a damaged newest one; `checkpoint` is as in `Run.agents`."""
    path = Path(name).resolve()
    config = read_config(path / "config.json")
    damaged = folders.verify(path, config, older)
    checkpoints = folders.named(path, checkpoint, older)
    for line in dict.fromkeys([*damaged, *(line for each in checkpoints for line in each.damaged)]):
        print(f"spinward: warning: {line}; an older one is used", file=sys.stderr)
    places = tuple(each.path for each in checkpoints)
    return trained_at(str(path), seed, places, language.stamp(path / "shards"))


@functools.lru_cache(maxsize=4)
def trained_at(
    name: str, seed: int, places: tuple[Path, ...], stamp: language.Stamp
) -> tuple[Trained, Assembled]:
    """The same for given checkpoints. `stamp` identifies the files' versions for the cache."""
    path = Path(name)
    made = assemble(from_config(read_config(path / "config.json"), False, path / "config.json"))
    if not made.on_texts:
        raise SettingsError(f"{name} trained no language model")
    agents = made.agents(path, list(places))
    decoder = jax.tree.map(lambda x: x[seed], agents.learner.model)
    return Trained(merged(whole(made.algorithm, decoder)), decoder.head), made
