"""Finds mistakes in an environment, for its author, and says what to change."""

from typing import Any, NamedTuple

import jax
import numpy as np

from spinward.core import Dict, Env, Game, HostEnv, Spec, replace
from spinward.envs import game_law, ids
from spinward.envs.gymnasium import Gymnasium
from spinward.envs.places import place_of
from spinward.envs.processes import ask
from spinward.errors import EnvironmentFailedError, SpinwardError


class Finding(NamedTuple):
    """The result of one check. A finding that is fine may still have advice in `fix`."""

    ok: bool
    what: str
    expected: str
    actual: str
    fix: str


def check(env: Any, steps: int = 200, timeout_s: int | None = None) -> list[Finding]:
    """The findings on an environment, from `steps` random steps.

    `env` is the id or `module:Class` of a Gymnasium environment, which is run in a process of
    its own, or an environment as it is used in an experiment. A process hangs after `timeout_s`.
    """
    if isinstance(env, str):
        env = Gymnasium(env)
    if isinstance(env, Gymnasium):
        env = env if timeout_s is None else replace(env, timeout_s=timeout_s)
        return _gymnasium(env, steps)
    # A HostEnv has `open`; an Env has `reset` and `step`.
    if isinstance(env, HostEnv):
        return _host(env, steps)
    if isinstance(env, Env):
        try:
            return _device(env, steps)
        except SpinwardError:
            raise
        except Exception as error:
            fix = "look at the line that is named"
            return [Finding(False, "runs", "no error", said_by(error), fix)]
    kind = f"a {type(env).__name__}"
    return [Finding(False, "kind", "an id, an Env or a HostEnv", kind, "see spinward.core")]


def _gymnasium(env: Gymnasium, steps: int) -> list[Finding]:
    try:
        settings = env.settings | {"task": "inspect", "steps": steps}
        env.check()
        rows = ask(env.id, settings, env.timeout_s)["findings"]
    except SpinwardError as error:
        fix = "look at what it does in the method named, or raise --timeout"
        return [Finding(False, "survives", "no crash and no hang", str(error), fix)]
    return [Finding(*row) for row in rows]


def _host(env: HostEnv, steps: int) -> list[Finding]:
    """Checks that a stepper of two environments follows `Step`."""
    try:
        spec = env.spec
        stepper = env.open(2)
        try:
            findings = [_shapes(spec, stepper.reset(np.arange(2)), "reset", (2,))]
            key = jax.random.key(0)
            for step in range(steps):
                action = np.asarray(spec.action.sample(jax.random.fold_in(key, step), (2,)))
                answer = stepper.step(spec.action.from_unit(action))
            findings.append(_shapes(spec, answer.obs, "step", (2,)))
            findings.append(_shapes(spec, answer.next_obs, "successor", (2,)))
        finally:
            stepper.close()
    except SpinwardError as error:
        return [Finding(False, "survives", "no error", str(error), "see the message")]
    return findings


def try_once(name: str, env: Any) -> None:
    """Traces a reset and a step of an environment in JAX that is anybody's own code.

    Raises:
        EnvironmentFailedError: one of them raises.
    """
    if not (isinstance(env, Env) and ids.is_own_code(name)):
        return
    method, key = "reset", jax.random.key(0)
    try:
        state, _ = jax.eval_shape(env.reset, key)
        method = "step"
        jax.eval_shape(env.step, state, env.spec.action.from_unit(env.spec.action.sample(key)), key)
    except SpinwardError:
        raise
    except Exception as error:
        raise EnvironmentFailedError(f"{name} raised in {method}: {said_by(error)}") from error


def said_by(error: Exception) -> str:
    """The kind of an error, the first line of its message, and its place in the user's code."""
    line = (str(error).strip().splitlines() or [""])[0]
    return f"{type(error).__name__}: {line:.200}{place_of(error)}"


def _device(env: Env, steps: int) -> list[Finding]:
    """Checks that an environment in JAX can be scanned, and follows its spec."""
    spec, key = env.spec, jax.random.key(0)
    actions = spec.action.from_unit(spec.action.sample(key, (steps,)))
    state, obs = jax.eval_shape(env.reset, key)
    findings = [_shapes(spec, obs, "reset", ())]
    answer = jax.eval_shape(env.step, state, actions[0], key)
    findings.append(_shapes(spec, answer[1], "step", ()))
    findings += _types(state, answer)
    if not all(finding.ok for finding in findings):
        return findings

    def run(key: Any) -> Any:
        first, obs = env.reset(key)

        def step(state: Any, action: Any) -> Any:
            state, obs, *rest = env.step(state, action, key)
            return state, (obs, *rest)

        return obs, jax.lax.scan(step, first, actions)[1]

    first, rest = jax.tree.map(np.asarray, jax.jit(run)(key))
    findings += _values(first, rest, steps)
    if spec.players == 2 and isinstance(env, Game):
        findings += [Finding(*row) for row in game_law.findings(env, steps)]
    return findings


def _types(state: Any, answer: Any) -> list[Finding]:
    after, _, reward, terminated, truncated = answer

    def kinds(tree: Any) -> list[str]:
        return [f"{leaf.dtype}{list(leaf.shape)}" for leaf in jax.tree.leaves(tree)]

    before: Any = jax.tree.structure(state)
    same = before == jax.tree.structure(after) and kinds(state) == kinds(after)
    fix = "give each part of the state the same shape and dtype in reset and step"
    yes = "the state of reset"
    rows = [Finding(same, "state", yes, yes if same else f"{kinds(after)}", "" if same else fix)]
    for name, leaf, kind in (
        ("reward", reward, "float32[]"),
        ("terminated", terminated, "bool[]"),
        ("truncated", truncated, "bool[]"),
    ):
        given = kinds(leaf)
        ok = given == [kind]
        fix = "" if ok else f"return {name} as {kind}"
        rows.append(Finding(ok, name, kind, ", ".join(given), fix))
    return rows


def _values(first: Any, rest: Any, steps: int) -> list[Finding]:
    obs, reward, terminated, truncated = rest
    leaves = [*jax.tree.leaves(first), *jax.tree.leaves(obs), reward]
    finite = all(np.isfinite(leaf).all() for leaf in leaves)
    said = "finite numbers" if finite else "a nan or an infinity"
    fix = "" if finite else "look for a division by zero or a log"
    rows = [Finding(finite, "values", "finite numbers", said, fix)]
    both = bool((terminated & truncated).any())
    fix = "return truncated & ~terminated" if both else ""
    actual = "both in one step" if both else "never both"
    rows.append(Finding(not both, "flags", "never both", actual, fix))
    if not (terminated | truncated).any():
        fix = "truncate after a number of steps that is kept in the state"
        rows.append(Finding(True, "episodes end", "an end", f"none in {steps} steps", fix))
    return rows


def _shapes(spec: Spec, obs: Any, what: str, leading: tuple[int, ...]) -> Finding:
    def words(parts: dict[str, Any]) -> str:
        return ", ".join(f"{name} {kind}".strip() for name, kind in sorted(parts.items()))

    boxes = dict(spec.obs.items) if isinstance(spec.obs, Dict) else {"": spec.obs}
    wanted = words({n: f"{b.dtype}{[*leading, *b.shape]}" for n, b in boxes.items()})
    given = obs if isinstance(obs, dict) else {"": obs}
    actual = words({n: f"{a.dtype}{list(a.shape)}" for n, a in given.items()})
    fix = "" if wanted == actual else "return what spec.obs says, or correct spec.obs"
    return Finding(wanted == actual, f"observation of {what}", wanted, actual, fix)
