"""Workers of Ray: what they collect is whole, had once, and goes on when one of them dies."""

import dataclasses
import importlib.util
import itertools
import time
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from twin import ALGORITHMS, Stamp, assert_same, copied, keys, tiny

from spinward.core import Box, Discrete, Policy, Spec, Step, Transition, replace
from spinward.envs import ids
from spinward.errors import EnvironmentFailedError, SettingsError
from spinward.experience import workers
from spinward.experience.vector import Vector
from spinward.experience.workers import Worker, Workers, merged
from spinward.loop import Parts
from spinward.networks.normaliser import Statistics
from spinward.networks.per_env import ENV_INDEX
from spinward.programs.choose import program
from spinward.rewards.count import Count
from spinward.rewards.environment import Environment
from spinward.rewards.rnd import RND
from spinward.run.assemble import assemble
from spinward.run.experiment import Experiment

PPO, A2C = ALGORITHMS["ppo"], ALGORITHMS["a2c"]
ENVS, STEPS, SEEDS, KEY = 4, 6, 2, jax.random.PRNGKey(0)
needs_ray = pytest.mark.skipif(
    importlib.util.find_spec("ray") is None, reason="Ray is not installed"
)


@dataclasses.dataclass(frozen=True)
class Named:
    """`Stamp` on a host: each environment sees a name of its own, drawn from its seed, and how
    many steps it has made. A step takes `step_s`; at the step `fails` it raises."""

    step_s: float = 0.0
    fails: int = -1

    @property
    def spec(self):
        return Spec(Box((2,)), Discrete(2))

    def open(self, envs):
        return NamedStepper(self)


class NamedStepper:
    def __init__(self, env):
        self.env = env

    def reset(self, seeds):
        self.name, self.time = seeds % (1 << 20), np.zeros(len(seeds))
        return self.obs()

    def obs(self):
        return np.stack([self.name, self.time], 1).astype(np.float32)

    def step(self, action):
        time.sleep(self.env.step_s)
        self.time = self.time + 1
        if self.time[0] == self.env.fails:
            raise EnvironmentFailedError("it fell over")
        no, one = np.zeros(len(self.time), bool), np.ones(len(self.time), np.float32)
        return Step(self.obs(), one, no, no, self.obs(), one)

    def close(self):
        pass


def agent_of(algorithm, env):
    return jax.jit(jax.vmap(lambda k: algorithm.init(k, env.spec)))(keys(SEEDS))


@pytest.mark.parametrize("env", [Named(), Stamp()], ids=["on a host", "in JAX"])
def test_a_worker_collects_the_batches_of_its_environments_one_after_another(env):
    algorithm = tiny(A2C)
    worker, agent = Worker(lambda: env, algorithm, ENVS, STEPS), agent_of(algorithm, env)
    batches = [worker.collect(agent, keys(SEEDS, i), keys(SEEDS, 100))[0] for i in range(2)]
    whole = np.concatenate([b.obs for b in batches], 1)
    assert whole.shape == (SEEDS, 2 * STEPS, ENVS, 2) and type(whole) is np.ndarray
    assert (whole[..., 0] == whole[:, :1, :, 0]).all()
    assert (whole[..., 1] == np.arange(2 * STEPS)[:, None]).all()
    assert len(np.unique(whole[..., 0])) == SEEDS * ENVS  # no two see the same


def test_a_worker_on_a_host_is_a_vector_with_the_same_keys():
    algorithm, env = tiny(A2C), Named()
    agent, vector = agent_of(algorithm, env), Vector(env, ENVS, STEPS)
    act, memory = jax.jit(jax.vmap(algorithm.act)), jax.vmap(algorithm.memory, (0, None))
    policy = Policy(partial(act, agent), partial(memory, agent))
    state = vector.init(keys(SEEDS, 5), policy.memory(ENVS))
    _, expected, _ = vector.collect(state, policy, keys(SEEDS, 9))
    worker = Worker(lambda: env, algorithm, ENVS, STEPS)
    batch, _ = worker.collect(agent, keys(SEEDS, 9), keys(SEEDS, 5))
    assert_same(batch, copied(expected), atol=1e-6)


