"""Data sets of known quality, from agents trained for them (Fu et al., 2020, arXiv:2004.07219).

Departs from the paper: the medium agent is found among the checkpoints of the run that the expert
is from, by its return; `narrow` is the expert's greedy policy with little noise.
"""

from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from spinward import interrupts
from spinward.core import Box, Discrete, Likelihood, Spec, replace
from spinward.data import card
from spinward.data.card import Card
from spinward.data.layout import layout_of
from spinward.data.mixing import copy, lengths
from spinward.data.statistics import measured
from spinward.data.store import Store, opened
from spinward.data.writer import Writer, created
from spinward.errors import SettingsError, Stopped
from spinward.evaluation.episodes import Agents, evaluate
from spinward.experience.behaviour import Noisy, Uniform
from spinward.experience.wanted import Rollouts, Samples
from spinward.run import recording
from spinward.run.asked import experiment_of
from spinward.run.experiment import DataChoice, EnvChoice, Experiment
from spinward.run.run import Run, create
from spinward.run.watching import Point, Watch
from spinward.store import files

QUALITIES = {
    "random": "uniformly random actions",
    "medium": "the agent that is a third to half of the way from random to expert",
    "medium-replay": "all that the agent did while it learned, until it was medium",
    "medium-expert": "half of the steps medium, half expert",
    "expert": "the agent with the highest return",
    "narrow": "the expert's greedy policy with little noise",
}
MIDDLE = 1 / 3, 1 / 2  # of the way from random to expert: the aim of `medium`
ACCEPTED = 0.15, 0.75  # of a medium agent; outside, the card and the command say so
POINTS = 40  # of a run at which its agent is kept and evaluated
EPISODES, FRESH = 20, 50  # to choose an agent by, and to state its return by
LIMIT = 10_000  # steps after which an episode of an evaluation is cut
NOISE = 0.05  # share of random choices of an agent that learns values alone
NARROW = {"choice": 0.01, "numbers": 0.1}  # noise of the narrow policy


class Request(NamedTuple):
    """What is asked for."""

    env: EnvChoice
    quality: str
    steps: int
    algorithm: str = ""  # that learns; empty: by the kind of actions
    train_steps: int = 100_000
    seed: int = 0
    licence: str = ""

    def check(self) -> None:
        if self.quality not in QUALITIES:
            raise SettingsError(f"quality={self.quality!r} must be one of {', '.join(QUALITIES)}")
        for name in ("steps", "train_steps"):
            if getattr(self, name) < recording.ENVS:
                raise SettingsError(f"{name}={getattr(self, name)} must be at least 8")


class Kept(NamedTuple):
    """An agent as it was at a point of its run."""

    env_steps: int
    agent: Any
    value: float  # the mean return of its greedy policy


def generate(request: Request, path: Path, watch: Watch = lambda point: None) -> Card:
    """Writes a data set of a quality to a new folder, whole or not at all; its card.

    Raises:
        SettingsError: the agent learns nothing that is better than random actions.
        Stopped: Ctrl-C or SIGTERM while the agent trained.
    """
    request.check()
    env = request.env.make()
    with created(path) as folder:
        if request.quality == "random":
            recorded_random(request, env, folder)
        else:
            trained(request, env, folder, watch)
        return card.read(folder)


def recorded_random(request: Request, env: Any, folder: Path) -> None:
    spec = env.spec
    steps = recording.played(env, Uniform(spec), jnp.zeros(()), request.steps, request.seed)
    reference = {"random": random_return(request, env)}
    recording.write(folder, about(request, spec, "uniformly random actions", reference), [steps])


