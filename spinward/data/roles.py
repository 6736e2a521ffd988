"""What the columns of a table mean: by name, unless it is said."""

import dataclasses
import fnmatch
import re
from pathlib import Path
from typing import Any

from spinward.errors import SettingsError, nearest

NAMES = {  # of a role: the names that its column has in logs
    "episode": ("episode", "episode_id", "mdp_id", "trajectory", "trajectory_id", "session",
                "session_id"),
    "time": ("time", "t", "step", "timestep", "sequence_number", "timestamp", "ts"),
    "action": ("action", "actions", "a"),
    "reward": ("reward", "rewards", "r"),
    "terminated": ("terminated", "terminal", "terminals", "is_terminal"),
    "truncated": ("truncated", "timeout", "timeouts"),
    "done": ("done", "dones", "is_last"),
    "action_prob": ("action_prob", "action_probability", "propensity", "pscore"),
    "next_action": ("next_action",),
}  # fmt: skip
PREFIXES = {  # of a role: how the names of its columns begin; the rest is a number or a name
    "next_obs": ("next_obs", "next_observation", "next_state"),
    "mask": ("action_mask", "possible_action", "allowed"),
    "action": ("action_", "action."),
    "obs": ("obs", "observation", "state", "feature"),
}
SEVERAL = ("obs", "next_obs", "action", "mask")  # roles of any number of columns
ENDS = ("terminated", "truncated", "done")


@dataclasses.dataclass(frozen=True)
class Roles:
    """The columns of each role; empty where there is none."""

    obs: tuple[str, ...] = ()
    action: tuple[str, ...] = ()
    next_obs: tuple[str, ...] = ()
    mask: tuple[str, ...] = ()
    reward: str = ""
    episode: str = ""
    time: str = ""
    terminated: str = ""
    truncated: str = ""
    done: str = ""
    action_prob: str = ""
    next_action: str = ""

    @property
    def used(self) -> tuple[str, ...]:
        """All columns that have a role."""
        values = (getattr(self, f.name) for f in dataclasses.fields(self))
        parts = (v if isinstance(v, tuple) else (v,) for v in values)
        return tuple(name for part in parts for name in part if name)


def roles_of(path: Path, names: list[str], said: dict[str, str]) -> Roles:
    """The roles of the columns of a table. `said` are names or patterns, several with commas
    between them; the rest is guessed. What has no other role and is not left out is observed.

    Raises:
        SettingsError: there is no such column, or one has two roles, or a role has none.
    """
    roles: dict[str, Any] = {}
    left_out = set(matching(path, names, said.get("ignore", ""))) if said.get("ignore") else set()
    for role, text in said.items():
        if text and role != "ignore":
            columns = matching(path, names, text)
            if role not in SEVERAL and len(columns) > 1:
                raise SettingsError(
                    f"--{role.replace('_', '-')} {text}: it is {len(columns)} columns"
                )
            roles[role] = columns if role in SEVERAL else columns[0]
    taken = {c for v in roles.values() for c in ((v,) if isinstance(v, str) else v)} | left_out
    for role, known in NAMES.items():
        if role not in roles:
            column = next((n for n in names if n.lower() in known and n not in taken), "")
            if column:
                roles[role] = (column,) if role in SEVERAL else column
                taken.add(column)
    for role, starts in PREFIXES.items():
        if role not in roles:
            prefixed = [n for n in names if n not in taken and begins(n, starts)]
            if prefixed:
                roles[role] = tuple(sorted(prefixed, key=natural))
                taken |= set(prefixed)
    if "obs" not in roles:
        roles["obs"] = tuple(n for n in names if n not in taken)
    return checked(path, names, Roles(**roles))


def checked(path: Path, names: list[str], roles: Roles) -> Roles:
    for role in ("obs", "action", "reward"):
        if not getattr(roles, role):
            raise SettingsError(
                f"{path} has no column that is the {role}: name it with --{role}; it has "
                f"{', '.join(names):.300}"
            )
    used = roles.used
    if double := [name for name in used if used.count(name) > 1]:
        raise SettingsError(f"the column {double[0]} has two roles")
    if roles.next_obs and len(roles.next_obs) != len(roles.obs):
        raise SettingsError(
            f"there are {len(roles.obs)} columns of observations and {len(roles.next_obs)} of next "
            "observations"
        )
    return roles


def matching(path: Path, names: list[str], text: str) -> tuple[str, ...]:
    """The columns that a text names: names or patterns with commas between them."""
    columns: list[str] = []
    for word in text.split(","):
        if word in names:
            columns.append(word)
        elif kept := fnmatch.filter(names, word):
            columns += sorted(kept, key=natural)
        else:
            near = nearest(word, names)
            hint = f"did you mean {near[0]}?" if near else f"it has {', '.join(names):.300}"
            raise SettingsError(f"{path} has no column {word!r}; {hint}")
    return tuple(columns)


def begins(name: str, starts: tuple[str, ...]) -> bool:
    """Whether a name begins so and goes on with a number or a word of its own."""
    return any(re.fullmatch(rf"{re.escape(s)}([._\[]?\w+\]?|)", name.lower()) for s in starts)


def natural(name: str) -> tuple[Any, ...]:
    """A key that sorts `obs_10` after `obs_9`."""
    return tuple(
        (0, int(p), "") if p.isdigit() else (1, 0, p) for p in re.split(r"(\d+)", name) if p
    )
