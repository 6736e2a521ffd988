"""A policy as a file that runs without Spinward: one program from observations to actions.

The program has everything inside that the policy needs: parameters, normaliser, memory and the
scale of actions. `contract.json` says what goes in and what comes out.
"""

import hashlib
import importlib.metadata
import importlib.util
import io
import json
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from spinward.core import MASK, Dict, Discrete, Hybrid, MultiDiscrete
from spinward.errors import SettingsError, SpinwardError, install
from spinward.run import onnx_graph
from spinward.store import files
from spinward.trees import name_of

FORMAT = 1
CONTRACT = "contract.json"
PROGRAM, MODULE, ARRAYS = "policy.jax", "policy.stablehlo", "policy.npz"
ONNX = "policy.onnx"
OBSERVATIONS, SIDE_BY_SIDE = 1000, 8  # that are compared, so many at once with one memory
TOLERANCE = 1e-5
PLATFORMS = ("cpu", "cuda")


class ExportedPolicy(NamedTuple):
    """An agent of one seed, and what it acts by."""

    algorithm: Any
    agent: Any
    spec: Any


class Leaves(NamedTuple):
    """A tree as names and shapes [batch, ...], and the trees of such arrays."""

    names: list[str]
    shapes: list[Any]
    tree: Any

    @classmethod
    def of(cls, tree: Any) -> "Leaves":
        paths, structure = jax.tree_util.tree_flatten_with_path(tree)
        return cls([name_of(path) for path, _ in paths], [x for _, x in paths], structure)

    def described(self, word: str) -> list[dict[str, Any]]:
        """What the contract says of them."""
        return [
            {
                "name": name or word,
                "shape": ["batch", *x.shape[1:]],
                "dtype": np.dtype(x.dtype).name,
            }
            for name, x in zip(self.names, self.shapes, strict=True)
        ]


def program(policy: ExportedPolicy) -> Any:
    """`act(obs, memory) -> (action, memory)` of a batch: greedy, in the environment's units."""
    algorithm, agent, space = policy.algorithm, policy.agent, policy.spec.action
    agent = jax.tree.map(jnp.asarray, agent)

    def act(*row: Any) -> tuple[Any, Any]:
        obs, memory = jax.tree.map(lambda x: x[None], row)  # some networks need a known batch
        action, memory, _ = algorithm.act(agent, obs, memory, jax.random.PRNGKey(0), False)
        return jax.tree.map(lambda x: x[0], (space.from_unit(action), memory))  # type: ignore[no-any-return]

    return jax.vmap(act)


def shapes(policy: ExportedPolicy, envs: int) -> tuple[Leaves, Leaves]:
    """The observations and the memory of a batch."""
    obs = jax.tree.map(jnp.asarray, policy.spec.zeros(envs))
    memory = jax.tree.map(jnp.asarray, policy.algorithm.memory(policy.agent, envs))
    return Leaves.of(obs), Leaves.of(memory)


def save(policy: ExportedPolicy, out: Path, kind: str, about: dict[str, Any]) -> dict[str, Any]:
    """Writes a policy to a new folder, checks what was written, and returns the contract.

    Raises:
        SettingsError: there is no such kind, or the folder is not empty.
        SpinwardError: what was written acts otherwise.
    """
    if kind not in KINDS:
        raise SettingsError(f"--to {kind}: expected one of {', '.join(KINDS)}")
    if out.exists() and any(out.iterdir()):
        raise SettingsError(f"{out} is not empty; choose another folder")
    with files.filled(out) as folder:
        return write(policy, folder, kind, about)