def test_the_step_size_falls_with_the_steps_learned_from_and_not_with_those_of_all_workers():
    algorithm = tiny(A2C, rollout=STEPS, anneal_steps=STEPS * ENVS)
    agent = agent_of(algorithm, Named())
    worker = Worker(Named, algorithm, ENVS // 2, STEPS)
    batch, _ = worker.collect(agent, keys(SEEDS), keys(SEEDS))
    update = jax.jit(jax.vmap(algorithm.update))
    for updates, moves in ((1, True), (2, False)):  # half of the steps, and all of them
        late = replace(agent, updates=np.full(SEEDS, updates, np.int32))
        after, _ = update(late, batch, keys(SEEDS))
        changed = jax.tree.map(lambda a, b: bool((a != b).any()), late.learner.model,
                               after.learner.model)  # fmt: skip
        assert any(jax.tree.leaves(changed)) == moves


def test_episodes_of_several_workers_are_averaged_over_episodes():
    one = {"episodes": np.array([1, 0]), "episode_return": np.array([4.0, 0.0]),
           "episode_length": np.array([8.0, 0.0])}  # fmt: skip
    two = {"episodes": np.array([3, 0]), "episode_return": np.array([8.0, 0.0]),
           "episode_length": np.array([4.0, 0.0])}  # fmt: skip
    found = merged((one, two))
    expected = {"episodes": [4, 0], "episode_return": [7.0, 0.0], "episode_length": [5.0, 0.0]}
    assert {k: v.tolist() for k, v in found.items()} == expected


class OneByOne:
    """A staff of workers whose batches come in turn, each of its own environments."""

    def __init__(self, batches):
        self.batches, self.turn = batches, -1

    def publish(self, agent):
        pass

    def idle(self):
        return []

    def first(self):
        self.turn = (self.turn + 1) % len(self.batches)
        return self.turn

    def answer(self, worker):
        none = {"episodes": np.zeros(1), "episode_return": np.zeros(1),
                "episode_length": np.zeros(1)}  # fmt: skip
        return self.batches[worker].pop(0), none, 0


@pytest.mark.slow
def test_state_of_environments_is_not_shared_between_workers_that_come_as_they_are_done():
    random, share, spec = np.random.default_rng(0), ENVS // 2, replace(Stamp().spec, envs=ENVS)
    place = random.integers(3, size=(1, 2 * STEPS, ENVS, 2)).astype(np.float32)
    number = place[..., 0]
    no = np.zeros(number.shape, bool)
    whole = Transition(place, number, number, no, no, place, number * 0 + 1, {})

    def part(start, first):
        return jax.tree.map(lambda x: x[:, start : start + STEPS, first : first + share], whole)

    source = Workers(ENVS, STEPS, Stamp, tiny(A2C), 2, first_come=True)
    pool = OneByOne([[part(t, first) for t in (0, STEPS)] for first in (0, share)])
    object.__setattr__(source, "pool", pool)
    arrived = [source.collect((), Policy(None, None), None)[1] for _ in range(4)]
    arrived = [jax.tree.map(lambda x: jnp.asarray(x[0]), batch) for batch in arrived]
    alike = jax.tree.map(lambda x: jnp.asarray(x[0]), whole)

    counts = Count(episodic=True)
    state, labels = counts.init(KEY, spec), []
    for batch in arrived:
        state, labelled, _ = counts.label(state, batch, KEY)
        labels.append(labelled.extras["bonus"])
    _, expected, _ = counts.label(counts.init(KEY, spec), alike, KEY)
    halves = [jnp.concatenate(labels[i::2]) for i in range(2)]
    np.testing.assert_allclose(jnp.concatenate(halves, 1), expected.extras["bonus"])

    for start, held in (
        (Statistics.init(spec), lambda s, b: s.read(b, 0.9, False, True)[1]),
        (RND().init(KEY, spec), lambda s, b: RND(lr=0.0).label(s, b, KEY)[0]),
    ):
        after = start
        for batch in arrived:
            before, after = after, held(after, batch)
            mine = np.asarray(batch.extras[ENV_INDEX][0])
            others = np.setdiff1d(np.arange(ENVS), mine)
            total, was = (np.asarray(total_of(x)) for x in (after, before))
            assert (total[others] == was[others]).all() and (total[mine] != was[mine]).all()


def total_of(state):
    return state.reward.total if isinstance(state, Statistics) else state.total


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"workers": 3}, "workers=3 does not divide envs=8"),
        ({"workers": -1}, "workers=-1 must be at least 1"),
        ({"first_come": True}, "workers=0 must be at least 1"),
        ({"workers": 2, "first_come": True}, "PPO does not correct"),
        ({"workers": 2, "log_data": True}, "cannot be used with data or log_data"),
        ({"workers": 2, "algorithm": ALGORITHMS["dqn"]()}, "the replay of DQN"),
    ],
    ids=["share", "negative", "nobody", "lag", "data", "replay"],
)
def test_workers_that_cannot_work_are_refused_before_anything_starts(settings, said):
    with pytest.raises(SettingsError, match=said):
        whole = {"algorithm": PPO(), "env": "CartPole-v1", "steps": 100, **settings}
        assert assemble(Experiment(**whole)).parts
    assert assemble(Experiment(A2C(), "CartPole-v1", 100, workers=2, first_come=True)).parts


