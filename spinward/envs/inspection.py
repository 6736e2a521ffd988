"""Finds mistakes in a Gymnasium environment by running it.

It imports nothing of the package: a worker process loads it without JAX.
"""

import contextlib
from typing import Any

import numpy as np

from . import encoding, opening

Row = tuple[bool, str, str, str, str]  # ok, what, expected, found, fix
SEED = 7
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
            self.note(False, what, expected, f"{type(error).__name__}: {error}", fix)
        raise Stop


def findings(name: str, kwargs: dict[str, Any], known: Any, steps: int) -> list[Row]:
    """The findings on the environment `name`, from `steps` random steps."""
    report = Inspection()
    with contextlib.suppress(Stop):
        fix = "make the module importable and the class callable with these kwargs"
        env = report.attempt(
            "the environment opens", "no error", fix, opening.make, name, kwargs, known
        )
        parts = _reset(report, env)
        _steps(report, env, parts, steps)
        _repeats(report, env, parts, min(steps, REPEATED))
        env.close()
    return report.rows


def _reset(report: Inspection, env: Any) -> tuple[encoding.Leaf, ...]:
    expected = "a Box, Discrete, MultiDiscrete, MultiBinary, or a flat Dict of these"
    change = "wrap the environment so that its observation is one array or a dict of arrays"
    space = env.observation_space
    report.attempt("observation space", expected, change, encoding.leaves, space, {})
    report.note(True, "observation space", expected, str(space))
    wanted = "(obs, info)"
    fix = "def reset(self, *, seed=None, options=None): super().reset(seed=seed); return obs, {}"
    answer = report.attempt("reset", wanted, fix, lambda: env.reset(seed=SEED))
    obs, info = report.attempt("reset", wanted, fix, encoding.two, answer)
    report.note(True, "reset", wanted, wanted)
    parts = encoding.leaves(env.observation_space, info)
    _spaces(report, env, parts)
    _obs(report, env, parts, obs, info, "the first observation")
    return parts


def _spaces(report: Inspection, env: Any, parts: tuple[encoding.Leaf, ...]) -> None:
    for part in parts:
        shape = part.given_shape
        label = f"observation {part.name}".strip()
        if len(shape) == 3 and shape[0] < min(shape[1:]):
            fix = "return np.moveaxis(obs, 0, -1)"
            report.note(False, f"{label}: channel order", "channels last", f"shape {shape}", fix)
        if part.given_dtype == "float64":
            fix = "declare dtype=np.float32 to see what the agent sees"
            actual = "float64, which the agent sees as float32"
            report.note(True, f"{label}: precision", "float32", actual, fix)
    expected = "a Box, Discrete, MultiDiscrete or MultiBinary"
    fix = "wrap the environment so that its action is one array or one number"
    form = report.attempt("action space", expected, fix, encoding.action_form, env.action_space)
    report.note(True, "action space", expected, str(env.action_space))
    if form["kind"] == "Box" and not np.isfinite([*_flat(form["low"]), *_flat(form["high"])]).all():
        fix = "give the Box finite bounds, so that actions in [-1, 1] can be stretched to them"
        report.note(False, "action bounds", "finite low and high", str(env.action_space), fix)
    if np.any(form.get("start", 0)):
        actual = f"start={form['start']}, which the agent counts from 0"
        report.note(True, "first action", "start=0", actual, "nothing: it is shifted for you")


def _flat(values: Any) -> list[float]:
    return values if isinstance(values, list) else [values]


def _obs(
    report: Inspection, env: Any, parts: tuple[encoding.Leaf, ...], obs: Any, info: Any, when: str
) -> None:
    """Adds a finding and stops if the observation is not what its space says."""
    space = env.observation_space
    fix = "return what observation_space says, or correct observation_space"
    rows = report.attempt(when, str(space), fix, encoding.encode, parts, obs, info)
    for name, value in rows.items():
        if value.dtype.kind == "f" and not np.isfinite(value).all():
            index = [int(i) for i in np.argwhere(~np.isfinite(value))[0]]
            actual = f"observation{[name] if name else ''}{index} is {value[tuple(index)]}"
            report.note(
                False, when, "finite numbers", actual, "look for a division by zero or a log"
            )
            raise Stop
    if not _inside(space, obs):
        report.note(False, when, str(space), f"outside the bounds: {obs}", "widen low and high")
        raise Stop


def _inside(space: Any, obs: Any) -> bool:
    """Whether an observation of the right shape is within the bounds."""
    if isinstance(obs, dict):
        return all(_inside(space.spaces[name], part) for name, part in obs.items())
    if type(space).__name__ != "Box":
        return bool(space.contains(obs))
    return bool(np.all(obs >= space.low) and np.all(obs <= space.high))


def _steps(report: Inspection, env: Any, parts: tuple[encoding.Leaf, ...], steps: int) -> None:
    wanted = "(obs, reward, terminated, truncated, info)"
    fix = f"return {wanted} from step"
    env.action_space.seed(SEED)
    before, episodes, both, stale = None, 0, False, False
    for step in range(1, steps + 1):
        when = f"step {step}"
        answer = report.attempt(when, wanted, fix, env.step, env.action_space.sample())
        obs, reward, ended, cut, info = report.attempt(when, wanted, fix, encoding.five, answer)
        _obs(report, env, parts, obs, info, f"the observation of {when}")
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
            _obs(report, env, parts, obs, info, f"the first observation of episode {episodes + 1}")
            before = obs
    report.note(True, "step", wanted, f"{steps} steps as expected")
    _habits(report, steps, episodes, both, stale)


def _habits(report: Inspection, steps: int, episodes: int, both: bool, stale: bool) -> None:
    own = "an array of its own for each step"
    actual = "the same array object again, overwritten" if stale else own
    report.note(not stale, "fresh observations", own, actual, "return obs.copy()" if stale else "")
    if both:
        actual = "both in one step, which counts as terminated"
        report.note(True, "flags", "terminated or truncated", actual, "return truncated=False then")
    if not episodes:
        fix = "register it with max_episode_steps, or wrap it in gymnasium.wrappers.TimeLimit"
        report.note(True, "episodes end", "an end", f"none in {steps} random steps", fix)


def _repeats(report: Inspection, env: Any, parts: tuple[encoding.Leaf, ...], steps: int) -> None:
    """Whether the same seed and actions give the same observations and rewards."""

    def trace() -> list[Any]:
        obs, info = env.reset(seed=SEED)
        env.action_space.seed(SEED)
        seen = [(encoding.encode(parts, obs, info), 0.0)]
        for _ in range(steps):
            obs, reward, ended, cut, info = env.step(env.action_space.sample())
            seen.append((encoding.encode(parts, obs, info), float(reward)))
            if ended or cut:
                break
        return seen

    fix = "call super().reset(seed=seed) and draw from self.np_random alone"
    expected = "the same seed gives the same episode"
    pair = [report.attempt("seeding", expected, fix, trace) for _ in range(2)]
    for step, ((one, gain), (two, other)) in enumerate(zip(*pair, strict=False)):
        if gain != other or any(not np.array_equal(one[name], two[name]) for name in one):
            actual = f"two episodes with seed {SEED} differ at step {step}"
            report.note(False, "seeding", expected, actual, fix)
            return
    same = len(pair[0]) == len(pair[1])
    actual = expected if same else "the lengths of two episodes with one seed differ"
    report.note(same, "seeding", expected, actual, "" if same else fix)
