"""Finds mistakes in a Gymnasium environment by running it.

It imports nothing of the package: a worker process loads it without JAX.
"""

import contextlib
from typing import Any

import numpy as np

from . import actions, encoding, opening, remarks
from .places import place_of

Row = tuple[bool, str, str, str, str]  # ok, what, expected, found, fix
SEED = 7
READ = "nothing, if this is what you mean"
REPEATED = 50  # steps that are compared after seeding twice


class Stop(Exception):
    """Ends the inspection: further checks would make no sense."""


class Inspection:
    """The findings on one environment, in the order in which they were made."""

    def __init__(self) -> None:
        self.rows: list[Row] = []

    def note(self, ok: bool, what: str, expected: str, actual: str, fix: str = "") -> None:
        self.rows.append((bool(ok), what, expected, actual, fix))

    def attempt(self, what: str, expected: str, fix: str, function: Any, *arguments: Any) -> Any:
        """What `function` returns; a finding, and the end, if it raises."""
        try:
            return function(*arguments)
        except encoding.Fault as fault:
            self.note(False, what, expected, str(fault), fix)
        except Exception as error:
            actual = f"{type(error).__name__}: {error}{place_of(error)}"
            self.note(False, what, expected, actual, fix)
        raise Stop


def findings(
    name: str, kwargs: dict[str, Any], known: Any, steps: int, reading: tuple[str, int]
) -> list[Row]:
    """The findings on the environment `name`, from `steps` random steps of legal actions.

    A finding is bad if training would refuse it too; other habits are worth a note.
    """
    report = Inspection()
    with contextlib.suppress(Stop):
        fix = "make the module importable and the class callable with these kwargs"
        env = report.attempt(
            "the environment opens", "no error", fix, opening.make, name, kwargs, known
        )
        play = _reset(report, env, reading)
        _steps(report, play, steps)
        _repeats(report, play, min(steps, REPEATED))
        env.close()
    return report.rows


class Play:
    """An environment that is stepped with random actions, and what it is checked against."""

    def __init__(self, env: Any, parts: tuple[encoding.Leaf, ...], form: actions.Form) -> None:
        self.env, self.parts, self.form = env, parts, form
        self.decode = actions.decoder(form)
        self.mask: Any = None  # which choices are legal
        self.random = np.random.default_rng(SEED)
        self.bounds, self.outside = remarks.Bounds(parts), ""

    def encode(self, obs: Any, info: Any) -> dict[str, np.ndarray]:
        """An observation as an agent sees it; its mask says which action may come next."""
        rows = encoding.encode(self.parts, obs, info)
        self.mask = rows.get(encoding.MASK)
        if self.mask is not None and not np.any(self.mask):
            raise encoding.Fault(f"{encoding.MASK} allows no action, expected at least one")
        return rows

    def step(self) -> Any:
        mask = self.mask if actions.sizes_of(self.form) else None
        return self.env.step(self.decode(actions.random_action(self.form, self.random, mask)))


def _reset(report: Inspection, env: Any, reading: tuple[str, int]) -> Play:
    change = "wrap the environment so that its observation is one array or a dict of arrays"
    space, expected = env.observation_space, encoding.SUPPORTED
    report.attempt("observation space", expected, change, encoding.leaves, space, {}, *reading)
    report.note(True, "observation space", expected, str(space))
    wanted = "(obs, info)"
    fix = "def reset(self, *, seed=None, options=None): super().reset(seed=seed); return obs, {}"
    answer = report.attempt("reset", wanted, fix, lambda: env.reset(seed=SEED))
    obs, info = report.attempt("reset", wanted, fix, encoding.two, answer)
    report.note(True, "reset", wanted, wanted)
    parts = encoding.leaves(env.observation_space, info, reading[0])
    play = Play(env, parts, _spaces(report, env, parts))
    _obs(report, play, obs, info, "the first observation")
    return play


def _spaces(report: Inspection, env: Any, parts: tuple[encoding.Leaf, ...]) -> actions.Form:
    for said in remarks.notes(env.observation_space, parts):
        report.note(True, "reading", "a vector, or an image with its channels last", said, READ)
    for part in parts:
        label = f"observation {part.name}".strip()
        if part.given_dtype == "float64":
            fix = "declare dtype=np.float32 to see what the agent sees"
            actual = "float64, which the agent sees as float32"
            report.note(True, f"{label}: precision", "float32", actual, fix)
    expected = encoding.SUPPORTED
    fix = "wrap the environment so that its action is made of these"
    form = report.attempt("action space", expected, fix, actions.action_form, env.action_space)
    fix = "give one entry for each choice, 1 where it is legal"
    report.attempt("action mask", "an entry for each choice", fix, actions.check_mask, parts, form)
    report.note(True, "action space", expected, str(env.action_space))
    if np.max(np.abs(actions.limits_of(form)), initial=0.0) >= actions.UNBOUNDED:
        fix = "give the Box finite bounds, so that actions in [-1, 1] can be stretched to them"
        report.note(True, "action bounds", "finite low and high", str(env.action_space), fix)
    starts = [part["start"] for part in actions.ends(form) if np.any(part.get("start", 0))]
    if starts:
        actual = f"start={', '.join(map(str, starts))}, which the agent counts from 0"
        report.note(True, "first action", "start=0", actual, "nothing: it is shifted for you")
    return form