def test_without_ray_one_is_told_what_to_install(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(SettingsError, match=r"pip install -e '\.\[ray\]'"):
        workers.require_ray()


def test_a_cluster_that_does_not_answer_is_named_and_its_token_asked_for(monkeypatch):
    class Closed:
        @staticmethod
        def init(**settings):
            raise ConnectionError("Failed to connect to Ray cluster at 10.0.0.1:6379")

    monkeypatch.setenv("RAY_ADDRESS", "head:6379")
    with pytest.raises(SettingsError, match=r"head:6379: Failed to .*set RAY_AUTH_MODE=token"):
        workers.start(Closed, 2)


@pytest.fixture(scope="module")
def ray():
    ray = workers.require_ray()
    patch = pytest.MonkeyPatch()
    patch.setenv("PYTHONPATH", str(Path(__file__).parent))  # where actors find this file
    ray.init(num_cpus=2, include_dashboard=False, object_store_memory=2**27, log_to_driver=False,
             logging_level="ERROR", configure_logging=False)  # fmt: skip
    yield ray
    ray.shutdown()
    patch.undo()


def staffed(algorithm, env, first_come=False):
    """A source with two workers, begun, and a policy for it."""
    make = (
        partial(ids.make, env) if isinstance(env, str) else partial(type(env), *vars(env).values())
    )
    source = Workers(ENVS, STEPS, make, algorithm, 2, first_come)
    source.init(keys(SEEDS), ())
    return source, Policy(None, None, agent_of(algorithm, source))


def steps_of(batch):
    """Every step of a batch, as (seed, name of the environment, its time)."""
    seed = np.broadcast_to(np.arange(SEEDS)[:, None, None], batch.reward.shape)
    return list(zip(*(x.reshape(-1).tolist() for x in (seed, batch.obs[..., 0], batch.obs[..., 1])),
                    strict=True))  # fmt: skip


@needs_ray
def test_a_killed_worker_is_replaced_and_no_step_is_torn_or_counted_twice(ray):
    source, policy = staffed(tiny(A2C), Named(step_s=0.01))
    seen, names = [], []
    try:
        for i in range(8):
            if i in (2, 5):
                ray.kill(source.pool.actors[i % 2])  # between two batches
            if i in (3, 6):  # in the middle of one
                source.pool.publish(policy.agent)
                source.pool.ask(0, workers.numbered(keys(SEEDS, i), 0))
                time.sleep(0.03)
                ray.kill(source.pool.actors[0])
            _, batch, _ = source.collect((), policy, keys(SEEDS, i))
            assert batch.obs.shape == (SEEDS, STEPS, ENVS, 2)
            first = batch.obs[:, :1]
            assert (batch.obs[..., 0] == first[..., 0]).all()  # rows are of one environment
            assert (batch.obs[..., 1] - first[..., 1] == np.arange(STEPS)[:, None]).all()
            assert (batch.next_obs[..., 1] == batch.obs[..., 1] + 1).all()
            seen += steps_of(batch)
            names.append(first[..., 0])
    finally:
        source.close()
    assert source.pool.losses == 4
    assert len(set(seen)) == len(seen) == 8 * SEEDS * STEPS * ENVS
    changed = [(a != b).reshape(SEEDS, 2, -1).all((0, 2)).tolist()
               for a, b in itertools.pairwise(names)]  # fmt: skip
    none, left, right = [False, False], [True, False], [False, True]
    assert changed == [none, left, left, none, right, left, none]


@needs_ray
def test_batches_come_first_from_whoever_is_done_and_tell_how_old_their_policy_is(ray):
    source, policy = staffed(tiny(A2C), Named(step_s=0.002), first_come=True)
    seen, lags = [], []
    assert source.spec.envs == ENVS and source.stride == STEPS * ENVS // 2
    try:
        for i in range(12):
            if i == 5:
                ray.kill(source.pool.actors[0])
            _, batch, metrics = source.collect((), policy, keys(SEEDS, i))
            assert batch.obs.shape == (SEEDS, STEPS, ENVS // 2, 2)
            seen += steps_of(batch)
            lags += metrics["lag"].tolist()
    finally:
        source.close()
    assert len(set(seen)) == len(seen) == 12 * SEEDS * STEPS * ENVS // 2
    assert len({name for _, name, _ in seen}) >= SEEDS * ENVS  # of both workers
    assert lags[:2] == [0.0, 0.0] and 0 < max(lags) < 12


@needs_ray
def test_a_run_with_workers_repeats_itself_and_learns_what_it_is_worth(ray):
    algorithm = tiny(A2C, gamma=0.9, lr=1e-2)
    agents = []
    for _ in range(2):
        source = Workers(ENVS, STEPS, partial(ids.make, "Probe-Value"), algorithm, 2)
        run = program(Parts(algorithm, source, Environment()))
        state, metrics = run.advance(run.start(keys(SEEDS)), 60)
        run.close()
        agents.append(copied(state.agent))
    assert_same(*agents)
    assert (metrics["episodes"] == ENVS * STEPS).all() and (metrics["episode_return"] == 1).all()
    assert (metrics["value_loss"][:, -1] < 0.5 * metrics["value_loss"][:, 0]).all()


@needs_ray
@pytest.mark.parametrize("fails", [3, 2 * STEPS])
def test_what_an_environment_says_in_a_worker_is_what_a_run_ends_with(ray, fails):
    source, policy = staffed(tiny(A2C), Named(fails=fails))
    try:
        with pytest.raises(EnvironmentFailedError, match="it fell over"):
            for i in range(3):
                source.collect((), policy, keys(SEEDS, i))
    finally:
        source.close()


@needs_ray
def test_a_worker_that_keeps_dying_ends_the_run(ray):
    source, policy = staffed(tiny(A2C), Named(step_s=0.01))
    killed = source.pool.actor

    def dying():
        actor = killed()
        ray.kill(actor)
        return actor

    source.pool.actor = dying
    ray.kill(source.pool.actors[1])
    try:
        with pytest.raises(EnvironmentFailedError, match="worker 1 died 5 times in a row"):
            source.collect((), policy, keys(SEEDS))
    finally:
        source.close()
