"""How much one has to read to know exactly what PPO on CartPole in JAX does: an upper bound."""

import ast
import cProfile
from pathlib import Path

import jax

import spinward
from spinward.algorithms.ppo import PPO
from spinward.envs.cartpole import CartPole
from spinward.experience.material import source_for
from spinward.loop import Parts, system
from spinward.rewards.environment import Environment

ROOT = Path(spinward.__file__).parent
FUNCTION = ast.FunctionDef
# What the paper, the environment and the loop are in; the rest are networks and small functions.
CORE = {
    "algorithms/ppo.py", "envs/cartpole.py", "experience/rollout.py", "loop.py",
    "learning/minibatches.py", "learning/steps.py", "losses/policy.py", "targets/advantages.py",
}  # fmt: skip


def called():
    """The first lines of the functions of ours that one iteration calls, by file."""
    algorithm, env = PPO(), CartPole()
    parts = Parts(algorithm, source_for(algorithm.wants(env.spec), env), Environment())
    with cProfile.Profile() as profile:
        state = jax.eval_shape(system(parts).init, jax.random.PRNGKey(0))
        jax.eval_shape(system(parts).step, state)
    lines = {}
    for entry in profile.getstats():
        file = Path(getattr(entry.code, "co_filename", ""))
        if file.is_relative_to(ROOT):
            name = file.relative_to(ROOT).as_posix()
            lines.setdefault(name, set()).add(entry.code.co_firstlineno)
    return lines


def length(node, lines):
    """The lines of a definition that is called: of a class its fields and the methods called."""

    def spans(node):
        return any(node.lineno - len(node.decorator_list) <= n <= node.end_lineno for n in lines)

    if isinstance(node, ast.ClassDef):
        methods = [m for m in node.body if isinstance(m, FUNCTION) and spans(m)]
        fields = [m for m in node.body if not isinstance(m, FUNCTION)] if methods else []
        return sum(m.end_lineno - m.lineno + 1 for m in methods + fields) + bool(methods)
    return node.end_lineno - node.lineno + 1 if isinstance(node, FUNCTION) and spans(node) else 0


def test_ppo_on_cartpole_is_read_in_few_files_and_lines():
    lines = called()
    sizes = {
        name: sum(length(node, at) for node in ast.parse((ROOT / name).read_text()).body)
        for name, at in lines.items()
    }
    assert set(sizes) >= CORE and len(CORE) == 8
    assert sum(sizes[name] for name in CORE) <= 520, sizes
    assert len(sizes) <= 22 and sum(sizes.values()) <= 860, sizes
