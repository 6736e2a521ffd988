"""Tiny parts for tests: environments whose every step can be foretold, and an algorithm to break.

It is no test file; tests import it by name.
"""

import dataclasses
import functools
import pkgutil
from functools import partial
from importlib import import_module

import jax
import jax.numpy as jnp
import numpy as np

import spinward.algorithms
from spinward.core import Box, Discrete, Hybrid, Spec, Step, Transition, config, no_memory, struct
from spinward.envs.cartpole import CartPole
from spinward.envs.connect import tic_tac_toe
from spinward.envs.pendulum import Pendulum
from spinward.envs.text import PAD, token_spec
from spinward.errors import SettingsError
from spinward.experience.material import Data, source_for
from spinward.experience.texts import TextBatches
from spinward.experience.wanted import Logged, Prompts, Rollouts, Texts
from spinward.language.rows import steps
from spinward.learning.steps import Learner, adam, descend
from spinward.loop import Parts
from spinward.networks.decoder import Decoder, Shape
from spinward.rewards.environment import Environment
from spinward.store.settings import only_config

SMALL = {
    "envs": 4,
    "rollout": 4,
    "updates": 2,
    "batch": 8,
    "capacity": 64,
    "warmup": 16,
    "epochs": 2,
    "minibatches": 2,
    "value_minibatches": 2,
    "target_every": 3,
    "hidden": (8,),
    "burn_in": 1,
    "trace": 2,
    "policies": 2,
    "models": 2,
    "imagined": 4,
    "horizon": 4,
    "elites": 2,
    "real": 2,
    "window": 2,
    "model_hidden": (8,),
    "lives": 4,
    "novelty_width": 8,
    "memories": 16,
    "simulations": 4,
}
WRITING = {"width": 8, "layers": 1, "heads": 2, "context": 8, "group": 2, "lr": 1e-4}  # on texts
SEQUENCES = {"width": 8, "layers": 1, "heads": 1, "context": 6, "bins": 5, "plans": 2}
ALGORITHMS = {
    m.name: only_config(import_module(f"spinward.algorithms.{m.name}"))
    for m in pkgutil.iter_modules(spinward.algorithms.__path__)
}


def tiny(kind, **settings):
    """An algorithm with settings that make it quick, as far as it has them."""
    names = {field.name for field in dataclasses.fields(kind)}
    chosen = SMALL | (WRITING | {"start": language_model()} if "start" in names else {})
    chosen |= SEQUENCES if "context" in names and "start" not in names else {}
    chosen |= {"game": tic_tac_toe()} if "game" in names else {}
    return kind(**{k: v for k, v in (chosen | settings).items() if k in names})


@partial(jax.jit, static_argnums=1)
def first(algorithm, spec, key):
    """The agent that an algorithm begins with, made by one program."""
    return algorithm.init(key, spec)


@functools.cache
def language_model():
    """A decoder for `Letters`, with one layer."""
    shape = Shape.small(LETTERS, width=8, layers=1, heads=2, context=8)
    return jax.jit(lambda key: Decoder.init(key, shape))(jax.random.PRNGKey(0))


def needs_data(kind):
    return "envs" not in {field.name for field in dataclasses.fields(kind)}


def logged(rows=200):
    """Arrays of a data set for CartPole, in which the action is the sign of the angle."""
    random = np.random.default_rng(0)
    obs = random.normal(size=(rows, 4)).astype(np.float32)
    flags = random.random((2, rows)) < 0.1
    return {
        "obs": obs,
        "action": (obs[:, 2] > 0).astype(np.int32),
        "reward": np.ones(rows, np.float32),
        "terminated": flags[0],
        "truncated": flags[1] & ~flags[0],
        "next_obs": obs + 0.1,
    }


@config
class GearAndPush:
    """One step: the gear 2 is worth 1, and so is a push of 0.5 within -2 to 2."""

    spec = Spec(Box((1,), 0.0, 1.0), Hybrid((3,), Box((1,), -2.0, 2.0)))

    def reset(self, key):
        return jnp.int32(0), jnp.ones(1)

    def step(self, state, action, key):
        reward = (action[0] == 2.0) + 1.0 - jnp.square(action[1] - 0.5)
        return state, jnp.ones(1), jnp.float32(reward), jnp.bool_(True), jnp.bool_(False)


