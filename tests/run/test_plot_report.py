import io
import itertools
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from spinward.errors import SettingsError
from spinward.evaluation.statistics import described, estimate
from spinward.report import advice, panels, plot, video
from spinward.report import page as report
from spinward.report.named import named
from spinward.report.plot import Curve
from spinward.store.headline import RETURN

NAN = np.nan


def curve(name: str = "PPO", seeds: int = 4, expected: float | None = 475.0) -> Curve:
    rng = np.random.default_rng(0)
    returns = np.linspace(0, 480, 20) + rng.normal(size=(seeds, 20))
    return Curve(name, np.linspace(50_000, 1_000_000, 20), returns, expected)


def frames(count: int, height: int = 12, width: int = 18) -> list[np.ndarray]:
    pictures = np.zeros((count, height, width, 3), np.uint8)
    for n, picture in enumerate(pictures):
        picture[:, n % width] = (255, 40, 10 * n % 256)
    return list(pictures)


def texts(figure) -> list[str]:
    axes = figure.axes[0]
    return [t.get_text() for t in (*axes.texts, *figure.texts)] + [axes.get_title("left")]


def test_a_curve_begins_where_each_seed_has_a_score_and_holds_the_last_one():
    returns = np.array([[NAN, 1, 2, NAN], [NAN, NAN, 4, 6]])
    seen = plot.summary(Curve("x", np.array([10, 20, 30, 40]), returns))
    np.testing.assert_array_equal(seen.steps, [30, 40])
    np.testing.assert_array_equal(seen.means.value, [3, 4])  # (2 + 4) / 2 and (2 + 6) / 2
    np.testing.assert_array_equal([seen.means.low, seen.means.high], [[2, 2], [4, 6]])
    assert seen.means.seeds == 2 and seen.held
    whole = plot.summary(curve())
    assert not whole.held and len(whole.steps) == 20
    assert whole.means.low[-1] == estimate(curve().returns[:, -1]).low


def test_a_seed_that_never_ended_an_episode_is_not_left_out_of_the_mean():
    returns = np.array([[1, 2.0], [3, 4.0], [NAN, NAN]])
    given = Curve("x", np.array([10, 20]), returns)
    assert len(plot.summary(given).steps) == 0
    assert "no episode ended in 1 of 3 seeds" in plot.table([given])


def test_figure_shows_the_mean_the_band_each_seed_and_the_expected_score():
    given = curve()
    axes = plot.figure([given], "CartPole").axes[0]
    lines = [line.get_xydata() for line in axes.lines]
    seen = plot.summary(given)
    for returns in [*given.returns, seen.means.value]:
        drawn = np.stack([given.steps, returns], 1)
        assert any(line.shape == drawn.shape and (line == drawn).all() for line in lines)
    assert any((line[:, 1] == 475).all() for line in lines)
    band = axes.collections[0].get_paths()[0].vertices
    edges = {(1e6, seen.means.low[-1]), (1e6, seen.means.high[-1])}
    assert edges <= set(map(tuple, band))


def test_figure_says_how_many_seeds_it_is_of_and_what_is_missing():
    told = "\n".join(texts(plot.figure([curve("a $1$", 4), curve("b", 12)], "Title")))
    assert "Title" in told and "Not smoothed" in told
    assert "Mean; band: 95 % t interval of 4 seeds" in told
    assert "Interquartile mean; band: 95 % bootstrap interval of 12 seeds" in told
    assert r"a \$1\$" in told and "expected 475" in told and "counts with its last" not in told
    gaps = curve()
    gaps.returns[0, 7] = NAN
    assert "counts with its last one" in "\n".join(texts(plot.figure([gaps], "")))
    gaps.returns[1] = NAN
    assert "no episode ended in 1 of 4 seeds" in "\n".join(texts(plot.figure([gaps], "")))
    named = plot.figure([gaps], "", values="reward per step").axes[0]
    assert named.get_ylabel() == "reward per step"
    assert "One seed: no interval" in "\n".join(texts(plot.figure([curve(seeds=1)], "")))
    with pytest.raises(SettingsError, match="at least one curve"):
        plot.figure([], "")


def test_labels_of_curves_that_end_together_do_not_overlap():
    figure = plot.figure([curve(f"run {n}", expected=None) for n in range(5)], "")
    plot.rendered(figure, "png")
    axes = figure.axes[0]
    boxes = sorted((t.get_window_extent() for t in axes.texts), key=lambda box: box.y0)
    assert len(boxes) == 5
    assert all(below.y1 <= above.y0 + 1 for below, above in itertools.pairwise(boxes))


