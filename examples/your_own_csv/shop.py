"""A shop that writes to its customers: the log of its decisions, and what a policy would earn.

`python shop.py log decisions.csv` writes the log of the rule that the shop follows today.
`python shop.py score RUN DATA` plays a trained policy on new customers. A real shop has no such
simulator; this one shows whether the policy kept its promise.
"""

import csv
import sys

import numpy as np

ACTIONS = ("nothing", "mail", "push")
COST = (0.0, 0.02, 0.05)  # of each action
DEVICES = ("android", "ios", "web")
DAYS = 10  # decisions about a customer at most
EXPLORED = 0.3  # share of decisions that the shop takes at random


class Customer:
    """A customer buys more after a message, and less the more messages there were."""

    def __init__(self, rng):
        self.rng = rng
        self.interest = rng.beta(2, 4)
        self.device = DEVICES[rng.integers(3)]
        self.fatigue, self.day = 0.0, 0

    def features(self):
        return {
            "visits": round(10 * self.interest + self.rng.normal(), 2),
            "fatigue": round(self.fatigue, 3),
            "device": self.device,
            "weekday": self.day % 7,
        }

    def decide(self, action):
        """The reward of a decision, and whether the customer left for good."""
        lift = (0.0, 0.08, 0.35 if self.device != "web" else 0.05)[action]
        chance = np.clip(0.5 * self.interest + lift * self.interest - 0.25 * self.fatigue, 0, 1)
        bought = self.rng.random() < chance
        self.fatigue = 0.7 * self.fatigue + (0.0, 0.3, 0.6)[action]
        self.day += 1
        left = self.rng.random() < 0.1 * self.fatigue
        return round(bought - COST[action], 2), bool(left)


def rule(row):
    """What the shop does today: it pushes to everybody who visits often."""
    return 2 if row["visits"] > 4 else 1


def log(path, customers=4000, seed=0):
    """Writes a row for each decision, with the probability of the action that was taken."""
    rng = np.random.default_rng(seed)
    names = "customer,day,visits,fatigue,device,weekday,action,propensity,reward,left,stopped"
    with open(path, "w", newline="") as file:
        writer = csv.DictWriter(file, names.split(","))
        writer.writeheader()
        for number in range(customers):
            customer, left = Customer(rng), False
            while customer.day < DAYS and not left:
                row = customer.features()
                usual = rule(row)
                explores = rng.random() < EXPLORED
                action = int(rng.integers(3)) if explores else usual
                chance = EXPLORED / 3 + (1 - EXPLORED) * (action == usual)
                day = customer.day
                reward, left = customer.decide(action)
                row |= {"customer": f"c{number}", "day": day, "action": ACTIONS[action]}
                row |= {"propensity": round(chance, 4), "reward": reward, "left": int(left)}
                writer.writerow(row | {"stopped": int(customer.day == DAYS and not left)})


def earned(choose, customers=2000, seed=1):
    """The mean reward per customer of a policy, and its standard error."""
    rng, totals = np.random.default_rng(seed), []
    for _ in range(customers):
        customer, left, total = Customer(rng), False, 0.0
        while customer.day < DAYS and not left:
            reward, left = customer.decide(choose(customer.features()))
            total += reward
        totals.append(total)
    return np.mean(totals), np.std(totals) / np.sqrt(customers)


def score(run, data):
    import spinward as sw
    from spinward.data.store import opened

    card, policy = opened(data).card, sw.load(run).policy()

    def trained(row):
        return ACTIONS.index(card.actions[int(policy(card.observe(row)))])

    for name, choose in (("the rule of today", rule), (run, trained)):
        mean, error = earned(choose)
        print(f"{name}: {mean:.3f} per customer (standard error {error:.3f})")


if __name__ == "__main__":
    {"log": log, "score": score}[sys.argv[1]](*sys.argv[2:])
