"""Other loggers get a run's log points, and cost it nothing where they fail."""

import sys
import threading
import types
from pathlib import Path

import pytest

import spinward as sw
from spinward.errors import SettingsError
from spinward.loggers import tensorboard
from spinward.run import mirror
from spinward.run.watching import Point
from spinward.store.points import by_seed, flat

POINT = {
    "iteration": 3,
    "env_steps": 96,
    "episodes": [2, 0],
    "episode_return": [1.5, None],
    "loss": [0.5, float("nan")],
    "held_out": [[1.0], [2.0]],
}


def test_only_finite_numbers_of_each_seed_are_logged():
    assert by_seed(POINT) == [
        {"episodes": 2.0, "episode_return": 1.5, "loss": 0.5},
        {"episodes": 0.0},
    ]


def test_means_are_over_the_seeds_that_have_a_metric():
    assert flat([{"a": 1.0, "b": 4.0}, {"a": 2.0}]) == {
        "a": 1.5,
        "b": 4.0,
        "seed_0/a": 1.0,
        "seed_0/b": 4.0,
        "seed_1/a": 2.0,
    }
    assert flat([{"a": 1.0}]) == {"a": 1.0}


def scalars(folder: Path) -> list[tuple[int, str, float]]:
    """(step, name, value) of all event files of a folder, read by the library's own messages; the
    steps from a later file's start on are its own."""
    from tensorboardX.proto.event_pb2 import Event
    from tensorboardX.record_writer import masked_crc32c

    found: list[tuple[int, str, float]] = []
    for path in sorted(folder.glob("events.*")):
        data, at = path.read_bytes(), 0
        while at < len(data):
            size = int.from_bytes(data[at : at + 8], "little")
            body = data[at + 12 : at + 12 + size]
            crc = int.from_bytes(data[at + 12 + size : at + 16 + size], "little")
            assert crc == masked_crc32c(body)
            event, at = Event.FromString(body), at + 16 + size
            if event.session_log.status == 1:  # START: TensorBoard drops what came from there on
                found = [row for row in found if row[0] < event.step]
            found += [(event.step, v.tag, v.simple_value) for v in event.summary.value]
    return found


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    out = tmp_path_factory.mktemp("runs")
    more = {"seeds": 2, "shards": 1, "logs": 4}
    return sw.train(
        "ppo", "CartPole-v1", 4096, seed=5, out=out, name="x", loggers=("tensorboard",), **more
    )


def expected(run, seed: int, metric: str) -> list[tuple[int, float]]:
    rows = [(p["env_steps"], p[metric][seed]) for p in run.points]
    return [(step, value) for step, value in rows if value is not None]


def test_tensorboard_has_the_runs_own_numbers(run):
    for seed in (0, 1):
        rows = scalars(run.path / "tensorboard" / f"seed-{5 + seed}")
        for metric in ("episode_return", "entropy"):
            own = [(step, value) for step, name, value in rows if name == metric]
            assert own == [(s, pytest.approx(v)) for s, v in expected(run, seed, metric)]
            assert own


def test_a_resumed_run_goes_on_in_tensorboard(run):
    sw.load(run.path).extend(8192).train(loggers=("tensorboard",))
    rows = scalars(run.path / "tensorboard" / "seed-5")
    own = [(step, value) for step, name, value in rows if name == "entropy"]
    assert own == [(s, pytest.approx(v)) for s, v in expected(run, 0, "entropy")]


def point(step: int) -> Point:
    return Point(1, 2, step, 10, {"loss": [float(step)]}, 1.0, 1)


def logger(monkeypatch, **methods):
    """A logger of this test in the place of TensorBoard's."""
    base = {"__init__": lambda self, *about: None, "close": lambda self: None}
    monkeypatch.setattr(tensorboard, "opened", type("Own", (), base | methods))


def test_a_logger_that_fails_is_reported_once_and_the_watcher_goes_on(
    monkeypatch, tmp_path, capsys
):
    def write(self, step, metrics):
        raise ValueError("no more\nroom")

    logger(monkeypatch, write=write)
    seen: list[int] = []
    with mirror.mirrored(
        ("tensorboard",), tmp_path, {}, lambda p: seen.append(p.env_steps)
    ) as watch:
        for step in (1, 2, 3):
            watch(point(step))
    assert seen == [1, 2, 3]
    assert capsys.readouterr().err == (
        "spinward: the tensorboard logger failed and gets no more points: no more room; "
        "the run's own log has all of them\n"
    )


