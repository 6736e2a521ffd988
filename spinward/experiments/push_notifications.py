"""From a log of notifications to a policy and an honest word on it: double DQN learns from logged
decisions alone, estimates without a person exposed hold the truth, and logs without exploration are
called unreliable (Gauci et al., 2018, arXiv:1811.00260).

The people are simulated, so the true value of every policy is known. Published figures are not for
this simulation: the bars are this project's own.
"""

from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from spinward.algorithms.dqn import DQN
from spinward.data.importing import import_table
from spinward.data.mixing import split
from spinward.data.plan import ImportOptions
from spinward.data.store import card_of
from spinward.envs import recorded
from spinward.evaluation.gate import Gate
from spinward.evaluation.statistics import wilson
from spinward.experiments import notifications
from spinward.experiments.notifications import Campaign
from spinward.experiments.reproduction import (
    IN_PROGRESS,
    Record,
    Reproduction,
    Row,
    first_seed,
    run_of,
)
from spinward.experiments.reproduction import row_of as mean_of
from spinward.experiments.verdicts import above, all_of
from spinward.run import provenance
from spinward.run.experiment import DataChoice, EnvChoice, Experiment
from spinward.run.off_policy import evaluate_offline
from spinward.run.run import Run
from spinward.store.files import discard

MONTH, SILENT, WEEK = Campaign(20_000, 30, 0.1), Campaign(20_000, 30, 0.0), Campaign(60_000, 7, 0.3)
REVEALED = MONTH._replace(revealed=True)  # a month in which the service sees each person's interest
GAMMA, NEW, SHARE = (
    0.99,
    1_000_000,
    0.8,
)  # discount, new people for the truth, of seeds that must hold
LEARNER: dict[str, Any] = {"gamma": GAMMA, "normalise_obs": True}
UPDATES = {"month": 12_000, "revealed": 12_000, "silent": 6_000, "week": 6_000}
FITTED = {"month": 20_000, "revealed": 20_000, "silent": 2_000, "week": 8_000}  # updates of values
RESAMPLES = 100
SEEDS = {"laptop": 10, "paper": 20}
COVERING = ("weighted doubly robust", "direct method")
WORDS = {"direct method": "fitted Q evaluation"}
OPTIONS = ImportOptions(
    roles={"episode": "person_id", "time": "sent_at", "ignore": "opened,model_version"},
    ends="terminated",
    fill=",".join(notifications.FILLED),
)
RULE = (
    f"the rule, written before the seeds were drawn: with 10% exploration, in at least {SHARE:.0%} "
    "of seeds the 90% interval of the weighted doubly robust estimate holds the true value, and "
    "in as many that of fitted Q evaluation; the interval over seeds of double DQN's true gain "
    "on the logged policy lies above 0; every log without exploration is called 'cannot tell'; and "
    "the gate lets through no policy that is truly worse than the logged one"
)


class Outcome(NamedTuple):
    """What is said of a policy, and what is true of it."""

    result: dict[str, Any]  # of `off_policy.evaluate`
    value: float  # discounted, of new people
    logged: float  # likewise, of the service's own policy with its exploration

    def covers(self, name: str) -> bool:
        numbers = self.result["estimates"][name]
        return bool(numbers["low"] <= self.value <= numbers["high"])

    @property
    def deploys(self) -> bool:
        return not Gate().reasons(self.result)


def imported(campaign: Campaign, folder: Path, seed: int) -> Path:
    """The parts to train on and to validate with of the log of a campaign."""
    table = folder / "impressions.parquet"
    notifications.write(notifications.logged(campaign, seed), table)
    import_table(table, folder / "log", OPTIONS)
    split(folder / "log", folder / "parts", 0.5, seed)
    return folder / "parts"


def learned(arm: str, data: Path, updates: int, seed: int) -> Run:
    """Double DQN from data alone."""
    record = IN_PROGRESS.get() or Record(provenance.commit())
    env, choice = EnvChoice(recorded.NAME), DataChoice(str(data))
    experiment = Experiment(DQN(**LEARNER), env, updates, 1, data=choice, seed=seed)
    name = f"push-notifications-{arm}-{seed}"
    run = run_of(experiment, Path("runs/reproduce/runs"), name, record).train()
    # The data are gone afterwards: their place on this machine says nothing.
    record.settings[name] = run.config | {"data": {**run.config["data"], "path": data.name}}
    return run


def policy_of(run: Run, data: Path) -> notifications.Choice:
    """What a run does with people."""
    agents, key = run.agents("last"), jax.random.PRNGKey(first_seed())  # greedy: no effect
    agent = jax.tree.map(lambda x: x[0], agents.agent)
    names = vars(card_of(str(data)))
    act = lambda obs: agents.algorithm.act(agent, obs, (), key, False)[0]  # noqa: E731
    return notifications.played(names, act)


