"""Numbers that the documents claim, and the files that they name for them.

A comment above a block says what its numbers are. `<!-- from: FILES -->`: those of files below
`results/`, in all blocks until the next such comment or heading. `<!-- given -->`: settings,
formulas, or what others published, in the next block alone. A block that says "not on record" has
no file. Numbers in code, links and tables of settings are no claims.
"""

import re
from pathlib import Path
from typing import NamedTuple

import numpy as np

ROOT = Path(__file__).parent.parent
GENERATED, NOTES = "docs/results.md", "docs/log.md"
ABSENT = "not on record"
MARK = re.compile(r"<!-- (?:from: (?P<files>[^>]*?)|given) -->", re.S)
FENCED = re.compile(r"^```.*?^```$", re.S | re.M)
NO_CLAIM = re.compile(
    r"`[^`]*`|\[[^\]]*\]\([^)]*\)|<!--.*?-->"  # code, links, comments
    r"|\b\d+\.\d+\.\d+\b"  # versions
    r"|\d{4}-\d\d-\d\d|\b(?:19|20)\d\d\b|\d{4}\.\d{5}"  # dates, years, arXiv
    r"|\b[\w:]*[A-Za-z]\w*-v?\d+\b|\b[A-Za-z]+\d[\w.]*"  # names with numbers
    r"|\b(?:version|section|equation|table|theorem|seeds?|JAX|Python|TRL|Ray|d3rlpy|torch)\s\d[\d.]*"
    r"(?:(?:,| to| and) \d+)*"
    r"|\b\d\d % (?:t|bootstrap|Wilson|interval|of experiments)|covers \d\d %|\b\d\d % is said"
)
NUMBER = re.compile(r"(?<![\w.])[-+]?\d[\d,]*(?:\.\d+)?(?:[kM]\b| million\b)?(?![\w])")
MEASURED = re.compile(
    r"\d ?%|\d\.\d|\d(?:\.\d+)? times|\b\d[\d,.]* "
    r"(?:ms|us|microseconds|CPU-?\s?s(?:econds)?|s of CPU|MiB|GiB|MB|GB|GFLOP)\b"
)


class Block(NamedTuple):
    """A paragraph, an item of a list or a table of a page."""

    page: str
    section: str
    text: str
    files: tuple[str, ...]  # below `results/`, which its numbers are from
    given: bool

    @property
    def claims(self) -> str:
        """The text without what is no claim."""
        lines = [line for line in self.text.splitlines() if not re.match(r"\| `\w+` \| ", line)]
        return NO_CLAIM.sub(" ", "\n".join(lines))

    @property
    def absent(self) -> bool:
        return ABSENT in " ".join(self.text.split())


def pages() -> list[str]:
    """The documents that claim things; the log is a notebook, and results are generated."""
    found = [p.relative_to(ROOT).as_posix() for p in (ROOT / "docs").rglob("*.md")]
    return sorted(["README.md", "CHANGELOG.md", *(p for p in found if p not in (GENERATED, NOTES))])


def blocks(page: str, text: str) -> list[Block]:
    found, section, files, given = [], "", (), False
    for part in re.split(r"\n\s*\n|\n(?=- |<!-- )|(?<= -->)\n", FENCED.sub("", text)):
        part = part.strip()
        if mark := MARK.fullmatch(part):
            given = mark["files"] is None
            files = tuple(mark["files"].split()) if mark["files"] else files
        elif heading := re.fullmatch(r"#+ (.*)", part):
            section, files, given = heading[1], (), False
        elif part:
            found.append(Block(page, section, part, files, given))
            given = False
    return found


def all_blocks() -> list[Block]:
    return [b for page in pages() for b in blocks(page, (ROOT / page).read_text())]


def is_claim(block: Block) -> bool:
    """Whether a block has numbers that somebody measured."""
    text = block.claims
    if block.section.startswith("Result"):
        return bool(re.search(r"\d\.\d|\d ?%|\d{3}", text))
    return bool(MEASURED.search(text))


class Number(NamedTuple):
    """A number that a text claims."""

    value: float
    reach: float  # how far it may be rounded
    per_cent: bool

    @property
    def count(self) -> bool:
        """Whether it is a small whole number, as of seeds, which says little by itself."""
        return not self.per_cent and self.value == int(self.value) and abs(self.value) < 100

    def in_any(self, facts: np.ndarray) -> bool:
        """Whether it is one of some numbers, in per cent or not; signs are left out, because a
        text may say "27 below"."""
        found = np.abs(np.concatenate([facts, 100.0 * facts]))
        return bool((np.abs(found - abs(self.value)) <= self.reach + 1e-9).any())


def numbers(text: str) -> list[Number]:
    found = []
    for match in NUMBER.finditer(text):
        word = match[0]
        scale = {"k": 1e3, "M": 1e6, "n": 1e6}.get(word[-1], 1.0)
        digits = word.rstrip("kM milon").replace(",", "").lstrip("+")
        decimals = len(digits.partition(".")[2])
        zeros = len(digits) - len(digits.rstrip("0")) if "." not in digits else 0
        many = zeros if len(digits.lstrip("-")) >= 4 else 0  # 3,330 stands for 3,333
        reach = scale * 0.5000001 * 10.0 ** (many - decimals)
        per_cent = text[match.end() :].lstrip().startswith("%")
        found.append(Number(float(digits) * scale, reach, per_cent))
    return found
