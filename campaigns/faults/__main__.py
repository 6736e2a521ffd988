"""`python -m campaigns.faults KIND`."""

import argparse
import importlib
import sys
import tempfile
from pathlib import Path

from campaigns import faults
from campaigns.faults import ledger

KINDS = {"flips": 2000, "configs": 500, "links": 200, "signals": 300, "kills": 220}


def main() -> int:
    about, form = faults.__doc__, argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser("campaigns.faults", description=about, formatter_class=form)
    parser.add_argument("kind", choices=KINDS)
    parser.add_argument("--count", type=int, default=0, help=f"of cases; otherwise of {KINDS}")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--again", action="store_true", help="the cases that were wrong")
    ask = parser.parse_args()
    module = importlib.import_module(f"campaigns.faults.{ask.kind}")
    with tempfile.TemporaryDirectory() as folder:
        campaign = vars(module)[ask.kind.capitalize()](Path(folder).resolve())
        if ask.again:
            return 0 if ledger.repeat(ask.kind, campaign.case) else 1
        count = ask.count or KINDS[ask.kind]
        return 0 if ledger.carry_out(ask.kind, count, ask.seed, campaign.case) else 1


if __name__ == "__main__":
    sys.exit(main())
