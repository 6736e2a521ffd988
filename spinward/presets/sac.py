"""Settings of SAC."""

from spinward.presets.control import by_lengths

HILL = {  # the temperature would fall before the goal is found; the zoo fixes it too
    "batch": 512,
    "lr": 3e-4,
    "gamma": 0.9999,
    "alpha": 0.1,
    "learn_alpha": False,
}

PRESETS = by_lengths(HILL)
