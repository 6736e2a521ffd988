"""The service's side: the log of its decisions, and what a scorer earns with new people.

`python app.py log impressions.parquet` writes what the service logged in a campaign of a week;
`--days 30 --explored 0.1` makes it a month with less exploration. `python app.py score SCORER`
plays an exported scorer. A real service has no such simulator; this one shows whether the
scorer kept its promise. The people are in `spinward/experiments/notifications.py`.
"""

import argparse
import json
from pathlib import Path

import numpy as np

from spinward.experiments import notifications
from spinward.experiments.notifications import Campaign


def log(file, people=60_000, days=7, explored=0.3, seed=0):
    """Writes the log of a campaign: a row for each person and day."""
    rows = notifications.logged(Campaign(people, days, explored), seed)
    notifications.write(rows, Path(file))


def scorer(folder):
    """An exported scorer as a policy: a program, and a contract with the names of its features."""
    import jax

    folder = Path(folder)
    contract = json.loads((folder / "contract.json").read_text())
    program = jax.export.deserialize(bytearray((folder / "policy.jax").read_bytes()))
    return notifications.played(contract, lambda obs: program.call(obs)[0])


def score(folder, people=20_000, days=7, explored=0.3, seed=1):
    """Prints what the service's own policy and a scorer earn with the same number of new people."""
    policies = {"the service": notifications.explored(explored, seed), folder: scorer(folder)}
    for name, choose in policies.items():
        earned = notifications.earned(choose, Campaign(people, days, explored), seed)
        error = earned.std() / np.sqrt(people)
        print(f"{name}: {earned.mean():.3f} per person (standard error {error:.3f})")


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("command", choices=["log", "score"])
    parser.add_argument("path")
    parser.add_argument("--people", type=int)
    parser.add_argument("--days", type=int)
    parser.add_argument("--explored", type=float)
    said = vars(parser.parse_args())
    command, path = said.pop("command"), said.pop("path")
    given = {name: value for name, value in said.items() if value is not None}
    {"log": log, "score": score}[command](path, **given)
