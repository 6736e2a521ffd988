"""What every algorithm must do; they are found by walking `spinward.algorithms`."""

from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from twin import ALGORITHMS, assert_same, copied, keys, parts, tiny

from spinward.core import Box, Discrete, Spec, config, replace
from spinward.envs import probe
from spinward.errors import SettingsError
from spinward.experience.material import source_for
from spinward.learning.steps import Learner
from spinward.loop import Parts, system
from spinward.programs.choose import program
from spinward.rewards.environment import Environment
from spinward.store import checkpoint

DOCS = Path(__file__).parent.parent / "docs" / "algorithms"
ITERATIONS = 2
# As the loop compiles what it repeats: at another level bits are rounded elsewhere.
ALIKE = {"xla_backend_optimization_level": 1} if jax.default_backend() == "cpu" else {}
# One of each kind in every run of the tests; the others, which take minutes, are slow tests.
ALONE = [
    n if n in ("ppo", "dqn", "td3", "sft") else pytest.param(n, marks=pytest.mark.slow)
    for n in ALGORITHMS
]
# Minutes to compile, or near kin of another: among the slow tests.
LATER = {"lpg_meta", "mb_mpo", "ngu", "r2d2", "c51", "qr_dqn", "ensemble_dqn", "awac", "bcq"}
LATER |= {
    "bcq_discrete",
    "td3_bc",
    "ppo_penalty",
    "ddpg",
    "sac_discrete",
    "sac_hybrid",
    "mbpo",
    "mve",
}
LATER |= {"me_trpo", "pets"}
CASES = [pytest.param(n, marks=pytest.mark.slow) if n in LATER else n for n in ALGORITHMS]
LONG = ("LPGMeta", "MBMPO", "MBPO", "METRPO", "NGU", "R2D2")  # to compile, at that level
# where it grows: in steps imagined by models that were learned, and in values a search rescales
ROUNDING = {"MBMPO": 1e-4, "MBPO": 1e-4, "METRPO": 1e-4, "PETS": 1e-4, "AlphaZero": 1e-4}
ROUNDING["TrajectoryTransformer"] = 1e-2  # a number on the edge of two tokens may become either


class Case:
    """An algorithm that has been run for two seeds, twice as long as `ITERATIONS`."""

    def __init__(self, kind):
        self.algorithm = tiny(kind)
        self.parts = parts(self.algorithm)
        self.program = program(self.parts)
        state = self.program.start(keys(2))
        self.states, self.metrics = [copied(state)], []
        for _ in range(2):
            state, metrics = self.program.advance(state, ITERATIONS)
            self.states.append(copied(state))
            self.metrics.append(copied(metrics))


@pytest.fixture(scope="module", params=CASES)
def case(request):
    return Case(ALGORITHMS[request.param])


def models(agent):
    """The parameters that are learned."""
    leaves = jax.tree.leaves(agent, is_leaf=lambda x: isinstance(x, Learner))
    return [x.model for x in leaves if isinstance(x, Learner)]


def test_update_changes_every_leaf_that_is_learned_and_leaves_all_finite(case):
    before, after = (models(state.agent) for state in case.states[:2])
    assert before
    for (path, a), b in zip(
        jax.tree_util.tree_leaves_with_path(before), jax.tree.leaves(after), strict=True
    ):
        assert a.size == 0 or (a != b).any(), jax.tree_util.keystr(path)
    for leaf in jax.tree.leaves((case.states[-1].agent, case.metrics)):
        assert np.isfinite(leaf).all()
    for metrics in case.metrics:
        assert metrics["finite"].all()
        assert metrics["loss"].shape == metrics["grad_norm"].shape == (2, ITERATIONS)


def test_seeds_learn_different_things(case):
    for path, leaf in jax.tree_util.tree_leaves_with_path(models(case.states[-1].agent)):
        # Far below all log-variances the lower bound has the gradient of its penalty alone.
        penalised = jax.tree_util.keystr(path).endswith(".least")
        assert leaf.size == 0 or penalised or (leaf[0] != leaf[1]).any()


