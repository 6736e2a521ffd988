"""The learned models of a run in its report: what the log says of them, and what they imagine."""

from functools import partial
from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np

from spinward.envs import ids
from spinward.errors import SettingsError
from spinward.models.dynamics import LearnsModel
from spinward.report import plot
from spinward.report.panels import panels
from spinward.run.config import choices
from spinward.run.run import Run

if TYPE_CHECKING:
    from matplotlib.figure import Figure

METRICS = {  # in the order of the panels
    "model_likelihood": "log-likelihood of held-out steps, in nats per number",
    "model_error": "squared error of held-out steps, in normalised targets",
    "model_coverage": "share of held-out numbers in the central 90 % of what is predicted: below "
    "0.9 the models are too sure",
    "model_step_error": "error of one step on visited states, in deviations of the observations",
    "model_open_loop_error": "the same after as many steps as the setting window has",
    "model_disagreement": "standard deviation between members on visited states",
}
GROWN = 3.0  # times its least value: an error that is said to grow
LEAST_POINTS = 4  # of a curve that may be said to grow
STEPS = 50  # of the trajectories in the picture
ENTRIES = 4  # entries of an observation in it


def known(run: Run) -> dict[str, plot.Curve]:
    """The curves of the models' metrics that the log has."""
    logged = {name for point in run.points for name in point}
    return {name: plot.Curve(name, *run.curves(name)) for name in METRICS if name in logged}


def growing(curve: plot.Curve, first: int) -> list[str]:
    """A sentence on each seed whose error grew: its last number is more than `GROWN` times its
    least; seeds are counted from `first`."""
    sentences = []
    for seed, values in enumerate(np.asarray(curve.returns, float)):
        seen = np.flatnonzero(np.isfinite(values))
        if len(seen) < LEAST_POINTS:
            continue
        least, last = seen[values[seen].argmin()], seen[-1]
        if values[last] > GROWN * values[least]:
            sentences.append(
                f"{curve.name} of seed {first + seed} grew: {values[least]:.3g} at step "
                f"{int(curve.steps[least]):,}, {values[last]:.3g} at step "
                f"{int(curve.steps[last]):,}. The models may be diverging."
            )
    return sentences


def trajectories(run: Run, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """What the policy of a seed sees in the environment [time, dim], and what each model imagines
    [member, time, dim] from the same start under the same actions.

    The actions are those of the policy without exploration, which sees the real states.
    """
    import jax
    import jax.numpy as jnp

    from spinward.models.diagnostics import followed

    agents = run.agents()
    agent = jax.tree.map(lambda x: jnp.asarray(x[seed]), agents.agent)
    algorithm: Any = agents.algorithm
    obs, actions = real_steps(agents.env, algorithm, agent, run.config["seed"] + 1)
    taken = jnp.asarray(actions)[:, None]
    taken = jnp.clip(taken, -1.0, 1.0) if agents.env.spec.action.bounded else taken
    imagined = followed(algorithm.dynamics(agent), jnp.asarray(obs[:1]), taken)
    first = np.broadcast_to(obs[0], (len(imagined), 1, obs.shape[1]))
    return obs, np.concatenate([first, np.asarray(imagined[:, :, 0])], 1)


def real_steps(env: Any, algorithm: Any, agent: Any, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Observations [time + 1, dim] and actions [time, dim] of an episode, or of its first steps."""
    import jax

    from spinward.core import HostEnv, Policy
    from spinward.experience.rollout import Rollout
    from spinward.experience.vector import Vector

    host, keys = isinstance(env, HostEnv), jax.random.split(jax.random.PRNGKey(seed))
    memory = partial(algorithm.memory, agent)

    def act(obs: Any, memory: Any, key: Any) -> Any:
        return algorithm.act(agent, obs, memory, key, False)

    if host:
        every = jax.jit(jax.vmap(act))
        source: Any = Vector(env, 1, STEPS)
        policy = Policy(every, lambda envs: one_seed(memory(envs)))
        keys = keys[:, None]
    else:
        source = Rollout(env, 1, STEPS)
        policy = Policy(act, memory)
    try:
        state = source.init(keys[0], policy.memory(1))
        batch = source.collect(state, policy, keys[1])[1]
    finally:
        if host:
            source.close()
    batch = jax.tree.map(lambda x: np.asarray(x[0] if host else x)[:, 0], batch)
    ended = np.flatnonzero(batch.terminated | batch.truncated)
    length = ended[0] + 1 if len(ended) else len(batch.reward)
    obs = np.concatenate([batch.obs[:length], batch.next_obs[length - 1 : length]])
    return obs, batch.action[:length]


def one_seed(tree: Any) -> Any:
    """`tree` with an axis of one seed."""
    import jax

    return jax.tree.map(lambda x: x[None], tree)


def figure(real: np.ndarray, imagined: np.ndarray) -> "Figure":
    """The real trajectory and those of the members, in the entries that vary most."""
    from matplotlib.figure import Figure

    entries = np.sort(np.argsort(-real.std(0))[:ENTRIES])
    theme = plot.LIGHT
    picture = Figure(figsize=(7.2, 1.5 * len(entries)), layout="constrained", facecolor=theme.page)
    for row, entry in enumerate(entries):
        axes = picture.add_subplot(len(entries), 1, row + 1)
        for member in imagined:
            line = axes.plot(member[:, entry], color=theme.curves[1], alpha=0.6, linewidth=1.0)[0]
        truth = axes.plot(real[:, entry], color=theme.ink, linewidth=2.0)[0]
        plot.dress(axes, "", f"entry {entry}", theme)
        room = 0.25 * (np.ptp(real[:, entry]) or 1.0)
        axes.set_ylim(real[:, entry].min() - room, real[:, entry].max() + room)
        axes.set_xlabel("steps" if row == len(entries) - 1 else "", color=theme.faint)
    names = ["real", f"imagined, {len(imagined)} members"]
    picture.axes[0].legend([truth, line], names, frameon=False, fontsize=8, ncols=2)
    return picture


def content(run: Run) -> str:
    """The part of a report on the learned models; empty where there are none."""
    from spinward.report import page

    curves = known(run)
    if not curves:
        return ""
    first = run.config["seed"]
    grown = growing(curves["model_error"], first) if "model_error" in curves else []
    rows = [{"metric": name, "what it is": METRICS[name]} for name in curves]
    svg = page.data_uri(plot.rendered(panels(curves), "svg"), "image/svg+xml")
    words = escape(", ".join(curves))
    parts = [f"<p>{escape(sentence)}</p>" for sentence in grown]
    parts += [f'<div class="curve"><img src="{svg}" alt="{words}"></div>', page.grid(rows)]
    return "".join([*parts, drawn_of(run)])


def drawn_of(run: Run) -> str:
    """The picture of imagined and real trajectories, from the newest checkpoint."""
    from spinward.report import page

    foreign = ids.is_own_code(choices(run.config)[0].name) and not run.trust
    if foreign or not isinstance(run.made.experiment.algorithm, LearnsModel):
        return ""
    try:
        real, imagined = trajectories(run)
    except SettingsError as error:  # the run ended before its first checkpoint
        return f"<p>No picture of what the models imagine: {escape(str(error))}</p>"
    svg = page.data_uri(plot.rendered(figure(real, imagined), "svg"), "image/svg+xml")
    return (
        f"<p>{len(real) - 1} real steps of the policy of the first seed without exploration, and "
        "what each model imagines from the same start under the same actions.</p>"
        f'<div class="curve"><img src="{svg}" alt="imagined and real trajectories"></div>'
    )
