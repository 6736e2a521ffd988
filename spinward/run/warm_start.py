"""A run that begins with what another run has learned; and parts of agents that stay as they are.

Leaves of an agent have names, such as `learner.model.actor.layers.layers.0.w`. A part is any run of
components of such names: `model`, `actor`, `model.critic`; `policy` is another word for `actor`.
Without parts, everything is taken but the states of optimisers and counters.
"""

from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from spinward.core import TrainState, replace
from spinward.errors import SettingsError, nearest
from spinward.learning.steps import freeze, in_part
from spinward.run import folders, inputs
from spinward.run.assemble import Assembled
from spinward.run.config import read_config
from spinward.run.experiment import Experiment
from spinward.store import parameters as learned
from spinward.trees import name_of

ALL, OPTIMISER = "all", "opt_state"
ACTOR = "actor."  # in the names of the leaves of a policy's network
STATISTICS = "statistics.obs"  # in the names of the leaves of a normaliser of observations
AGENT = "agent."  # before the names of an agent's leaves in a checkpoint


def named(agent: Any) -> dict[str, Any]:
    """The leaves of an agent by name."""
    leaves = jax.tree_util.tree_leaves_with_path(agent)
    return {name_of(path): leaf for path, leaf in leaves}


def named_parts(leaves: dict[str, Any], parts: tuple[str, ...]) -> list[str]:
    """The names of the leaves that are taken from another run.

    Raises:
        SettingsError: an agent has no such part.
    """
    if parts == (ALL,):
        return list(leaves)
    if not parts:
        counts = {n for n, x in leaves.items() if jnp.issubdtype(x.dtype, jnp.integer)}
        return [n for n in leaves if not in_part(n, OPTIMISER) and n not in counts]
    for part in parts:
        require_part(leaves, part)
    return [n for n in leaves if any(in_part(n, part) for part in parts)]


def require_part(leaves: dict[str, Any], part: str) -> None:
    """Raises SettingsError where no leaf belongs to a part."""
    if not any(in_part(n, part) for n in leaves):
        known = list(dict.fromkeys(w for n in leaves for w in n.split(".") if not w.isdecimal()))
        near = ", ".join(nearest(part, known, 3) or known)
        raise SettingsError(f"the agent has no part {part!r}; expected one of {near}")


def taken(agent: Any, experiment: Experiment) -> dict[str, np.ndarray]:
    """The leaves [seed of the other run, ...] for an agent of this structure, by name.

    Raises:
        SettingsError: there is no such run, or a leaf has another shape there.
        DamagedFileError: the other run is damaged.
    """
    source, leaves = Path(experiment.start_from), named(agent)
    inputs.require(experiment, ("start_from",))
    folders.verify(source, read_config(source / "config.json"), None)
    places = folders.named(source, experiment.start_checkpoint, None)
    if not places:
        raise SettingsError(f"{source} has no checkpoint to start from")
    names = named_parts(leaves, experiment.start_parts)
    loaded = [learned.read(each.path)[0] for each in places]
    others = {name: other_name(name, loaded[0]) for name in names}
    check_normalised(experiment, others, loaded[0])
    for name in names:
        leaf = loaded[0].get(others[name])
        expected, dtype = leaves[name].shape, leaves[name].dtype
        if leaf is None or leaf.shape[1:] != expected or leaf.dtype != dtype:
            actual = "none" if leaf is None else f"{leaf.dtype}{list(leaf.shape[1:])}"
            raise SettingsError(
                f"{name} is {dtype}{list(expected)} in this run and {actual} in {source}: take "
                "other parts (--from-parts), or settings that fit"
            )
    return {n: np.concatenate([each[others[n]] for each in loaded]) for n in names}


def other_name(name: str, other: dict[str, Any]) -> str:
    """The name of a leaf in another agent: the same or, where the other is of another algorithm,
    that of its one actor's leaf."""
    if AGENT + name in other or ACTOR not in name:
        return AGENT + name
    end = "." + ACTOR + name.rpartition(ACTOR)[2]
    same = [n for n in other if n.endswith(end) and not in_part(n, OPTIMISER)]
    return same[0] if len(same) == 1 else AGENT + name


def check_normalised(
    experiment: Experiment, others: dict[str, str], leaves: dict[str, Any]
) -> None:
    """Raises SettingsError where a policy that read observations as they are would read them
    scaled."""
    foreign = any(AGENT + name != other for name, other in others.items())
    known = any(STATISTICS in name for name in leaves)
    if foreign and not known and dict(vars(experiment.algorithm)).get("normalise_obs"):
        raise SettingsError(
            f"the policy of {experiment.start_from} reads observations as they are, and "
            "normalise_obs=True would scale them: set normalise_obs=False (--normalise-obs false)"
        )


def started(state: TrainState, shard: Experiment, first_seed: int) -> TrainState:
    """The first state of a shard, with leaves of the other run: those of its first seed for the
    `first_seed` of this run, and so on, and again from the first where it has fewer."""
    like = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape[1:], x.dtype), state.agent)
    leaves = taken(like, shard)
    index = np.arange(shard.seeds) + shard.seed - first_seed

    def replaced(path: Any, leaf: Any) -> Any:
        other = leaves.get(name_of(path))
        return leaf if other is None else jnp.asarray(other[index % len(other)])

    return replace(state, agent=jax.tree_util.tree_map_with_path(replaced, state.agent))


def check(made: Assembled) -> None:
    """Raises SettingsError where the agents of a run have not the parts that it names."""
    init = jax.eval_shape(partial(made.acting(0).init, spec=made.agent_spec), jax.random.PRNGKey(0))
    freeze(init, made.experiment.freeze)
    if made.experiment.start_from:
        taken(init, made.experiment)
