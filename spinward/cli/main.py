"""`spinward COMMAND ...`: finds the command, runs it, and ends with one line and an exit code."""

import importlib
import sys

from spinward import interrupts

COMMANDS = {
    "train": "train an algorithm in an environment, or on logged data",
    "resume": "continue a run where it stopped",
    "tune": "search for settings of an algorithm",
    "evaluate": "score a run's policies over whole episodes",
    "diagnose": "say whether a run on logged data is over- or under-fitted",
    "watch": "make a video of a run's policy",
    "play": "play a game against a run's agent, in the terminal",
    "tournament": "rate the players of a game by matches",
    "plot": "draw learning curves, or print them as a table",
    "board": "open a page of all runs and searches of a folder",
    "label": "open a page on which people compare clips or texts",
    "generate": "let a language model write",
    "export": "write a run's policy or language model for use elsewhere",
    "serve": "answer with the actions of an exported policy, over HTTP",
    "report": "write one HTML file on a run",
    "runs": "list the runs of a folder",
    "algorithms": "list the algorithms",
    "envs": "list the environments",
    "rewards": "list the rewards",
    "check-env": "find out what is wrong with an environment",
    "explain": "say what a setting means",
    "presets": "list settings known to work, by the kind of environment",
    "reproduce": "measure a published claim again",
    "data": "import, record, inspect, split, mix and convert logged steps",
}


def usage() -> str:
    lines = [f"  {name:<12}{what}" for name, what in COMMANDS.items()]
    return "\n".join(
        [
            "usage: spinward COMMAND ...",
            "",
            "Learning to act as one loop: run the policy, evaluate what it did, improve it.",
            "",
            *lines,
            "",
            "spinward COMMAND --help says what a command takes; --debug shows where it failed.",
            "To begin: spinward train ppo CartPole-v1 --seeds 4",
        ]
    )


def command() -> int:
    """The command of this process, which Ctrl-C and SIGTERM may end at any time."""
    interrupts.install()
    code = main(sys.argv[1:])
    interrupts.ended()
    return code


def main(arguments: list[str] | None = None) -> int:
    if arguments is None:
        return command()
    words = arguments
    if not words or words[0] in ("-h", "--help"):
        print(usage())
        return 0 if words else 2
    if words[0] == "--version":
        import spinward

        print(spinward.__version__)
        return 0
    if words[0] not in COMMANDS:
        from spinward.errors import nearest

        near = nearest(words[0], COMMANDS)
        hint = f"; did you mean {near[0]}?" if near else ": `spinward --help` lists them"
        return fail(f"there is no command {words[0]!r}{hint}", 2)
    debug = "--debug" in words
    words = [w for w in words if w != "--debug"]
    return guarded(words, debug)


def guarded(words: list[str], debug: bool) -> int:
    """Runs a command; an error is one line, except with `debug`."""
    from spinward.errors import SpinwardError

    name = words[0].replace("-", "_")
    try:
        return importlib.import_module(f"spinward.cli.{name}").run(words[1:]) or 0
    except SpinwardError as error:
        if debug:
            raise
        return fail(str(error), error.exit_code)
    except KeyboardInterrupt:
        return fail(f"stopped at once; {interrupts.saved()}", interrupts.CODE)
    except BrokenPipeError:
        return 0
    except OSError as error:
        if debug:
            raise
        return fail(f"{error.filename or words[0]}: {error.strerror or error}", 2)
    except ImportError as error:
        if debug:
            raise
        return fail(missing(error), 2)
    except Exception as error:
        if debug:
            raise
        from spinward.envs.places import place_of

        lines, place = str(error).strip().splitlines() or [""], place_of(error)
        said = f"unexpected {type(error).__name__}: {lines[0]}{place} (--debug shows where)"
        return fail(said, 1)


def missing(error: ImportError) -> str:
    """The message for a missing module, with the command that installs it."""
    if error.name is None:
        return str(error)
    from spinward.errors import install

    name = error.name.partition(".")[0]
    return f"{name} is not installed: {install(name)}"


def fail(line: str, code: int) -> int:
    print(f"spinward: {' '.join(line.split())}", file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main())
