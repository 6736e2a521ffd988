"""A served policy answers as the run does, to whom has the token, and refuses what does not fit."""

import json
import threading
import time
import urllib.error
import urllib.request

import jax
import numpy as np
import pytest
import uvicorn
from twin import ALGORITHMS, home, tiny

from spinward.cli.main import main
from spinward.errors import DamagedFileError, SettingsError
from spinward.run.policy import TrainedPolicy
from spinward.run.serving import Served, application

TOKEN = "a-token"


@pytest.fixture(scope="module")
def policy():
    algorithm = tiny(ALGORITHMS["ppo"], recurrent="gru")
    spec = home(algorithm).spec
    agent = jax.jit(lambda key: algorithm.init(key, spec))(jax.random.PRNGKey(3))
    return TrainedPolicy(algorithm, jax.tree.map(np.asarray, agent), spec)


@pytest.fixture(scope="module")
def folder(policy, tmp_path_factory):
    out = tmp_path_factory.mktemp("exported") / "out"
    policy.save(out)
    return out


@pytest.fixture(scope="module")
def address(folder):
    config = uvicorn.Config(application(Served(folder), TOKEN), port=0, log_level="error")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    until = time.monotonic() + 60
    while not server.started and time.monotonic() < until:
        time.sleep(0.02)
    yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    server.should_exit = True
    thread.join(10)


def asked(url, body=None, token=TOKEN):
    data = body if isinstance(body, bytes | None) else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Authorization": f"Bearer {token}"})
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, json.loads(answer.read())
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read())


def test_answers_are_the_actions_of_the_policy_with_its_memory(address, policy):
    rows = np.random.default_rng(0).normal(size=(6, 3, 4)).astype(np.float32)  # [time, batch, obs]
    memory, actions = None, []
    for obs in rows:
        body = {"obs": obs.tolist()} | ({} if memory is None else {"memory": memory})
        status, answer = asked(f"{address}/act", body)
        assert status == 200
        actions.append(answer["action"])
        memory = answer["memory"]
    for i in range(3):
        policy.reset()
        assert [int(policy(obs[i])) for obs in rows] == [a[i] for a in actions]


def test_only_who_has_the_token_is_answered(address):
    for path, body in (("/", None), ("/act", {"obs": [[0.0] * 4]})):
        assert asked(address + path, body, "another")[0] == 401
        assert asked(address + path, body)[0] == 200


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (b"{", "expected JSON"),
        ([1], 'expected {"obs": [...]}'),
        ({"obs": [[1.0, 2.0]]}, "obs has shape [1, 2]; expected [batch, *[4]]"),
        ({"obs": [["x"] * 4]}, "obs: could not convert"),
        ({"obs": []}, "obs has shape [0]"),
        ({"obs": [[0.0] * 4], "memory": []}, "memory: expected a list of 2"),
        ({"obs": {"other": 1}}, "obs is missing"),
        ({"obs": [[0.0] * 4] * 5000}, "expected 1 to 4096 observations"),
    ],
)
def test_what_does_not_fit_is_told(address, body, told):
    status, answer = asked(f"{address}/act", body)
    assert status == 400 and told in answer["error"]


def test_large_requests_are_cut_off(address):
    assert asked(f"{address}/act", b" " * (8 * 2**20 + 1))[0] == 413


def test_only_whole_exported_programs_are_served(folder, tmp_path, policy, capsys):
    with pytest.raises(SettingsError, match="holds no exported policy: make one with"):
        Served(tmp_path)
    policy.save(tmp_path / "arrays", "npz")
    with pytest.raises(SettingsError, match="holds no program that serve runs"):
        Served(tmp_path / "arrays")
    policy.save(tmp_path / "x")
    program = tmp_path / "x/policy.jax"
    whole = program.read_bytes()
    program.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(DamagedFileError, match="is not what its contract says"):
        Served(tmp_path / "x")
    (tmp_path / "x/contract.json").write_text("[1]")
    with pytest.raises(DamagedFileError, match="no contract of a policy"):
        Served(tmp_path / "x")
    assert main(["serve", str(folder), "--host", "0.0.0.0", "--no-token"]) == 2
    assert "--no-token is for 127.0.0.1 alone" in capsys.readouterr().err