def trained(request: Request, env: Any, folder: Path, watch: Watch) -> None:
    """Trains an agent, and writes what it did, or does, to a folder."""
    low = random_return(request, env)
    with files.temporary(folder) as scratch:  # beside the data, and removed with what it holds
        run, kept = trained_run(request, env, scratch, watch)
        agents = run.agents()
        expert = best(kept, low, request)
        medium = middle(kept, low, expert.value)
        algorithm = agents.algorithm
        values = {n: fresh(request, agents, k) for n, k in (("medium", medium), ("expert", expert))}
        steps = {"medium_steps": medium.env_steps, "expert_steps": expert.env_steps}
        reference = {"random": low, **values, **steps}
        card_of = about(request, env.spec, source_of(request.quality, algorithm), reference)
        if request.quality == "medium-replay":
            write_replay(request, run, medium.env_steps, folder, card_of)
            return
        recording.write(folder, card_of, recordings(request, env, algorithm, medium, expert))


def recordings(
    request: Request, env: Any, algorithm: Any, medium: Kept, expert: Kept
) -> list[recording.Recording]:
    """The steps of a data set of one or two agents."""
    policy = behaviour(algorithm, env.spec)
    half = request.steps // 2
    parts: dict[str, list[tuple[Any, Kept, int]]] = {
        "medium": [(policy, medium, request.steps)],
        "expert": [(policy, expert, request.steps)],
        "medium-expert": [(policy, medium, half), (policy, expert, request.steps - half)],
        "narrow": [(narrow(algorithm, env.spec), expert, request.steps)],
    }
    return [
        recording.played(env, by, jax.tree.map(lambda x: x[0], one.agent), steps, request.seed + i)
        for i, (by, one, steps) in enumerate(parts[request.quality])
    ]


def behaviour(algorithm: Any, spec: Spec) -> Any:
    """How medium and expert agents act: as in training; or where only values of choices are
    learned, greedily with a share of random choices."""
    values_only = isinstance(spec.action, Discrete) and not isinstance(algorithm, Likelihood)
    return Noisy(algorithm, spec, NOISE) if values_only else algorithm


def narrow(algorithm: Any, spec: Spec) -> Noisy:
    noise = NARROW["numbers" if isinstance(spec.action, Box) else "choice"]
    return Noisy(algorithm, spec, noise)


def trained_run(request: Request, env: Any, out: Path, watch: Watch) -> tuple[Run, list[Kept]]:
    """A run in a temporary folder, and its agents at some points."""
    kept: list[Kept] = []

    def keep(point: Point) -> Any:
        agents = point.here().agents
        score = evaluate(agents, EPISODES, seed=request.seed, limit=LIMIT)
        agent = jax.tree.map(np.array, agents.agent)
        kept.append(Kept(point.env_steps, agent, float(score.returns.mean())))
        return watch(point)

    run = create(experiment(request, env.spec), out, "training")
    interrupts.set_run("")  # nobody is to go on with it
    if not isinstance(run.made.want, Rollouts | Samples):
        kind = type(run.made.algorithm).__name__
        raise SettingsError(f"{kind} does not learn from steps: choose another --algorithm")
    try:
        run.train(keep, checkpoint_s=1e9)
    except Stopped:
        raise Stopped("stopped; no data set is written") from None
    return run, kept


def experiment(request: Request, spec: Spec) -> Experiment:
    """The run whose agents act."""
    replayed = request.quality == "medium-replay"
    more: dict[str, Any] = {
        "steps": request.train_steps,
        "seed": request.seed,
        "logs": POINTS,
        "shards": 1,
    }
    more |= {"log_data": replayed, "seeds": 1, "data": DataChoice()}
    name = request.algorithm or default_algorithm(spec)
    return experiment_of(generate, name, request.env, None, more)


def default_algorithm(spec: Spec) -> str:
    """The algorithm that learns a task of such actions."""
    if isinstance(spec.action, Box) and spec.action.bounded and isinstance(spec.obs, Box):
        return "sac"
    return "dqn" if isinstance(spec.action, Discrete) and isinstance(spec.obs, Box) else "ppo"


def random_return(request: Request, env: Any) -> float:
    policy: Any = Uniform(env.spec)
    agents = Agents(policy, jnp.zeros(1), env, 1)
    return float(evaluate(agents, FRESH, seed=request.seed + 1, limit=LIMIT).returns.mean())


