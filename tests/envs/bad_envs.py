"""Environments with one fault each, and two sound ones that can be told apart row by row."""

import os
import time

import gymnasium
import numpy as np
from gymnasium import spaces


class Counting(gymnasium.Env):
    """Sees its seed's own number, the number of the episode and that of the step."""

    observation_space = spaces.Box(0, 2**31, (3,), np.float64)
    action_space = spaces.Discrete(5, start=2)

    def __init__(self, length=7, cut=True):
        self.length, self.cut, self.episode, self.mark = length, cut, 0, 0

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        if seed is not None:
            self.mark, self.episode = int(self.np_random.integers(1 << 20)), 0
        self.episode, self.time = self.episode + 1, 0
        return self.obs(), {}

    def obs(self):
        return np.array([self.mark, self.episode, self.time], np.float64)

    def step(self, action):
        self.time += 1
        done = self.time == self.length
        return self.obs(), float(action), done and not self.cut, done, {}


class Sound(gymnasium.Env):
    observation_space = spaces.Box(-10, 10, (4,), np.float32)
    action_space = spaces.Discrete(2)
    fault_step = 1

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.time = 0
        return np.zeros(self.observation_space.shape, self.observation_space.dtype), {}

    def step(self, action):
        self.time += 1
        answer = [np.zeros(4, np.float32), 1.0, False, False, {}]
        return tuple(self.spoilt(answer)) if self.time == self.fault_step else tuple(answer)

    def spoilt(self, answer):
        return answer


def with_entry(index, value):
    """A class whose first step answers with `value` at this place."""

    def spoilt(self, answer):
        answer[index] = value
        return answer

    return type("Spoilt", (Sound,), {"spoilt": spoilt})


def nan_at(place, step, value=np.nan):
    def spoilt(self, answer):
        answer[0][place] = value
        return answer

    return type("Spoilt", (Sound,), {"spoilt": spoilt, "fault_step": step})


class RaisesInInit(Sound):
    def __init__(self):
        raise ValueError("no such level")


class RaisesInReset(Sound):
    def reset(self, *, seed=None, options=None):
        raise ValueError("no map")


class RaisesInStep1(Sound):
    def spoilt(self, answer):
        raise KeyError("wheel")


class RaisesForSeed13(Counting):
    def step(self, action):
        if self.np_random_seed == 13 and self.time == 4:
            raise RuntimeError("out of luck\nsecond line")
        return super().step(action)


class KillsItself(Counting):
    """Dies at step 5 of its first episode, but not with another seed than 11."""

    def step(self, action):
        if self.np_random_seed == 11 and self.time == 4:
            os.kill(os.getpid(), 9)
        return super().step(action)


class RaisesInStep50(RaisesInStep1):
    fault_step = 50


class HangsInStep(Sound):
    def spoilt(self, answer):
        time.sleep(1000)


class HangsInReset(Sound):
    def reset(self, *, seed=None, options=None):
        time.sleep(1000)


class DiesInStep1(Sound):
    def spoilt(self, answer):
        os._exit(7)


class DiesInStep4(DiesInStep1):
    fault_step = 4


class DiesInReset(Sound):
    def reset(self, *, seed=None, options=None):
        os._exit(9)


class NoInfo(Sound):
    def reset(self, *, seed=None, options=None):
        return np.zeros(4, np.float32)


class Stale(Sound):
    def __init__(self):
        self.buffer = np.zeros(4, np.float32)

    def step(self, action):
        self.time += 1
        self.buffer[0] = 0.001 * self.time
        return self.buffer, 0.0, False, False, {}


class Unseeded(Sound):
    def step(self, action):
        return np.random.default_rng().uniform(size=4).astype(np.float32), 0.0, False, False, {}


class FirstChannels(Sound):
    observation_space = spaces.Box(0, 255, (3, 32, 32), np.uint8)

    def step(self, action):
        return np.zeros((3, 32, 32), np.uint8), 0.0, False, False, {}


class Unbounded(Sound):
    action_space = spaces.Box(-np.inf, np.inf, (2,))


class Texts(Sound):
    observation_space = spaces.Text(30)


class Parts(Sound):
    """A dict observation with a mask, and a MultiDiscrete action whose choices start at 1."""

    observation_space = spaces.Dict(
        {"place": spaces.Box(-1, 1, (2,)), "action_mask": spaces.MultiBinary(7)}
    )
    action_space = spaces.MultiDiscrete([3, 4], start=[1, 1])

    def obs(self):
        mask = np.array([1, 0, 1, 1, 1, 1, 1], np.int8)
        return {"place": np.full(2, 0.5, np.float32), "action_mask": mask}

    def reset(self, *, seed=None, options=None):
        return self.obs(), {}

    def step(self, action):
        return self.obs(), float(10 * action[0] + action[1]), False, False, {}


class Masked(Sound):
    """A mask in `info`, and a Discrete observation that starts at 5."""

    observation_space = spaces.Discrete(3, start=5)

    def reset(self, *, seed=None, options=None):
        return 5, {"action_mask": np.array([True, False])}

    def step(self, action):
        return 7, 0.0, False, False, {"action_mask": np.array([False, True])}


WrongShape = with_entry(0, np.zeros(3, np.float32))
WrongDtype = with_entry(0, np.zeros(4, np.int64))
NotAnArray = with_entry(0, [0.0] * 4)
Nothing = with_entry(0, None)
ArrayReward = with_entry(1, np.zeros(1))
TextReward = with_entry(1, "good")
NoneReward = with_entry(1, None)
NanReward = with_entry(1, np.nan)
InfiniteReward = with_entry(1, -np.inf)
TextFlag = with_entry(2, "no")
NoneFlag = with_entry(3, None)
ListInfo = with_entry(4, [])
NanObs = nan_at(3, 1)
LateInfObs = nan_at(2, 20, np.inf)


class FourTuple(Sound):
    def spoilt(self, answer):
        return answer[:4]
