"""What a policy would return, from logged steps alone: estimates, their intervals, and a verdict.

The value is the discounted return of an episode as long as the logged ones. Models of the values
and of the policy of the data are fitted on one half of the episodes and used on the other.
"""

from functools import partial
from typing import Any, NamedTuple

import numpy as np

from spinward.core import Discrete, Transition, replace
from spinward.errors import SettingsError
from spinward.evaluation import fitted_q, importance
from spinward.evaluation.importance import BANDIT, ESTIMATORS, Episodes
from spinward.evaluation.target_policy import Target, in_parts
from spinward.experience.episodes import CUT, PROBABILITY, rows_of
from spinward.experience.episodes import episodes as numbers_of
from spinward.programs.seeds import compiled

FEWEST = 30  # effective episodes below which weights say nothing
SHARE = 1e-3  # of the episodes, likewise
FEW_TRUNCATED = 0.05  # largest share of truncated episodes for which the direct method counts
RARE = 0.01  # a logged probability below which the data do not support a choice
ROUNDING = 1e-5  # of values by probabilities in float32, as a share of the data's
UNSUPPORTED = 0.05  # share of the policy's actions outside the data above which nothing is told


class EvaluationOptions(NamedTuple):
    gamma: float = 0.99  # discount per step
    clip: float = float("inf")  # largest weight of an episode
    updates: int = 10_000  # gradient steps of each model of values
    copying: int = 3_000  # gradient steps of each model of the data's policy
    resamples: int = 500
    level: float = 0.9  # of the intervals
    seed: int = 0


def evaluate(target: Target, steps: Transition, options: EvaluationOptions) -> dict[str, Any]:
    """The estimates for a policy from logged steps [row], as JSON.

    Raises:
        SettingsError: the policy or the data cannot be used.
    """
    target.check()
    steps, left_out = whole_episodes(steps)
    number = numbers_of(steps)
    half = halves(number, options.seed)
    ratio, outside = ratios(target, steps, half, options)
    q, v = model_values(target, steps, half, options)
    episodes = padded(number, (steps.reward, ratio, q, v), options.gamma)
    unclipped = episodes
    episodes = importance.with_clipped_ratios(episodes, options.clip)
    weights = unclipped.log_weights[:, -1]
    result = {
        "episodes": len(weights),
        "rows": len(number),
        "left_out": left_out,
        "truncated_share": float(np.asarray(steps.truncated).sum() / len(weights)),
        "propensities": "logged" if PROBABILITY in steps.extras else "estimated",
        "effective_size": None if target.certain else importance.effective_size(weights),
        "largest_share": None if target.certain else importance.largest_share(weights),
        "clipped_share": float((weights > np.log(options.clip)).mean()),
        "outside_share": outside,
        "gamma": options.gamma,
        "level": options.level,
        "data": described(importance.average_return, episodes, options),
        "returns": [float(x(episodes.returns)) for x in (np.min, np.max)],
        "estimates": estimates(episodes, options, target.certain),
        "gain": gain(importance.weighted_doubly_robust, episodes, options),
    }
    return {**result, "verdict": verdict(result, episodes, options, target.certain)}


def whole_episodes(steps: Transition) -> tuple[Transition, int]:
    """The steps of the episodes that the recording did not cut, and how many others there are."""
    number, cut = numbers_of(steps), np.asarray(steps.extras[CUT])
    broken = np.unique(number[cut])
    kept = ~np.isin(number, broken)
    if len(np.unique(number[kept])) < 4:
        raise SettingsError(
            f"{len(np.unique(number[kept]))} episodes are whole; at least 4 are needed to fit on "
            "one half and to estimate on the other"
        )
    return rows_of(steps, kept), len(broken)


def halves(number: np.ndarray, seed: int) -> np.ndarray:
    """For each row, the half 0 or 1 that its episode belongs to."""
    order = np.random.default_rng(seed).permutation(number[-1] + 1)
    return (order % 2)[number]


def by_model(function: Any, model: Any, *columns: Any) -> np.ndarray:
    """`function(model, *columns)` [row] of columns [row, ...]."""
    run = partial(unpacked, compiled(function, 0), model)
    return in_parts(run, columns, 0)


def unpacked(function: Any, model: Any, columns: tuple[Any, ...], _: Any) -> Any:
    return function(model, *columns)


def log_probs(model: Any, obs: Any, action: Any) -> Any:
    return model(obs).log_prob(action)


def log_choices(model: Any, obs: Any) -> Any:
    return model(obs).log_probs()


