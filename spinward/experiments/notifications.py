"""A service that may notify people: the log of its decisions, and what a policy would earn.

A person has an interest that nobody sees, and a fatigue that grows with every notification. Each
day there is one candidate, which is sent or dropped. Opening it is worth 1 and sending costs 0.08.
After a campaign of so many days nothing follows; tired people leave before.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from spinward.data.tables import arrow

DROP, SEND = 0, 1
ACTIONS = ("drop", "send")
TOPICS = ("deals", "friends", "news", "sport")
DEVICES = ("android", "ios", "web")
COST, TIRING, LEAVING, KEPT = 0.08, 0.8, 0.02, 0.9
FEATURES = (
    "opens_30d", "pressure", "topic", "affinity", "device", "days_since_open", "tenure_days",
    "is_subscriber", "day",
)  # fmt: skip
FILLED = ("affinity", "days_since_open")  # that are missing in some rows
HIDDEN = ("interest", "match")  # what no service sees

TOGETHER = 50_000  # people who are simulated at once, which bounds memory

Columns = dict[str, np.ndarray]
Choice = Callable[[Columns], np.ndarray]  # from the features of a day to actions


class Campaign(NamedTuple):
    """What is logged: how many people, for how many days, and how much the service explores."""

    people: int = 2000
    days: int = 30
    explored: float = 0.1  # share of decisions that are taken at random
    revealed: bool = False  # the hidden causes of an open are features too


class People:
    """People side by side, each with a candidate a day."""

    def __init__(self, count: int, rng: np.random.Generator, revealed: bool = False):
        self.rng, self.count, self.day, self.revealed = rng, count, 0, revealed
        self.interest = rng.beta(2, 5, count)
        self.liked = rng.normal(0, 1, (count, len(TOPICS)))  # how each takes to the topics
        self.device = rng.choice(DEVICES, count, p=(0.5, 0.35, 0.15))
        self.tenure = np.round(rng.lognormal(5, 1.2, count), 1)
        self.subscriber = rng.random(count) < 0.2 + 0.5 * self.interest
        self.opens = rng.poisson(20 * self.interest)  # of the last 30 days, as the service counts
        self.fatigue, self.here = np.zeros(count), np.ones(count, bool)
        self.since = np.where(rng.random(count) < 0.3, np.nan, rng.integers(1, 30, count) * 1.0)
        self.arrive()

    def arrive(self) -> None:
        """The next candidate of each."""
        self.topic = self.rng.integers(len(TOPICS), size=self.count)
        match = self.liked[np.arange(self.count), self.topic]
        guess = match + self.rng.normal(0, 0.5, self.count)
        unknown = self.rng.random(self.count) < 0.15  # no score for a new topic
        self.affinity = np.where(unknown, np.nan, np.round(guess, 3))
        self.match = match

    def features(self) -> Columns:
        """What the service knows on a day [people]; NaN where it does not."""
        day = np.full(self.count, self.day)
        known = (
            self.opens, np.round(self.fatigue, 3), np.array(TOPICS)[self.topic], self.affinity,
            self.device, self.since, self.tenure, self.subscriber, day,
        )  # fmt: skip
        hidden = (
            dict(zip(HIDDEN, (self.interest, self.match), strict=True)) if self.revealed else {}
        )
        return dict(zip(FEATURES, known, strict=True)) | hidden

    def chance(self) -> np.ndarray:
        """The probability [people] that a notification is opened."""
        logit = 1.2 * np.log(self.interest / (1 - self.interest)) + self.match
        return 1 / (1 + np.exp(-(logit - TIRING * self.fatigue)))

    def decide(self, action: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Whether each opened a notification, and whether each is still there."""
        opened = (action == SEND) & (self.rng.random(self.count) < self.chance())
        left = self.rng.random(self.count) < LEAVING * self.fatigue
        self.fatigue = KEPT * self.fatigue + (action == SEND)
        self.since = np.where(opened, 1.0, self.since + 1)
        self.here, self.day = self.here & ~left, self.day + 1
        self.arrive()
        return opened, self.here


def usual(features: Columns) -> np.ndarray:
    """What the service does today: a model of opens, which knows nothing of what comes later."""
    affinity = np.nan_to_num(features["affinity"])
    score = 0.06 * features["opens_30d"] + 0.6 * affinity - 0.3 * features["pressure"]
    return np.where(score > 0.1, SEND, DROP)


