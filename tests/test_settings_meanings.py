"""Every setting says what it means, in the class, in `--help` and in `explain`."""

import dataclasses
import importlib
import pkgutil

import pytest

import spinward.envs
from spinward.cli.main import main
from spinward.store import settings
from spinward.store.meanings import meanings


def kinds():
    """Every settings class: of algorithms, of rewards, and of environments."""
    for package in ("algorithms", "rewards"):
        for name in settings.modules(package):
            yield settings.find(package, name)
    for module in pkgutil.iter_modules(spinward.envs.__path__):
        for value in vars(importlib.import_module(f"spinward.envs.{module.name}")).values():
            own = isinstance(value, type) and value.__module__ == f"spinward.envs.{module.name}"
            if own and dataclasses.is_dataclass(value) and "spec" in vars(value):
                yield value


KINDS = {f"{kind.__module__}.{kind.__name__}": kind for kind in kinds()}


def lacking(kind):
    """The fields of a class that have no meaning."""
    return [f.name for f in dataclasses.fields(kind) if not meanings(kind).get(f.name)]


@pytest.mark.parametrize("name", KINDS)
def test_every_setting_has_a_meaning(name):
    assert lacking(KINDS[name]) == []


def test_settings_of_algorithms_rewards_and_environments_are_among_those_tested():
    with_fields = {name.split(".")[1] for name, kind in KINDS.items() if dataclasses.fields(kind)}
    assert with_fields == {"algorithms", "rewards", "envs"}
    assert {"spinward.envs.grids.Grid", "spinward.rewards.rnd.RND"} <= KINDS.keys()


@dataclasses.dataclass
class Folded:
    plain: float = 0.5  # share of one
    text: str = "#"
    wide: tuple[int, ...] = (  # widths of
        64,
        64,  # the layers
    )
    last: bool = (
        False  # said within the brackets
    )  # fmt: skip
    bare: int = 1

    # The comment of what follows the fields.
    def method(self):
        inner: int = 1  # of a function, and no field
        return inner


def test_the_comments_on_all_lines_of_a_field_are_its_meaning():
    assert meanings(Folded) == {
        "plain": "share of one",
        "wide": "widths of the layers",
        "last": "said within the brackets",
    }


def test_a_setting_without_a_meaning_is_found():
    assert lacking(Folded) == ["text", "bare"]


def test_a_class_without_source_has_no_meanings():
    assert meanings(dataclasses.make_dataclass("Made", [("x", int, 1)])) == {}


@pytest.mark.parametrize("name", ["rem", "ensemble-dqn"])
def test_help_and_explain_have_the_meaning_of_a_folded_setting(name, capsys):
    meaning = "each head is a separate network; if not, heads share all layers but the last"
    assert main(["explain", f"{name}.separate"]) == 0
    assert meaning in capsys.readouterr().out
    assert main(["train", name, "--help"]) == 0
    assert meaning in " ".join(capsys.readouterr().out.split())