def ratios(
    target: Target, steps: Transition, half: np.ndarray, options: EvaluationOptions
) -> tuple[np.ndarray, float]:
    """log pi(a|s) - log of the probability [row] with which the data's policy took the action, and
    the share of the policy's actions that the data do not support. Where no probabilities are
    logged, a model of the data's policy gives them, fitted for each half on the other."""
    logged = steps.extras.get(PROBABILITY)
    if logged is not None and not target.certain:
        ratio = target.log_prob(steps) - np.log(np.asarray(logged, float))
        return ratio, unsupported(ratio)
    scaled = fitted_q.standardised(steps)
    models = [
        fitted_q.copied(rows_of(scaled, half != i), target.spec, options.copying, options.seed)
        for i in (0, 1)
    ]

    def by_half(function: Any, *args: Any) -> np.ndarray:
        parts = [by_model(function, model, *args) for model in models]
        return np.where((half == 0).reshape(-1, *[1] * (parts[0].ndim - 1)), *parts)

    density = by_half(log_probs, scaled.obs, steps.action)
    if isinstance(target.spec.action, Discrete):
        probable = np.exp(by_half(log_choices, scaled.obs)) >= RARE
        outside = float((target.does(steps.obs) * ~probable).sum(1).mean())
        return target.log_prob(steps) - density, outside
    least = np.quantile(density, RARE)
    outside = float((by_half(log_probs, scaled.obs, target.does(steps.obs)[:, 0]) < least).mean())
    if target.certain:
        return np.full(len(half), -np.inf), outside
    return target.log_prob(steps) - density, outside


def unsupported(log_ratio: np.ndarray) -> float:
    """The share of the policy's actions that the data's policy never takes, from ratios [row] of
    known probabilities: their mean is one less that share. Two standard errors are allowed."""
    weight = np.exp(np.minimum(log_ratio, 50.0))
    error = weight.std() / np.sqrt(len(weight))
    return float(np.clip(1.0 - weight.mean() - 2.0 * error, 0.0, 1.0))


def model_values(
    target: Target, steps: Transition, half: np.ndarray, options: EvaluationOptions
) -> tuple[np.ndarray, np.ndarray]:
    """The values [row] of the logged actions under the policy, and of the states."""
    scaled = fitted_q.standardised(steps)
    now, after = target.does(steps.obs, 1), target.does(steps.next_obs, 2)
    size = max(np.abs(np.asarray(steps.reward)).max() * horizon(steps, options.gamma) / 3.0, 1e-6)
    scaled = replace(scaled, reward=np.float32(steps.reward / size), extras={fitted_q.NEXT: after})
    algorithm = fitted_q.FittedQ(options.gamma, anneal_updates=options.updates)
    q, v = np.zeros(len(half)), np.zeros(len(half))
    for i in (0, 1):
        learned = fitted_q.learn(
            algorithm, rows_of(scaled, half != i), target.spec, options.updates, options.seed
        ).learner.model
        rows = half == i
        x = rows_of(scaled, rows)
        q[rows] = by_model(fitted_q.taken, learned, x.obs, x.action)
        v[rows] = by_model(fitted_q.under, learned, x.obs, now[rows])
    return size * q, size * v


def horizon(steps: Transition, gamma: float) -> float:
    """The discounted number of steps of the longest episode."""
    longest = np.bincount(numbers_of(steps)).max()
    return float(np.sum(gamma ** np.arange(longest)))


def padded(number: np.ndarray, columns: tuple[Any, Any, Any, Any], gamma: float) -> Episodes:
    """Columns [row] of rewards, ratios and values as episodes [n, steps]."""
    start = np.searchsorted(number, np.arange(number[-1] + 1))
    time = np.arange(len(number)) - start[number]
    shape = int(number[-1]) + 1, int(time.max()) + 1

    def laid(x: Any) -> np.ndarray:
        table = np.zeros(shape)
        table[number, time] = x
        return table

    reward, ratio, q, v = map(laid, columns)
    return Episodes(reward, ratio, q, v, gamma)


def described(estimator: Any, episodes: Episodes, options: EvaluationOptions) -> dict[str, float]:
    """An estimate and its interval."""
    rest = options.resamples, options.level, options.seed
    low, high = importance.bootstrap(estimator, episodes, *rest)
    return {"value": estimator(episodes, episodes.once()), "low": low, "high": high}