def test_steps_are_written_with_k_and_m():
    given = [0, 999, 1000, 1500, 250_000, 1_000_000, 2.5e6, -3000, 0.25, 4e9]
    expected = ["0", "999", "1k", "1.5k", "250k", "1M", "2.5M", "-3k", "0.25", "4G"]
    assert [plot.short(x) for x in given] == expected


def test_pictures_are_files_of_their_kind_and_the_same_each_time(tmp_path):
    for kind, opening in ((".png", b"\x89PNG"), (".svg", b"<?xml"), (".pdf", b"%PDF")):
        paths = [tmp_path / f"{n}{kind}" for n in range(2)]
        for path in paths:
            plot.save(plot.figure([curve()], "x"), path)
        assert paths[0].read_bytes().startswith(opening)
        assert paths[0].read_bytes() == paths[1].read_bytes()
    with pytest.raises(SettingsError, match=r"\.png, \.svg"):
        plot.save(plot.figure([curve()], "x"), tmp_path / "x.bmp")
    assert len(list(tmp_path.iterdir())) == 6


def test_drawing_libraries_load_when_they_are_needed_and_pyplot_never():
    script = """
import sys
import numpy as np
from spinward.store import checkpoint
from spinward.report import plot
from spinward.report import page as report
from spinward.report import video
heavy = {"matplotlib", "PIL", "safetensors", "imageio_ffmpeg"} & set(sys.modules)
assert not heavy, heavy
plot.rendered(plot.figure([plot.Curve("x", np.arange(2), np.ones((2, 2)))], ""), "png")
assert "matplotlib.pyplot" not in sys.modules and "matplotlib" in sys.modules
"""
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr


def test_table_is_aligned_and_has_the_last_point():
    never = Curve("never", np.array([10, 20]), np.full((2, 2), NAN))
    known = Curve("known", np.array([10, 2000]), np.array([[0, 1.0], [0, 2], [0, 3], [0, 100]]), 5)
    lines = plot.table([known, curve("one", 1), never]).splitlines()
    assert len({len(line) for line in lines}) == 1
    value, low, high, _ = estimate([1.0, 2, 3, 100])
    told = f"95 % t interval of 4 seeds: {low:.2f} to {high:.2f}"
    assert lines[1].split() == ["known", "mean", f"{value:.2f}", *told.split(), "2,000", "5"]
    assert "one seed" in lines[2] and "no episode ended in 2 of 2 seeds" in lines[3]


def test_profiles_are_drawn_with_their_seeds(tmp_path):
    drawn = plot.profiles({"a": np.array([1.0, 3.0]), "b": np.array([2.0, NAN])}, "x")
    axes = drawn.axes[0]
    a, b = axes.lines
    assert a.get_ydata()[0] == 1 and b.get_ydata()[0] == 0.5  # one of b's seeds has no return
    assert a.get_ydata()[-1] == b.get_ydata()[-1] == 0
    assert [t.get_text() for t in axes.get_legend().texts] == ["a, 2 seeds", "b, 2 seeds"]
    with pytest.raises(SettingsError, match="a seed that ended an episode"):
        plot.profiles({"a": np.array([NAN])}, "")


