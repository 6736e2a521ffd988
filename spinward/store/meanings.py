"""The meanings of a class's settings: the source comment of each field."""

import ast
import inspect
import io
import textwrap
import tokenize
from collections.abc import Iterator
from typing import Any

FOR_TOOLS = "fmt:", "type:", "noqa"  # comments that are no meaning


def meanings(kind: Any) -> dict[str, str]:
    """The comment of each field of a class, for the fields that have one.

    A field may be folded over several lines, by hand or by a formatter; the comments on all of its
    lines are its meaning. A class without a source file, as in a Python prompt, has no meanings.
    """
    try:
        source = textwrap.dedent(inspect.getsource(kind))
    except (OSError, TypeError):
        return {}
    notes = dict(comments(source))
    by_field = {}
    for node in ast.parse(source).body[0].body:  # type: ignore[attr-defined]
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            lines = range(node.lineno, (node.end_lineno or node.lineno) + 1)
            if note := " ".join(notes[line] for line in lines if line in notes):
                by_field[node.target.id] = note
    return by_field


def comments(source: str) -> Iterator[tuple[int, str]]:
    """The number of each line that ends in a comment, and the comment."""
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        text = token.string.lstrip("#").strip()
        if token.type == tokenize.COMMENT and not text.startswith(FOR_TOOLS):
            yield token.start[0], text