def estimates(
    episodes: Episodes, options: EvaluationOptions, certain: bool
) -> dict[str, dict[str, float]]:
    """All estimates by their names, and of what has no weights the model's alone."""
    one_step = episodes.reward.shape[1] == 1
    names = BANDIT if one_step else {name: name for name in ESTIMATORS}
    if certain:
        names = {"direct method": "direct method"}
    return {shown: described(ESTIMATORS[name], episodes, options) for shown, name in names.items()}


def verdict(
    result: dict[str, Any], episodes: Episodes, options: EvaluationOptions, certain: bool
) -> str:
    """Whether the policy is better than the data's, in words; "cannot tell" is an answer."""
    n, size = result["episodes"], result["effective_size"]
    if result["outside_share"] > UNSUPPORTED:
        return (
            f"cannot tell: {result['outside_share']:.0%} of the policy's actions are outside the "
            f"data (at most {UNSUPPORTED:.0%} may be)"
        )
    if certain:
        return (
            "cannot tell: continuous actions without chance have no probabilities, so that nothing "
            "checks the model's word"
        )
    if size < max(FEWEST, SHARE * n):
        return f"cannot tell: effective sample size {size:,.0f} of {n:,}"
    gained = result["gain"]
    also = gain(importance.weighted_per_decision, episodes, options)
    interval = (
        f"{gained['value']:+.3g}, {options.level:.0%} interval {gained['low']:+.3g} to "
        f"{gained['high']:+.3g}"
    )
    least = ROUNDING * abs(result["data"]["value"])
    signs = {sign(gained, least), sign(also, least)}
    if signs not in ({1.0}, {-1.0}):
        return f"no difference from the data's policy can be told ({interval})"
    word = "better" if signs == {1.0} else "worse"
    model = result["estimates"]["direct method"]["value"] - result["data"]["value"]
    if (model > 0.0) != (word == "better") and result["truncated_share"] <= FEW_TRUNCATED:
        return f"cannot tell: by the weights it is {word} ({interval}), and not by the model"
    return f"{word} than the data's policy ({interval})"


def gain(estimator: Any, episodes: Episodes, options: EvaluationOptions) -> dict[str, float]:
    """The estimate less the mean return of the same episodes, and its interval."""

    def more(episodes: Episodes, counts: np.ndarray) -> float:
        value: float = estimator(episodes, counts)
        return value - importance.average_return(episodes, counts)

    return described(more, episodes, options)


def sign(numbers: dict[str, float], least: float) -> float:
    """1 or -1 where the whole interval is on one side of 0, further than `least`, else 0."""
    low, high = (x if abs(x) > least else 0.0 for x in (numbers["low"], numbers["high"]))
    return float(np.sign(low)) if np.sign(low) == np.sign(high) else 0.0


def in_json(value: Any) -> Any:
    """The result for a machine: what is not finite is null."""
    if isinstance(value, dict):
        return {name: in_json(x) for name, x in value.items()}
    return None if isinstance(value, float) and not np.isfinite(value) else value


def lines(result: dict[str, Any]) -> list[str]:
    """The result for people."""
    level = f"{result['level']:.0%} interval"
    rows = {"the data's policy": result["data"], **result["estimates"]}
    said = [f"{result['episodes']:,} episodes, {result['rows']:,} steps, gamma {result['gamma']:g}"]
    if result["left_out"]:
        said.append(f"{result['left_out']} episodes that the recording cut are left out")
    if result["propensities"] == "estimated":
        said.append("the data have no action_prob: the probabilities of its actions are estimated")
    width = max(map(len, rows))
    for name, numbers in rows.items():
        bounds = f"{numbers['low']:.4g} to {numbers['high']:.4g}"
        said.append(f"  {name:<{width}}  {numbers['value']:>10.4g}   {level} {bounds}")
    if result["effective_size"] is not None:
        said.append(
            f"effective sample size {result['effective_size']:,.1f} of {result['episodes']:,}; "
            f"the largest weight is {result['largest_share']:.1%} of all; "
            f"{result['clipped_share']:.1%} of weights clipped"
        )
    low, high = result["returns"]
    if not low <= result["estimates"]["direct method"]["value"] <= high:
        said.append(
            f"the direct method is outside the returns of the data ({low:.4g} to {high:.4g}): the "
            "model of the values is wrong, and so is what uses it"
        )
    said.append(f"{result['outside_share']:.1%} of the policy's actions are outside the data")
    if result["truncated_share"]:
        said.append(
            f"{result['truncated_share']:.0%} of the episodes were truncated: the direct method "
            "values what would have followed, the others do not"
        )
    return [*said, result["verdict"]]
