"""Makes rlax_values.json: what RLax says of random action values, quantiles and categoricals.

RLax is no dependency: run this where it is installed (made with rlax 0.1.9 and jax 0.10.2).

    pip install rlax && python tests/literals/rlax_values.py
"""

import json
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import rlax

BATCH, ACTIONS, ATOMS, QUANTILES = 4, 3, 7, 5


def inputs():
    """Everything one-step methods need, [batch, ...]."""
    random = np.random.default_rng(0)
    draw = {
        "q": random.normal(size=(BATCH, ACTIONS)),
        "next_q": random.normal(size=(BATCH, ACTIONS)),
        "selector": random.normal(size=(BATCH, ACTIONS)),
        "reward": random.normal(size=BATCH),
        "discount": np.array([0.9, 0.0, 0.99, 0.5]),
        "atoms": np.linspace(-2.0, 2.0, ATOMS),
        "logits": random.normal(size=(BATCH, ACTIONS, ATOMS)),
        "next_logits": random.normal(size=(BATCH, ACTIONS, ATOMS)),
        "values": 2.0 * random.normal(size=(BATCH, ATOMS)),
        "quantiles": random.normal(size=(BATCH, QUANTILES, ACTIONS)),
        "next_quantiles": random.normal(size=(BATCH, QUANTILES, ACTIONS)),
    }
    found = {k: np.round(v, 4).astype(np.float32) for k, v in draw.items()}
    found["atoms"] = np.linspace(-2.0, 2.0, ATOMS).astype(np.float32)
    return found | {"action": random.integers(0, ACTIONS, BATCH)}


def outputs(x):
    """What RLax makes of each row; errors are target - value."""
    probs = np.exp(x["next_logits"][:, 0]) / np.exp(x["next_logits"][:, 0]).sum(-1, keepdims=True)
    policy = np.exp(x["selector"]) / np.exp(x["selector"]).sum(-1, keepdims=True)
    taus = (jnp.arange(QUANTILES) + 0.5) / QUANTILES
    rows = {name: [] for name in ("max", "double", "expected", "project", "c51", "quantile_1")}
    rows["quantile_0"] = []
    for i in range(BATCH):
        q, action, reward, discount = (x[k][i] for k in ("q", "action", "reward", "discount"))
        next_q, selector, atoms = x["next_q"][i], x["selector"][i], x["atoms"]
        own = (q, action, reward, discount)
        rows["max"].append(rlax.q_learning(*own, next_q))
        rows["double"].append(rlax.double_q_learning(*own, next_q, selector))
        rows["expected"].append(rlax.expected_sarsa(*own, next_q, policy[i]))
        rows["project"].append(rlax.categorical_l2_project(x["values"][i], probs[i], atoms))
        logits, after = x["logits"][i], x["next_logits"][i]
        c51 = rlax.categorical_q_learning(atoms, logits, action, reward, discount, atoms, after)
        rows["c51"].append(c51)
        now, then = x["quantiles"][i], x["next_quantiles"][i]
        for kappa in (0, 1):
            loss = rlax.quantile_q_learning(
                now, taus, action, reward, discount, then, then, float(kappa)
            )
            rows[f"quantile_{kappa}"].append(loss)
    return {name: np.asarray(values) for name, values in rows.items()}


if __name__ == "__main__":
    given = inputs()
    both = {"inputs": given, "outputs": outputs(given)}
    content = {
        part: {k: np.asarray(v, np.float64).round(6).tolist() for k, v in x.items()}
        for part, x in both.items()
    }
    Path(__file__).with_suffix(".json").write_text(json.dumps(content) + "\n")