def write(policy: ExportedPolicy, out: Path, kind: str, about: dict[str, Any]) -> dict[str, Any]:
    """Writes a policy to an empty folder, checks what was written, and returns the contract."""
    program = KINDS[kind](policy)
    obs, memory = shapes(policy, 1)
    contract = {
        "format": FORMAT,
        "kind": kind,
        "observations": [one | bounds(policy, one["name"]) for one in obs.described("obs")],
        "memory": memory.described("memory"),
        "memory_at_start": [np.asarray(x[0]).tolist() for x in memory.shapes],
        "action": action_of(policy.spec.action),
        **about,
        "versions": {n: importlib.metadata.version(n) for n in ("spinward", "jax", "numpy")},
        "files": {name: hashlib.sha256(data).hexdigest() for name, data in program.items()},
    }
    for name, data in program.items():
        files.write_atomically(out / name, data)
    error = compare(policy, reopened(policy, out, kind))
    if not error <= TOLERANCE:
        raise SpinwardError(
            f"the exported policy differs from the run's by {error:.3g} on {OBSERVATIONS} "
            f"observations; expected at most {TOLERANCE:g}"
        )
    contract["check"] = {"observations": OBSERVATIONS, "largest_difference": error}
    files.write_atomically(out / CONTRACT, json.dumps(contract, indent=1).encode() + b"\n")
    return contract


def as_program(policy: ExportedPolicy) -> dict[str, bytes]:
    """The program for batches of any size, in JAX's own form and as a StableHLO module."""
    require_flatbuffers()
    obs, memory = shapes(policy, 1)
    (batch,) = jax.export.symbolic_shape("batch")
    like = [
        jax.tree.unflatten(
            each.tree, [jax.ShapeDtypeStruct((batch, *x.shape[1:]), x.dtype) for x in each.shapes]
        )
        for each in (obs, memory)
    ]
    exported = jax.export.export(jax.jit(flat(policy)), platforms=PLATFORMS)(
        *jax.tree.leaves(like[0]), *jax.tree.leaves(like[1])
    )
    return {PROGRAM: bytes(exported.serialize()), MODULE: exported.mlir_module_serialized}


def require_flatbuffers() -> None:
    """Raises SettingsError where the package is missing that JAX writes programs with."""
    if importlib.util.find_spec("flatbuffers") is None:
        raise SettingsError(f"a program is written with flatbuffers: {install('flatbuffers')}")


def flat(policy: ExportedPolicy) -> Any:
    """The program over leaves: those of observations and then those of memory go in, the action
    and then the leaves of memory come out."""
    act, (obs, memory) = program(policy), shapes(policy, 1)
    count = len(obs.names)

    def run(*leaves: Any) -> tuple[Any, ...]:
        parts = (obs.tree, leaves[:count]), (memory.tree, leaves[count:])
        action, after = act(*(jax.tree.unflatten(tree, part) for tree, part in parts))
        return action, *jax.tree.leaves(after)

    return run


def as_arrays(policy: ExportedPolicy) -> dict[str, bytes]:
    """The leaves of the agent by name, without the states of optimisers."""
    leaves = jax.tree_util.tree_leaves_with_path(policy.agent)
    named = {name_of(path): np.asarray(x) for path, x in leaves}
    buffer = io.BytesIO()
    kept: Any = {n: x for n, x in named.items() if ".opt_state." not in f".{n}"}
    np.savez_compressed(buffer, **kept)
    return {ARRAYS: buffer.getvalue()}


def as_onnx(policy: ExportedPolicy) -> dict[str, bytes]:
    """The program as an ONNX model, whose inputs have the names of the contract."""
    if importlib.util.find_spec("onnxruntime") is None:
        raise SettingsError(f"an ONNX file is checked by onnxruntime: {install('onnxruntime')}")
    obs, memory = shapes(policy, 1)
    inputs, outputs = names_of(obs, memory)
    return {ONNX: onnx_graph.model_of(flat(policy), obs.shapes + memory.shapes, inputs, outputs)}


def names_of(obs: Leaves, memory: Leaves) -> tuple[list[str], list[str]]:
    """The names of what goes in and comes out of an ONNX model."""
    kept = [name or "memory" for name in memory.names]
    return [name or "obs" for name in obs.names] + kept, ["action", *(f"{n}.next" for n in kept)]


KINDS = {"stablehlo": as_program, "onnx": as_onnx, "npz": as_arrays}


def with_onnx(out: Path, inputs: list[str]) -> Any:
    """An ONNX file as a function of leaves."""
    import onnxruntime

    session = onnxruntime.InferenceSession((out / ONNX).read_bytes())
    taken = {each.name for each in session.get_inputs()}  # those that matter to it

    def run(*leaves: Any) -> Any:
        named = dict(zip(inputs, map(np.asarray, leaves), strict=True))
        return session.run(None, {name: x for name, x in named.items() if name in taken})

    return run


