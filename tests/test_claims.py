"""No number that the documents claim lacks a file, and the page of results is that of the files."""

import re

import numpy as np
import pytest

from benchmarks import goals
from benchmarks.goals import Goal, Measured
from campaigns import claims, documents, records
from campaigns.documents import all_blocks, blocks, is_claim, numbers

ROOT = documents.ROOT
CLAIMS = [b for b in all_blocks() if is_claim(b) and not b.given and not b.absent]


def first_words(block):
    return f"{block.page}: {' '.join(block.text.split())[:60]}"


def unsupported(block, facts):
    """The numbers of a block that none of its files has."""
    return [n.value for n in numbers(block.claims) if not n.count and not n.in_any(facts)]


@pytest.mark.parametrize("block", CLAIMS, ids=first_words)
def test_a_claim_names_files_that_have_its_numbers(block):
    assert block.files, (
        f"{block.page}, {block.section!r}: say `<!-- from: FILE -->` above it, or that it is "
        f"{documents.ABSENT}:\n{block.text}"
    )
    missing = [f for f in block.files if not (records.RESULTS / f).exists()]
    assert not missing
    facts = np.concatenate([records.facts(f) for f in block.files])
    assert unsupported(block, facts) == [], block.text


def block_of(text):
    return blocks("page.md", text)[-1]


def test_a_number_without_a_file_would_be_found():
    wrong = block_of(
        "## Result\n\n<!-- from: x -->\nIt has 17.3 in training, 51 % and 4,100 steps."
    )
    assert is_claim(wrong) and wrong.files == ("x",)
    assert unsupported(wrong, np.array([17.26, 0.512, 4099.0])) == []
    assert unsupported(wrong, np.array([17.2, 0.52, 4199.0])) == [17.3, 51.0, 4100.0]
    assert not block_of("In section 4.1 of [1812.02648](https://x) `gamma` is `0.99`.").files
    assert is_claim(block_of("It is 2.5 times as quick."))
    assert is_claim(block_of("An iteration takes 39 microseconds."))
    assert not is_claim(block_of("Say `--lr 1e-3` for 8 environments in 2026."))
    assert block_of("It has 3.2,\nwhich is not\non record.").absent


def test_a_heading_ends_what_a_comment_says():
    page = "<!-- from: a b -->\nOne.\n\nTwo.\n\n# Next\n\nThree.\n\n<!-- given -->\n- Four\n- Five"
    found = [(b.text, b.files, b.given) for b in blocks("p", page)]
    assert found == [
        ("One.", ("a", "b"), False),
        ("Two.", ("a", "b"), False),
        ("Three.", (), False),
        ("- Four", (), True),
        ("- Five", (), False),
    ]


def test_numbers_are_read_with_their_rounding():
    read = {n.value: n.reach for n in numbers("3,330 steps, -0.16, 500k, 1M and 99.5, 12")}
    assert list(read) == [3330.0, -0.16, 500e3, 1e6, 99.5, 12.0]
    assert read[3330.0] == pytest.approx(5.0) and read[-0.16] == pytest.approx(0.005)
    assert read[500e3] == pytest.approx(500.0) and read[12.0] == pytest.approx(0.5)


def test_the_page_of_results_is_that_of_the_files():
    assert claims.PAGE.read_text() == claims.page(), "write it by `python -m campaigns.claims`"


def test_every_record_has_a_commit_a_date_and_seeds():
    for record in records.all_records():
        assert record.commit != records.UNKNOWN, f"{record.file}: write its commit into it"
        assert re.fullmatch(r"\d{4}-\d\d-\d\d", record.date), record.file
        assert record.seeds and record.command, record.file


def test_every_file_that_a_page_names_is_there():
    named = claims.cited()
    assert named and [f for f in named if not (records.RESULTS / f).exists()] == []


def test_a_verdict_is_called_reproduced_only_by_the_present_rule():
    """A result of today's rules has its commit and first seed, or says when it was judged anew."""
    for path in records.RESULTS.glob("reproduce/*/rows.json"):
        found = records.read(path.relative_to(records.RESULTS).as_posix())
        fresh = found.get("seed") is not None and found["seed"] >= 1000 and found.get("commit")
        assert fresh or "judged" in found, found["name"]
        if found["verdict"] == "reproduced":
            assert fresh or found["judged"]["applied"], found["name"]
            assert "the rule" in found["why"], found["name"]
        shown = (path.parent / "report.html").read_text()
        assert f"<h1>{found['name']}</h1>" in shown
        assert f'<p class="number">{found["verdict"]}</p>' in shown, found["name"]


def test_pages_call_an_experiment_reproduced_only_where_its_file_does():
    verdicts = {
        records.read(f"reproduce/{p.parent.name}/rows.json")["name"]: records.read(
            f"reproduce/{p.parent.name}/rows.json"
        )["verdict"]
        for p in records.RESULTS.glob("reproduce/*/rows.json")
    }
    for block in all_blocks():
        said = re.search(r"(?<!not )\*\*(reproduced)\*\*|is reproduced", block.text)
        for name in re.findall(r"reproduce ([a-z0-9-]+)", block.text) if said else []:
            assert verdicts.get(name) == "reproduced", first_words(block)


@pytest.mark.parametrize(
    ("measured", "verdict"),
    [
        ((1.24, 1.16, 1.29, 3), "not met"),
        ((1.34, 1.26, 1.39, 3), "not surely met"),
        ((1.34, 1.31, 1.39, 3), "met"),
        ((1.34, 1.34, 1.34, 1), "met, in one run"),
    ],
)
def test_a_goal_is_met_where_the_whole_spread_has_it(measured, verdict):
    assert Measured(*measured, "file").verdict(1.3) == verdict


def test_a_ratio_is_of_steps_for_each_cpu_second_or_of_wall_time():
    def side(speed, low, high, wall, repeats=2):
        speeds = {goals.CPU: speed, f"{goals.CPU}_low": low, f"{goals.CPU}_high": high}
        return {**speeds, "wall_s_total": wall, "repeats": repeats}

    ours, peer = side(40.0, 38.0, 44.0, 3.0), side(10.0, 9.5, 11.0, 6.0)
    path = goals.FOLDER / "x.json"
    cpu = goals.measured(Goal("x", "w", "a", "b", 2.0), ours, peer, path)
    assert cpu[:4] == pytest.approx((4.0, 38 / 11, 44 / 9.5, 2))
    wall = goals.measured(Goal("x", "w", "a", "b", 2.0, goals.WALL), ours, peer, path)
    assert wall[:4] == (2.0, 2.0, 2.0, 1)
