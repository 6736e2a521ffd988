"""The results of a run: numbers, curves, a report and a video."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from spinward.core import Renders
from spinward.errors import SettingsError, nearest
from spinward.evaluation import reward_hacking
from spinward.evaluation.statistics import described
from spinward.report import learned_models, plot, reward_bar
from spinward.report import page as report
from spinward.report.advice import advice
from spinward.report.named import named
from spinward.run.config import choices
from spinward.run.run import Run
from spinward.store import files
from spinward.store.headline import EVALUATION, RETURN, Headline, of_points

NOTES = {
    "episode_return": "Returns are the environment's own, of the episodes trained on, exploration "
    "included."
}


def shown(run: Run) -> Headline:
    """The headline metric of a run; for a run on texts, this is not a return."""
    return of_points(choices(run.config)[0].name, run.points)


def summary(run: Run) -> dict[str, Any]:
    """The final training returns: their mean over seeds, its interval, and each seed's return. For
    a run on a user's texts: the final loss, accuracy or reward.

    Where a seed ended no episode in the last tenth, there is no mean: `unknown` counts such seeds.
    """
    metric = shown(run)
    if metric is RETURN:
        return over_seeds(run.final())
    _, values = run.curves(metric.metric)
    last = 1 if metric.last else max(1, int(np.ceil(values.shape[1] * 0.1)))
    return over_seeds(values[:, -last:].mean(1))


def final(run: Run, metric: str) -> dict[str, Any]:
    """The last value of a metric that each seed has, over seeds as in `summary`."""
    _, values = run.curves(metric)
    last = plot.last_seen(values)[:, -1:]
    return over_seeds(last.reshape(-1))


def over_seeds(finals: np.ndarray) -> dict[str, Any]:
    """One number for each seed: their mean, its interval, and each of them."""
    per_seed = [float(x) if np.isfinite(x) else None for x in finals]
    return {**described(finals), "per_seed": per_seed, "unknown": per_seed.count(None)}


def curve(run: Run, metric: str = "episode_return") -> plot.Curve:
    """A metric of the log over the steps of a run."""
    return plot.Curve(run.path.name, *run.curves(metric))


def curves(run: Run, metric: str = RETURN.metric) -> list[plot.Curve]:
    """A metric of the log; beside the training return also that of evaluations, if there are
    some."""
    all_curves = [curve(run, metric)]
    if metric == RETURN.metric:
        of_evaluations = plot.Curve(f"{run.path.name}, evaluated", *run.curves(EVALUATION.metric))
        all_curves += [of_evaluations] if len(of_evaluations.steps) else []
    return all_curves


def evaluated(run: Run) -> dict[str, Any] | None:
    """The last evaluation over seeds as in `summary`, and the highest of each seed; None where
    there is none."""
    steps, values = run.curves(EVALUATION.metric)
    if not len(steps):
        return None
    return {**over_seeds(values[:, -1]), "best": values.max(1).tolist()}


def require_metric(run: Run, metric: str) -> None:
    """Raises SettingsError where the log of a run has other metrics than this one."""
    logged = sorted({k for p in run.points for k, v in p.items() if isinstance(v, list)})
    if logged and metric not in logged:
        near = ", ".join(nearest(metric, logged, 3) or logged)
        raise SettingsError(f"{run.path} logs no metric {metric!r}; expected one of {near}")


def write_report(run: Run, path: Path | None = None, others: tuple[Run, ...] = ()) -> Path:
    """Writes one HTML file on a run, with the curves of `others` too."""
    config, result, headline = run.config, summary(run), shown(run)
    kind = config["algorithm"]["class"].rpartition(":")[2]
    same = [other for other in others if shown(other) == headline]
    lines = [c for each in (run, *same) for c in curves(each, headline.metric) if len(c.steps)]
    points = run.points
    steps_of = "env steps" if points and "episodes" in points[0] else "updates"
    facts = {f"{steps_of} of each seed": points[-1]["env_steps"] if points else 0}
    others_told = [
        f"{other.path.name} has no {headline.label}." for other in others if other not in same
    ]
    page = report.html(
        f"{kind} in {choices(config)[0]}",
        {**result, **facts},
        lines,
        rows_of(run, result, headline),
        named(config),
        newest_video(run),
        [*notes_of(run, headline), *others_told, resume_note(run)],
        headline.label,
        measured(run, headline),
        advice(run, result, headline),
        learned_models.content(run),
    )
    path = path or run.path / "report.html"
    files.write_atomically(path, page.encode())
    return path


def measured(run: Run, headline: Headline) -> dict[str, plot.Curve]:
    """The metrics of the log but for the headline's, by their names."""
    names = {n: None for p in run.points for n, v in p.items() if isinstance(v, list)}
    elsewhere = (headline.metric, "episodes")
    return {name: curve(run, name) for name in names if name not in elsewhere}


