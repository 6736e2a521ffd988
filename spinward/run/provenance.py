"""The origin of a result: the commit of the code, and the CPU seconds."""

import resource
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def commit() -> str:
    """The commit of the running code, with `+changes` if files differ from the commit.

    Empty where the code is not in a git checkout.
    """
    head = git("rev-parse", "HEAD")
    if not head or not (ROOT / ".git").exists():  # installed inside somebody else's checkout
        return ""
    changed = git("status", "--porcelain", "--untracked-files=no", "--", ":!results")
    return head + ("+changes" if changed else "")


def git(*words: str) -> str:
    try:
        done = subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True)
    except OSError:  # there is no git
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def cpu_seconds() -> float:
    """CPU seconds of this process and of its children that have ended."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)
