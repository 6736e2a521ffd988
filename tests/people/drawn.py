"""A Gymnasium environment that renders without any package. It is no test file."""

import gymnasium
import numpy as np


class Walk(gymnasium.Env):
    """A point that walks on a line for nine steps, and is drawn where it is."""

    metadata = {"render_modes": ["rgb_array"]}
    observation_space = gymnasium.spaces.Box(-10, 10, (1,), np.float32)
    action_space = gymnasium.spaces.Discrete(2)

    def __init__(self, render_mode=None):
        self.render_mode, self.place, self.time = render_mode, 0, 0

    def reset(self, seed=None, options=None):
        super().reset(seed=seed)
        self.place = self.time = 0
        return self.obs(), {}

    def step(self, action):
        self.place += 2 * int(action) - 1
        self.time += 1
        return self.obs(), float(self.place), False, self.time == 9, {}

    def obs(self):
        return np.array([self.place], np.float32)

    def render(self):
        picture = np.zeros((20, 40, 3), np.uint8)
        picture[:, 20 + self.place] = 255
        return picture