def logged(campaign: Campaign, seed: int) -> Columns:
    """A row for each decision, person after person, with the probability of what was done."""
    rng = np.random.default_rng(seed)
    people, parts = People(campaign.people, rng, campaign.revealed), []
    for day in range(campaign.days):
        here, features = people.here, people.features()
        rule = usual(features)
        explores = rng.random(people.count) < campaign.explored
        action = np.where(explores, rng.integers(2, size=people.count), rule)
        other = campaign.explored / 2
        opened, _ = people.decide(action)
        row = {
            "person_id": np.arange(people.count),
            **features,
            "action": np.array(ACTIONS)[action],
        }
        row |= {"propensity": np.where(action == rule, 1 - other, other)}
        row |= {"opened": opened, "reward": opened - COST * (action == SEND)}
        parts.append({name: x[here] for name, x in row.items()})
        assert day == row["day"][0]
    rows = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    order = np.lexsort((rows["day"], rows["person_id"]))
    return {name: x[order] for name, x in rows.items()}


def write(rows: Columns, path: Path) -> None:
    """Writes a log as a warehouse would: Parquet with types, and null where nothing is known."""
    pa = arrow()
    count = len(rows["day"])
    start = np.datetime64("2026-06-01T18:00:00")
    columns: dict[str, Any] = {
        "person_id": pa.array([f"p{i:06d}" for i in rows["person_id"]]),
        "sent_at": pa.array(start + rows["day"].astype("timedelta64[D]")),
    }
    kinds = {"opens_30d": pa.int32(), "day": pa.int16(), "propensity": pa.float64()}
    hidden = [name for name in HIDDEN if name in rows]
    for name in (*FEATURES, *hidden, "action", "propensity", "reward", "opened"):
        values = rows[name]
        missing = np.isnan(values) if values.dtype.kind == "f" else None
        columns[name] = pa.array(values, kinds.get(name), mask=missing)
        if values.dtype.kind == "U":
            columns[name] = columns[name].dictionary_encode()
    columns["model_version"] = pa.array(["rank-14"] * count).dictionary_encode()
    pa.parquet.write_table(pa.table(columns), path, row_group_size=2**16)


def earned(choose: Choice, campaign: Campaign, seed: int, gamma: float = 1.0) -> np.ndarray:
    """The discounted reward [people] of each of new people under a policy."""
    rng, totals = np.random.default_rng(seed), []
    for first in range(0, campaign.people, TOGETHER):
        people = People(min(TOGETHER, campaign.people - first), rng, campaign.revealed)
        total = np.zeros(people.count)
        for day in range(campaign.days):
            here, action = people.here, choose(people.features())
            opened, _ = people.decide(action)
            total += gamma**day * np.where(here, opened - COST * (action == SEND), 0.0)
        totals.append(total)
    return np.concatenate(totals)


def matrix(names: Any, features: Columns) -> np.ndarray:
    """The observations [people, number] of features, by the names and values for missing cells that
    a card or a scorer's contract has."""
    columns = []
    for name in names["features"]:
        column, is_value, value = name.partition("=")
        if is_value:
            columns.append(features[column] == value)
        elif name.endswith("?"):
            columns.append(~np.isnan(features[name[:-1]]))
        else:
            numbers = np.asarray(features[name], float)
            fill = names["filled"].get(name, 0.0)
            columns.append(np.where(np.isnan(numbers), fill, numbers))
    return np.stack([np.asarray(x, np.float32) for x in columns], 1)


def played(names: Any, act: Callable[[np.ndarray], Any]) -> Choice:
    """The policy of a function from observations to the numbers of actions."""
    send = list(names["actions"]).index(ACTIONS[SEND])
    return lambda features: (np.asarray(act(matrix(names, features))) == send).astype(int)


def explored(share: float, seed: int) -> Choice:
    """The service's own policy, with a share of random decisions."""
    rng = np.random.default_rng(seed)

    def choose(features: Columns) -> np.ndarray:
        chance = rng.random(len(features["day"])) < share
        return np.where(chance, rng.integers(2, size=len(chance)), usual(features))

    return choose
