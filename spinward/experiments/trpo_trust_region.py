"""No update of TRPO leaves the trust region, and it learns steadily (Schulman et al., 2015,
arXiv:1502.05477); a clipped ratio promises no such limit (Schulman et al., 2017).

TRPO's line search accepts no step whose divergence on its own batch is above the limit, so what is
logged cannot fail. Measured is the divergence of a whole update, of the policy as it acts, on
states of other episodes that no update saw; of PPO the same. Observations are not normalised, as
in the paper: statistics that move with each batch move the policy too. The returns of CartPole and
Pendulum are beside those of the rl-baselines3-zoo, single tuned runs.
"""

from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax import Array

from spinward.algorithms.ppo import PPO
from spinward.algorithms.trpo import TRPO
from spinward.core import Key, Policy, Transition, replace
from spinward.experience.rollout import Rollout
from spinward.experiments.reproduction import Reproduction, Row, first_seed, row_of, trained
from spinward.experiments.verdicts import above, all_of, below
from spinward.loop import Parts, system
from spinward.presets.choice import preset
from spinward.programs.seeds import compiled
from spinward.report import plot
from spinward.rewards.environment import Environment
from spinward.run.experiment import EnvChoice

LIMIT = 0.01
FAR = 2.0  # limits that no update of TRPO exceeds on states that it did not see
HELD_OUT = 4  # times as many environments there as in training
TASKS = {"CartPole-v1": (100_000, 500.0, 475.0), "Pendulum-v1": (100_000, -174.6, -250.0)}
SEEDS = {"laptop": 5, "paper": 20}
RULE = (
    "the rule, by whole intervals over seeds: on states that no update saw the mean divergence of "
    f"TRPO's updates is below the limit and the largest below {FAR:g} limits, PPO's largest is "
    "above TRPO's, and the return is above 475 in CartPole and -250 in Pendulum"
)


def run(scale: str, seeds: int | None, out: Path) -> Reproduction:
    rows: list[Row] = []
    parts: dict[str, str] = {}
    pictures = []
    for env in TASKS:
        kl = measured(env, seeds or SEEDS[scale], out, rows, parts)
        pictures.append(out / f"{env}.png")
        plot.save(drawing(kl, env), pictures[-1])
    missing = [name for name, part in parts.items() if part != "reproduced"]
    why = f"not shown: {', '.join(missing)} ({RULE})" if missing else RULE
    return Reproduction("trpo-trust-region", scale, rows, all_of(*parts.values()), why, pictures)


def measured(
    env: str, seeds: int, out: Path, rows: list[Row], parts: dict[str, str]
) -> dict[Any, np.ndarray]:
    """The divergences [seed, update] of both algorithms in limits; adds the rows and the verdicts
    of one task."""
    steps, published, wanted = TASKS[env]
    learned = trained(configured(TRPO, env), env, steps, seeds, out, f"trpo-{env}", logs=steps)
    kl = {kind: held_out(configured(kind, env), env, steps, seeds) / LIMIT for kind in (TRPO, PPO)}
    means, largest = ({k: f(x, 1) for k, x in kl.items()} for f in (np.mean, np.max))
    main = {
        "mean": row_of(f"{env}: mean divergence of TRPO's updates, in limits", means[TRPO]),
        "largest": row_of(f"{env}: largest of TRPO's", largest[TRPO]),
        "PPO": row_of(f"{env}: largest of PPO's less that", largest[PPO] - largest[TRPO]),
        "return": row_of(
            f"{env}: TRPO's return, greedy",
            learned.evaluate(100, seed=first_seed()).per_seed,
            published,
        ),
    }
    rows += [
        *main.values(),
        row_of(f"{env}: mean divergence of PPO's updates, in limits", means[PPO]),
        row_of(f"{env}: largest of PPO's", largest[PPO]),
        row_of(f"{env}: share of TRPO's updates above the limit", (kl[TRPO] > 1.0).mean(1)),
        row_of(f"{env}: largest on TRPO's own batch", learned.curves("kl")[1].max(1) / LIMIT),
    ]
    verdicts = (
        below(main["mean"], 1.0),
        below(main["largest"], FAR),
        above(main["PPO"], 0.0),
        above(main["return"], wanted),
    )
    parts |= {row.what: part for row, part in zip(main.values(), verdicts, strict=True)}
    return kl


def configured(kind: Any, env: str) -> Any:
    """The command line's settings, with TRPO's limit of the paper."""
    settings, _ = preset(kind, env, TASKS[env][0])
    more = {"kl_limit": LIMIT} if kind is TRPO else {}
    return kind(**{**settings, **more, "normalise_obs": False})


def held_out(algorithm: Any, env: str, steps: int, seeds: int) -> np.ndarray:
    """The divergence [seed, update] of each update on states that it did not see."""
    updates = steps // (algorithm.envs * algorithm.rollout)
    keys = jax.vmap(jax.random.PRNGKey)(first_seed() + np.arange(seeds))
    watch = compiled(watched, 1, ("env", "updates"))
    return np.asarray(watch(algorithm, keys, env=EnvChoice(env).make(), updates=updates), float)


def watched(algorithm: Any, keys: Key, env: Any, updates: int) -> Array:
    """Trains an agent for each key, and measures each of its updates [key, update]."""
    source = Rollout(env, algorithm.envs, algorithm.rollout)
    other = Rollout(env, HELD_OUT * algorithm.envs, algorithm.rollout)
    loop = system(Parts(algorithm, source, Environment()))

    def step(x: Any, key: Key) -> tuple[Any, Array]:
        state, unseen = x
        policy = Policy(partial(algorithm.act, state.agent), partial(algorithm.memory, state.agent))
        unseen, batch, _ = other.collect(unseen, policy, key)
        later, _ = loop.step(state)
        return (later, unseen), divergence(algorithm, state.agent, later.agent, batch)

    def one(key: Key) -> Array:
        k_init, k_unseen, k_steps = jax.random.split(key, 3)
        state = loop.init(k_init)
        unseen = other.init(k_unseen, algorithm.memory(state.agent, other.envs))
        return jax.lax.scan(step, (state, unseen), jax.random.split(k_steps, updates))[1]

    return jax.vmap(one)(keys)


def divergence(algorithm: Any, before: Any, after: Any, batch: Transition) -> Array:
    """The mean over a batch of KL(before || after), of the policies as they act."""

    def policy(agent: Any) -> Any:
        seen = agent.statistics.obs(batch.obs) if algorithm.normalise_obs else batch.obs
        return agent.model.unroll(replace(batch, obs=seen))[0]

    mean: Array = policy(after).kl_from(policy(before)).mean()
    return mean


def drawing(kl: dict[Any, np.ndarray], env: str) -> Any:
    """The divergence of every update of every seed on states that it did not see, in limits."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.2, 3.8), layout="constrained")
    axes = figure.add_subplot()
    for kind, colour in ((PPO, plot.PALETTE[1]), (TRPO, plot.PALETTE[0])):
        steps = np.linspace(0, TASKS[env][0], kl[kind].shape[1])
        for i, row in enumerate(kl[kind]):
            label = kind.__name__ if i == 0 else None
            axes.plot(steps, row, ".", color=colour, markersize=3, label=label)
    axes.axhline(1.0, color="#6b7480", linestyle=":")
    axes.set_yscale("symlog", linthresh=1.0)
    axes.set_xlabel("environment steps")
    axes.set_ylabel("divergence of each update, in limits")
    axes.set_title(f"{env}, states that no update saw", loc="left", fontsize=11)
    axes.legend(frameon=False)
    return figure