def _obs(report: Inspection, play: Play, obs: Any, info: Any, when: str) -> None:
    """Adds a finding and stops if the observation is not what its space says."""
    space = play.env.observation_space
    fix = "return what observation_space says, or correct observation_space"
    rows = report.attempt(when, str(space), fix, play.encode, obs, info)
    for name, value in rows.items():
        if value.dtype.kind == "f" and not np.isfinite(value).all():
            index = [int(i) for i in np.argwhere(~np.isfinite(value))[0]]
            actual = f"observation{[name] if name else ''}{index} is {value[tuple(index)]}"
            report.note(
                False, when, "finite numbers", actual, "look for a division by zero or a log"
            )
            raise Stop
    if play.bounds.check({name: value[None] for name, value in rows.items()}):
        play.outside = f"in {when}, {play.bounds.first}"


def _steps(report: Inspection, play: Play, steps: int) -> None:
    wanted = "(obs, reward, terminated, truncated, info)"
    fix = f"return {wanted} from step"
    env = play.env
    before, episodes, both, stale = None, 0, False, False
    for step in range(1, steps + 1):
        when = f"step {step}"
        answer = report.attempt(when, wanted, fix, play.step)
        obs, reward, ended, cut, info = report.attempt(when, wanted, fix, encoding.five, answer)
        _obs(report, play, obs, info, f"the observation of {when}")
        cast = "return float(reward)"
        value = report.attempt(when, "one finite number", cast, encoding.number, reward)
        if not np.isfinite(value):
            report.note(False, when, "a finite reward", f"reward is {value}", "bound the reward")
            raise Stop
        flags = [
            report.attempt(when, "True or False", "return bool(...)", encoding.flag, given, field)
            for given, field in ((ended, "terminated"), (cut, "truncated"))
        ]
        both |= all(flags)
        stale |= isinstance(obs, np.ndarray) and obs is before
        before = obs
        if any(flags):
            episodes += 1
            obs, info = report.attempt(when, "(obs, info)", fix, lambda: encoding.two(env.reset()))
            _obs(report, play, obs, info, f"the first observation of episode {episodes + 1}")
            before = obs
    report.note(True, "step", wanted, f"{steps} steps as expected")
    if play.outside:
        space = str(env.observation_space)
        report.note(True, "observation bounds", space, play.outside, "widen low and high")
    _habits(report, steps, episodes, both, stale)


def _habits(report: Inspection, steps: int, episodes: int, both: bool, stale: bool) -> None:
    own = "an array of its own for each step"
    actual = "the same array object again, overwritten" if stale else own
    report.note(True, "fresh observations", own, actual, "return obs.copy()" if stale else "")
    if both:
        actual = "both in one step, which counts as terminated"
        report.note(True, "flags", "terminated or truncated", actual, "return truncated=False then")
    if not episodes:
        fix = "register it with max_episode_steps, or wrap it in gymnasium.wrappers.TimeLimit"
        report.note(True, "episodes end", "an end", f"none in {steps} random steps", fix)


def _repeats(report: Inspection, play: Play, steps: int) -> None:
    """Whether the same seed and actions give the same observations and rewards."""

    def trace() -> list[Any]:
        obs, info = play.env.reset(seed=SEED)
        play.random = np.random.default_rng(SEED)
        seen = [(play.encode(obs, info), 0.0)]
        for _ in range(steps):
            obs, reward, ended, cut, info = play.step()
            seen.append((play.encode(obs, info), float(reward)))
            if ended or cut:
                break
        return seen

    fix = "call super().reset(seed=seed) and draw from self.np_random alone"
    expected = "the same seed gives the same episode"
    pair = [report.attempt("seeding", expected, fix, trace) for _ in range(2)]
    for step, ((one, gain), (two, other)) in enumerate(zip(*pair, strict=False)):
        if gain != other or any(not np.array_equal(one[name], two[name]) for name in one):
            actual = f"two episodes with seed {SEED} differ at step {step}"
            report.note(True, "seeding", expected, actual, fix)
            return
    same = len(pair[0]) == len(pair[1])
    actual = expected if same else "the lengths of two episodes with one seed differ"
    report.note(True, "seeding", expected, actual, "" if same else fix)
