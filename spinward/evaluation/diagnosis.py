"""A verdict on a critic that learned from logged data alone, from the curves of its fixed probes:
nobody has to act to get it (Kumar et al., 2021, arXiv:2109.10813).

The thresholds are this project's own. The verdict is a reading of curves and not a guarantee: an
estimate of the return (`evaluate --offline`) and a careful trial remain the test.
"""

from typing import NamedTuple

import numpy as np

OVER_ESTIMATED, OVER_FITTED = "over-estimation", "over-fitted"
NOT_SETTLED, UNDER_FITTED, SUSPECTED = "not settled", "under-fitted", "perhaps under-fitted"
DATA_LIMITED, WELL_FITTED = "data-limited", "well fitted"

WINDOW = 5  # points that a curve is averaged over
SETTLINGS = 2.0  # settling times before which nothing is said
SLACK = 0.2  # above the largest return of the data, as a share of it
FALL = 0.25  # of the rise to the peak, that a fall must exceed
LATEST = 0.85  # share of the run at which a peak is still one
NOISE = 2.0  # standard deviations of the noise that a fall must exceed
HELD_RATIO = 3.0  # TD error on held-out episodes, as a multiple of that on the others
HELD_RISE = 1.5  # and as a multiple of its own smallest, once values have settled
UNEXPLAINED = 0.2  # TD error as a share of the targets' variance, above which a critic underfits
SMALL = 0.1  # of a value, as a standard deviation: targets that differ less count as differing so
BETTER = 0.75  # of such a TD error, that a wider twin must reach
FAR_BETTER = 0.25  # of any TD error, likewise
SPREAD = 3.0  # standard deviations of the returns by which the policy's value may lead the data's
FEW_POINTS = 30  # of a curve, below which a verdict is of low confidence


class Curves(NamedTuple):
    """The probes of one seed."""

    updates: np.ndarray  # [point]
    values: dict[str, np.ndarray]  # name without prefix: [point]

    def smooth(self, name: str) -> np.ndarray:
        return smoothed(self.values[name])

    def last(self, name: str) -> float:
        return float(self.smooth(name)[-1])

    def fact(self, name: str) -> float:
        """Something about the data, which is the same at every point; NaN where it is unknown."""
        return float(self.values[name][-1]) if name in self.values else float("nan")


class Evidence(NamedTuple):
    metric: str
    value: float
    threshold: float
    updates: int  # at which it was measured


class Diagnosis(NamedTuple):
    verdict: str
    because: str  # a sentence
    evidence: tuple[Evidence, ...] = ()
    updates: int | None = None  # of the agent to use; None: no agent of this run


def smoothed(x: np.ndarray) -> np.ndarray:
    """The mean over `WINDOW` points around each; fewer at both ends."""
    half = WINDOW // 2
    return np.array([np.mean(x[max(0, i - half) : i + half + 1]) for i in range(len(x))])


def noise(x: np.ndarray) -> float:
    """The standard deviation of what smoothing leaves of a curve's noise."""
    rest = np.diff(x) / np.sqrt(2.0)
    return float(np.median(np.abs(rest)) * 1.4826 / np.sqrt(WINDOW)) if len(rest) else 0.0


def settling_time(gamma: float, tau: float, every: int = 1) -> float:
    """Updates in which a value comes near its fixed point: 1 / (tau (1 - gamma)), where the target
    moves by `tau` after `every` update."""
    return every / (tau * max(1.0 - gamma, 1e-6))


def diagnose(
    curves: Curves, settling: float, gamma: float, conservative: bool, twin: Curves | None = None
) -> Diagnosis:
    """The verdict on one seed. `conservative` says that the algorithm pushes values down on actions
    that the data lack. `twin` are the curves of the same run with wider networks."""
    diagnosis = (
        over_estimated(curves, gamma)
        or not_settled(curves, settling)
        or over_fitted(curves, settling, gamma)
        or changing(curves)
        or under_fitted(curves, conservative, twin)
    )
    if diagnosis:
        return diagnosis
    end = int(curves.updates[-1])
    return Diagnosis(
        WELL_FITTED, "values are within the data's returns, have settled and do not fall", (), end
    )