def test_a_run_that_was_saved_and_loaded_goes_on_to_the_same_bits(case, tmp_path):
    path = checkpoint.save(tmp_path, 1, case.states[1], {})
    fresh = case.program.fresh(keys(2))
    saved, _ = checkpoint.load(path, fresh)
    state, metrics = case.program.advance(case.program.reopen(saved, fresh), ITERATIONS)
    assert_same(copied(state), case.states[2])
    assert_same(copied(metrics), case.metrics[1])


@pytest.mark.parametrize("name", ALONE)
def test_seeds_and_settings_run_side_by_side_as_they_do_alone_and_compile_once(name):
    case = Case(ALGORITHMS[name])
    rates = jnp.array([case.algorithm.lr, 5 * case.algorithm.lr])

    def agent(lr):
        closed = system(case.parts._replace(algorithm=replace(case.algorithm, lr=lr)))
        state = closed.init(jax.random.PRNGKey(0))
        return jax.lax.scan(lambda s, _: closed.step(s), state, length=ITERATIONS)[0].agent

    compiled = []
    jax.monitoring.register_event_duration_secs_listener(
        lambda event, seconds, **_: compiled.append(event) if "compile" in event else None
    )
    options = {} if type(case.algorithm).__name__ in LONG else ALIKE
    together = copied(jax.jit(jax.vmap(agent), compiler_options=options)(rates))
    assert compiled  # or this would count nothing
    compiled.clear()
    atol = ROUNDING.get(type(case.algorithm).__name__, 1e-6)
    for i, rate in enumerate(rates.tolist()):
        own = program(case.parts._replace(algorithm=replace(case.algorithm, lr=rate)))
        state, _ = own.advance(own.start(keys(2)), ITERATIONS)
        found = jax.tree.map(lambda x, i=i: x[i], together)
        assert_same(found, jax.tree.map(lambda x: x[0], copied(state.agent)), atol=atol)
    assert not compiled  # the program of the two seeds serves for both settings


@pytest.mark.parametrize("name", ALGORITHMS)
def test_every_algorithm_has_a_page(name):
    page = DOCS / f"{name}.md"
    assert page.is_file() and len(page.read_text().split()) > 100


def test_the_target_network_of_dqn_moves_only_when_it_is_due():
    algorithm = tiny(ALGORITHMS["dqn"], target_every=3, updates=1, rollout=1, warmup=8)
    both = parts(algorithm)

    @jax.jit
    def run(key):
        closed = system(both)
        agents = jax.lax.scan(lambda s, _: (closed.step(s)[0],) * 2, closed.init(key), length=7)[
            1
        ].agent
        return agents.learner.model, agents.target

    online, target = copied(run(jax.random.PRNGKey(0)))
    for w, t in zip(jax.tree.leaves(online), jax.tree.leaves(target), strict=True):
        for update in range(2, 8):  # entry i is what follows update i + 1
            copy = update // 3 * 3
            if copy:
                assert (t[update - 1] == w[copy - 1]).all()
        assert (t[0] == t[1]).all() and (t[1] != t[2]).any()


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"warmup": 128}, "warmup"),
        ({"n_step": 5, "warmup": 16}, "n_step"),
        ({"capacity": 16, "warmup": 16}, "capacity"),
        ({"capacity": 32, "warmup": 32, "n_step": 5}, "n_step"),
    ],
    ids=["more warmup than capacity", "windows longer than the warmup", "a ring of one batch",
         "windows longer than what is kept beside a batch"],
)  # fmt: skip
def test_dqn_refuses_a_ring_that_no_window_can_be_drawn_from(settings, said):
    with pytest.raises(SettingsError, match=said):
        tiny(ALGORITHMS["dqn"], **settings).check(Spec(Box((4,)), Discrete(2)))


