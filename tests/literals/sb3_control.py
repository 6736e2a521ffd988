"""Makes sb3_control.json: what Stable-Baselines3 makes of an actor and its critics in some updates.

Parameters, batches and noise are drawn here and told to both sides; Stable-Baselines3's own
`train` does the rest. It is no dependency: run this where it is installed (made with
stable-baselines3 2.9.2 and torch 2.13.0).

    python tests/literals/sb3_control.py
"""

import json
from itertools import pairwise
from pathlib import Path
from unittest.mock import patch

import gymnasium
import numpy as np
import torch
from stable_baselines3 import DDPG, SAC, TD3
from stable_baselines3.common.logger import Logger
from stable_baselines3.common.type_aliases import ReplayBufferSamples

OBS, ACTION, BATCH, UPDATES = 3, 2, 5, 4
SIZES = {"SAC": 2 * ACTION, "TD3": ACTION, "DDPG": ACTION}


class Space(gymnasium.Env):
    observation_space = gymnasium.spaces.Box(-1.0, 1.0, (OBS,))
    action_space = gymnasium.spaces.Box(-1.0, 1.0, (ACTION,))


def rounded(x):
    return np.round(np.asarray(x, np.float64), 4).astype(np.float32)


def layers(random, *sizes):
    """Weights [inputs, outputs] and biases."""
    shapes = list(pairwise(sizes))
    return [
        {"w": rounded(random.normal(size=s) / s[0] ** 0.5), "b": rounded(random.normal(size=s[1]))}
        for s in shapes
    ]


def inputs(name):
    random = np.random.default_rng(len(name))
    critics = 1 if name == "DDPG" else 2
    batch = {
        "obs": random.normal(size=(UPDATES, BATCH, OBS)),
        "action": random.uniform(-1, 1, (UPDATES, BATCH, ACTION)),
        "reward": random.normal(size=(UPDATES, BATCH)),
        "terminated": random.random((UPDATES, BATCH)) < 0.3,
        "next_obs": random.normal(size=(UPDATES, BATCH, OBS)),
        "noise": random.normal(size=(UPDATES, 2, BATCH, ACTION)),  # for the target, for the actor
    }
    return {
        "actor": layers(random, OBS, 4, SIZES[name]),
        "critics": [layers(random, OBS + ACTION, 4, 1) for _ in range(critics)],
        "batch": {k: rounded(v).tolist() for k, v in batch.items()},
    }


def put(modules, told):
    linear = [m for module in modules for m in module.modules() if isinstance(m, torch.nn.Linear)]
    with torch.no_grad():
        if len(linear) == len(told) + 1:  # SAC's actor has a layer for each half of the outputs
            *linear, mean, log_std = linear
            *told, last = told
            for layer, part in ((mean, slice(None, ACTION)), (log_std, slice(ACTION, None))):
                layer.weight.copy_(torch.tensor(last["w"][:, part].T))
                layer.bias.copy_(torch.tensor(last["b"][part]))
        for layer, values in zip(linear, told, strict=True):
            layer.weight.copy_(torch.tensor(values["w"].T))
            layer.bias.copy_(torch.tensor(values["b"]))


def got(modules):
    linear = [m for module in modules for m in module.modules() if isinstance(m, torch.nn.Linear)]
    return [{"w": m.weight.T.tolist(), "b": m.bias.tolist()} for m in linear]


def trained(name, told):
    settings = {"gamma": 0.9, "tau": 0.1, "learning_rate": 0.01, "device": "cpu"}
    more = {"target_entropy": -1.0} if name == "SAC" else {}
    kwargs = {"net_arch": [4]}
    kind = {"SAC": SAC, "TD3": TD3, "DDPG": DDPG}[name]
    model = kind("MlpPolicy", Space(), policy_kwargs=kwargs, **settings, **more)
    model.set_logger(Logger(None, []))
    actors = [model.actor] + ([] if name == "SAC" else [model.actor_target])
    for actor in actors:
        put([actor.latent_pi, actor.mu, actor.log_std] if name == "SAC" else [actor], told["actor"])
    for critic in (model.critic, model.critic_target):
        for network, values in zip(critic.q_networks, told["critics"], strict=True):
            put([network], values)

    batch = {k: torch.tensor(v, dtype=torch.float32) for k, v in told["batch"].items()}
    names = ("obs", "action", "next_obs", "terminated", "reward")
    updates = iter(range(UPDATES))
    noise = []

    def sample(*_, **__):
        at = next(updates)
        target, actor = batch["noise"][at]
        noise[:] = [actor, target] if name == "SAC" else [0.2 * target]
        rows = [batch[n][at] for n in names]
        return ReplayBufferSamples(*rows[:3], *(x[:, None] for x in rows[3:]))

    def rsample(self, shape=()):
        return self.loc + self.scale * noise.pop(0)

    def normal_(self, *_):
        return self.copy_(noise.pop(0) if name == "TD3" else torch.zeros_like(self))

    normal = torch.distributions.Normal
    with (
        patch.object(model.replay_buffer, "sample", sample),
        patch.object(normal, "rsample", rsample),
        patch.object(torch.Tensor, "normal_", normal_),
    ):
        model.train(UPDATES, BATCH)
    actor = model.actor
    found = {
        "actor": got([actor.latent_pi, actor.mu, actor.log_std] if name == "SAC" else [actor]),
        "critics": [got([q]) for q in model.critic.q_networks],
        "target": [got([q]) for q in model.critic_target.q_networks],
    }
    if name == "SAC":
        found["log_alpha"] = float(model.log_ent_coef)
    return found


def listed(tree):
    if isinstance(tree, dict):
        return {k: listed(v) for k, v in tree.items()}
    return [listed(x) for x in tree] if isinstance(tree, list) else np.asarray(tree).tolist()


if __name__ == "__main__":
    cases = {}
    for name in SIZES:
        told = inputs(name)
        cases[name] = {"told": listed(told), "found": trained(name, told)}
    path = Path(__file__).with_suffix(".json")
    path.write_text(json.dumps(cases) + "\n")
