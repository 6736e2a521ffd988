"""A deploy gate lets through what is surely good enough, and nothing else."""

import pytest

from spinward.cli import main as command
from spinward.errors import SettingsError
from spinward.evaluation.gate import Gate

GOOD = {
    "verdict": "better than the data's policy (+0.4, 90% interval +0.2 to +0.6)",
    "data": {"value": 2.0, "low": 1.9, "high": 2.1},
    "gain": {"value": 0.4, "low": 0.2, "high": 0.6},
    "estimates": {"direct method": {"value": 2.3, "low": 2.25, "high": 2.4}},
    "truncated_share": 0.0,
}
UNSURE = {"gain": {"value": 0.1, "low": -0.03, "high": 0.3}}
DOUBTED = {"estimates": {"direct method": {"value": 2.0, "low": 1.95, "high": 2.1}}}


@pytest.mark.parametrize(
    ("least", "change", "blamed"),
    [
        (1.0, {}, []),
        (1.09, {}, []),  # +0.18 is asked of both
        (1.11, {}, ["weighted doubly robust"]),  # +0.22 of 0.2, while the model says 0.25
        (1.13, {}, ["weighted doubly robust", "direct method"]),
        (1.0, UNSURE, ["weighted doubly robust"]),
        (0.98, UNSURE, []),  # a guarded metric may fall by 0.04
        (1.0, DOUBTED, ["direct method"]),
        (1.0, DOUBTED | {"truncated_share": 0.3}, []),
        (1.0, DOUBTED | {"truncated_share": 0.01}, ["direct method"]),
        (0.9, {"verdict": "cannot tell: effective sample size 3 of 90"}, ["cannot tell"]),
    ],
)
def test_bounds_decide(least, change, blamed):
    decision = Gate(least).decided(GOOD | change)
    assert decision["deploy"] == (not blamed) and len(decision["reasons"]) == len(blamed)
    assert all(a in b for a, b in zip(blamed, decision["reasons"], strict=True))
    assert Gate(least).line(decision).startswith("do not deploy: " if blamed else "deploy: ")


def test_a_share_of_a_value_below_0_is_of_its_size():
    """From -2, a gain of 0.2 is more than a tenth of 2 less than asked, whatever the sign."""
    loss = GOOD | {"data": {"value": -2.0}, "truncated_share": 0.5}
    assert Gate(1.05).decided(loss)["deploy"] and not Gate(1.2).decided(loss)["deploy"]


def test_an_impossible_gate_is_refused(capsys):
    with pytest.raises(SettingsError, match="gate=0 must be above 0"):
        Gate(0).check()
    assert command.main(["evaluate", "nowhere", "--gate"]) == 2
    assert "--gate are of --offline DATA" in capsys.readouterr().err
