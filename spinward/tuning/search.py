"""`tune`: a search for settings, trial by trial, and the check of the best on other seeds.

Trials come in batches. What a batch asks for depends only on the trials of the batches before it,
so a search that was stopped ends as one that was not. Optuna's TPE proposes; trial 0 is what the
search starts from.
"""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from spinward.core import replace
from spinward.errors import DamagedFileError, SettingsError, Stopped, install
from spinward.evaluation.statistics import described, probability_of_improvement
from spinward.run import device
from spinward.run.asked import experiment_of
from spinward.run.assemble import assemble
from spinward.run.experiment import DataChoice, Experiment
from spinward.run.new_folder import check_name
from spinward.run.other_envs import env_choice_of, is_given
from spinward.run.stopping import disk_errors, stopping
from spinward.store import files, settings
from spinward.tuning import folder as kept
from spinward.tuning import reading
from spinward.tuning.space import Space, distributions, params_of, settings_of, space_of
from spinward.tuning.trial import Asked, Scoring, results, with_settings

OTHER_SEEDS = 1000  # from the seeds of the trials to the first of those that check the best


class Search(NamedTuple):
    """What a search asks."""

    experiment: Experiment  # of trial 0
    space: Space
    trials: int
    trial_batch: int  # trials that are proposed together
    scoring: Scoring
    confirm: int  # seeds for the check of the best; 0: no check

    def question(self) -> dict[str, Any]:
        """The question as JSON."""
        return {
            "experiment": json.loads(self.experiment.to_json(False)),
            "space": {name: str(values) for name, values in self.space.items()},
            "trials": self.trials,
            "trial_batch": self.trial_batch,
            "evaluate_episodes": self.scoring.episodes,
            "confirm": self.confirm,
        }


class Tuning:
    """A search in its folder."""

    def __init__(self, path: str | Path):
        self.path = Path(path)

    def __repr__(self) -> str:
        return f"Tuning({str(self.path)!r})"

    @property
    def question(self) -> dict[str, Any]:
        return reading.read_question(self.path)

    @property
    def trials(self) -> list[dict[str, Any]]:
        """The trials by their numbers: settings, score of each seed, curves."""
        return [line for _, line in sorted(reading.read_trials(self.path).items())]

    @property
    def best(self) -> dict[str, Any]:
        """The settings of the trial with the highest mean score; of equal ones the first.

        Raises:
            SettingsError: no trial has a score yet.
        """
        return settings.from_json(best_of(self.path, self.trials)["settings"])  # type: ignore[no-any-return]

    @property
    def confirmed(self) -> dict[str, Any] | None:
        """The best and trial 0 on other seeds, if the search came to that."""
        path = self.path / reading.BEST
        return json.loads(files.read(path, self.path, reading.LIMIT)) if path.exists() else None


def best_of(folder: Path, trials: list[dict[str, Any]]) -> dict[str, Any]:
    scored = [line for line in trials if math.isfinite(reading.score(line))]
    if not scored:
        reasons = {line["reason"] for line in trials} or {"none has ended"}
        raise SettingsError(f"{folder}: no trial has a score: {min(reasons):.300}")
    return max(scored, key=reading.score)


def tune(
    algorithm: Any,
    env: Any = "",
    space: Mapping[str, str] | None = None,
    trials: int = 32,
    steps: int = 100_000,
    seeds: int = 3,
    seed: int = 0,
    evaluate_episodes: int = 0,
    confirm: int = 5,
    trial_batch: int = 8,
    out: str | Path = "runs",
    name: str = "",
    reward: Any = None,
    data: str | Path | DataChoice = "",
    env_kwargs: dict[str, Any] | None = None,
    watch: Any = None,
    **more: Any,
) -> Tuning:
    """Searches settings of an algorithm, and returns the search, which is a folder of `out`.

    `space` has a text for each setting that may change: `{"lr": "1e-4:1e-2:log", "epochs": "3,5"}`.
    A trial is scored by its return over the last tenth of training, or after it over so many
    `evaluate_episodes`. The best trial and trial 0, which are the settings that the search starts
    from, are then trained on `confirm` seeds that no trial had. The same call goes on with a search
    that was stopped, and with more `trials` after its end. `watch(line)` is called after each.

    Raises:
        SettingsError: a question that cannot work, before anything is written.
    """
    more |= {"steps": steps, "seeds": seeds, "seed": seed, "data": DataChoice.of(data)}
    choice = env_choice_of(env, env_kwargs, bool(more["data"]))
    experiment = experiment_of(tune, algorithm, choice, reward, more)
    scoring = Scoring(evaluate_episodes)
    values = space_of(experiment.algorithm, space or {})
    return run(Search(experiment, values, trials, trial_batch, scoring, confirm), out, name, watch)


def run(search: Search, out: str | Path, name: str = "", watch: Any = None) -> Tuning:
    """Runs a search to its end, in a folder of `out`."""
    device.prepare()
    made = check(search)
    kind = type(search.experiment.algorithm).__name__.lower()
    name = name or f"tune-{kind}-{str(search.experiment.env).rpartition('/')[2].replace(':', '-')}"
    check_name(Path(out), name)
    folder = Path(out) / name
    if made.logged_only and not search.scoring.episodes:
        search = search._replace(scoring=Scoring(20))  # nothing else has a return
    kept.open_or_make(folder, search.question())
    with disk_errors(folder), kept.alone(folder), stopping() as asked:
        check_trials(search, folder)
        try:
            for number in range(0, search.trials, search.trial_batch):
                run_batch(search, folder, number, asked, watch)
            confirm(search, folder, asked)
        except Stopped:
            done = len(reading.read_trials(folder))
            raise Stopped(
                f"stopped after {done} of {search.trials} trials, which are saved in {folder}; the "
                "same command goes on"
            ) from None
    return Tuning(folder)


