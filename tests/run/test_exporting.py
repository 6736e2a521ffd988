"""Exported policies act as the run does: every algorithm that acts, and every kind of file."""

import importlib.util
import json

import jax
import numpy as np
import onnxruntime
import pytest
from twin import ALGORITHMS, home, needs_data, parts, tiny

import spinward as sw
from spinward.cli.main import main
from spinward.errors import SettingsError, SpinwardError
from spinward.experience.wanted import Population, Prompts, Texts
from spinward.run import exporting
from spinward.run.policy import TrainedPolicy


def acts(kind):
    """Whether it learns a policy of an environment, and not of texts or of learning rules."""
    algorithm = tiny(kind)
    want = algorithm.wants(home(algorithm).spec)
    return not isinstance(want, Prompts | Texts | Population)


ACT = [name for name, kind in ALGORITHMS.items() if acts(kind)]
QUICK = ("ppo", "sac")


def policy_of(name, **more):
    """A policy with parameters that are not those of a beginning, so that nothing is 0."""
    algorithm = tiny(ALGORITHMS[name], **more)
    spec = (
        parts(algorithm).source.spec if not needs_data(ALGORITHMS[name]) else home(algorithm).spec
    )
    agent = jax.jit(lambda key: algorithm.init(key, spec))(jax.random.PRNGKey(1))
    random = np.random.default_rng(1)

    def moved(x):
        x = np.asarray(x)
        return x + random.uniform(0.1, 0.9, x.shape).astype(x.dtype) if x.dtype == "float32" else x

    return TrainedPolicy(algorithm, jax.tree.map(moved, agent), spec)


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=() if n in QUICK else pytest.mark.slow) for n in ACT]
)
def test_an_exported_policy_acts_as_the_run_does(name, tmp_path):
    policy = policy_of(name)
    contract = policy.save(tmp_path / "out")
    assert contract["check"]["observations"] == 1000
    assert contract["check"]["largest_difference"] <= 1e-5
    program = exporting.opened(tmp_path / "out")
    memory = [np.asarray([x], dtype=m["dtype"]) for x, m in
              zip(contract["memory_at_start"], contract["memory"], strict=True)]  # fmt: skip
    random = np.random.default_rng(2)
    for _ in range(5):  # one at a time, by what the contract says, beside the policy itself
        seen = exporting.sample(policy, random)
        action, *memory = program(*(x[:1] for x in jax.tree.leaves(seen)), *memory)
        expected = policy(jax.tree.map(lambda x: x[0], seen))
        np.testing.assert_allclose(np.asarray(action)[0], expected, atol=1e-5)


NO_ONNX = {  # and the reason
    "pets": "'while' of this policy",
    "alphazero": "draws random numbers", "bcq": "draws random numbers", "ngu": "draws random",
    "r2d2": "draws random numbers", "decision_transformer": "'gather' of this policy",
    "trajectory_transformer": "'scan' of this policy",
}  # fmt: skip


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=() if n in QUICK else pytest.mark.slow) for n in ACT]
)
def test_an_onnx_file_acts_as_the_run_does_in_batches_of_any_size(name, tmp_path):
    policy = policy_of(name)
    if name in NO_ONNX:
        with pytest.raises(SettingsError, match=f"{NO_ONNX[name]}.*export --to stablehlo"):
            policy.save(tmp_path / "out", "onnx")
        assert not (tmp_path / "out").exists()
        return
    contract = policy.save(tmp_path / "out", "onnx")
    assert contract["check"]["largest_difference"] <= 1e-5
    same_in_batches(policy, contract, tmp_path / "out")


@pytest.mark.parametrize("memory", ["gru", "lstm"])
def test_an_onnx_file_has_memory_and_normaliser_inside(memory, tmp_path):
    policy = policy_of("ppo", recurrent=memory, normalise_obs=True)
    same_in_batches(policy, policy.save(tmp_path / "out", "onnx"), tmp_path / "out")