def test_a_slow_logger_does_not_hold_the_run_back(monkeypatch, tmp_path, capsys):
    release, seen = threading.Event(), []
    logger(monkeypatch, write=lambda self, step, metrics: release.wait(30))
    monkeypatch.setattr(mirror, "WAIT_S", 0.01)
    with mirror.mirrored(
        ("tensorboard",), tmp_path, {}, lambda p: seen.append(p.env_steps)
    ) as watch:
        for step in (1, 2, 3):
            watch(point(step))  # returns although the first is still being written
        assert seen == [1, 2, 3] and not release.is_set()
    release.set()
    assert "the tensorboard logger is slow" in capsys.readouterr().err


@pytest.mark.parametrize("place", ["tensorboard", "tensorboard/seed-5"])
def test_nothing_is_logged_through_a_link(tmp_path, place, capsys):
    outside, run = tmp_path / "outside", tmp_path / "run"
    outside.mkdir()
    (run / place).parent.mkdir(parents=True)
    (run / place).symlink_to(outside)
    with mirror.mirrored(("tensorboard",), run, {"seed": 5, "seeds": 1}, lambda p: None) as watch:
        watch(point(1))
    assert not list(outside.iterdir())
    assert "a symbolic link" in capsys.readouterr().err


def test_several_loggers_are_named_with_commas_or_by_several_flags():
    from spinward.cli.parser import Parser
    from spinward.cli.train import add_running

    parser = Parser("train", "A test.")
    add_running(parser)
    words = ["--logger", "tensorboard,trackio", "--logger", "wandb"]
    assert parser.read(words).logger == ["tensorboard", "trackio", "wandb"]
    assert parser.read([]).logger == []
    with pytest.raises(SettingsError, match="'tensorboard,' holds an empty name"):
        parser.read(["--logger", "tensorboard,"])


def test_an_unknown_logger_is_refused_before_a_folder_is_made(tmp_path):
    with pytest.raises(SettingsError, match="no logger 'tensorbord'; expected one of tensorboard"):
        sw.train("ppo", "CartPole-v1", 64, out=tmp_path, loggers=("tensorbord",))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name, module", [("wandb", "wandb"), ("trackio", "trackio")])
def test_a_missing_library_is_named(monkeypatch, name, module):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(
        SettingsError, match=rf"the {name} logger needs .*pip install -e '.\[{name}\]'"
    ):
        mirror.require((name,))


class Recorder(types.ModuleType):
    """The calls of W&B and Trackio that we use, with what they were given."""

    def __init__(self, name: str):
        super().__init__(name)
        self.inits: list[dict] = []
        self.logged: list[tuple[dict, int]] = []
        self.finished = 0

    def init(self, **about):
        self.inits.append(about)
        return self

    def log(self, metrics, step):
        self.logged.append((metrics, step))

    def finish(self):
        print("finished")
        self.finished += 1

    @staticmethod
    def Settings(**settings):
        return settings

    def login(self, **settings):
        assert not settings["prompt"]
        return False


@pytest.mark.parametrize("name", ["wandb", "trackio"])
def test_mirrors_get_name_config_and_points(monkeypatch, tmp_path, name, capsys):
    library = Recorder(name)
    monkeypatch.setitem(sys.modules, name, library)
    monkeypatch.setenv("WANDB_MODE", "offline")
    run = tmp_path / "mine"
    run.mkdir()
    for step in (10, 20):  # begun and resumed
        with mirror.mirrored((name,), run, {"seeds": 1}, lambda p: None) as watch:
            watch(point(step))
    assert [(m["loss"], step) for m, step in library.logged] == [(10.0, 10), (20.0, 20)]
    assert library.finished == 2
    first, second = library.inits
    assert first["name"] == "mine" and first["config"] == {"seeds": 1}
    assert first["resume"] == "allow" and first.get("id") == second.get("id")
    if name == "trackio":
        assert capsys.readouterr().out == ""  # which is for results


def test_wandb_writes_through_no_link(monkeypatch, tmp_path, capsys):
    library = Recorder("wandb")
    monkeypatch.setitem(sys.modules, "wandb", library)
    monkeypatch.setenv("WANDB_MODE", "offline")
    (tmp_path / "wandb").symlink_to(tmp_path / "outside")
    with mirror.mirrored(("wandb",), tmp_path, {}, lambda p: None) as watch:
        watch(point(1))
    assert not library.inits and "a symbolic link" in capsys.readouterr().err


def test_wandb_without_a_key_is_refused_and_not_asked_for(monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", Recorder("wandb"))
    monkeypatch.delenv("WANDB_MODE", raising=False)
    with pytest.raises(SettingsError, match="no key: run `wandb login`, or set WANDB_MODE=offline"):
        mirror.require(("wandb",))
