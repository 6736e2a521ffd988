"""Never Give Up keeps exploring where random network distillation stalls and a count bonus stares
at a television (Badia et al., 2020, arXiv:2002.06038, section 4.1).

Rooms in a row with a television that shows noise when its button is pressed, and a goal in the last
of them; and the random disco maze of the paper, smaller. All agents have one recurrent network, one
replay and one number of steps: only what they are rewarded for differs. What is counted are the
different cells that an episode comes to as the agent explores, and the episodes in which its greedy
policy finds the goal; and the same for each policy of the family.
"""

from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from spinward.algorithms.ngu import NGU
from spinward.algorithms.r2d2 import R2D2
from spinward.core import Key, replace
from spinward.envs.rooms import PRESS
from spinward.experience.rollout import with_last_reward
from spinward.experiments.reproduction import Reproduction, Row, first_seed, row_of, trained
from spinward.experiments.verdicts import above, all_of
from spinward.report import plot
from spinward.rewards.count import Count
from spinward.rewards.environment import Environment
from spinward.run.run import Run

SEEDS = 5
EPISODES = 32  # of each seed
ROOMS, DISCO = "rooms", "disco maze"
# By scale and world: the environment, and how many steps.
WORLDS = {
    "laptop": {ROOMS: ("Rooms-Narrow", 400_000), DISCO: ("Disco-Small", 200_000)},
    "paper": {ROOMS: ("Rooms-Narrow", 5_000_000), DISCO: ("Disco-Maze", 5_000_000)},
}
# A bonus that weighs as much as the goal drowns it: values of some novel steps are many times 1.
# The goal is some 25 steps away, and values that are too high fade by gamma with each new target.
SHORT: dict[str, Any] = {"gamma": 0.97, "target_every": 10}
NOVELTY = NGU(policies=4, memories=240, beta=0.1, **SHORT)
# A random action in a maze is an end as often as not: most environments have next to none.
ALONE = NGU(policies=1, memories=150, beta=0.5, gamma=0.95, epsilon_power=8.0)
AGENTS: dict[str, tuple[Any, Any]] = {
    "rooms: Never Give Up": (NOVELTY, Environment()),
    "rooms: RND alone": (replace(NOVELTY, episodic=False), Environment()),
    "rooms: counts": (R2D2(**SHORT), Count(beta=0.1)),
    "rooms: no bonus": (R2D2(**SHORT), Environment()),
    "disco maze: Never Give Up": (ALONE, Environment()),
    "disco maze: random features": (replace(ALONE, controllable=False), Environment()),
    "disco maze: RND alone": (replace(ALONE, episodic=False), Environment()),
}
GOALS = 0.1  # share of its episodes in which a greedy policy that learned from others finds it
RULE = (
    "the rule: in the rooms and in the disco maze the interval of Never Give Up's cells lies above "
    "that of every other agent, its greedy policy surely finds the goal in more than "
    f"{GOALS:.0%} of episodes and more often than that of every other agent, and the count bonus "
    "presses the button twice as often as chance"
)


GOALS_OF = ", goals of the greedy policy"
OWN_GOALS = f"{ROOMS}: Never Give Up{GOALS_OF}"


class Explored(NamedTuple):
    """What episodes of one agent came to [episode]."""

    cells: Array  # different ones
    won: Array
    pressed: Array  # share of steps in which the button was pressed


def run(scale: str, seeds: int | None, out: Path) -> Reproduction:
    count = seeds or SEEDS
    by_agent: dict[str, Explored] = {}
    rows: list[Row] = []
    curves = []
    for name, (algorithm, reward) in AGENTS.items():
        slug = "ngu-" + name.lower().replace(":", "").replace(" ", "-")
        world = name.partition(":")[0]
        env, steps = WORLDS[scale][world]
        learned = trained(algorithm, env, steps, count, out, slug, reward=reward, shards=1)
        by_agent[name] = explored(learned, explore=True)
        rows.append(row_of(f"{name}, cells", by_agent[name].cells))
        if world == ROOMS:
            greedy = explored(learned, explore=False)
            rows.append(row_of(f"{name}, goals of the greedy policy", greedy.won))
            rows.append(row_of(f"{name}, button pressed", by_agent[name].pressed))
            curves.append(plot.Curve(name.removeprefix(f"{ROOMS}: "), *learned.curves()))
            rows += rows_of_family(name, learned) if algorithm is NOVELTY else []
    picture = out / "curves.png"
    plot.save(plot.figure(curves, f"Rooms: goals found in training, {count} seeds"), picture)
    return Reproduction("ngu", scale, rows, *verdict_of(rows), [picture])


