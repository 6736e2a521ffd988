"""`spinward check-env ENV`: finds mistakes in an environment, and says what to change."""

from spinward.cli.parser import Parser, print_json


def run(words: list[str]) -> int:
    parser = Parser("check-env", "Find out what is wrong with an environment.", parts=("env",))
    parser.add_argument("env", help="a name of `spinward envs`, module:Class or path.py:Class")
    parser.add_argument("--steps", type=int, default=200, help="random steps to take")
    parser.add_argument("--timeout", type=int, help="seconds after which it hangs; default: 60")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    ask = parser.read(words)
    from spinward.envs import ids
    from spinward.envs.check import check

    findings = check(ids.make(ask.env, ask.own["env"]), ask.steps, ask.timeout)
    if ask.json:
        print_json([finding._asdict() for finding in findings])
    else:
        for f in findings:
            sign = "BAD" if not f.ok else "note" if f.fix else "ok"
            print(f"{sign:<4} {f.what}" + (f": {f.actual}" if f.fix or not f.ok else ""))
            if not f.ok:
                print(f"       expected {f.expected}")
            if f.fix:
                print(f"       {f.fix}")
    return 0 if all(f.ok for f in findings) else 5
