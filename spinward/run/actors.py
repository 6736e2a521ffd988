"""Actors of Ray that step the environments of a run."""

from typing import Any

from spinward.errors import SettingsError
from spinward.experience.workers import Workers
from spinward.run.experiment import Experiment


def actors(experiment: Experiment, algorithm: Any) -> Any:
    """The function that makes sources with actors; None for a run without workers."""
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