LETTERS = 6


@config
class Letters:
    """Writing letters, of which 1 is the end; the score is the share of letters that are 5. Every
    other prompt is short."""

    prompt: int = 2
    end: int = 1
    vocabulary: None = None

    @property
    def spec(self):
        return token_spec(LETTERS)

    def reset(self, key):
        first, last = jax.random.randint(key, (2,), 2, LETTERS)
        return (), jnp.stack([jnp.where(first < 4, PAD, first), last])

    def score(self, state, completion):
        return (completion == 5).sum() / jnp.maximum((completion != PAD).sum(), 1)


def written(ranked, rows=20):
    """Texts of three random letters, so many for each row; the first of a row ends with 5."""
    letters = np.random.default_rng(0).integers(2, LETTERS, (rows, ranked, 4)).astype(np.int32)
    letters[:, 0, 3] = 5
    weight = np.broadcast_to(np.arange(1, 4) > 1, (rows, ranked, 3)).astype(np.float32)
    return TextBatches(steps(letters, weight), Letters().spec)


def parts(algorithm, env=None):
    """The loop's parts around an algorithm, with what fits it if no env is given."""
    want = algorithm.wants(CartPole().spec)
    if env is None and isinstance(want, Texts):
        env = written(2 if want.kind == "pairs" else 1)
    if env is None and isinstance(want, Prompts):
        env = Letters()
    if env is None and isinstance(want, Logged):
        data = Transition(**logged(), weight=np.ones(200, np.float32), extras={})
        env = Data(data, CartPole().spec)
    env = env or home(algorithm)
    texts = env if isinstance(env, TextBatches) else None
    data = env if isinstance(env, Data) else None
    source = source_for(algorithm.wants(env.spec), env, data, texts)
    return Parts(algorithm, source, Environment())


def home(algorithm):
    """CartPole, or what an algorithm does not refuse: Pendulum, a gear and a push, or a game for
    two."""
    for env in (CartPole(), Pendulum(), GearAndPush()):
        try:
            algorithm.check(env.spec)
        except SettingsError:
            continue
        return env
    return tic_tac_toe()


def keys(seeds, first=0):
    return jax.vmap(jax.random.PRNGKey)(np.arange(first, first + seeds))


def copied(tree):
    """NumPy arrays that survive the donation of the ones they are copied from."""
    return jax.tree.map(np.array, tree)


def assert_same(one, other, atol=None):
    """Equal leaf by leaf: to the last bit, or within `atol`."""
    assert jax.tree.structure(one) == jax.tree.structure(other)
    for (path, a), b in zip(
        jax.tree_util.tree_leaves_with_path(one), jax.tree.leaves(other), strict=True
    ):
        a, b, name = np.asarray(a), np.asarray(b), jax.tree_util.keystr(path)
        assert a.shape == b.shape and a.dtype == b.dtype, name
        if atol is None or a.dtype.kind in "iub":
            assert a.tobytes() == b.tobytes(), name
        else:
            np.testing.assert_allclose(a, b, rtol=atol, atol=atol, err_msg=name)


CLOCK = Spec(Box((2,), 0.0, 9.0), Discrete(2))


@struct
class ClockState:
    time: jax.Array


@config
class Clock:
    """Sees the time and the last action. Terminates after 3 steps if the third action is 1, and
    is truncated after 5. Every reset is the same."""

    @property
    def spec(self):
        return CLOCK

    def reset(self, key):
        return ClockState(jnp.int32(0)), jnp.zeros(2)

    def step(self, state, action, key):
        time = state.time + 1
        obs = jnp.stack([time, action]).astype(jnp.float32)
        reward = time + 0.5 * action
        return ClockState(time), obs, reward, *clock_ends(time, action)


def clock_ends(time, action):
    return (time == 3) & (action == 1), time >= 5


@dataclasses.dataclass(frozen=True)
class HostClock:
    """`Clock` on the host."""

    @property
    def spec(self):
        return CLOCK

    def open(self, envs):
        return ClockStepper(np.zeros(envs, np.int32))


