"""A run's config.json is malformed: cut, mixed up, with values of other kinds or beyond all. The
file is refused by name, quickly and in little memory, and hides no other run."""

import json
import random
import resource
import shutil
import time
from pathlib import Path
from typing import Any

from campaigns.faults.commands import call, example, laid, tree

CPU_S, KIB = 3.0, 2**20  # of a case: seconds of CPU, and memory beyond what the process has
VALUES: tuple[Any, ...] = (
    None, True, False, -1, 0, 1, 2, 2**24, 2**31, 2**53, 2**63, 10**40, -(2**63), 1.5, -0.0, 1e308,
    float("nan"), float("inf"), "", "x", "../x", "/dev/zero", "a\nb", "\x1b[2J", "\0", "\ud800",
    "x" * 10**5, [], [1], [[]], [2**40], [1] * 10**4, {}, {"a": 1}, {"class": "os:system"},
    {"class": "builtins:exec", "fields": {}}, {"function": "os:system"},
    {"class": "spinward/../run/payload.py:Payload", "fields": {}},
    {"function": "payload:run", "keywords": {}}, "payload:Payload", "payload.py:Payload",
    "linear:1", "linear:1:nan", "warmup:9:linear:0:1", "gymnasium:NoSuch-v0", "module:Class",
)  # fmt: skip


def places(content: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The paths of all values in a JSON value."""
    inner: Any = ()
    if isinstance(content, dict):
        inner = content.items()
    elif isinstance(content, list):
        inner = enumerate(content)
    return [path, *(p for key, value in inner for p in places(value, (*path, key)))]


def put(content: Any, path: tuple[Any, ...], value: Any) -> Any:
    if not path:
        return value
    content[path[0]] = put(content[path[0]], path[1:], value)
    return content


class Configs:
    """A run, and cases of it with another config.json."""

    def __init__(self, folder: Path, files: dict[str, bytes] | None = None):
        self.folder = folder
        whole = files or tree(example(folder / "whole", log_data=False))
        self.text = whole["config.json"].decode()
        self.files = {n: x for n, x in whole.items() if not n.startswith("videos")}
        (folder / "case").mkdir(parents=True)
        (folder / "case/payload.py").write_text(f"open({str(folder / 'ran')!r}, 'w')")

    def malformed(self, draw: random.Random) -> tuple[str, bytes]:
        """How a config is malformed, and its bytes."""
        text, how = self.text, draw.randrange(10)
        if how == 0:
            cut = draw.randrange(len(text))
            return f"cut at {cut}", text[:cut].encode()
        if how == 1:
            at, length = draw.randrange(len(text)), draw.randrange(1, 40)
            noise = bytes(draw.randrange(256) for _ in range(length))
            return f"noise {noise!r} at {at}", (text[:at].encode() + noise + text[at:].encode())
        if how == 2:
            depth = 10 ** draw.randrange(2, 6)
            opening = draw.choice(["[", '{"a":'])
            return f"nested {opening} {depth}", text.replace(
                ": 2", f": {opening * depth}", 1
            ).encode()
        content = json.loads(text)
        path = draw.choice([p for p in places(content) if p])
        if how == 3:
            value = "left out"
            inner = content
            for key in path[:-1]:
                inner = inner[key]
            inner.pop(path[-1])
        elif how == 4:
            other = draw.choice([p for p in places(content) if p])
            value = f"as {other}"
            found = content
            for key in other:
                found = found[key]
            content = put(content, path, json.loads(json.dumps(found)))
        else:
            value = draw.choice(VALUES)
            content = put(content, path, value)
        if how == 5:
            content["more"] = value
        return f"{path} {value!a:.60}", json.dumps(content, indent=1).encode() + b"\n"

    def case(self, draw: random.Random) -> tuple[str, str, str]:
        how, text = self.malformed(draw)
        saved = draw.random() < 0.5  # the checkpoints vouch for the settings; else nothing does
        run = self.folder / "case/run"
        kept = {n: x for n, x in self.files.items() if saved or not n.startswith("shards")}
        laid(run, {**kept, "config.json": text})
        if not saved:
            laid(run, {"shards/0/lock": b""})
        outcomes = set()
        for words in (("resume",) if saved else ("evaluate",), ("report",), ("runs",)):
            began, memory = time.process_time(), peak()
            more = ("--out", str(run.parent)) if words == ("runs",) else (str(run),)
            said = call(*words, *more)
            told = f"{words[0]}: {how}: {said.code} {said.err} {said.out:.300}"
            outcomes.add(self.judged(words[0], said, saved, text))
            if (self.folder / "ran").exists():
                return "executed", "", told
            if said.broken:
                return "traceback", "", told
            if time.process_time() - began > CPU_S or peak() - memory > KIB:
                return "slow or large", "", f"{told}: {time.process_time() - began:.1f} s"
            if "silent" in outcomes or "unclear" in outcomes:
                return min(outcomes & {"silent", "unclear"}), "", told
        shutil.rmtree(run, ignore_errors=True)
        vouched = "with checkpoints" if saved else "alone"
        return ("told" if "told" in outcomes else "harmless"), vouched, how

    def judged(self, command: str, said: Any, saved: bool, text: bytes) -> str:
        same = text == self.text.encode()
        if command == "runs":
            return "harmless" if said.code == 0 else "unclear"
        if said.code == 0:
            return "harmless" if same or not saved else "silent"
        words = ("config.json", "trust", "checkpoint", "upgrade it")
        named = any(word in said.err for word in words)
        return "told" if said.code in (2, 4) and named and said.err.count("\n") <= 2 else "unclear"


def peak() -> int:
    """KiB of memory that this process has had at most."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