def verdict_of(rows: list[Row]) -> tuple[str, str]:
    """The verdict, and the parts of the claim that are not shown."""
    by_name = {row.what: row for row in rows}
    pressed = by_name["rooms: counts, button pressed"]
    parts = {
        "more cells in the rooms": further(by_name, f"{ROOMS}: ", ", cells"),
        "more cells in the disco maze": further(by_name, f"{DISCO}: ", ", cells"),
        "a greedy policy that finds the goal": above(by_name[OWN_GOALS], GOALS),
        "and more often than others": further(by_name, f"{ROOMS}: ", GOALS_OF),
        "a button that counts press": above(pressed, 2 / 5),
    }
    missing = [name for name, part in parts.items() if part != "reproduced"]
    verdict = all_of(*parts.values())
    return verdict, f"not shown: {', '.join(missing)} ({RULE})" if missing else RULE


def further(by_name: dict[str, Row], world: str, measure: str) -> str:
    """The verdict that Never Give Up has more than every other agent of a world."""
    own = by_name[f"{world}Never Give Up{measure}"]
    names = [n for n in by_name if n.startswith(world) and n.endswith(measure)]
    others = [by_name[n] for n in names if by_name[n] is not own]
    if all(own.low > row.high for row in others):
        return "reproduced"
    less = any(own.high < row.low for row in others)
    return "not reproduced" if less else "cannot tell"


def rows_of_family(name: str, learned: Run) -> list[Row]:
    """What each policy of the family comes to as it explores, from exploitative to exploratory."""
    rows = []
    for policy in range(NOVELTY.policies):
        each = explored(learned, explore=True, policy=policy)
        rows.append(row_of(f"{name}, policy {policy}, goals found", each.won))
        rows.append(row_of(f"{name}, policy {policy}, different places", each.cells))
    return rows


def explored(learned: Run, explore: bool, policy: int | None = None) -> Explored:
    """What each seed's agent comes to, in the mean over its episodes [seed]; with `policy`, as that
    one of the family."""
    agents = learned.agents()
    env: Any = learned.experiment.env.make()

    def one(agent: Any, key: Key) -> Explored:
        return walked(agents.algorithm, agent, env, key, explore, policy)

    keys = jax.vmap(jax.random.PRNGKey)(first_seed() + jnp.arange(1000, 1000 + agents.seeds))
    results = jax.vmap(one)(jax.tree.map(jnp.asarray, agents.agent), keys)
    return Explored(*(x.mean(1) for x in results))


def walked(
    algorithm: Any, agent: Any, env: Any, key: Key, explore: bool, policy: int | None = None
) -> Explored:
    """What first episodes come to, side by side."""
    k_reset, k_steps = jax.random.split(key)
    state, obs = jax.vmap(env.reset)(jax.random.split(k_reset, EPISODES))
    seen = jnp.zeros(state.walls.shape, bool)

    def step(x: Any, key: Key) -> Any:
        state, obs, memory, seen, over, won, pressed = x
        k_act, k_step = jax.random.split(key)
        action, memory, _ = algorithm.act(agent, obs, memory, k_act, explore)
        keys = jax.random.split(k_step, EPISODES)
        state, obs, reward, terminated, truncated = jax.vmap(env.step)(state, action, keys)
        seen = jnp.where(over[:, None, None], seen, marked(seen, state.at))
        won = won | (~over & (reward > 0.0))
        pressed = pressed + jnp.where(over, 0.0, action == PRESS)
        memory, live = with_last_reward(memory, reward), ~over
        return (state, obs, memory, seen, over | terminated | truncated, won, pressed), live

    no = jnp.zeros(EPISODES, bool)
    memory = algorithm.memory(agent, EPISODES)
    if policy is not None:
        own = jax.nn.one_hot(jnp.full(EPISODES, policy), algorithm.policies)
        memory = {**memory, "policy": own}
    start = (state, obs, memory, marked(seen, state.at), no, no, jnp.zeros(EPISODES))
    last, live = jax.lax.scan(step, start, jax.random.split(k_steps, env.limit))
    *_, seen, _, won, pressed = last
    return Explored(seen.sum((1, 2)), won, pressed / live.sum(0))


def marked(seen: Array, at: Array) -> Array:
    """The cells [episode, row, column] that were seen, and those where episodes are."""
    return jax.vmap(lambda s, a: s.at[a[0], a[1]].set(True))(seen, at)
