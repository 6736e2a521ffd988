"""The ranges of numeric settings, by the settings' names and the last words of the names.

`Experiment.check` asks this before anything is made. What depends on two settings, or on the
environment, the class itself checks.
"""

import dataclasses
import math
import numbers
import typing
from typing import Any, NamedTuple

from spinward.errors import SettingsError
from spinward.schedules import Schedule
from spinward.store import settings


class Range(NamedTuple):
    """Numbers from `low` to `high`, both included unless `above` or `below` says otherwise."""

    low: float = -math.inf
    high: float = math.inf
    above: bool = False  # low itself is excluded
    below: bool = False  # high itself is excluded
    infinite: bool = False  # infinity is allowed, and means that there is no limit

    def holds(self, value: float) -> bool:
        """Whether `value` is in it; NaN never is."""
        over = value > self.low if self.above else value >= self.low
        under = value < self.high if self.below else value <= self.high
        return over and under and (self.infinite or math.isfinite(value))

    def __str__(self) -> str:
        if math.isinf(self.low) and math.isinf(self.high):
            return "a finite number"
        if math.isinf(self.high):
            return f"{'above' if self.above else 'at least'} {self.low:g}"
        if not (self.above or self.below):
            return f"between {self.low:g} and {self.high:g}"
        low = f"{'above' if self.above else 'at least'} {self.low:g}"
        return f"{low} and {'below' if self.below else 'at most'} {self.high:g}"


FINITE = Range()
ABOVE_0 = Range(0.0, above=True)
LIMIT = Range(0.0, above=True, infinite=True)
AT_LEAST_0 = Range(0.0)
AT_LEAST_1 = Range(1.0)
SHARE = Range(0.0, 1.0)
PART = Range(0.0, 1.0, above=True)
INSIDE = Range(0.0, 1.0, above=True, below=True)

NAMES = (
    (ABOVE_0, "lr clip clip_higher temperature alpha kl_limit kl_horizon kernel_epsilon"),
    (LIMIT, "max_grad_norm huber noise_limit most_lifelong weight_most"),
    (AT_LEAST_0, "coef beta bonus damping eps noise kappa kl_target weight_decay exponent"),
    (AT_LEAST_0, "epsilon_power steps anneal_updates clone_updates warmup burn_in bits lora quiet"),
    (
        SHARE,
        "gamma gamma_min lam perturbation epsilon decay share priority_max correlation smoothing "
        "inertia",
    ),
    (PART, "tau"),
    (INSIDE, "shrink expectile"),
    (AT_LEAST_1, "envs rollout batch updates epochs minibatches capacity stack n_step every"),
    (AT_LEAST_1, "atoms quantiles heads group accumulate models imagined horizon trace latest"),
    (AT_LEAST_1, "memories neighbours policies predictions lives lifetime delay iterations tries"),
    (AT_LEAST_0, "weight range ahead margin keep_out unsupervised"),
    (AT_LEAST_1, "candidates samples real elites branch kept window critics"),
    (AT_LEAST_1, "bins plans expand failures starts particles"),
    (AT_LEAST_1, "patience width hidden layers embedding outputs slots context texts"),
    (AT_LEAST_1, "labels segment rounds overlap candidates fps members first_updates clips"),
    (ABOVE_0, "scale"),
    # of environments
    (AT_LEAST_1, "limit length size rooms columns shortest longest timeout_s"),
    (AT_LEAST_0, "objects processes threads restarts"),
    (SHARE, "sticky"),
)
RANGES = {name: allowed for allowed, names in NAMES for name in names.split()}


def range_of(name: str) -> Range:
    """The range of a setting: by its name, else by its name's last word, else any finite number."""
    return RANGES.get(name) or RANGES.get(name.rpartition("_")[2], FINITE)


def check(value: Any) -> None:
    """Raises SettingsError for the first setting of `value` of a wrong type or out of range."""
    kind = type(value)
    if not dataclasses.is_dataclass(kind):
        return  # somebody's own class, which checks itself
    hints = typing.get_type_hints(kind)
    for field in dataclasses.fields(kind):
        given, hint = getattr(value, field.name), hints[field.name]
        if not settings.fits(given, hint):
            problem = f"{field.name}={given!r} is a {type(given).__name__}"
            raise SettingsError(f"{kind.__name__}: {problem}; expected {settings.describe(hint)}")
        allowed = range_of(field.name)
        values = given if isinstance(given, tuple) else (given,)
        if isinstance(given, Schedule):
            values = given.start, given.end
            if field.name.endswith("lr"):
                allowed = AT_LEAST_0  # which a step size may end with
        for number in values:
            real = isinstance(number, numbers.Real) and not isinstance(number, bool)
            if real and not allowed.holds(number):
                text = str(given) if isinstance(given, Schedule) else repr(given)
                finite = " and finite" if math.isinf(number) and allowed != FINITE else ""
                raise SettingsError(f"{field.name}={text} must be {allowed}{finite}")