def rows_of(run: Run, result: dict[str, Any], headline: Headline) -> list[dict[str, Any]]:
    """The table of a report, with a row for each seed."""
    first = run.config["seed"]
    rows = [
        {"seed": first + i, column(headline): value} for i, value in enumerate(result["per_seed"])
    ]
    if headline is RETURN and (scores := evaluated(run)):
        pairs = zip(scores["per_seed"], scores["best"], strict=True)
        names = ("last evaluation", "highest evaluation")
        each = [dict(zip(names, pair, strict=True)) for pair in pairs]
        rows = [row | more for row, more in zip(rows, each, strict=True)]
    return rows


def notes_of(run: Run, headline: Headline) -> list[str]:
    """What the numbers of a report are."""
    notes = [NOTES.get(headline.metric, f"The curve is the {headline.label}, as it was logged.")]
    if headline is RETURN and evaluated(run):
        config = run.config
        where = f", in {config['evaluate_env']}" if config["evaluate_env"] else ""
        notes.append(
            f"Evaluations are {config['evaluate_episodes']} whole episodes of each seed without "
            f"exploration{where}. The highest of many evaluations is above what its agent would "
            "score in others."
        )
    return [*notes, *reward_hacking.in_log(run.points, run.config)]


def column(headline: Headline) -> str:
    """The heading of the table with each seed's result."""
    if headline is RETURN:
        return "return (last tenth of training)"
    return (
        f"{headline.label} (at the end)"
        if headline.last
        else f"{headline.label} (last tenth of training)"
    )


def resume_note(run: Run) -> str:
    """A sentence on whether the run resumes exactly, and why."""
    from spinward.core import HostEnv
    from spinward.envs import ids

    env, data = choices(run.config)
    if ids.is_own_code(env.name) and not run.trust:
        return "Its environment is code of its own, which was not run to write this."
    steps = not data or data.share < 1.0
    if steps and (run.config["workers"] or isinstance(env.make(), HostEnv)):
        return (
            "A resumed run goes on with the same agent, data and keys, but its environments, which "
            "cannot be saved in mid-episode, start anew (statistical resume)."
        )
    return "A resumed run equals one that was not interrupted, bit for bit (exact resume)."


def newest_video(run: Run) -> Path | None:
    """The newest video in a run's folder.

    Raises:
        DamagedFileError: a video, or their folder, is a link or no ordinary file.
    """
    folder = files.inside(run.path, run.path / "videos")
    files_found = folder.iterdir() if folder.is_dir() else ()
    videos = [p for p in files_found if p.suffix.lower() in report.TYPES]
    times = {}
    for path in videos:
        with files.opened(path, run.path, "rb") as file:
            times[path] = os.fstat(file.fileno()).st_mtime
    return max(videos, key=times.__getitem__, default=None)


def frames(
    run: Run, seed: int = 0, limit: int = 500, checkpoint: str | int = "last"
) -> Iterator[np.ndarray]:
    """Pictures of an episode of a seed's policy, in our own renderer or Gymnasium's. Beside them is
    the predicted reward, where it is learned from comparisons.

    Raises:
        SettingsError: the environment cannot be drawn.
    """
    import jax

    from spinward.envs.gymnasium import Gymnasium
    from spinward.envs.recorded import require_env

    agents, policy = run.agents(checkpoint), run.policy(seed, checkpoint)
    env: Any = agents.env
    require_env(env)
    bar = reward_bar.bar_of(run, seed)
    if isinstance(env, Gymnasium):
        yield from of_gymnasium(env, policy, bar, limit)
        return
    if not isinstance(agents.env, Renders):
        raise SettingsError(
            f"{type(env).__name__} has no renderer; expected a method render(state)"
        )
    step, key = jax.jit(env.step), jax.random.PRNGKey(run.config["seed"] + 1)
    state, obs = jax.jit(env.reset)(key)
    for _ in range(limit):
        action = policy(obs)
        yield bar(env.render(state), obs, policy.unit_action)
        key, k_step = jax.random.split(key)
        state, obs, _, terminated, truncated = step(state, action, k_step)
        if terminated or truncated:
            yield bar(env.render(state), obs, policy.unit_action)
            return


def of_gymnasium(
    env: Any, policy: Any, bar: reward_bar.Drawing, limit: int
) -> Iterator[np.ndarray]:
    """Pictures of an episode in an environment of Gymnasium's."""
    opened = env.open_one()
    obs = opened.reset(seed=0)
    for _ in range(limit):
        frame, action = np.asarray(opened.render()), policy(obs)
        yield bar(frame, obs, policy.unit_action)
        obs, _, *ends = opened.step(action)
        if any(ends):
            break
    opened.close()
