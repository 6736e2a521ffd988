"""Settings of papers on Atari, by name: what differs from an algorithm's defaults."""

from typing import Any

from spinward.errors import SettingsError

# Four environments side by side and one update for their four steps: an update every four steps.
PAPER_ATARI = {
    "envs": 4,
    "rollout": 1,
    "updates": 1,
    "batch": 32,
    "capacity": 1_000_000,
    "stack": 4,
    "max_grad_norm": 1e9,
    "hidden": (512,),
    "n_step": 1,
}
NATURE = {  # Mnih et al., 2015, as Dopamine's dqn_nature.gin has it
    **PAPER_ATARI,
    "warmup": 50_000,
    "rmsprop": True,
    "lr": 2.5e-4,
    "eps": 1e-5,
    "epsilon": 0.1,
    "explore_steps": 1_000_000,
    "target_every": 2_500,
    "double": False,
    "huber": 1.0,
}
DOPAMINE = {  # Castro et al., 2018; Agarwal et al., 2020, where Dopamine has none
    **PAPER_ATARI,
    "warmup": 20_000,
    "lr": 5e-5,
    "eps": 3.125e-4,
    "epsilon": 0.01,
    "explore_steps": 250_000,
    "target_every": 2_000,
}
NAMED: dict[str, dict[str, dict[str, Any]]] = {
    "nature": {"DQN": NATURE},
    "dopamine": {
        "DQN": {**DOPAMINE, "lr": 6.25e-5, "eps": 1.5e-4, "double": False},
        "C51": {**DOPAMINE, "lr": 2.5e-4, "atoms": 51, "low": -10.0, "high": 10.0},
        "QRDQN": {**DOPAMINE, "quantiles": 200},
        "EnsembleDQN": {**DOPAMINE, "heads": 200},
        "REM": {**DOPAMINE, "heads": 200},
    },
    "rem-online": {
        "REM": {**DOPAMINE, "eps": 3.125e-5, "heads": 4, "separate": True, "mixed_acting": True}
    },
}


def named(kind: Any, name: str) -> dict[str, Any]:
    """The settings of a paper, which stand in place of those of `presets.preset`.

    Raises:
        SettingsError: there are none of this name for this algorithm.
    """
    known = [n for n, tables in NAMED.items() if kind.__name__ in tables]
    if name not in known:
        names = ", ".join(known) or "none"
        raise SettingsError(f"there is no preset {name!r} of {kind.__name__}; there is: {names}")
    return dict(NAMED[name][kind.__name__])
