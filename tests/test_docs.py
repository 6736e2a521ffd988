"""What the documentation says is so: its code runs, its commands parse, its tables are complete.

A comment above a block of Python says what the block is: `<!-- runnable -->` runs, after each
`<!-- file: NAME -->` is laid beside it; `<!-- verbatim: PATH -->` is a file of ours, whole.
"""

import importlib
import re
import shlex
import sys
import tomllib
from pathlib import Path

import pytest

from spinward import errors
from spinward.cli.main import COMMANDS
from spinward.cli.parser import Parser
from spinward.envs import ids, recorded
from spinward.errors import SettingsError
from spinward.store import settings

ROOT = Path(__file__).parent.parent
PAGES = {p.relative_to(ROOT).as_posix(): p.read_text() for p in (ROOT / "docs").rglob("*.md")}
PAGES["README.md"] = (ROOT / "README.md").read_text()
BLOCK = re.compile(r"(?:<!-- (\w+)(?:: (\S+))? -->\n)?```python\n(.*?)^```$", re.S | re.M)
BLOCKS = {name: BLOCK.findall(text) for name, text in PAGES.items()}
SHELL = re.compile(r"^```sh\n(.*?)^```$", re.S | re.M)
LINES = [
    (name, line)
    for name, text in PAGES.items()
    for block in SHELL.findall(text)
    for line in block.splitlines()
]
ALGORITHMS = settings.modules("algorithms")


class Parsed(Exception):
    """A command got as far as this."""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder to work in, whose modules are forgotten afterwards."""
    before = set(sys.modules)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    yield tmp_path
    for name in set(sys.modules) - before:
        if Path(getattr(sys.modules[name], "__file__", None) or "/").is_relative_to(tmp_path):
            del sys.modules[name]


def lay(page, folder):
    """Writes the files that a page shows."""
    for kind, name, code in BLOCKS[page]:
        if kind == "file":
            (folder / name).write_text(code)
    importlib.invalidate_caches()


@pytest.mark.parametrize("page", [n for n, found in BLOCKS.items() if found])
def test_every_block_of_python_says_what_it_is(page):
    kinds = {"runnable": False, "file": True, "verbatim": True}
    assert all(kind in kinds and bool(name) == kinds[kind] for kind, name, _ in BLOCKS[page])


SLOW = {"docs/guide/networks.md", "docs/guide/tuning.md"}  # whose blocks take a minute
RUNNABLE = [n for n, found in BLOCKS.items() if any(k == "runnable" for k, _, _ in found)]


@pytest.mark.parametrize(
    "page", [pytest.param(n, marks=pytest.mark.slow) if n in SLOW else n for n in RUNNABLE]
)
def test_runnable_blocks_run(page, folder):
    lay(page, folder)
    names = {}
    for kind, _, code in BLOCKS[page]:
        if kind == "runnable":
            exec(compile(code, page, "exec"), names)
    assert names["run"].points and names["run"].path.is_relative_to("runs")


@pytest.mark.parametrize(
    ("page", "name", "code"),
    [(p, n, c) for p, found in BLOCKS.items() for k, n, c in found if k == "verbatim"],
)
def test_an_algorithm_shown_in_full_is_the_file_itself(page, name, code):
    assert code == (ROOT / name).read_text(), f"copy {name} into {page} again"


def test_the_readme_shows_an_algorithm_in_full():
    shown = [name for kind, name, _ in BLOCKS["README.md"] if kind == "verbatim"]
    assert [Path(name).parent.name for name in shown] == ["algorithms"]


@pytest.mark.parametrize(("page", "line"), LINES)
def test_a_command_exists_and_takes_its_flags(page, line, folder, monkeypatch):
    read = Parser.read

    def only_read(self, words):
        raise Parsed(read(self, words))

    lay(page, folder)
    monkeypatch.setattr(Parser, "read", only_read)
    program, command, *words = shlex.split(line)
    assert program == "spinward" and command in COMMANDS
    module = importlib.import_module(f"spinward.cli.{command.replace('-', '_')}")
    with pytest.raises(Parsed) as parsed:
        module.run(words)
    env = getattr(parsed.value.args[0], "env", "") or "CartPole-v1"
    prefix = env.partition(":")[0]
    known = env in ids.own_names() or env == recorded.NAME
    assert known or prefix in ids.PREFIXES or (folder / f"{prefix}.py").is_file()


def test_a_wrong_flag_in_a_command_would_be_found():
    with pytest.raises(SettingsError, match="did you mean --seeds"):
        importlib.import_module("spinward.cli.train").run(["ppo", "CartPole-v1", "--sedes=2"])


@pytest.mark.parametrize("name", ALGORITHMS)
def test_an_algorithms_page_has_every_setting_with_its_default_and_meaning(name):
    page = PAGES[f"docs/algorithms/{name}.md"]
    flags = list(settings.flags(settings.find("algorithms", name)))
    assert flags and all(note for *_, note in flags)
    rows = [f"| `{n}` | {default} | {note} |" for n, _, default, note in flags]
    found = [line for line in page.splitlines() if re.match(r"\| `\w+` \| .* \|", line)]
    assert found == rows, f"the settings of {name} are:\n" + "\n".join(rows)


@pytest.mark.parametrize("name", ALGORITHMS)
def test_an_algorithms_page_has_all_its_sections(name):
    page = PAGES[f"docs/algorithms/{name}.md"]
    sections = ("Equation", "The loop", "Settings", "Departures", "Details that matter", "Result")
    assert [s for s in sections if f"\n## {s}" not in page] == []
    assert f"spinward train {name} " in page.split("## Result")[1]


def test_the_readme_names_every_command_extra_and_exit_code():
    readme = PAGES["README.md"]
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    names = {*COMMANDS, *extras["optional-dependencies"]} - {"test"}
    assert [n for n in sorted(names) if not re.search(rf"`{n}[` ]", readme)] == []
    codes = {e.exit_code for e in vars(errors).values() if hasattr(e, "exit_code")}
    assert {int(n) for n in re.findall(r"^\| (\d+) \|", readme, re.M)} == {0, *codes}


@pytest.mark.parametrize("page", PAGES)
def test_links_within_the_project_lead_somewhere(page):
    links = re.findall(r"\]\((?!https?:)([^)#]+)", PAGES[page])
    assert [n for n in links if not (ROOT / page).parent.joinpath(n).exists()] == []


def test_architecture_names_every_part_of_the_package_and_every_file_with_jit():
    page = PAGES["docs/architecture.md"]
    package = ROOT / "spinward"
    parts = [p.name for p in package.iterdir() if p.suffix == ".py" or (p / "__init__.py").exists()]
    assert [n for n in parts if n not in page and n != "__init__.py"] == []
    with_jit = [p for p in package.rglob("*.py") if "jax.jit" in p.read_text()]
    names = [p.relative_to(package).as_posix() for p in with_jit]
    assert names and [n for n in names if f"`{n}`" not in page] == []