def fresh(request: Request, agents: Agents, kept: Kept) -> float:
    """The mean return of a greedy policy in episodes that it was not chosen by."""
    one = agents._replace(agent=kept.agent)
    return float(evaluate(one, FRESH, seed=request.seed + 1, limit=LIMIT).returns.mean())


def best(kept: list[Kept], low: float, request: Request) -> Kept:
    """The first agent with the highest return.

    Raises:
        SettingsError: none is better than random actions.
    """
    expert = max(kept, key=lambda one: one.value)
    if not expert.value > low:
        raise SettingsError(
            f"no agent is better than random actions: {expert.value:.4g} at most, and {low:.4g}; "
            f"raise --train-steps {request.train_steps}, or choose another --algorithm"
        )
    return expert


def middle(kept: list[Kept], low: float, high: float) -> Kept:
    """The first agent whose return is nearest to `MIDDLE` of the way from `low` to `high`."""

    def distance(one: Kept) -> float:
        share = (one.value - low) / (high - low)
        return max(MIDDLE[0] - share, share - MIDDLE[1], 0.0)

    return min(kept, key=distance)


def normalised(value: float, reference: dict[str, Any]) -> float:
    """A return on the scale on which random is 0 and expert 100."""
    low, high = reference["random"], reference["expert"]
    return 100.0 * (value - low) / (high - low)


def source_of(quality: str, algorithm: Any) -> str:
    return f"{type(algorithm).__name__}: {QUALITIES[quality]}"


def about(request: Request, spec: Spec, source: str, reference: dict[str, Any]) -> Card:
    made = f"data generate --quality {request.quality} --steps {request.steps}"
    made += f" --seed {request.seed}"
    if request.quality != "random":
        made += f" --train-steps {request.train_steps}"
    name = str(request.env)
    return Card(spec.obs, spec.action, source, name, request.licence, made, reference=reference)


def write_replay(request: Request, run: Run, env_steps: int, folder: Path, the_card: Card) -> None:
    """Copies the episodes that ended before the agent was medium; at random as many as fit."""
    data = opened(run.path)
    episodes = np.flatnonzero(ends_at(data) * run.made.agent_spec.envs <= env_steps)
    if not len(episodes):
        raise SettingsError(
            f"no episode ended in the {env_steps:,} steps before the agent was medium"
        )
    order = np.random.default_rng(request.seed).permutation(episodes)
    fits = np.cumsum(lengths(data)[order]) <= request.steps
    fits[0] = True
    writer = Writer(folder, layout_of(the_card.spec, {}, data.layout.stack))
    card.write(folder, the_card)
    copy(data, np.sort(order[fits]), writer)
    card.write(folder, replace(the_card, statistics=measured(opened(folder))))


def ends_at(data: Store) -> np.ndarray:
    """The steps [episodes] of its environment until each episode's end, of a run of one seed."""
    (part,), (order,) = data.parts, data.orders
    last = np.append(np.flatnonzero(order.begins)[1:], len(order.begins)) - 1
    place = np.asarray(part.columns["place"])[order.number[last]]
    return place + order.last[last] - order.first[last] + 1  # type: ignore[no-any-return]


def lines(the_card: Card) -> list[str]:
    """What a card says of the quality of its data, as sentences."""
    reference, returns = the_card.reference, the_card.statistics["returns"]
    said = f"return of the data {returns['mean']:.4g}" if returns["count"] else "no whole episode"
    if "expert" not in reference:
        return [f"{said}; of random actions {reference['random']:.4g}"]
    names = ("random", "medium", "expert")
    known = ", ".join(f"{name} {reference[name]:.4g}" for name in names)
    share = normalised(reference["medium"], reference)
    score = f", normalised {normalised(returns['mean'], reference):.1f}" if returns["count"] else ""
    sentences = [f"{said}{score} (greedy policies: {known}; medium is at {share:.0f} of 100)"]
    if not ACCEPTED[0] <= share / 100.0 <= ACCEPTED[1]:
        sentences.append(f"no checkpoint was near the middle: medium is at {share:.0f} of 100")
    return sentences
