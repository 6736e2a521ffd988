"""Environments with spaces and habits of the kinds that people bring; importing this registers
`Package-v0`."""

import gymnasium
import numpy as np
from gymnasium import spaces


class Base(gymnasium.Env):
    observation_space = spaces.Box(-1, 1, (2,), np.float32)
    action_space = spaces.Discrete(2)
    limit = 5

    def obs(self):
        return np.array([self.time / 10, self.np_random.uniform(-0.1, 0.0)], np.float32)

    def reward(self, action):
        assert self.action_space.contains(action), f"{action!r} is not in {self.action_space}"
        return 0.0

    def info(self):
        return {}

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.time = 0
        return self.obs(), self.info()

    def step(self, action):
        self.time += 1
        reward = self.reward(action)
        return self.obs(), reward, False, self.time >= self.limit, self.info()


def with_actions(space):
    return type("Acts", (Base,), {"action_space": space})


Steer = with_actions(spaces.Box(-0.5, 0.7, (1,), np.float32))
Doubles = with_actions(spaces.Box(np.array([0.1, -1e6]), np.array([0.3, 1.0]), dtype=np.float64))
Whole = with_actions(spaces.Box(0, 10, (1,), np.int32))
Halves = with_actions(spaces.Box(-0.3, 0.7, (2,), np.float16))
HalfOpen = with_actions(
    spaces.Box(
        np.array([-1, 5, -np.inf, -np.inf], np.float32),
        np.array([3, np.inf, 2, np.inf], np.float32),
    )
)
LargestFloats = with_actions(
    spaces.Box(np.finfo(np.float32).min, np.finfo(np.float32).max, (2,), np.float32)
)
Choices = with_actions(spaces.Dict({"b": spaces.Discrete(3, start=-1), "a": spaces.MultiBinary(2)}))
Numbers = with_actions(spaces.Tuple((spaces.Box(-2, 2, (2, 1)), spaces.Box(0, 1, (1,)))))


class Hybrid(Base):
    """The gear 2 and a push of 0.5 are worth 2."""

    action_space = spaces.Dict({"push": spaces.Box(-1, 1, (1,)), "gear": spaces.Discrete(3)})

    def reward(self, action):
        super().reward(action)
        return float(action["gear"] == 2) + 1.0 - 2.0 * abs(float(action["push"][0]) - 0.5)


class Nested(Base):
    observation_space = spaces.Dict(
        {
            "robot": spaces.Dict({"at": spaces.Box(-1, 1, (2,)), "gear": spaces.Discrete(3)}),
            "goal": spaces.Tuple((spaces.Box(-5, 5, (1,)), spaces.MultiBinary(2))),
            "mission": spaces.Text(30),
        }
    )

    def obs(self):
        return {
            "robot": {"at": np.array([0.5, -0.5], np.float32), "gear": 2},
            "goal": (np.array([self.time], np.float32), np.array([1, 0], np.int8)),
            "mission": "go",
        }


class Matrix(Base):
    observation_space = spaces.Box(0, 255, (3, 4), np.uint8)

    def obs(self):
        return np.arange(12, dtype=np.uint8).reshape(3, 4) + np.uint8(self.time)


class ChannelsFirst(Base):
    observation_space = spaces.Box(0, 255, (2, 5, 6), np.uint8)

    def obs(self):
        return np.arange(60, dtype=np.uint8).reshape(2, 5, 6)


class FourAxes(Base):
    observation_space = spaces.Box(0, 1, (2, 3, 4, 5), np.float32)

    def obs(self):
        return np.zeros((2, 3, 4, 5), np.float32)


class Leaves(Base):
    """Leaves its bounds in its third step."""

    def obs(self):
        return np.array([0.0, 1.5 if self.time == 3 else 0.5], np.float32)


class Methodical(Base):
    """Says by a method which actions are legal."""

    action_space = spaces.MultiDiscrete([2, 3])

    def action_masks(self):
        return np.array([True, self.time % 2 == 0, False, True, True])

    def reward(self, action):
        odd = self.time % 2 == 0  # when the action was chosen
        assert action[1] != 0 and not (odd and action[0] == 1), f"{action} is not legal"
        return 1.0


class WrongMask(Methodical):
    def action_masks(self):
        return np.ones(4, bool)


class NoChoice(Methodical):
    def action_masks(self):
        return super().action_masks() & (self.time != 2)


class MaskBesideParts(Base):
    """A Dict of observations, with the mask in `info`."""

    observation_space = spaces.Dict({"x": spaces.Box(-1, 1, (2,))})

    def obs(self):
        return {"x": super().obs()}

    def info(self):
        return {"action_mask": np.array([0, 1], np.int8)}

    def reward(self, action):
        assert action == 1, "not legal"
        return 1.0


class Stale(Base):
    """The same array again, and no seed."""

    buffer = np.zeros(2, np.float32)

    def obs(self):
        self.buffer[:] = np.random.uniform(-1, 1, 2)
        return self.buffer


class Breaks(Base):
    def reward(self, action):
        return {}["wheel"]


if "Package-v0" not in gymnasium.registry:
    gymnasium.register("Package-v0", entry_point=Steer, max_episode_steps=5)


class Pictured(Nested):
    """Nested observations and hybrid actions of an environment that is drawn."""

    metadata = {"render_modes": ["rgb_array"], "render_fps": 10}
    action_space = Hybrid.action_space

    def __init__(self, render_mode=None):
        self.render_mode = render_mode

    def render(self):
        return np.full((8, 8, 3), 40 * self.time, np.uint8)