class Page(HTMLParser):
    def __init__(self, text: str):
        super().__init__()
        self.tags, self.open = [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag not in ("meta", "img", "source"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def page(film: Path | None = None, evil: str = "PPO") -> str:
    told = {"statistic": "mean", "interval": "95 % t interval of 4 seeds", "seeds": 4}
    summary = {"value": 470.25, "low": 460.0, "high": 480.5, **told, "wall_s": 3.5}
    rows = [{"seed": 0, evil: 470.123}, {"seed": 1, evil: evil}, {"seed": 2}]
    config = {"algorithm": {"lr": 3e-4, "name": evil, evil: [1, None]}, "versions": {"jax": evil}}
    return report.html(evil, summary | {evil: evil}, [curve(evil)], rows, config, film, [evil])


def test_report_shows_result_curve_table_settings_and_versions():
    text = page()
    for part in ("470.25", "460 to 480.50", "t interval of 4 seeds", "Learning curve", "470.12",
                 "algorithm.lr", "0.0003", "Versions", "wall s", "3.50"):  # fmt: skip
        assert part in text, part
    found = Page(text)
    assert found.open == []
    assert [a["href"] for t, a in found.tags if "href" in a] == []


def test_report_escapes_whatever_it_is_given():
    evil = "\"><script>alert(1)</script><img src=x onerror=alert(2)>'&amp;"
    found = Page(page(evil=evil))
    assert found.open == []
    assert {tag for tag, _ in found.tags} == {
        *("html", "head", "meta", "title", "style", "body", "section", "h1", "h2", "div", "p"),
        *("dl", "dt", "dd", "picture", "source", "img", "table", "tr", "th", "td", "footer"),
    }
    assert not [a for _, a in found.tags for name in a if name.startswith("on")]


def test_report_loads_nothing_from_elsewhere_and_forbids_it(tmp_path):
    film = tmp_path / "x.gif"
    video.write(frames(3), film)
    text = page(film)
    found = Page(text)
    sources = [a[n] for _, a in found.tags for n in ("src", "srcset") if n in a]
    assert len(sources) == 3 and all(s.startswith("data:image/") for s in sources)
    policy = next(a["content"] for _, a in found.tags if a.get("http-equiv"))
    assert "default-src 'none'" in policy and "unsafe" not in policy and "http" not in policy
    assert not re.findall(r"url\(|@import|style=", text)


def test_report_without_anything_is_still_a_page_and_unknown_numbers_are_not_told_as_numbers():
    text = report.html("Empty", {}, [], [], {}, None, [])
    assert "<h1>Empty</h1>" in text and "<h2>" not in text and Page(text).open == []
    text = report.html("One", described([3.0]), [], [], {}, None, [])
    assert "one seed: no interval can be told" in text and "nan" not in text.lower()
    lost = described([3.0, NAN]) | {"unknown": 1}
    text = report.html("One", lost, [], [], {}, None, [])
    assert "no mean: no episode ended in 1 of 2 seeds" in text
    with pytest.raises(SettingsError, match=r"one of \.gif"):
        report.html("x", {}, [], [], {}, Path("x.avi"), [])


def test_gif_keeps_each_frame_its_colours_and_its_rate(tmp_path):
    video.write(iter(frames(10)), tmp_path / "x.gif", fps=20)
    film = Image.open(tmp_path / "x.gif")
    assert (film.n_frames, film.size, film.info["duration"]) == (10, (18, 12), 50)
    for n, frame in enumerate(frames(10)):
        film.seek(n)
        np.testing.assert_array_equal(np.asarray(film.convert("RGB")), frame)
    video.write(frames(10), tmp_path / "fast.gif", fps=100)  # which browsers would slow down
    film = Image.open(tmp_path / "fast.gif")
    assert (film.n_frames, film.info["duration"]) == (5, 20)


def test_webp_moves(tmp_path):
    video.write(frames(10), tmp_path / "x.webp", fps=25)
    film = Image.open(tmp_path / "x.webp")
    film.load()
    assert (film.n_frames, film.size, film.info["duration"]) == (10, (18, 12), 40)


def test_frames_that_make_no_video_are_refused_and_leave_no_file(tmp_path):
    bad = {
        "no frames": [],
        r"uint8 \[height, width, 3\], found float64": [np.zeros((4, 4, 3))],
        r"found uint8 \[4, 4\]": [np.zeros((4, 4), np.uint8)],
        r"frame 2 is \[5, 4, 3\]": [*frames(2, 4, 4), *frames(1, 5, 4)],
    }
    for message, given in bad.items():
        with pytest.raises(SettingsError, match=message):
            video.write(given, tmp_path / "x.gif")
    with pytest.raises(SettingsError, match=r"ends in one of \.gif"):
        video.write(frames(2), tmp_path / "x.avi")
    with pytest.raises(SettingsError, match="fps=0"):
        video.write(frames(2), tmp_path / "x.gif", fps=0)
    assert list(tmp_path.iterdir()) == []


def test_mp4_without_ffmpeg_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)
    with pytest.raises(SettingsError, match=r"pip install -e '\.\[video\]'"):
        video.write(frames(2), tmp_path / "x.mp4")
    assert list(tmp_path.iterdir()) == []


def test_mp4_holds_each_frame(tmp_path):
    ffmpeg = pytest.importorskip("imageio_ffmpeg")
    video.write(frames(10, 15, 33), tmp_path / "x.mp4", fps=10)  # odd sizes, which H.264 has not
    assert [p.name for p in tmp_path.iterdir()] == ["x.mp4"]
    assert ffmpeg.count_frames_and_secs(str(tmp_path / "x.mp4"))[0] == 10
    with pytest.raises(SettingsError, match="frame 1"):
        video.write([*frames(1, 4, 4), *frames(1, 6, 4)], tmp_path / "y.mp4")
    assert [p.name for p in tmp_path.iterdir()] == ["x.mp4"]


def test_picture_of_one_point_shows_all_seeds():
    figure = plot.figure([Curve("x", np.array([10]), np.array([[1.0], [2], [3]]))], "")
    marked = [line for line in figure.axes[0].lines if line.get_marker() not in ("", "None", None)]
    assert sorted(float(line.get_ydata()[0]) for line in marked) == [1, 2, 2, 3]
    assert Image.open(io.BytesIO(plot.rendered(figure, "png"))).size[0] > 1000


def test_the_report_has_losses_entropy_and_divergence_and_the_last_value_of_each_metric():
    values = np.array([[4.0, 3.0, 2.0], [4.0, 3.0, 1.0]])
    names = ("entropy", "policy_loss", "approx_kl", "grad_norm", "loss")
    measured = {name: Curve("PPO", np.array([1, 2, 3]), values) for name in names}
    assert panels.worth_drawing(measured) == ["loss", "policy_loss", "entropy", "approx_kl"]
    figure = panels.panels({name: measured[name] for name in panels.worth_drawing(measured)})
    titles = [axes.get_title("left") for axes in figure.axes]
    assert titles == ["loss", "policy_loss", "entropy", "approx_kl"]
    told = {"statistic": "mean", "interval": "", "seeds": 2, "value": 1.0}
    text = report.html("", told, [curve()], [], {}, None, [], measured=measured)
    assert "What updates measured" in text and "loss, policy_loss, entropy, approx_kl" in text
    row = '<td>grad_norm</td><td class="n">1.50</td>'  # of both seeds at the end
    assert row in text


class Trained:
    """What advice looks at."""

    def __init__(self, values, seeds):
        self.path, self.values = Path("runs/a b"), np.array(values)
        kind = {"class": "spinward.algorithms.ppo:PPO", "fields": {}}
        self.config = {"steps": 1000, "seeds": seeds, "algorithm": kind}
        self.config |= {"env": "CartPole-v1", "data": ""}

    def curves(self, metric):
        return np.arange(self.values.shape[1]), self.values


def test_a_report_says_what_to_do_next():
    rising = [np.r_[np.zeros(10), np.linspace(0, 9, 10)]]
    known, unknown = {"value": 1.0}, {"value": None}
    first, *rest = advice.advice(Trained(rising, 1), known, RETURN)
    assert first.command == "spinward resume 'runs/a b' --steps 2000"
    assert rest[0].sentence == "1 seed says little: train more, with the same flags."
    assert rest[0].command == "spinward train ppo CartPole-v1 --seeds 5"
    assert [a.command.split()[1] for a in rest[1:]] == ["evaluate", "watch", "export"]
    level = [np.tile([1.0, 2.0], 20)] * 5
    found = advice.advice(Trained(level, 5), known, RETURN)
    assert [a.command.split()[1] for a in found] == ["evaluate", "watch", "export"]
    first, *_ = advice.advice(Trained([[np.nan] * 9], 5), unknown, RETURN)
    assert "episodes did not end" in first.sentence
    text = report.html("", {}, [], [], {}, None, [], advice=found)
    assert "What to do next" in text and "spinward evaluate &#x27;runs/a b&#x27;" in text


def test_a_report_has_settings_by_the_names_that_a_user_types():
    config = {
        "format": 1,
        "algorithm": {
            "class": "spinward.algorithms.ppo:PPO",
            "fields": {"max_grad_norm": 0.5, "network": {"function": "a:b"}},
        },
        "env": {"name": "Maze", "settings": {"size": 5}},
        "reward": {"class": "spinward.rewards.rnd:RND", "fields": {"beta": 0.1}},
        "data": "",
        "evaluate_every": 0,
        "start_from": "runs/a",
        "start_parts": ["policy"],
        "versions": {"jax": "1"},
    }
    assert named(config) == {
        "algorithm": "ppo",
        "env": "Maze",
        "--env.size": 5,
        "--reward": "rnd",
        "--reward.beta": 0.1,
        "--data": "",
        "--evaluate-every": 0,
        "--from": "runs/a",
        "--from-parts": ["policy"],
        "--max-grad-norm": 0.5,
        "--network": "a:b",
        "versions": {"jax": "1"},
    }
