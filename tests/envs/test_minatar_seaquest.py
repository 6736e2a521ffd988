"""The rules of MinAtar's Seaquest: air, divers, traffic."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from spinward.core import replace
from spinward.envs import minatar_seaquest
from spinward.envs.minatar_seaquest import MinAtarSeaquest

advance = jax.jit(minatar_seaquest.advance, static_argnums=3)


def under_water(**values):
    """A submarine in the second row that dived, with what else is given."""
    state, _ = MinAtarSeaquest().reset(jax.random.key(0))
    values = {"y": 1, "oxygen": 120} | values
    state = replace(state, **{k: jnp.int32(v) for k, v in values.items()})
    return replace(state, surfaced=jnp.bool_(False))


def nothing_appears():
    row = jnp.int32(1)
    return minatar_seaquest.SeaquestSpawn(*[jnp.bool_(False)] * 2, row, jnp.bool_(False), row)


@pytest.mark.parametrize(
    ("crew", "action", "oxygen", "reward", "lost", "crew_after", "oxygen_after"),
    [
        (0, 0, 120, 0, False, 0, 119),  # down there
        (0, 0, 1, 0, False, 0, 0),
        (0, 0, 0, 0, True, 0, -1),  # drowned
        (0, 2, 120, 0, True, 0, 120),  # up without anybody
        (3, 2, 120, 0, False, 2, 200),  # up with some: one leaves
        (6, 2, 120, 6, False, -1, 200),  # up with six: a reward for the oxygen left
        (-1, 2, 120, 0, False, -2, 200),
        (3, 2, 0, 0, True, 2, 200),  # too late
    ],
)
def test_seaquest_surfaces_with_divers_and_loses_without(
    crew, action, oxygen, reward, lost, crew_after, oxygen_after
):
    state = under_water(crew=crew, oxygen=oxygen)
    after, got, ended = advance(state, jnp.int32(action), nothing_appears(), True)
    assert (got, ended) == (reward, lost)
    assert (after.crew, after.oxygen) == (crew_after, oxygen_after)


def test_seaquest_gets_faster_at_each_surfacing_only_if_it_ramps():
    state = replace(under_water(crew=3), ramp_index=jnp.int32(1))
    after, *_ = advance(state, jnp.int32(2), nothing_appears(), True)
    assert (after.spawn_speed, after.move_speed, after.ramp_index) == (19, 4, 2)
    after, *_ = advance(state, jnp.int32(2), nothing_appears(), False)
    assert (after.spawn_speed, after.move_speed, after.ramp_index) == (20, 5, 1)


def test_seaquest_draws_a_third_submarines_from_both_sides_in_every_row_alike():
    bits = jax.random.bits(jax.random.key(0), (8000, 2))
    chance, spawn = jax.tree.map(np.asarray, jax.vmap(minatar_seaquest.chances)(bits))
    assert abs(chance.mean() - 0.5) < 0.015 and 0 <= chance.min() < chance.max() < 1
    assert abs(spawn.sub.mean() - 1 / 3) < 0.02
    for right, row in ((spawn.right, spawn.row), (spawn.diver_right, spawn.diver_row)):
        assert abs(right.mean() - 0.5) < 0.02
        np.testing.assert_allclose(np.bincount(row, minlength=9)[1:] / 8000, 1 / 8, atol=0.015)
    columns = np.stack([spawn.right, spawn.sub, spawn.row, spawn.diver_right, spawn.diver_row])
    assert np.abs(np.corrcoef(columns) - np.eye(5)).max() < 0.05


def test_seaquest_has_room_for_the_densest_traffic_there_can_be():
    env = MinAtarSeaquest()
    state, _ = env.reset(jax.random.key(0))
    state = replace(state, spawn_speed=jnp.int32(1), move_speed=jnp.int32(2))

    def one(state, key):
        _, spawn = minatar_seaquest.chances(jax.random.bits(key, (2,)))
        spawn = replace(spawn, right=jnp.bool_(True))  # so that no row is refused
        state, *_ = minatar_seaquest.advance(state, jnp.int32(0), spawn)
        return state, ((state.enemies.kind > 0).sum(), (state.divers.kind > 0).sum())

    keys = jax.random.split(jax.random.key(1), 300)
    enemies, divers = jax.jit(lambda s: jax.lax.scan(one, s, keys)[1])(state)
    assert enemies.max() == 29 < minatar_seaquest.ENEMIES  # the 30th just left
    assert (enemies[50:] == 29).all() and divers.max() == minatar_seaquest.DIVERS
