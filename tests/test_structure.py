"""The shape of the code: which way imports point, sizes, and where each kind of call may stand."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent / "spinward"
TREES = {p.relative_to(ROOT).as_posix(): ast.parse(p.read_text()) for p in ROOT.rglob("*.py")}
ORDER = (
    ("errors", "interrupts", "__init__"), ("spaces", "structs", "trees"), ("core", "schedules"),
    ("networks",), ("targets", "losses"),
    ("learning",), ("search",), ("envs",), ("models",), ("experience", "rewards"), ("algorithms",),
    ("presets",), ("loop",),
    ("programs",), ("faults",), ("evaluation",), ("store",), ("loggers",), ("data",), ("language",),
    ("people",),
    ("run",), ("tuning",), ("report",), ("board",), ("experiments",), ("cli",), ("__main__",),
)  # fmt: skip
RANK = {name: rank for rank, names in enumerate(ORDER) for name in names}
JIT = {
    "programs/seeds.py", "programs/python.py", "programs/reading.py",
    "experience/vector.py", "experience/workers.py",
    "experience/generation.py", "evaluation/episodes.py", "evaluation/texts.py", "envs/check.py",
    "run/policy.py", "run/players.py", "evaluation/tournament.py", "search/exact.py",
    "envs/game_law.py", "envs/as_gymnasium.py", "run/exporting.py",
    "report/results.py", "report/learned_models.py", "run/recording.py",
}  # fmt: skip
GYMNASIUM = {
    f"envs/{name}.py"
    for name in (
        "as_gymnasium",
        "classic",
        "given",
        "gymnasium",
        "opening",
        "ids",
        "masks",
        "workers",
        "inspection",
    )
}
PICKLE = {
    "envs/processes.py",
    "envs/workers.py",
    "envs/given.py",
    "envs/opening.py",
}  # between a run and its own child processes


# `hasattr` and `getattr` with a literal: on values that are not ours, each with its reason.
FOREIGN = {
    "envs/gymnax.py": "spaces of gymnax, in versions that differ",
    "envs/envpool.py": "private fields of a pool that tell what it takes",
    "envs/gymnasium.py": "the file of `__main__`, which a notebook lacks",
    "envs/processes.py": "what the operating system has",
    "envs/masks.py": "a method that environments of anybody's may have",
    "envs/given.py": "an object of the user's own, before it is known what it is",
    "envs/ids.py": "a class of the user's own, before it is known what it is",
    "store/arrays.py": "leaves that may be numbers",
}


# Private words that names of values must not be: each has a term of the field or its own name.
WORDS = {
    "told", "tells", "judge", "judged", "goal", "slope", "rise", "heard", "beside", "spare",
    "stretch", "pace", "called", "calls", "desk", "introduce", "admit", "renewed", "reweigh",
    "noted", "staff", "hire", "bury", "dismiss", "futile", "begin", "begun", "moved", "clipped",
    "look", "peaks", "extremes", "passes", "following", "falling", "linear", "apart", "there",
    "met", "wander", "curious", "in_force", "deviation", "found", "chosen", "drawn", "written",
    "lives",
}  # fmt: skip
FIELD = {  # words that are the field's own there
    "chosen": ("losses/preference.py", "algorithms/dpo.py", "language/row_layouts.py",
               "people/exchange.py"),  # and rejected: a pair of preferences
    "goal": ("envs/mountain_car.py", "envs/mountain_car_continuous.py", "envs/rooms.py",
             "envs/t_maze.py"),  # of a task
    "linear": ("networks/layers.py", "networks/rule.py", "networks/noisy.py",
               "networks/recurrent.py", "networks/language_policy.py",
               "networks/return_conditioned.py", "models/dynamics.py"),  # a layer
    "clipped": ("rewards/clipped.py", "presets/choice.py"),  # rewards
    "lives": ("algorithms/lpg_meta.py",),  # a setting that runs have
}  # fmt: skip


def part(name):
    """The part of the package a file belongs to."""
    return name.removesuffix(".py").split("/")[0]


def imports(tree):
    """The modules a file imports, at its top or inside a function."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        if isinstance(node, ast.ImportFrom):
            yield node.module or ""
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def dotted(tree):
    """Every name and attribute, as in `jax.jit`."""
    return {ast.unparse(n) for n in ast.walk(tree) if isinstance(n, ast.Attribute | ast.Name)}


@pytest.mark.parametrize("name", TREES)
def test_imports_point_one_way(name):
    for module in imports(TREES[name]):
        top, _, rest = module.partition(".")
        other = part(rest.replace(".", "/"))
        if top == "spinward" and other in RANK and part(name) != "__init__":
            assert other == part(name) or RANK[other] < RANK[part(name)], f"imports {module}"


