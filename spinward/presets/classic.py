"""Lengths of episodes and of runs that presets go by, tasks that some were tuned in, and settings
that several algorithms share."""

SHORT = 1, 200  # the least and the most steps of an episode: what counts comes soon
LONG = 500, 2_000
FEW = 60  # whole episodes in all of a run
T_MAZE = ("T-Maze",)
CLIMB = ("MountainCarContinuous-v0",)
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