def test_ppo_refuses_minibatches_that_do_not_divide_the_batch():
    with pytest.raises(SettingsError, match="minibatches=5 does not divide rollout"):
        tiny(ALGORITHMS["ppo"], minibatches=5).check(Spec(Box((4,)), Discrete(2)))


@config
class Suite:
    """The probe number `which` of `probes`, all of which step side by side, so that one program
    serves for all. Where a probe has fewer actions, the others change nothing."""

    which: float
    probes: tuple = ()

    @property
    def spec(self):
        return self.probes[-1].spec

    def reset(self, key):
        states, obs = zip(*(p.reset(key) for p in self.probes), strict=True)
        return states, self.chosen(obs)

    def step(self, state, action, key):
        answers = [p.step(s, action, key) for p, s in zip(self.probes, state, strict=True)]
        states, *rest = zip(*answers, strict=True)
        return states, *map(self.chosen, rest)

    def chosen(self, values):
        return jnp.stack(values)[jnp.int32(self.which)]


DISCRETE = (
    probe.ProbeValue(),
    probe.ProbeBackprop(),
    probe.ProbeDiscount(),
    probe.ProbeTruncated(),
    probe.ProbeAction(),
    probe.ProbeBoth(),
)
CONTINUOUS = (probe.ProbeActionContinuous(), probe.ProbeBothContinuous())
PPO = ALGORITHMS["ppo"](
    envs=16, rollout=16, lr=1e-2, gamma=0.9, epochs=4, minibatches=2, hidden=(16,), entropy_coef=0.0
)
DQN = ALGORITHMS["dqn"](
    envs=8, rollout=2, updates=8, batch=64, capacity=2000, warmup=400, lr=5e-3, gamma=0.9,
    target_every=16, explore_steps=2000, hidden=(16,), epsilon=0.2
)  # fmt: skip
SEEN = jnp.array([[-1.0], [0.0], [1.0]])


@partial(jax.jit, static_argnums=(2, 3))
def learned(algorithm, which, probes, iterations):
    """Values of what can be seen, and greedy actions, after learning each of `which` probes."""

    def one(which):
        source = source_for(algorithm.wants(Suite(which, probes).spec), Suite(which, probes))
        closed = system(Parts(algorithm, source, Environment()))
        state = closed.init(jax.random.PRNGKey(1))
        state, _ = jax.lax.scan(lambda s, _: closed.step(s), state, length=iterations)
        model = state.agent.learner.model
        value = model.value if hasattr(model, "value") else lambda obs: model(obs).max(-1)
        return value(SEEN), algorithm.act(state.agent, SEEN, (), state.key, False)[0]

    return jax.vmap(one)(which)


@pytest.mark.parametrize("name", ["ppo", "dqn"])
def test_probes_are_learned(name):
    algorithm, iterations = {"ppo": (PPO, 150), "dqn": (DQN, 600)}[name]
    values, actions = copied(learned(algorithm, jnp.arange(6.0), DISCRETE, iterations))
    value, backprop, discount, truncated, action, both = range(6)
    close = partial(np.testing.assert_allclose, rtol=0, atol=0.1)
    close(values[value, 1], 1.0)
    close(values[backprop, [0, 2]], [-1.0, 1.0])
    close(values[discount, 1:], [0.9, 1.0])
    close(values[truncated, 1], 10.0, atol=0.5)  # 5.3 if a truncation is taken for the end
    close(values[action, 1], 1.0)
    assert actions[action, 1] == 1
    close(values[both, [0, 2]], [1.0, 1.0])
    assert actions[both, [0, 2]].tolist() == [0, 1]


def test_continuous_probes_are_learned():
    _, actions = copied(learned(PPO, jnp.arange(2.0), CONTINUOUS, 200))
    np.testing.assert_allclose(actions[0, 1, 0], 0.5, atol=0.15)
    np.testing.assert_allclose(actions[1, [0, 2], 0], [-0.5, 0.5], atol=0.2)
