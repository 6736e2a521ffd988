"""Writes `docs/results.md`: what is on record, and which document claims it.

python -m campaigns.claims
"""

from pathlib import Path

from benchmarks import goals
from campaigns.documents import ABSENT, ROOT, all_blocks
from campaigns.records import Record, all_records

PAGE = ROOT / "docs" / "results.md"
HEAD = """# Results on record

Written by `python -m campaigns.claims` from the files below [results](../results); a test compares.
Every number that the documents claim is in one of these files, or the document says that it is not
on record. The test reads the numbers of each page and looks for them in the files that the page
names. The [log](log.md) is a notebook: its numbers are evidence only where it names a file.

"Not recorded" is a command that the program of that day did not write down, and a commit after "in"
is the one that brought the file, because that program did not write down its own. Verdicts before
2026-11-30 were of seeds from 0 on, on some of which settings were chosen; where the rule has
changed since, the file says how it is judged by the present one.
"""
KINDS = {
    "Published claims": ("claim", "verdict, and the rule it was made by"),
    "Returns": ("algorithm, environment, steps", "returns"),
    "Speed": ("workloads", "numbers"),
    "Speed beside an older checkout": (
        "workloads",
        "ratio of steps for each CPU-second of training",
    ),
    "Others": ("what", ""),
}
SPEED = """
## Goals for speed

Ratios of steps, updates or tokens for each CPU-second, or of wall time where it says so; above 1 is
in our favour. The newest result on record that is not a quick one. A spread is from our slowest run
beside their quickest to the reverse. A goal is met where the whole spread has it; of one run
nothing is known of the spread.
"""


def cited() -> dict[str, list[str]]:
    """The pages that name a file or a folder below `results/`."""
    found: dict[str, list[str]] = {}
    for block in all_blocks():
        for file in block.files:
            found.setdefault(file, [])
            found[file] += [block.page] if block.page not in found[file] else []
    return found


def pages_of(record: Record, names: dict[str, list[str]]) -> str:
    """Links to the pages that claim something of a file, or of the folder that it is in."""
    parents = [
        p.as_posix() for p in Path(record.file).parents if p.as_posix() not in (".", "returns")
    ]
    found = sorted({page for name in (record.file, *parents) for page in names.get(name, [])})
    return ", ".join(link(page) for page in found) or "none"


def link(page: str) -> str:
    name = Path(page).stem
    return f"[{name}](../{page})" if "/" not in page else f"[{name}]({page.removeprefix('docs/')})"


def table(heads: list[str], rows: list[list[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(
        "| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines
    )


def section(kind: str, records: list[Record], names: dict[str, list[str]]) -> str:
    what, told = KINDS[kind]
    heads = [what, told or "numbers", "command", "seeds", "commit", "date", "file", "claimed in"]
    rows = [
        [
            r.what, r.numbers or "-", f"`{r.command}`", r.seeds, r.commit, r.date,
            f"[{r.file}](../results/{r.file})", pages_of(r, names),
        ]
        for r in records
        if r.kind == kind
    ]  # fmt: skip
    return f"\n## {kind}\n\n{table(heads, rows)}\n"


def absent() -> str:
    """What the documents say and have no file of."""
    counts: dict[str, int] = {}
    for block in all_blocks():
        if block.absent:
            counts[block.page] = counts.get(block.page, 0) + 1
    rows = [[link(page), str(count)] for page, count in counts.items()]
    told = f'Paragraphs of each page that say "{ABSENT}": nothing keeps what they tell.'
    return f"\n## Without a file\n\n{told}\n\n{table(['page', 'paragraphs'], rows)}\n"


def page() -> str:
    records, names = all_records(), cited()
    heads = ["what", "beside", "goal", "ratio", "spread", "", "simulators", "file"]
    speed = f"{SPEED}\n{table(heads, goals.rows())}\n"
    parts = [section(kind, records, names) for kind in KINDS]
    return HEAD + parts[0] + speed + "".join(parts[1:]) + absent()


if __name__ == "__main__":
    PAGE.write_text(page())
    print(PAGE)
