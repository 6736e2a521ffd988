"""Tasks that have settings of their own, and what several algorithms share."""

PENDULUM = ("Pendulum-v1",)
CLIMB = ("MountainCarContinuous-v0",)
T_MAZE = ("T-Maze",)
WHOLE_EPISODE = {  # where a goal is seldom seen, updates between two sights of it unlearn to look
    "envs": 1,
    "rollout": 1000,
    "minibatches": 10,
    "normalise_obs": True,
    "normalise_reward": True,
}
MEMORY = {  # as `spinward reproduce t-maze` has it
    "envs": 16,
    "rollout": 64,
    "minibatches": 4,
    "hidden": (32,),
    "recurrent": "lstm",
}
