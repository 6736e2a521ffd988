"""Targets that look a fixed number of imagined steps ahead diverge where the model is poor, and
those that weigh them by their uncertainty do not (Buckman et al., 2018, arXiv:1807.01675, figure
2); with a learned model the latter reach a return in fewer real steps than their base (figure 3).

The first part is on the authors' chain, tabular. The second is on Pendulum at the laptop's scale,
on DDPG with four critics. The updates a step are those with which DDPG learned in few steps on
seeds 10 and 11; nothing was tuned for MVE or STEVE. The paper's
scale adds MuJoCo's Hopper. MVE is shown beside them, and nothing is asked of it there.
"""

from functools import partial
from pathlib import Path

import jax
import numpy as np

from spinward.algorithms.ddpg import DDPG
from spinward.algorithms.mve import MVE
from spinward.experiments.few_steps import Method, ReturnTask, compared
from spinward.experiments.reproduction import Reproduction, Row, first_seed, row_of
from spinward.experiments.toy_chain import MODELS, UPDATES, WEIGHTS, errors
from spinward.experiments.verdicts import above, all_of, below

FACTOR = 2.0  # by which the error of MVE exceeds STEVE's, with the poor model
SETTLED = 1.0  # error below which values are found, with the exact model
RULE = (
    f"the rule: on the chain, after {UPDATES:,} updates, the interval of the error with the noisy "
    f"model, MVE's over STEVE's, seed by seed, lies above {FACTOR:g}, and STEVE's with the exact "
    f"model below {SETTLED:g}; in each environment the interval of the factor of STEVE over DDPG "
    "in real steps lies above 1; it would have failed if a poor model hurt STEVE as it does MVE"
)
FEW = {"warmup": 500, "rollout": 2, "updates": 8}
AS_STEVE, AS_MVE = FEW | {"blend": "uncertainty"}, FEW | {"blend": "fixed"}
PENDULUM = ReturnTask("Pendulum-v1", -250.0, 200)
HOPPER = ReturnTask("Hopper-v4", 1500.0, 1000)
SIZES = {"laptop": [(PENDULUM, 4_000)], "paper": [(PENDULUM, 4_000), (HOPPER, 300_000)]}


def run(scale: str, seeds: int | None, out: Path) -> Reproduction:
    rows, parts = on_chain(seeds or 5)
    pictures = []
    for task, steps in SIZES[scale]:
        methods = [
            Method("DDPG", DDPG, steps, FEW),
            Method("STEVE", MVE, steps, AS_STEVE),
            Method("MVE", MVE, steps, AS_MVE),
        ]
        result = compared("mve", task, methods, seeds or 5, out)
        factor = result.factor("STEVE", "DDPG")
        rows += [*result.rows, factor, result.factor("MVE", "DDPG")]
        parts.append(above(factor, 1.0))
        pictures.append(result.picture)
    return Reproduction("mve", scale, rows, all_of(*parts), RULE, pictures)


def on_chain(seeds: int) -> tuple[list[Row], list[str]]:
    """The errors at the end on the chain, and the verdicts on them."""
    keys = jax.vmap(jax.random.key)(np.arange(first_seed(), first_seed() + seeds))
    end = {
        (model, blend): np.asarray(jax.vmap(partial(errors, model=model, blend=blend))(keys))[:, -1]
        for model in MODELS
        for blend in WEIGHTS
    }
    rows = [row_of(f"chain, {m} model: error of {b.upper()}", x) for (m, b), x in end.items()]
    ratio = row_of(
        "chain, noisy model: error of MVE over STEVE's", end["noisy", "mve"] / end["noisy", "steve"]
    )
    settled = row_of("chain, exact model: error of STEVE", end["exact", "steve"])
    return [*rows, ratio], [above(ratio, FACTOR), below(settled, SETTLED)]
