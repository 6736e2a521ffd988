"""Advantages of whole completions over the other completions of the same prompt.

The members of a group are consecutive.
"""

import jax.numpy as jnp
from jax import Array


def grouped(values: Array, group: int) -> Array:
    """[env] as [groups, group]."""
    return values.reshape(-1, group)


def group_advantage(score: Array, group: int, scaled: bool = True, eps: float = 1e-4) -> Array:
    """The score [env] less its group's mean, and with `scaled` divided by the group's standard
    deviation (Shao et al., 2024, arXiv:2402.03300, section 4.1.2; not `scaled`: Liu et al., 2025,
    arXiv:2503.20783). Where all scores of a group are equal, the advantage is 0."""
    score = grouped(score, group)
    centred = score - score.mean(-1, keepdims=True)
    if not scaled:
        return centred.reshape(-1)
    variance = jnp.square(centred).sum(-1, keepdims=True) / (group - 1)
    std = jnp.sqrt(jnp.maximum(variance, 1e-12))  # with a finite gradient at 0
    return (centred / (std + eps)).reshape(-1)


def leave_one_out(score: Array, group: int) -> Array:
    """The score [env] less the mean of the others of its group (Kool et al., 2019; Ahmadian et al.,
    2024, arXiv:2402.14740, (7)). It is group / (group - 1) times the unscaled `group_advantage`."""
    score = grouped(score, group)
    others = (score.sum(-1, keepdims=True) - score) / (group - 1)
    return (score - others).reshape(-1)
