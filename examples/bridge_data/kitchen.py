"""Demonstrations in small kitchens, and how often a policy succeeds in the new one.

`python kitchen.py demonstrate target bridge` writes two data sets; `python kitchen.py score RUN`
plays a run. The kitchens are in `spinward/experiments/kitchens.py`.
"""

import sys
from pathlib import Path

import numpy as np

from spinward.experiments import kitchens
from spinward.experiments.kitchens import TASKS, Room

SEED, NEW, TASK = 0, 7, 3  # the number of the new scene, and of the task that is shown there


def demonstrate(target, bridge, each=20):
    """Ten demonstrations of one task in the new scene, and `each` of all tasks in seven others."""
    rng = np.random.default_rng(SEED)
    scenes = [Room.of(number, SEED) for number in range(NEW + 1)]
    others = [
        episode
        for scene in scenes[:NEW]
        for task in range(len(TASKS))
        for episode in kitchens.demonstrations(scene, task, each, rng)
    ]
    kitchens.record(Path(bridge), others, "seven kitchens, all tasks")
    shown = kitchens.demonstrations(scenes[NEW], TASK, 10, rng)
    kitchens.record(Path(target), shown, f"the new kitchen: {TASKS[TASK]}")


def score(run, episodes=300):
    """Prints the share of episodes in which a run's policy solves each task in the new scene."""
    import jax

    import spinward as sw

    agents = sw.load(run).agents("last")
    model = jax.tree.map(lambda x: x[0], agents.agent).model
    act = jax.jit(lambda obs: model(obs).mode())
    for task, name in enumerate(TASKS):
        rng = np.random.default_rng((SEED, task))
        share = kitchens.success(act, Room.of(NEW, SEED), task, episodes, rng)
        print(f"{run}, {name}: {share:.0%}")


if __name__ == "__main__":
    {"demonstrate": demonstrate, "score": score}[sys.argv[1]](*sys.argv[2:])
