"""Demonstrations: the margin of a Q-learner, labels that fade, clones to begin with."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from twin import ALGORITHMS, copied, tiny

import spinward as sw
from spinward.core import Context, Transition, replace
from spinward.data.card import Card
from spinward.data.layout import layout_of
from spinward.data.writer import write
from spinward.envs.cartpole import CartPole
from spinward.envs.cartpole_endless import EndlessCartPole
from spinward.errors import SettingsError
from spinward.experience.material import source_for
from spinward.experiments.controllers import balance, data_of
from spinward.losses.offline import large_margin
from spinward.people import demonstrations
from spinward.people.filming import Clip
from spinward.rewards.preferences import Comparisons, Preferences
from spinward.run.run import train
from spinward.run.warm_start import named

ENV = "CartPole-Endless"
ASK = Preferences(teacher="oracle", labels=16, segment=5, rounds=2, hidden=(8,), members=2,
                  batch=8, updates=4, first_updates=8, candidates=3)  # fmt: skip
DQN = tiny(ALGORITHMS["dqn"], demonstrated=True)


@pytest.fixture(scope="module")
def demos(tmp_path_factory):
    """Steps of a controller: two episodes of 60 steps."""
    path = tmp_path_factory.mktemp("demos") / "data"
    data = data_of(EndlessCartPole(limit=60), balance, 120, envs=2)
    names = ("obs", "action", "reward", "terminated", "truncated", "next_obs")
    fields = {name: np.asarray(getattr(data.steps, name)) for name in names}
    last = np.flatnonzero(fields["truncated"])
    about = Card(data.spec.obs, data.spec.action)
    write(path, about, fields, last, layout=layout_of(data.spec, {}), origin=0,
          place=np.array([0, 60]))  # fmt: skip
    return path


# The margin


def test_the_margin_is_zero_only_where_the_demonstrated_action_leads_by_it():
    q = jnp.array([[1.0, 2.0, 0.0], [1.0, 1.9, 3.0], [2.0, 1.5, 0.0], [0.0, 0.0, 0.0]])
    found = large_margin(q, jnp.array([1, 1, 0, 2]), 0.8)
    # 2 leads 1 by 1; 3 + 0.8 - 1.9; 1.5 + 0.8 - 2.0; 0.8
    np.testing.assert_allclose(found, [0.0, 1.9, 0.3, 0.8], atol=1e-6)


def test_only_steps_of_the_data_have_the_margin():
    """One more step of the data with the margin moves the loss by its share of the batch."""
    spec = CartPole().spec
    model = DQN.init(jax.random.key(0), spec).learner.model
    obs = jax.random.normal(jax.random.key(1), (1, 4, 4))
    action = jnp.array([[0, 1, 1, 0]])
    batch = Transition(obs, action, jnp.ones((1, 4)), jnp.zeros((1, 4), bool),
                       jnp.zeros((1, 4), bool), obs, jnp.ones((1, 4)), {})  # fmt: skip

    def loss(logged, algorithm=DQN):
        marked = replace(batch, extras={"logged": jnp.array([logged])})
        return algorithm.loss(model, model, marked, jax.random.key(2))

    plain, metrics = loss([0.0, 0, 0, 0])
    assert float(plain) == pytest.approx(float(metrics["td_loss"])) and metrics["margin_loss"] == 0
    off, _ = loss([0.0, 0, 0, 0], replace(DQN, demonstrated=False))
    assert float(off) == float(plain)
    q = model(obs[0])
    each = [
        max(float(q[i, 1 - a]) + 0.8, float(q[i, a])) - float(q[i, a])
        for i, a in enumerate([0, 1, 1, 0])
    ]
    found = float(loss([0.0, 1, 0, 1])[0] - plain)
    assert found == pytest.approx((each[1] + each[3]) / 4, rel=1e-4) and found > 0
    twice = replace(DQN, margin_coef=2.0)
    assert float(loss([0.0, 1, 0, 1], twice)[0] - plain) == pytest.approx(2 * found, rel=1e-4)


def test_a_share_of_every_batch_is_marked_as_logged(demos):
    env = EndlessCartPole()
    from spinward.data.steps import open_data

    want = DQN.wants(env.spec)
    for share, count in ((0.25, round(0.25 * want.batch)), (1.0, want.batch)):
        data = open_data(demos, env.spec, share)
        source = source_for(want, env, data)
        policy = sw.core.Policy(lambda obs, memory, key: (jnp.zeros(len(obs), jnp.int32), memory,
                                {}), lambda envs: ())  # fmt: skip
        state = source.init(jax.random.key(0), ())
        _, batch, _ = source.collect(state, policy, jax.random.key(1))
        marks = np.asarray(batch.extras["logged"])
        assert marks.shape == batch.reward.shape and (marks.sum(2) == count).all()
        rows = np.asarray(batch.obs)[marks == 1]
        known = data.steps.obs
        assert all((np.abs(known - row).max(1) < 1e-6).any() for row in rows)


@pytest.mark.slow
def test_a_q_learner_without_reward_copies_the_demonstrator(demos, tmp_path):
    """In data whose every reward is 1, only the margin tells actions apart."""
    scores = []
    for coef in (5.0, 0.0):
        learner = tiny(ALGORITHMS["dqn"], demonstrated=True, margin_coef=coef, hidden=(32,),
                       lr=3e-3, batch=64, warmup=64, gamma=0.5)  # fmt: skip
        run = train(learner, ENV, 400, 1, data=str(demos), out=tmp_path, shards=1, logs=4)
        agents = run.agents()
        agent = jax.tree.map(lambda x: x[0], agents.agent)
        obs = data_of(EndlessCartPole(limit=60), balance, 120, envs=2).steps.obs
        action, *_ = agents.algorithm.act(agent, obs, (), jax.random.key(0), explore=False)
        scores.append((np.asarray(action) == np.asarray(balance(obs))).mean())
    assert scores[0] > 0.8 and scores[0] > scores[1] + 0.15


# Labels that fade


def test_labels_from_demonstrations_train_every_member_and_measure_nothing():
    spec = CartPole().spec
    clips = [Clip(np.full((3, 4), i, np.float32), np.zeros(3, np.int32), np.zeros(3))
             for i in range(5)]  # fmt: skip
    demo = demonstrations.DemoClips(clips, 4)
    first = [Clip(np.full((3, 4), -1.0 - i, np.float32), np.ones(3, np.int32), np.zeros(3))
             for i in range(3)]  # fmt: skip
    obs = np.zeros((6, 2, 3, 4), np.float32)
    data = Comparisons(obs, np.zeros((6, 2, 3), np.int32), np.zeros(6, np.float32),
                       np.array([1, 1, 0, 0, 0, 0], np.float32),
                       np.array([[2, 0, 0, 0, 0, 0], [0, 1, 0, 0, 0, 0]], np.float32))  # fmt: skip
    more = demo.added(data, first, 0.25, 7)
    assert more.weight.tolist() == [1, 1, 0, 0, 0, 0, 0.25, 0.25, 0.25, 0]
    assert more.share[6:].tolist() == [1.0] * 4
    assert more.counts[:, 6:].tolist() == [[1, 1, 1, 0]] * 2
    assert more.obs[6:9, 1, 0, 0].tolist() == [-1, -2, -3] and (more.obs[6:9, 0] >= 0).all()
    assert more.action[6:9].tolist() == [[[0] * 3, [1] * 3]] * 3
    again = demo.added(data, first, 0.25, 7)
    assert again.obs.tobytes() == more.obs.tobytes()
    reward = Preferences(members=2, hidden=(8,))
    state = reward.init(jax.random.key(0), spec)
    _, whole = (reward.validated(state, d, 1).accuracy for d in (data, more))
    assert float(whole) == float(reward.validated(state, data, 1).accuracy)
    every = demo.added(data, first * 2, 0.0, 7)
    assert every.weight[6:].tolist() == [0.0] * 4 == every.counts[0, 6:].tolist()


def test_their_weight_halves_over_the_run():
    reward = Preferences(demo_weight=0.5, demo_halving_share=0.1)
    found = [demonstrations.weight(reward, x) for x in (0.0, 0.1, 0.2, 0.5)]
    np.testing.assert_allclose(found, [0.5, 0.25, 0.125, 0.5 / 32])


def test_a_predictor_learns_from_demonstrations_before_anybody_answers_much(demos, tmp_path):
    """With a teacher that answers by a coin, what is known comes from demonstrations."""
    ask = replace(ASK, teacher="random", labels=40, initial_share=1.0, first_updates=200,
                  hidden=(32,), segment=10)  # fmt: skip
    scores = {}
    for name, path in (("with", str(demos)), ("without", "")):
        reward = replace(ask, demos=path, demo_weight=4.0)
        run = train(tiny(ALGORITHMS["ppo"]), ENV, 64, 1, reward=reward, out=tmp_path, name=name,
                    shards=1)  # fmt: skip
        made = run.made
        state = jax.tree.map(lambda x: x[0], reward_state(run, made))
        good = data_of(EndlessCartPole(), balance, 400, seed=5).steps
        bad = data_of(EndlessCartPole(), balance, 400, seed=5, random_share=1.0).steps
        both = [replace(ask, demos="").label(state, s, jax.random.key(0), Context())[1].reward
                for s in (good, bad)]  # fmt: skip
        scores[name] = float(both[0].mean() - both[1].mean())
        assert state.labels == 40
    assert scores["with"] > 0.3 and scores["with"] > scores["without"] + 0.2


def reward_state(run, made):
    from spinward.store import checkpoint

    path, _ = checkpoint.latest(run.path / "shards/0/checkpoints")
    like = {"reward": jax.eval_shape(jax.vmap(lambda k: made.parts.reward.init(k, made.spec)),
                                     made.experiment.keys())}  # fmt: skip
    return copied(checkpoint.load(path, like, whole=False)[0])["reward"]


def test_a_run_with_demonstrations_resumes_exactly(demos, tmp_path):
    from spinward.errors import Stopped
    from spinward.run.run import load

    reward = replace(ASK, demos=str(demos))
    options = {"reward": reward, "out": tmp_path, "shards": 1, "logs": 10}
    whole = train(tiny(ALGORITHMS["ppo"]), ENV, 320, 1, name="whole", **options)

    def stop(point):
        if point.iteration >= 8:
            raise Stopped("here")

    with pytest.raises(Stopped):
        train(tiny(ALGORITHMS["ppo"]), ENV, 320, 1, name="half", watch=stop, **options)
    half = load(tmp_path / "half").train()
    for one, other in zip(jax.tree.leaves(reward_state(whole, whole.made)),
                          jax.tree.leaves(reward_state(half, half.made)), strict=True):  # fmt: skip
        assert one.tobytes() == other.tobytes()


def test_demonstrations_in_the_batch_get_the_learned_reward(demos, tmp_path):
    """A Q-learner with both: the same command as people use."""
    from spinward.cli.main import main

    words = ["train", "dqn", ENV, "--reward", "preferences", "--demos", str(demos),
             "--reward.teacher", "oracle", "--reward.labels", "16", "--reward.segment", "5",
             "--steps", "600", "--warmup", "200", "--demonstrated", "--preset", "none", "--name",
             "both", "--out", str(tmp_path), "--hidden", "16", "--logs", "5"]  # fmt: skip
    assert main(words) == 0
    run = sw.load(tmp_path / "both")
    data = run.made.experiment.data
    assert (data.path, data.share) == (str(demos), 0.25)
    assert run.config["inputs"].keys() >= {"demos", "data"}
    assert run.points[-1]["labels"] == [16.0] and run.points[-1]["margin_loss"][0] > 0


# Policies that begin as clones


def leaves(run):
    return named(copied(run.agents().agent))


SLOW = [pytest.param(n, marks=pytest.mark.slow) for n in ("a2c", "vpg", "trpo")]


@pytest.mark.parametrize("kind", ["ppo", *SLOW])
def test_a_policy_gradient_learner_begins_with_a_clone(demos, kind, tmp_path):
    clone = train(ALGORITHMS["bc"](hidden=(8,)), ENV, 5, 2, data=str(demos), out=tmp_path,
                  name="clone", shards=1)  # fmt: skip
    slow = {"lr": 1e-30} if kind != "trpo" else {"kl_limit": 1e-12}
    run = train(tiny(ALGORITHMS[kind], hidden=(8,), **slow), ENV, 16, 2, out=tmp_path, shards=1,
                start_from=clone, start_parts=("actor",))  # fmt: skip
    there, here = leaves(clone), leaves(run)
    actors = [n for n in here if "actor." in n and "opt_state" not in n and here[n].size]
    assert len(actors) == 4
    for name in actors:
        other = "model.actor." + name.rpartition("actor.")[2]
        np.testing.assert_allclose(here[name], there[other], atol=1e-4)


def test_what_would_not_be_the_clone_is_refused(demos, tmp_path):
    clone = train(ALGORITHMS["bc"](hidden=(8,)), ENV, 2, 1, data=str(demos), out=tmp_path,
                  name="clone", shards=1)  # fmt: skip
    scaled = tiny(ALGORITHMS["ppo"], hidden=(8,), normalise_obs=True)
    for algorithm, parts, said in (
        (scaled, ("actor",), "reads observations as they are"),
        (tiny(ALGORITHMS["ppo"], hidden=(9,)), ("actor",), "take other parts"),
        (tiny(ALGORITHMS["ppo"], hidden=(8,)), (), "take other parts"),
    ):
        with pytest.raises(SettingsError, match=said):
            train(algorithm, ENV, 16, out=tmp_path, name="x", start_from=clone, start_parts=parts)
        assert not (tmp_path / "x").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["ppo", ENV, "--demos", "DEMOS"], "is of --reward preferences"),
        (["ppo", ENV, "--reward", "preferences", "--demos", "nowhere"], "is no data set"),
        (["ppo", "Pendulum-v1", "--reward", "preferences", "--demos", "DEMOS"], "has observations"),
        (["dqn", ENV, "--demonstrated"], "name the demonstrations"),
        (["dqn", ENV, "--reward", "preferences", "--data", "DEMOS"], "below 1"),
        (["ppo", ENV, "--reward", "preferences", "--demos", "DEMOS", "--reward.segment", "99",
          "--reward.teacher", "oracle"], "no episode has segment=99"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused_in_one_line(demos, words, said, tmp_path, capsys):
    from spinward.cli.main import main

    words = [str(demos) if w == "DEMOS" else w for w in words]
    assert main(["train", *words, "--out", str(tmp_path / "runs"), "--name", "r"]) == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "runs" / "r").exists()


def test_a_run_with_demonstrations_opens_from_any_folder(demos, tmp_path, monkeypatch):
    """As with every path that a run depends on."""
    from spinward.run.anchored import anchored
    from spinward.run.experiment import DataChoice, EnvChoice, Experiment
    from spinward.run.inputs import places
    from spinward.run.run import load

    monkeypatch.chdir(demos.parent)
    lpg = ALGORITHMS["lpg"](rule=demos.name)
    shared = {"data": DataChoice(demos.name), "model": demos.name, "start_from": demos.name}
    every = {}
    for reward in (replace(ASK, demos=demos.name), sw.RewardModelScore(demos.name)):
        every |= places(anchored(Experiment(lpg, EnvChoice(ENV), 16, reward=reward, **shared)))
    assert every == dict.fromkeys(every, str(demos)) and len(every) == 6
    reward = replace(ASK, demos=demos.name)
    run = train(tiny(ALGORITHMS["ppo"]), ENV, 64, reward=reward, out=tmp_path, name="run")
    monkeypatch.chdir(tmp_path)
    assert load(run.path).made.parts.reward.demos == str(demos)


def test_demonstrations_of_an_experiment_are_those_of_its_seed(tmp_path):
    """Whatever data set an earlier reproduction left in the folder."""
    from spinward.data import store
    from spinward.experiments import preferences_and_demonstrations as experiment
    from spinward.experiments.reproduction import IN_PROGRESS, Record

    kept = {}
    for seed, length in ((0, 40), (1000, 40), (0, 60), (0, 40)):
        token = IN_PROGRESS.set(Record("commit", seed))
        data = data_of(EndlessCartPole(limit=length), balance, 120, envs=2, seed=seed)
        path = experiment.recorded(data, tmp_path)
        IN_PROGRESS.reset(token)
        np.testing.assert_array_equal(store.opened(path).at(np.arange(120))["obs"], data.steps.obs)
        kept.setdefault((seed, length), set()).add(path)
    assert len(set.union(*kept.values())) == 3 and all(len(x) == 1 for x in kept.values())
    assert all(f"-{seed}-" in path.name for (seed, _), paths in kept.items() for path in paths)
