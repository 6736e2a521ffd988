"""Agreement against closed forms and published examples, and bad labellers found."""

import numpy as np
import pytest

from spinward.people import agreement
from spinward.people import database as databases
from spinward.people.accounts import Accounts
from spinward.people.labels import Labels

A, B, C, D = "first", "second", "equal", "cannot_tell"


def test_kappa_is_that_of_a_worked_example():
    """Cohen's kappa of 20 both yes, 5 and 10 apart, 15 both no: (0.7 - 0.5) / 0.5 = 0.4."""
    pairs = [(A, A)] * 20 + [(A, B)] * 5 + [(B, A)] * 10 + [(B, B)] * 15
    assert agreement.kappa(pairs) == pytest.approx(0.4)
    assert agreement.kappa([(A, A), (B, B)]) == 1.0
    assert agreement.kappa([(A, A)]) is None is agreement.kappa([])


def test_kappa_of_independent_coins_is_about_nothing():
    coins = np.random.default_rng(0).integers(2, size=(1000, 2))
    assert abs(agreement.kappa([(A if a else B, A if b else B) for a, b in coins])) < 0.1


def test_alpha_is_that_of_krippendorffs_example():
    """Krippendorff (2011), example C: four observers, twelve units, nominal alpha 0.743."""
    table = [
        "1 2 3 3 2 1 4 1 2 . . .", "1 2 3 3 2 2 4 1 2 5 . 3",
        ". 3 3 3 2 3 4 2 2 5 1 .", "1 2 3 3 2 4 4 1 2 5 1 .",
    ]  # fmt: skip
    columns = zip(*(row.split() for row in table), strict=True)
    units = [[v for v in column if v != "."] for column in columns]
    assert agreement.alpha(units) == pytest.approx(0.743, abs=5e-4)
    assert agreement.alpha([[A, A], [B, B]]) == 1.0 and agreement.alpha([[A], [A, A]]) is None


def test_the_binomial_test_is_exact():
    assert agreement.binomial(0, 10) == pytest.approx(2 / 1024)
    assert agreement.binomial(5, 10) == 1.0
    assert agreement.binomial(8, 10) == pytest.approx(2 * (45 + 10 + 1) / 1024)


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


def label(tmp_path, behaviours, questions=60, seed=0):
    """Labellers who each answer all questions; the item with the lower number is better."""
    database = databases.of_run(tmp_path, create=True)
    clock, random = Clock(), np.random.default_rng(seed)
    labels = Labels(database, clock)
    labels.random.seed(seed)
    for i in range(questions):
        two = [labels.add_item("text", f"{i}:{j}", b"") for j in range(2)]
        labels.ask(str(i), tuple(two if random.random() < 0.5 else two[::-1]), overlap=9)
    for name, behave in behaviours.items():
        who = Accounts(database).named(name).id
        while q := labels.next(who):
            answer, seconds = behave(q, random)
            clock.now += seconds
            labels.answer(who, q.id, answer, f"{name} {q.id}")
    return database


def honest(q, random):
    right = A if q.items[0] < q.items[1] else B
    return (right if random.random() < 0.9 else B if right == A else A), 2.0


def always_left(q, random):
    return (A if q.shown[0] == q.items[0] else B), 2.0


def coin(q, random):
    return (A if random.random() < 0.5 else B), 2.0


def hasty(q, random):
    return honest(q, random)[0], 0.1


def test_bad_labellers_stand_last_and_are_said_to_be_bad(tmp_path):
    behaviours = {"left": always_left, "Ann": honest, "coin": coin, "Bo": honest, "hasty": hasty}
    behaviours |= {"Cy": honest}
    database = label(tmp_path, behaviours)
    found = {s.name: s for s in agreement.standings(database)}
    assert {"Ann", "Bo", "Cy"} == {name for name, s in found.items() if not s.warnings}
    assert list(found)[:3] == ["Ann", "Bo", "Cy"]
    assert found["left"].left == 1.0 and "chose left in 100%" in found["left"].warnings[0]
    assert any("less than 0.3 s" in w for w in found["hasty"].warnings)
    assert found["Ann"].seconds == 2.0 and found["Ann"].answers == 60
    whole = agreement.agreement(agreement.answers_of(database))
    assert 0.5 < whole.raw < 0.9 and 0.0 < whole.kappa < 0.8 and whole.compared == 60 * 15
    database.close()


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(20))
def test_bad_labellers_stand_last_in_every_simulation(tmp_path, seed):
    behaviours = {f"honest {i}": honest for i in range(6)}
    behaviours |= {"coin 0": coin, "coin 1": coin, "left": always_left}
    database = label(tmp_path, behaviours, seed=seed)
    assert {s.name for s in agreement.standings(database)[-3:]} == {"coin 0", "coin 1", "left"}
    database.close()