def check(search: Search) -> Any:
    """The assembled trial 0.

    Raises:
        SettingsError: a search that cannot work.
    """
    check_numbers(search)
    try:
        import optuna
    except ImportError:
        raise SettingsError(f"a search needs Optuna: {install('optuna')}") from None
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    made = assemble(search.experiment)
    if made.on_texts:
        raise SettingsError("tune searches by returns, and this run is on texts")
    if is_given(search.experiment.env.name) and not made.on_device:
        raise SettingsError(
            "tune trains trials in processes of their own, which cannot reach an environment that "
            "is an object of this program: give its class or a function that makes it"
        )
    return made


def check_numbers(search: Search) -> None:
    """Raises SettingsError for counts that are too small."""
    for name, least in (("trials", 1), ("trial_batch", 1), ("confirm", 0)):
        if getattr(search, name) < least:
            raise SettingsError(f"{name}={getattr(search, name)} must be at least {least}")
    if search.scoring.episodes < 0:
        raise SettingsError(f"evaluate_episodes={search.scoring.episodes} must be at least 0")


def check_trials(search: Search, folder: Path) -> None:
    """Raises DamagedFileError for a trial whose settings are not of the space."""
    for number, line in reading.read_trials(folder).items():
        try:
            if number:  # trial 0 may lie outside
                as_trial(search.space, line)
        except (ValueError, KeyError, TypeError) as error:
            raise DamagedFileError(
                f"{folder / reading.TRIALS}: the settings of trial {number}, "
                f"{line['settings']!r:.100}, are not of this search ({error!r:.100})"
            ) from None


def as_trial(space: Space, line: dict[str, Any]) -> Any:
    """A line of a trial as Optuna has it."""
    from optuna.trial import TrialState, create_trial

    value = reading.score(line)
    known = math.isfinite(value)
    return create_trial(
        params=params_of(space, settings.from_json(line["settings"])),
        distributions=distributions(space),
        value=value if known else None,
        state=TrialState.COMPLETE if known else TrialState.FAIL,
    )


def proposed(search: Search, before: dict[int, dict[str, Any]], number: int) -> dict[int, Any]:
    """The settings of the trials of the batch that begins with a number, from the trials before."""
    import optuna

    sampler = optuna.samplers.TPESampler(
        seed=(search.experiment.seed * 1_000_003 + number) % 2**32, constant_liar=True
    )
    study = optuna.create_study(direction="maximize", sampler=sampler)
    space, asked = search.space, distributions(search.space)
    for line in (before[n] for n in sorted(before) if 0 < n < number):
        study.add_trial(as_trial(space, line))
    numbers = range(number, min(number + search.trial_batch, search.trials))
    proposals = {n: settings_of(space, study.ask(asked).params) for n in numbers}
    if number == 0:
        start = search.experiment.algorithm
        proposals[0] = {name: getattr(start, name) for name in space}
    return proposals


def run_batch(search: Search, folder: Path, number: int, asked: list[int], watch: Any) -> None:
    """Runs the trials of a batch that have no result yet."""
    done = reading.read_trials(folder)
    proposals = proposed(search, done, number)
    trials = [
        Asked(n, with_settings(search.experiment, values))
        for n, values in proposals.items()
        if n not in done
    ]
    for result in results(trials, folder, search.scoring, asked):
        kept.add(folder, result, proposals[result.number])
        if watch is not None:
            watch(reading.read_trials(folder)[result.number])


def confirm(search: Search, folder: Path, asked: list[int]) -> None:
    """Trains the best trial and trial 0 on seeds that no trial had, and writes the answer."""
    trials = reading.read_trials(folder)
    best = best_of(folder, [trials[n] for n in sorted(trials)])
    answer: dict[str, Any] = {"trial": best["number"], "settings": best["settings"]}
    if search.confirm and best["number"] != 0:
        first = search.experiment.seed + OTHER_SEEDS
        fresh = replace(search.experiment, seed=first, seeds=search.confirm)
        values = settings.from_json(best["settings"])
        pair = [Asked(0, fresh), Asked(1, with_settings(fresh, values))]
        ended = {
            r.number: r
            for r in results(pair, files.inside(folder, folder / "confirm"), search.scoring, asked)
        }
        scores = {name: ended[i].scores for i, name in enumerate(("start", "best"))}
        answer["seeds"] = list(range(first, first + search.confirm))
        answer |= {name: {**described(x), "per_seed": plain(x)} for name, x in scores.items()}
        chance = probability_of_improvement(scores["best"], scores["start"])
        answer["probability_of_improvement"] = None if math.isnan(chance) else chance
    files.write_atomically(folder / reading.BEST, (json.dumps(answer, indent=1) + "\n").encode())


def plain(scores: np.ndarray) -> list[float | None]:
    return [float(x) if math.isfinite(x) else None for x in scores]