@pytest.mark.parametrize("name", TREES)
def test_files_functions_and_names_keep_their_limits(name):
    assert len((ROOT / name).read_text().splitlines()) <= 300
    assert Path(name).stem not in {"utils", "common", "helpers", "base", "misc"}
    for node in ast.walk(TREES[name]):
        if isinstance(node, ast.FunctionDef):
            assert node.end_lineno - node.lineno + 1 <= 40, node.name


@pytest.mark.parametrize("name", TREES)
def test_calls_stand_only_where_they_may(name):
    found, tops = dotted(TREES[name]), {m.split(".")[0] for m in imports(TREES[name])}
    assert "jax.jit" not in found or name in JIT
    assert "gymnasium" not in tops or name in GYMNASIUM
    assert "ray" not in tops or name == "experience/cluster.py"
    assert not tops & {"pickle", "cloudpickle", "dill"} or name in PICKLE
    assert not {"eval", "exec", "jnp.load", "jax.pmap"} & found
    for node in ast.walk(TREES[name]):
        if isinstance(node, ast.keyword) and node.arg == "allow_pickle":
            assert ast.unparse(node.value) == "False"
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "np.load":
            assert "allow_pickle" in {k.arg for k in node.keywords}


@pytest.mark.parametrize("name", TREES)
def test_nobody_asks_our_own_parts_what_they_have(name):
    for node in ast.walk(TREES[name]):
        asks = isinstance(node, ast.Call) and ast.unparse(node.func) in ("hasattr", "getattr")
        if asks and isinstance(node.args[1], ast.Constant):
            assert name in FOREIGN, ast.unparse(node)


def named(tree):
    """Every name in a file: of values, arguments, attributes, functions and classes."""
    for node in ast.walk(tree):
        for field in ("id", "attr", "arg", "name"):
            if isinstance(value := getattr(node, field, None), str):
                yield value.lower()


@pytest.mark.parametrize("name", TREES)
def test_names_are_the_terms_of_the_field(name):
    allowed = {word for word, files in FIELD.items() if name in files}
    assert not set(named(TREES[name])) & (WORDS - allowed)


def test_functions_outside_classes_borrow_no_self():
    for name, tree in TREES.items():
        inside = {f for c in ast.walk(tree) if isinstance(c, ast.ClassDef) for f in c.body}
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef) and node not in inside:
                assert "self" not in {a.arg for a in node.args.args}, f"{name}: {node.name}"


def test_two_classes_share_no_name():
    """Each environment has its `State` and each algorithm its `Agent`, and each file reads its own
    alone; every other name is of one class."""
    names = [
        node.name
        for tree in TREES.values()
        for node in tree.body
        if isinstance(node, ast.ClassDef) and node.name not in ("State", "Agent")
    ]
    assert not {each for each in names if names.count(each) > 1}


def files_of(name):
    """The files of ours that a file imports."""
    found = set()
    for module in imports(TREES[name]):
        top, _, rest = module.partition(".")
        file = rest.replace(".", "/") + ".py"
        if top == "spinward" and file in TREES and file != name:
            found.add(file)
    return found


def test_files_import_each_other_in_no_circle():
    left = {name: files_of(name) for name in TREES}
    while free := [name for name, needs in left.items() if not needs & left.keys()]:
        for name in free:
            del left[name]
    assert not left, f"a circle among {', '.join(sorted(left))}"


def test_every_part_has_its_place_in_the_order():
    assert {part(name) for name in TREES} <= RANK.keys()


def test_importing_the_package_is_quick_because_it_imports_nothing_heavy():
    code = "import sys, spinward; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    heavy = {"jax", "numpy", "matplotlib", "gymnasium", "optax", "scipy"}
    assert not heavy & set(done.stdout.split()) and "spinward" in done.stdout


def test_the_page_on_architecture_has_the_order_and_the_jit_sites_of_this_file():
    page = (ROOT.parent / "docs" / "architecture.md").read_text()
    line = page[page.index("errors, interrupts ← spaces") :].partition("```")[0]
    shown = [tuple(names.replace(",", " ").split()) for names in line.split("←")]
    order = [tuple(n for n in names if not n.startswith("__")) for names in ORDER]
    assert [set(names) for names in shown] == [set(names) for names in order if names]
    sites = page[page.index("`jax.jit` stands in") :].partition("## ")[0]
    assert {name for name in TREES if f"`{name}`" in sites} == JIT
    assert all("jax.jit" in dotted(TREES[name]) for name in JIT)