def outcome(arm: str, campaign: Campaign, seed: int, shrink: int) -> Outcome:
    """A log, a policy from one half of its people, the estimates by the others, and the truth."""
    folder = Path("runs/reproduce/data") / f"push-notifications-{arm}-{seed}"
    discard(folder)
    folder.mkdir(parents=True)
    campaign = campaign._replace(people=campaign.people // shrink)
    parts = imported(campaign, folder, seed)
    run = learned(arm, parts / "train", UPDATES[arm] // shrink, seed)
    options: dict[str, Any] = {"updates": FITTED[arm] // shrink, "resamples": RESAMPLES}
    result = evaluate_offline(run, parts / "validation", seed=seed, **options)
    new = campaign._replace(people=NEW // shrink)
    policies = policy_of(run, parts / "train"), notifications.explored(campaign.explored, seed)
    true = (notifications.earned(p, new, seed + 500_000, GAMMA).mean() for p in policies)
    discard(folder)
    return Outcome(result, *map(float, true))


def run(scale: str, seeds: int | None, out: Path, shrink: int = 1) -> Reproduction:
    """`shrink` makes all sizes so many times smaller, for a test."""
    count = seeds or SEEDS[scale]
    numbers = range(first_seed(), first_seed() + count)
    month = [outcome("month", MONTH, seed, shrink) for seed in numbers]
    silent = [outcome("silent", SILENT, seed, shrink) for seed in numbers[: max(1, count // 2)]]
    some = numbers[: max(1, count // 3)]
    week = [outcome("week", WEEK, seed, shrink) for seed in some]
    revealed = [outcome("revealed", REVEALED, seed, shrink) for seed in some]
    return concluded(scale, month, silent, week, revealed)


def concluded(
    scale: str,
    month: list[Outcome],
    silent: list[Outcome],
    week: list[Outcome],
    revealed: list[Outcome],
) -> Reproduction:
    """The rows and the verdict."""
    covers = [
        share(f"a month: true value in the interval of {WORDS.get(name, name)}",
              [o.covers(name) for o in month])
        for name in COVERING
    ]  # fmt: skip
    gain = mean_of("a month: true gain on the logged policy", [o.value - o.logged for o in month])
    quiet = share("no exploration: called 'cannot tell'", [unsure(o) for o in silent])
    opened = [o for o in (*month, *silent, *week, *revealed) if o.deploys]
    wrong = share(
        "let through by the gate, and truly worse", [o.value < o.logged for o in opened] or [False]
    )
    parts = {row.what: verdict_of(row.measured >= SHARE) for row in covers}
    parts |= {gain.what: above(gain, 0.0), quiet.what: verdict_of(quiet.measured == 1.0)}
    parts |= {wrong.what: verdict_of(wrong.measured == 0.0)}
    rows = [*covers, gain, quiet, wrong, *described("a month", month), *described("a week", week)]
    rows += described("a month with hidden causes revealed", revealed)
    failing = [what for what, part in parts.items() if part != "reproduced"]
    why = f"not met: {'; '.join(failing)} ({RULE})" if failing else RULE
    return Reproduction("push-notifications", scale, rows, all_of(*parts.values()), why)


def described(arm: str, outcomes: list[Outcome]) -> list[Row]:
    """What decides nothing, and is worth knowing."""
    results = [o.result for o in outcomes]
    estimates = {
        f"{arm}: error of {WORDS.get(name, name)}": [
            o.result["estimates"][name]["value"] - o.value for o in outcomes
        ]
        for name in COVERING
    }
    numbers = {
        f"{arm}: true value of the logged policy": [o.logged for o in outcomes],
        f"{arm}: true value of double DQN": [o.value for o in outcomes],
        **estimates,
        f"{arm}: effective sample size": [r["effective_size"] for r in results],
    }
    through = share(f"{arm}: let through by the gate", [o.deploys for o in outcomes])
    return [*(mean_of(what, values) for what, values in numbers.items()), through]


def unsure(outcome: Outcome) -> bool:
    return str(outcome.result["verdict"]).startswith("cannot tell")


def verdict_of(holds: bool) -> str:
    return "reproduced" if holds else "not reproduced"


def share(what: str, holds: list[bool]) -> Row:
    """A share of seeds, with its Wilson interval (1927)."""
    value = float(np.mean(holds))
    of = f"95 % Wilson interval of {len(holds)} seeds"
    return Row(what, value, *wilson(value, len(holds)), None, of, tuple(map(float, holds)))