def possible(curves: Curves, gamma: float) -> tuple[float, float]:
    """The least and the largest return that rewards like the data's can add up to. An episode may
    end at once, so 0 is among them."""
    horizon = 1.0 / max(1.0 - gamma, 1e-6)
    low, high = curves.fact("reward_min"), curves.fact("reward_max")
    return min(low, 0.0) * horizon, max(high, 0.0) * horizon


def over_estimated(curves: Curves, gamma: float) -> Diagnosis | None:
    """Values above every return in the data, or a policy whose values run away from the data's."""
    end, most, std = int(curves.updates[-1]), curves.fact("return_max"), curves.fact("return_std")
    _, bound = possible(curves, gamma)
    limits = [bound + SLACK * abs(bound), most + SLACK * max(abs(most), std)]
    limit = float(np.nanmin(limits))
    policy = curves.smooth("q_policy")
    risen = policy[-1] > policy[0] + SLACK * (std if np.isfinite(std) else abs(limit))
    if policy[-1] > limit and risen:
        because = (
            f"the policy's actions are valued at {policy[-1]:.4g}, and no return in the data is "
            f"above {min(bound, most):.4g}"
        )
        return Diagnosis(
            OVER_ESTIMATED, because, (Evidence("q_policy", float(policy[-1]), limit, end),)
        )
    lead = smoothed(curves.values["q_policy"] - curves.values["q_data"])
    before = lead[int(0.8 * (len(lead) - 1))]
    if np.isfinite(std) and lead[-1] > max(SPREAD * std, 1e-6) and lead[-1] > before:
        because = (
            f"the policy's actions are valued {lead[-1]:.4g} above the logged ones, and ever more; "
            f"the returns of the data differ by {std:.4g} (standard deviation)"
        )
        evidence = Evidence("q_policy - q_data", float(lead[-1]), SPREAD * std, end)
        return Diagnosis(OVER_ESTIMATED, because, (evidence,))
    return None


def not_settled(curves: Curves, settling: float) -> Diagnosis | None:
    end = int(curves.updates[-1])
    if end >= SETTLINGS * settling:
        return None
    because = (
        f"values need some {SETTLINGS * settling:,.0f} updates to settle with this discount and "
        f"this target network, and the run has {end:,}"
    )
    return Diagnosis(NOT_SETTLED, because, (Evidence("updates", end, SETTLINGS * settling, end),))


def over_fitted(curves: Curves, settling: float, gamma: float) -> Diagnosis | None:
    """Values that rose and fell, or are below any possible return, or that hold on the episodes
    that were learned from alone."""
    q, updates = curves.smooth("q_data"), curves.updates
    end = int(updates[-1])
    settled = np.flatnonzero(updates >= settling)
    peak = int(settled[0] + np.argmax(q[settled[0] :]))
    fall, increase = q[peak] - q[-1], q[peak] - curves.values["q_data"][0]
    least_fall = max(FALL * increase, NOISE * noise(curves.values["q_data"]))
    if increase > 0 and fall > least_fall and updates[peak] < LATEST * end:
        because = (
            f"the values of the logged actions rose to {q[peak]:.4g} after {updates[peak]:,} "
            f"updates and fell to {q[-1]:.4g}"
        )
        evidence = Evidence("fall of q_data", float(fall), float(least_fall), int(updates[peak]))
        return Diagnosis(OVER_FITTED, because, (evidence,), int(updates[peak]))
    floor, _ = possible(curves, gamma)
    spread = np.nan_to_num(curves.fact("return_std")) + abs(
        np.nan_to_num(curves.fact("return_mean"))
    )
    for name in ("q_start", "q_data"):
        if (value := curves.last(name)) < floor - 0.5 * spread:
            because = f"values ({name} {value:.4g}) are below any possible return ({floor:.4g})"
            early = first_below(curves.smooth(name), floor)
            evidence = Evidence(name, value, float(floor - 0.5 * spread), end)
            return Diagnosis(OVER_FITTED, because, (evidence,), int(updates[early]))
    return held_out_error(curves, settling)