def same_in_batches(policy, contract, out):
    """Compares an ONNX file with the policy itself, through several steps of its memory."""
    session = onnxruntime.InferenceSession(out / "policy.onnx")
    taken = [each.name for each in session.get_inputs()]
    names = [each["name"] for each in (*contract["observations"], *contract["memory"])]
    assert set(taken) <= set(names)
    for batch in (1, 3):
        act = jax.jit(
            exporting.flat(exporting.ExportedPolicy(policy.algorithm, policy.agent, policy.spec))
        )
        random = np.random.default_rng(3)
        memory = [np.stack([np.asarray(x, m["dtype"])] * batch) for x, m in
                  zip(contract["memory_at_start"], contract["memory"], strict=True)]  # fmt: skip
        theirs = memory
        for _ in range(4):
            seen = [x[:batch] for x in jax.tree.leaves(exporting.sample(policy, random))]
            given = dict(zip(names, [*seen, *theirs], strict=True))
            action, *theirs = session.run(None, {n: given[n] for n in taken})
            expected, *memory = act(*seen, *memory)
            np.testing.assert_allclose(action, expected, atol=1e-5)
            assert action.dtype == expected.dtype and len(action) == batch
            for a, b in zip(theirs, memory, strict=True):
                np.testing.assert_allclose(a, b, atol=1e-5)


def test_a_missing_onnxruntime_is_named(tmp_path, monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util,
        "find_spec",
        lambda name, *a: None if name == "onnxruntime" else find(name, *a),
    )
    with pytest.raises(SettingsError, match=r"onnxruntime: pip install -e '.\[onnx\]'"):
        policy_of("sac").save(tmp_path / "out", "onnx")
    assert not (tmp_path / "out").exists()


def test_the_contract_says_what_goes_in_and_comes_out(tmp_path):
    contract = policy_of("sac").save(tmp_path / "a", env="Pendulum-v1")
    assert json.loads((tmp_path / "a/contract.json").read_text()) == contract
    assert contract["observations"][0]["shape"] == ["batch", 3] and contract["env"] == "Pendulum-v1"
    assert contract["action"] == {"kind": "numbers", "shape": [1], "low": -2.0, "high": 2.0}
    contract = policy_of("ppo", recurrent="gru", normalise_obs=True).save(tmp_path / "b")
    assert contract["action"] == {"kind": "choice", "of": 2}
    assert [m["shape"] for m in contract["memory"]] == [["batch", 8]] * 2  # of actor and critic
    assert (tmp_path / "b/policy.stablehlo").read_bytes()[:4] == b"ML\xefR"  # MLIR bytecode


def test_arrays_have_all_that_acting_reads(tmp_path):
    policy = policy_of("ppo", normalise_obs=True)
    contract = policy.save(tmp_path / "out", "npz")
    assert contract["check"]["largest_difference"] == 0.0
    with np.load(tmp_path / "out/policy.npz") as arrays:
        model = policy.agent.learner.model
        name = "learner.model.actor.layers.layers.0.w"
        assert (arrays[name] == model.actor.layers.layers[0].w).all()
        assert not [n for n in arrays if "opt_state" in n]


def test_a_policy_that_differs_is_told(tmp_path, monkeypatch):
    policy = policy_of("sac")
    other = exporting.ExportedPolicy(
        policy.algorithm, policy_of("sac", hidden=(8,)).agent, policy.spec
    )
    other = other._replace(agent=jax.tree.map(lambda x: x + 1, other.agent))
    monkeypatch.setattr(exporting, "reopened", lambda *_: jax.jit(exporting.flat(other)))
    with pytest.raises(
        SpinwardError, match=r"differs from the run's by .*; expected at most 1e-05"
    ):
        policy.save(tmp_path / "out")


def test_the_command_exports_a_run(tmp_path, capsys):
    run = sw.train(tiny(sw.PPO, normalise_obs=True), "CartPole-v1", 64, 2, out=tmp_path, name="r",
                   logs=4, shards=1)  # fmt: skip
    out = tmp_path / "out"
    words = ["export", str(run.path), "--seed", "1", "--out"]
    assert main([*words, str(out)]) == 0
    said = capsys.readouterr().out
    assert "policy.jax, policy.stablehlo; the largest difference on 1,000 observations is" in said
    assert json.loads((out / "contract.json").read_text())["env"] == "CartPole-v1"
    policy, program = run.policy(1), exporting.opened(out)
    for obs in np.random.default_rng(0).normal(size=(20, 4)).astype(np.float32):
        assert int(program(obs[None])[0][0]) == int(policy(obs))
    assert main([*words, str(out)]) == 2
    assert "is not empty" in capsys.readouterr().err
    assert main([*words, str(tmp_path / "o"), "--to", "onnx"]) == 0
    assert "policy.onnx; the largest difference on 1,000" in capsys.readouterr().out
    assert main([*words, str(tmp_path / "x"), "--to", "tflite"]) == 2
    assert "expected one of stablehlo, onnx, npz" in capsys.readouterr().err
    assert not (tmp_path / "x").exists()
    with pytest.raises(SettingsError, match="expected one of stablehlo, onnx, npz"):
        policy.save(tmp_path / "x", "pickle")