def reopened(policy: ExportedPolicy, out: Path, kind: str) -> Any:
    """The written policy as a function of leaves."""
    if kind == "stablehlo":
        return opened(out)
    if kind == "onnx":
        return with_onnx(out, names_of(*shapes(policy, 1))[0])
    with np.load(out / ARRAYS, allow_pickle=False) as stored:
        arrays = dict(stored)
    agent = jax.tree_util.tree_map_with_path(
        lambda path, x: arrays.get(name_of(path), np.zeros_like(x)), policy.agent
    )
    return jax.jit(flat(ExportedPolicy(policy.algorithm, agent, policy.spec)))


def opened(out: Path) -> Any:
    """The program of an exported policy."""
    return jax.jit(jax.export.deserialize(bytearray((out / PROGRAM).read_bytes())).call)


def compare(policy: ExportedPolicy, other: Any) -> float:
    """The largest difference of actions and memories on observations that are sampled."""
    _, memory = shapes(policy, SIDE_BY_SIDE)
    act = jax.jit(lambda agent, *x: policy.algorithm.act(agent, *x, jax.random.PRNGKey(0), False))
    held: Any = jax.tree.unflatten(memory.tree, memory.shapes)
    theirs, space = list(memory.shapes), policy.spec.action
    random, error = np.random.default_rng(0), 0.0
    for _ in range(OBSERVATIONS // SIDE_BY_SIDE):
        seen = sample(policy, random)
        action, held, _ = act(policy.agent, seen, held)
        action = space.from_unit(np.array(action))
        other_action, *theirs = other(*jax.tree.leaves(seen), *theirs)
        pairs = [(action, other_action), *zip(jax.tree.leaves(held), theirs, strict=True)]
        for a, b in pairs:
            a, b = (np.asarray(x, np.float64) for x in (a, b))
            difference = np.abs(a - b) / np.maximum(1.0, np.abs(a))  # of large numbers relative
            error = max(error, float(difference.max(initial=0.0)))
    return error


def sample(policy: ExportedPolicy, random: np.random.Generator) -> Any:
    """Observations [batch, ...] within their bounds."""
    space = policy.spec.obs
    items = space.items if isinstance(space, Dict) else (("", space),)
    parts = {}
    for name, box in items:
        shape = SIDE_BY_SIDE, *box.shape
        whole = np.issubdtype(box.dtype, np.integer) or name == MASK
        limit = 255.0 if whole else 3.0
        low, high = (np.clip(x, -limit, limit) for x in (box.low, box.high))
        values: Any = random.uniform(low, high, shape)
        values = np.round(values) if whole else values
        if name == MASK:  # allows at least the first action
            values = np.maximum(values, np.arange(shape[-1]) == 0)
        parts[name] = np.asarray(values, box.dtype)
    return parts if isinstance(space, Dict) else parts[""]


def bounds(policy: ExportedPolicy, name: str) -> dict[str, Any]:
    """The bounds of an observation, for a contract; infinite ones are texts."""
    space = policy.spec.obs
    box = dict(space.items)[name] if isinstance(space, Dict) else space
    return {side: finite_or_text(getattr(box, side)) for side in ("low", "high")}


def finite_or_text(bound: Any) -> Any:
    """A bound as JSON."""
    values = np.asarray(bound, float)
    same = values.size and (values == values.flat[0]).all()
    numbers = [x if np.isfinite(x) else str(x) for x in values.reshape(-1).tolist()]
    return numbers[0] if same else numbers


def action_of(space: Any) -> dict[str, Any]:
    """What the contract says of actions."""
    if isinstance(space, Discrete):
        return {"kind": "choice", "of": space.n}
    if isinstance(space, MultiDiscrete):
        return {"kind": "choices", "of": list(space.sizes)}
    if isinstance(space, Hybrid):
        return {"kind": "choices, then numbers", "of": list(space.sizes)} | numbers(space.box)
    return {"kind": "numbers"} | numbers(space)


def numbers(space: Any) -> dict[str, Any]:
    about = {"shape": list(space.shape)}
    return about | {"low": finite_or_text(space.low), "high": finite_or_text(space.high)}