class ClockStepper:
    def __init__(self, time):
        self.time, self.closed = time, False

    def reset(self, seeds):
        self.time[:] = 0
        return np.zeros((len(self.time), 2), np.float32)

    def step(self, action):
        time = self.time + 1
        next_obs = np.stack([time, action], 1).astype(np.float32)
        terminated, truncated = clock_ends(time, action)
        done = terminated | truncated
        self.time = np.where(done, 0, time)
        obs = np.where(done[:, None], np.float32(0), next_obs)
        reward = (time + 0.5 * action).astype(np.float32)
        weight = np.ones(len(time), np.float32)
        return Step(obs, reward, terminated, truncated, next_obs, weight)

    def close(self):
        self.closed = True


@struct
class StampState:
    name: jax.Array
    time: jax.Array


@config
class Stamp:
    """Sees a random name of its own, which it keeps, and the time. It breaks at the time `breaks`:
    then entry 1 of what is seen, or the reward, is the number `value` names."""

    breaks: int = 1_000_000
    broken: str = ""
    value: str = "nan"
    spread: int = 0  # names below it are added to the time at which it starts

    @property
    def spec(self):
        return Spec(Box((2,)), Discrete(2))

    def reset(self, key):
        name = jax.random.randint(key, (), 0, 1 << 20)
        time = name % self.spread if self.spread else jnp.int32(0)
        return StampState(name, time), self.obs(name, time)

    def obs(self, name, time):
        return jnp.stack([name, time]).astype(jnp.float32)

    def step(self, state, action, key):
        time = state.time + 1
        bad = time == self.breaks
        obs, reward = self.obs(state.name, time), jnp.float32(1.0)
        if self.broken == "obs":
            obs = jnp.where(bad, obs.at[1].set(float(self.value)), obs)
        if self.broken == "reward":
            reward = jnp.where(bad, float(self.value), reward)
        state = StampState(state.name, time)
        return state, obs, reward, jnp.bool_(False), jnp.bool_(False)


@config
class BreaksObs(Stamp):
    breaks: int = 60
    broken: str = "obs"
    spread: int = 30


@config
class BreaksWarmUp(Stamp):
    breaks: int = 2
    broken: str = "obs"


@config
class BreaksReward(Stamp):
    breaks: int = 60
    broken: str = "reward"
    value: str = "inf"
    spread: int = 30


@dataclasses.dataclass(frozen=True)
class HostStamp:
    """A host environment whose steps never end and never fail."""

    @property
    def spec(self):
        return CLOCK

    def open(self, envs):
        return StampStepper(envs)


class StampStepper:
    def __init__(self, envs):
        self.obs = np.zeros((envs, 2), np.float32)
        self.no = np.zeros(envs, bool)
        self.one = np.ones(envs, np.float32)

    def reset(self, seeds):
        return self.obs

    def step(self, action):
        return Step(self.obs, self.one, self.no, self.no, self.obs, self.one)

    def close(self):
        pass


@struct
class SickAgent:
    learner: Learner
    updates: jax.Array


@config
class Sick:
    """Falls ill in its update number `at`: in its loss, its gradient or a parameter."""

    at: int = 5
    ill: str = ""
    envs: int = 4
    rollout: int = 8

    memory = staticmethod(no_memory)

    def check(self, spec):
        pass

    def wants(self, spec):
        return Rollouts(self.envs, self.rollout)

    def init(self, key, spec):
        model = {"w": jax.random.uniform(key, (3,)) + 2.0}
        return SickAgent(Learner.init(model, adam(1e-3)), jnp.int32(0))

    def act(self, agent, obs, memory, key, explore=True):
        return jnp.zeros(obs.shape[0], jnp.int32), memory, {}

    def update(self, agent, batch, key):
        bad = agent.updates == self.at
        learner, metrics = descend(partial(self.loss, bad=bad), adam(1e-3), agent.learner)
        if self.ill == "parameter":
            w = learner.model["w"]
            learner = Learner({"w": w.at[1].set(jnp.where(bad, jnp.inf, w[1]))}, learner.opt_state)
        return SickAgent(learner, agent.updates + 1), metrics

    def loss(self, model, bad):
        value = jnp.square(model["w"]).sum()
        if self.ill == "loss":
            value = value + jnp.where(bad, jnp.nan, 0.0)
        if self.ill == "gradient":  # the square root of 0, whose slope is infinite
            value = jnp.sqrt(jnp.where(bad, 0.0, 1.0) * value)
        return value, {}
