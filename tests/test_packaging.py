"""What is installed: the wheel, its data files, and what messages say to install."""

import builtins
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import conftest
import pytest

import spinward
from spinward.cli.main import main
from spinward.envs.processes import with_extra
from spinward.errors import EXTRAS, install

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The wheel that this tree makes, built beside it."""
    folder = tmp_path_factory.mktemp("wheel")
    for name in ("spinward", "pyproject.toml", "README.md", "LICENSE"):
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, folder / name)
    code = "from setuptools import build_meta; print(build_meta.build_wheel('.'))"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=True
    )
    with zipfile.ZipFile(folder / done.stdout.split()[-1]) as archive:
        yield archive


def test_the_wheel_holds_every_file_of_the_package(wheel):
    skipped = ("__pycache__", ".pyc")
    files = {p.relative_to(ROOT).as_posix() for p in (ROOT / "spinward").rglob("*") if p.is_file()}
    wanted = {name for name in files if not any(part in name for part in skipped)}
    held = {name for name in wheel.namelist() if name.startswith("spinward/")}
    assert held == wanted and {"spinward/py.typed"} < held
    assert any(name.endswith("state.safetensors") for name in held)


def test_the_wheel_says_what_it_is(wheel):
    names = {Path(name).name: name for name in wheel.namelist() if ".dist-info/" in name}
    metadata = wheel.read(names["METADATA"]).decode()
    assert f"Version: {PROJECT['version']}" in metadata and "LICENSE" in names
    for line in ("Operating System :: MacOS", "Operating System :: POSIX :: Linux"):
        assert f"Classifier: {line}\n" in metadata
    assert "spinward = spinward.cli.main:main" in wheel.read(names["entry_points.txt"]).decode()


def test_the_version_is_one_wherever_it_is_written():
    cited = re.findall(r"^version: (.+)$", (ROOT / "CITATION.cff").read_text(), re.M)
    changes = re.findall(r"^## (\d.+)$", (ROOT / "CHANGELOG.md").read_text(), re.M)
    assert cited == [PROJECT["version"]] == changes[:1] == [spinward.__version__]


@pytest.mark.parametrize("name", ["CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md"])
def test_links_of_the_projects_pages_lead_somewhere_and_the_readme_leads_to_them(name):
    links = re.findall(r"\]\((?!https?:)([^)#]+)", (ROOT / name).read_text())
    assert [link for link in links if not (ROOT / link).exists()] == []
    assert f"({name})" in (ROOT / "README.md").read_text()


def test_every_extra_that_a_message_names_exists():
    known = set(PROJECT["optional-dependencies"])
    assert set(EXTRAS.values()) <= known
    texts = [p for folder in ("spinward", "docs") for p in (ROOT / folder).rglob("*.[pm][yd]")]
    found = [e for p in texts for e in re.findall(r"pip install -e '\.\[(\w+)\]'", p.read_text())]
    assert len(found) > 5 and set(found) <= known


def test_no_message_or_page_advises_to_install_a_package_of_this_name():
    texts = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md"), *(ROOT / "spinward").rglob("*.py")]
    advice = re.compile(r"pip install [^`\n]*\bspinward\b")
    assert [p.name for p in texts if advice.search(p.read_text())] == []
    assert advice.search("pip install -U 'spinward[ray]'")


def test_extras_hold_the_packages_of_the_modules_they_bring():
    packages = {
        "ale_py": "ale-py",
        "argon2": "argon2-cffi",
        "cv2": "opencv-python-headless",
        "imageio_ffmpeg": "imageio-ffmpeg",
        "mujoco_playground": "playground",
    }
    for module, extra in EXTRAS.items():
        named = [re.split(r"[=>\[]", one)[0] for one in PROJECT["optional-dependencies"][extra]]
        assert packages.get(module, module) in named or module == "flax"  # which gymnax brings


@pytest.mark.parametrize(
    ("module", "command"),
    [
        ("jinja2", "pip install -e '.[language]'"),
        ("gguf.constants", "pip install -e '.[smollm2]'"),
        ("never_heard_of", "pip install never_heard_of"),
    ],
)
def test_a_missing_module_is_told_with_the_command_that_brings_it(
    monkeypatch, capsys, module, command
):
    real = builtins.__import__

    def fail(name, *rest, **more):
        if name == "spinward.report.results":
            raise ModuleNotFoundError(f"No module named {module!r}", name=module)
        return real(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", fail)
    assert main(["report", "runs/none"]) == 2
    said = capsys.readouterr().err.strip()
    assert said == f"spinward: {module.partition('.')[0]} is not installed: {command}"


def test_what_gymnasium_says_of_a_missing_package_has_our_command():
    box2d = "Box2D is not installed, you can install it by run `pip install swig` followed by"
    assert with_extra(box2d) == "Box2D is not installed: pip install -e '.[box2d]'"
    assert with_extra("MuJoCo is not installed, run `pip`").endswith(install("mujoco"))
    assert with_extra("No module named 'mine'") == "No module named 'mine'"


def test_flags_that_xla_does_not_know_are_left_out(monkeypatch):
    """At one of them, XLA ends its process."""
    asked = []

    def run(command, env, **more):
        asked.append(env["XLA_FLAGS"])
        return subprocess.CompletedProcess(command, -6 if "--new" in env["XLA_FLAGS"] else 0)

    monkeypatch.setattr(conftest.subprocess, "run", run)
    assert conftest.known(("--old=1", "--new=1")) == ["--old=1"]
    assert asked == ["--old=1 --new=1", "--old=1", "--new=1"]
    assert conftest.known(("--old=1",)) == ["--old=1"] and conftest.known(("--new=1",)) == []