def first_below(q: np.ndarray, floor: float) -> int:
    """The last point before a curve falls below `floor` for good."""
    above = np.flatnonzero(q >= floor)
    return int(above[-1]) if len(above) else 0


def held_out_error(curves: Curves, settling: float) -> Diagnosis | None:
    """A TD error that has risen on held-out episodes, while it is small on the others. An error
    that is larger there and stays so is no over-fitting."""
    if "held_td_error" not in curves.values:
        return None
    held, error = curves.smooth("held_td_error"), curves.last("td_error")
    variance = curves.last("target_variance")
    settled = np.flatnonzero(curves.updates >= SETTLINGS * settling)
    best = int(settled[0] + np.argmin(held[settled[0] :]))
    large = held[-1] > HELD_RATIO * error and held[-1] > UNEXPLAINED * variance
    if not large or held[-1] <= HELD_RISE * held[best]:
        return None
    because = (
        f"the TD error on episodes that were held out has risen from {held[best]:.4g} to "
        f"{held[-1]:.4g}, and is {error:.4g} on those that were learned from"
    )
    evidence = Evidence(
        "held_td_error", float(held[-1]), float(HELD_RATIO * error), int(curves.updates[best])
    )
    return Diagnosis(OVER_FITTED, because, (evidence,), int(curves.updates[best]))


def changing(curves: Curves) -> Diagnosis | None:
    """Values that move by a tenth of their range in a tenth of the run, at its end: by a line
    through the last fifth."""
    q, end = curves.values["q_data"], int(curves.updates[-1])
    late = curves.updates >= 0.8 * end
    if late.sum() < 3:
        return None
    gradient = np.polyfit(curves.updates[late] / end, q[late], 1)[0]
    change, range_ = 0.1 * abs(float(gradient)), float(np.ptp(curves.smooth("q_data")))
    if change <= max(0.1 * range_, NOISE * noise(q), 1e-9):
        return None
    because = (
        f"the values of the logged actions move by {change:.4g} in the last tenth of the run, of "
        f"{range_:.4g} in all of it"
    )
    return Diagnosis(NOT_SETTLED, because, (Evidence("q_data", change, 0.1 * range_, end),))


def under_fitted(curves: Curves, conservative: bool, twin: Curves | None) -> Diagnosis | None:
    """A critic that does not solve its own equation, or does not tell the data's actions from
    others."""
    end, size = int(curves.updates[-1]), SMALL * abs(curves.last("q_data"))
    share = curves.last("td_error") / max(curves.last("target_variance"), size**2, 1e-12)
    evidence = []
    if share > UNEXPLAINED:
        evidence.append(Evidence("td_error / target_variance", share, UNEXPLAINED, end))
    gap = curves.smooth("gap")
    early = gap[int(0.1 * (len(gap) - 1))]
    if conservative and gap[-1] >= early + NOISE * noise(curves.values["gap"]):
        evidence.append(Evidence("gap", float(gap[-1]), float(early), end))
    words = " and ".join(f"{e.metric} is {e.value:.3g} (above {e.threshold:.3g})" for e in evidence)
    if twin is None:
        return Diagnosis(SUSPECTED, words, tuple(evidence), end) if evidence else None
    error, other = curves.last("td_error"), twin.last("td_error")
    closer = not conservative or twin.last("gap") < curves.last("gap")
    if (other < BETTER * error and closer and evidence) or other < FAR_BETTER * error:
        evidence.append(Evidence("td_error of the twin", other, error, end))
        because = f"the TD error is {error:.3g}, and {other:.3g} with wider networks"
        return Diagnosis(UNDER_FITTED, because, tuple(evidence), None)
    if not evidence:
        return None
    return Diagnosis(
        DATA_LIMITED, f"{words}, and wider networks do no better", tuple(evidence), end
    )
