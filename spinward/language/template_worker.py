"""A process that renders chat templates: lines of JSON in, lines of JSON out.

It is run as a script, so that it imports nothing but Jinja. The renders of a line have some seconds
of CPU time, after which the kernel ends the process in whatever code it is; its memory has a limit.
"""

import json
import sys
from datetime import datetime
from typing import Any

SECONDS = 5  # of CPU time for the renders of one line
BYTES = 2**30  # of memory that the process may have
LONGEST = 2**24  # letters of a text


def main() -> None:
    import resource
    import signal

    import jinja2  # noqa: F401, before memory is limited

    resource.setrlimit(resource.RLIMIT_AS, (BYTES, BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent process gets the signal, and ends us
    templates: dict[str, Any] = {}
    for line in sys.stdin:
        signal.setitimer(signal.ITIMER_PROF, SECONDS)
        answer = json.dumps(answered(templates, *json.loads(line)))
        signal.setitimer(signal.ITIMER_PROF, 0)
        print(answer, flush=True)


def answered(templates: dict[str, Any], source: str, jobs: list[dict[str, Any]]) -> list[str] | str:
    """The text of each job, or an error."""
    try:
        if source not in templates:
            templates[source] = environment().from_string(source)
    except Exception as error:
        return f"cannot be read: {short_error(error)}"
    try:
        return [rendered(templates[source], job) for job in jobs]
    except Exception as error:
        return f"refuses the conversation: {short_error(error)}"


def environment() -> Any:
    from jinja2.ext import Extension
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    class Generation(Extension):
        """The mark around what the assistant writes, which Jinja does not know: what it is around
        stays as it is."""

        tags = {"generation"}

        def parse(self, parser: Any) -> Any:
            next(parser.stream)
            return parser.parse_statements(("name:endgeneration",), drop_needle=True)

    env = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols", Generation]
    )
    env.filters["tojson"] = to_json
    env.globals |= {"raise_exception": refuse, "strftime_now": now}
    return env


def rendered(template: Any, job: dict[str, Any]) -> str:
    parts, size = [], 0
    for part in template.generate(**job):
        parts.append(part)
        size += len(part)
        if size > LONGEST:
            raise ValueError(f"its text has more than {LONGEST} letters")
    return "".join(parts)


def short_error(error: Exception) -> str:
    """An error in one short line."""
    text = str(error) or type(error).__name__
    return " ".join(text.split())[:200]


def to_json(value: Any, indent: int | None = None, **more: Any) -> str:
    """JSON as it is, where Jinja's own filter would escape it for HTML."""
    more.setdefault("ensure_ascii", False)
    return json.dumps(value, indent=indent, **more)


def now(form: str) -> str:
    return datetime.now().strftime(form)


def refuse(message: str) -> None:
    """Raises an error for a template that calls `raise_exception`."""
    raise ValueError(message)


if __name__ == "__main__":
    main()
