"""Evaluations during training: whole episodes without exploration, and each seed's best agent.

An evaluation depends on the agents, their seeds and the iteration alone, and changes nothing that
is learned. The best agents are saved with every checkpoint, under its number, so that a resumed
run has those of its checkpoint and no later ones.
"""

from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from spinward.envs.recorded import require_env
from spinward.errors import DamagedFileError, SettingsError
from spinward.evaluation.episodes import Agents, scored
from spinward.run.assemble import Assembled
from spinward.run.experiment import Experiment
from spinward.run.other_envs import fitting
from spinward.store import checkpoint, integrity
from spinward.store.headline import EVALUATION, RETURN

FOLDER = "best"  # of a shard, beside its checkpoints
DOMAIN = 0x45564C  # folded into a seed's key, for keys that training does not use


class Best(NamedTuple):
    """The best agents so far; the first of equals is kept."""

    agent: Any  # [seed]
    returns: np.ndarray  # [seed]
    iterations: np.ndarray  # [seed] when each was the agent


def env_of(made: Assembled) -> Any:
    """The environment that a run's agents are evaluated in.

    Raises:
        SettingsError: the run learns from texts, or the environment does not fit.
    """
    experiment = made.experiment
    if made.on_texts:
        raise SettingsError(
            f"evaluate_every={experiment.evaluate_every}: a run on texts is scored on held-out "
            "texts by itself (held_out)"
        )
    other = experiment.evaluate_env
    if not other:
        require_env(made.env)
    return fitting(other, made) if other else made.env


class Evaluations:
    """The evaluations of a running shard."""

    def __init__(self, made: Assembled, shard: Experiment, folder: Path):
        self.experiment, self.folder = shard, folder / FOLDER
        self.best: Best | None = None
        _, log_every = shard.plan(made.stride)
        self.log_every, self.every = log_every, 0  # in log points; 0: none
        if shard.evaluate_every:
            self.every = -(-shard.evaluate_every // (log_every * made.stride))
            self.env = env_of(made)

    def restore(self, info: dict[str, Any], iteration: int, agent: Any) -> None:
        """Reads the best agents of the checkpoint of an iteration, if its `info` says that it has
        some.

        Raises:
            DamagedFileError: they are damaged.
        """
        integrity.drop_newer(self.folder, iteration)
        if self.best is not None or not info.get(FOLDER):
            return
        path = self.folder / f"{iteration:010d}"
        saved, about = checkpoint.load(path, {"agent": agent})
        try:
            returns, iterations = (np.array(about[k], float) for k in ("returns", "iterations"))
        except (KeyError, TypeError, ValueError):
            raise DamagedFileError(f"{path}: expected returns, found {about!r:.120}") from None
        self.best = Best(saved["agent"], returns, iterations.astype(int))

    def measure(self, agents: Agents, iteration: int, iterations: int) -> dict[str, list[float]]:
        """The metrics of an evaluation, at every so many log points and at the last; at other
        points none."""
        point = iteration // self.log_every
        if not self.every or (point % self.every and iteration < iterations):
            return {}
        experiment = self.experiment
        keys = jax.vmap(lambda k: jax.random.fold_in(jax.random.fold_in(k, DOMAIN), iteration))
        episodes, limit = experiment.evaluate_episodes, experiment.evaluate_limit
        agents = agents._replace(env=self.env)
        score = scored(agents, episodes, keys(experiment.keys()), limit=limit)
        if experiment.keep_best:
            self.keep(agents.agent, score.per_seed, iteration)
        return {EVALUATION.metric: score.per_seed.tolist()}

    def keep(self, agent: Any, returns: np.ndarray, iteration: int) -> None:
        """Keeps the agent of each seed whose return is its highest so far."""
        at = np.full(len(returns), iteration)
        if self.best is None:
            self.best = Best(jax.tree.map(lambda x: jnp.array(x), agent), returns, at)
            return
        better = returns > self.best.returns

        def better_of(new: Any, old: Any) -> Any:
            return jnp.where(better.reshape(-1, *[1] * (jnp.ndim(new) - 1)), new, old)

        kept = jax.tree.map(better_of, agent, self.best.agent)
        old = self.best
        self.best = Best(
            kept, np.maximum(returns, old.returns), np.where(better, at, old.iterations)
        )

    def save(self, iteration: int) -> dict[str, Any]:
        """Saves the best agents, before the checkpoint of an iteration. Returns what its info says
        of them."""
        if self.best is None:
            return {}
        info = {n: getattr(self.best, n).tolist() for n in ("returns", "iterations")}
        checkpoint.save(self.folder, iteration, {"agent": self.best.agent}, info)
        return {FOLDER: True}

    def reached(self, line: dict[str, Any]) -> bool:
        """Whether all seeds have the return at which a run ends: that of an evaluation, or in a
        run without evaluations that of the episodes trained on."""
        target = self.experiment.stop_at
        metric = EVALUATION.metric if self.every else RETURN.metric
        if target is None or metric not in line:
            return False
        return all(value is not None and value >= target for value in line[metric])
