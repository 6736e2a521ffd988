"""A compiled function as an ONNX graph, for batches of any size.

A function's jaxpr is a list of primitives; each becomes one or a few ONNX nodes. Primitives that a
policy does not need when it acts greedily, such as loops and random numbers, have none.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.extend.core
import numpy as np
from jax.extend.core import ClosedJaxpr, Literal
from jax.interpreters import partial_eval

from spinward.errors import SettingsError, install

OPSET = 18
BATCH = "batch"
SAME_INPUTS = {  # primitives whose inputs are those of one node
    "add": "Add", "add_any": "Add", "sub": "Sub", "mul": "Mul", "div": "Div", "max": "Max",
    "min": "Min", "pow": "Pow", "eq": "Equal", "lt": "Less", "le": "LessOrEqual", "gt": "Greater",
    "ge": "GreaterOrEqual", "tanh": "Tanh", "exp": "Exp", "log": "Log", "sqrt": "Sqrt",
    "neg": "Neg", "abs": "Abs", "sign": "Sign", "floor": "Floor", "ceil": "Ceil", "erf": "Erf",
    "logistic": "Sigmoid", "not": "Not", "sin": "Sin", "cos": "Cos", "stop_gradient": "Identity",
    "copy": "Identity", "copy_p": "Identity",
}  # fmt: skip
LOGIC = {"and": "And", "or": "Or", "xor": "Xor"}  # of truth values
REDUCTIONS = {"reduce_sum": "ReduceSum", "reduce_max": "ReduceMax", "reduce_min": "ReduceMin"}
INLINED = ("jit", "pjit", "custom_jvp_call", "custom_vjp_call", "closed_call", "remat")


def model_of(run: Any, like: Sequence[Any], inputs: list[str], outputs: list[str]) -> bytes:
    """The ONNX model of `run(*leaves)`, whose leaves are [batch, ...] as `like`.

    Raises:
        SettingsError: `onnx` is missing, or a primitive has no counterpart.
    """
    try:
        import onnx
    except ImportError:
        raise SettingsError(f"an ONNX file needs onnx: {install('onnx')}") from None
    (batch,) = jax.export.symbolic_shape(BATCH)
    shaped = [jax.ShapeDtypeStruct((batch, *x.shape[1:]), x.dtype) for x in like]
    closed = jax.make_jaxpr(run)(*shaped)
    lean, _ = partial_eval.dce_jaxpr(closed.jaxpr, [True] * len(closed.jaxpr.outvars), True)
    graph = Graph(onnx, inputs)
    for var, name in zip(lean.invars, inputs, strict=True):
        graph.names[var] = name
    for var, value in zip(lean.constvars, closed.consts, strict=True):
        graph.names[var] = graph.constant(np.asarray(value))
    graph.add_all(lean)
    for result, name in zip(lean.outvars, outputs, strict=True):
        graph.node("Identity", graph.name(result), output=name)
    taken, given = (
        [graph.declared(name, var.aval) for name, var in zip(names, variables, strict=True)]
        for names, variables in ((inputs, lean.invars), (outputs, lean.outvars))
    )
    made = onnx.helper.make_graph(graph.nodes, "policy", taken, given, graph.constants)
    opset = [onnx.helper.make_opsetid("", OPSET)]
    model = onnx.helper.make_model(made, opset_imports=opset, ir_version=9)
    onnx.checker.check_model(model, full_check=True)
    return model.SerializeToString()  # type: ignore[no-any-return]


class Graph:
    """The nodes so far, and the names of the values of variables."""

    def __init__(self, onnx: Any, inputs: list[str]):
        self.onnx = onnx
        self.nodes: list[Any] = []
        self.constants: list[Any] = []
        self.names: dict[Any, str] = {}
        sizes = self.node("Shape", inputs[0])
        self.batch = self.node("Slice", sizes, self.whole(0), self.whole(1))

    def node(self, kind: str, *inputs: str, output: str = "", **attributes: Any) -> str:
        """The name of the output of a new node."""
        output = output or f"v{len(self.nodes)}"
        self.nodes.append(self.onnx.helper.make_node(kind, list(inputs), [output], **attributes))
        return output

    def constant(self, value: np.ndarray) -> str:
        name = f"c{len(self.constants)}"
        self.constants.append(self.onnx.numpy_helper.from_array(value, name))
        return name

    def whole(self, *numbers: int) -> str:
        return self.constant(np.array(numbers, np.int64))

    def kind(self, dtype: Any) -> int:
        """ONNX's number of a type."""
        return int(self.onnx.helper.np_dtype_to_tensor_dtype(np.dtype(dtype)))

    def declared(self, name: str, aval: Any) -> Any:
        shape = [d if isinstance(d, int) else BATCH for d in aval.shape]
        return self.onnx.helper.make_tensor_value_info(name, self.kind(aval.dtype), shape)

    def name(self, value: Any) -> str:
        """The name of a variable or a literal."""
        if isinstance(value, Literal):
            aval: Any = value.aval
            return self.constant(np.asarray(value.val, aval.dtype))
        return self.names[value]

    def shape(self, sizes: Sequence[Any]) -> str:
        """A shape as a tensor; a size may be the batch's."""
        if all(isinstance(d, int) for d in sizes):
            return self.whole(*sizes)
        parts = []
        for size in sizes:
            if isinstance(size, int):
                parts.append(self.whole(size))
            elif str(size) == BATCH:
                parts.append(self.batch)
            else:
                raise SettingsError(f"a size of {size} cannot be written to ONNX: {INSTEAD}")
        return self.node("Concat", *parts, axis=0)

    def add_all(self, jaxpr: Any) -> None:
        """Adds the nodes of all equations."""
        for equation in jaxpr.eqns:
            kind, params = equation.primitive.name, equation.params
            if kind in INLINED:
                self.inline(equation)
                continue
            inputs = [self.name(x) for x in equation.invars]
            if kind == "split":
                results = self.split(inputs[0], params)
            elif kind == "optimization_barrier":
                results = inputs
            else:
                results = [self.translated(kind, equation, inputs)]
            self.names |= dict(zip(equation.outvars, results, strict=True))

    def inline(self, equation: Any) -> None:
        """Adds the nodes of a function that an equation calls."""
        params = equation.params
        inner = params.get("jaxpr", params.get("call_jaxpr"))
        closed = isinstance(inner, ClosedJaxpr)
        jaxpr, consts = (inner.jaxpr, inner.consts) if closed else (inner, ())
        for var, value in zip(jaxpr.constvars, consts, strict=True):
            self.names[var] = self.constant(np.asarray(value))
        for var, value in zip(jaxpr.invars, equation.invars, strict=True):
            self.names[var] = self.name(value)
        self.add_all(jaxpr)
        for outer, var in zip(equation.outvars, jaxpr.outvars, strict=True):
            self.names[outer] = self.name(var)

    def translated(self, kind: str, equation: Any, inputs: list[str]) -> str:
        """The name of the value of an equation."""
        if kind in SAME_INPUTS:
            return self.node(SAME_INPUTS[kind], *inputs)
        truth = equation.invars[0].aval.dtype == np.bool_ if equation.invars else False
        if kind in LOGIC and truth:
            return self.node(LOGIC[kind], *inputs)
        if kind in REDUCTIONS and not truth:
            axes = self.whole(*equation.params["axes"])
            return self.node(REDUCTIONS[kind], inputs[0], axes, keepdims=0)
        if kind.startswith("random_"):
            raise SettingsError(
                f"this policy draws random numbers as it acts, which ONNX cannot: {INSTEAD}"
            )
        own = OWN.get(kind)
        if own is None:
            raise SettingsError(f"{kind!r} of this policy has no form in ONNX: {INSTEAD}")
        return own(self, equation, *inputs)

    def split(self, x: str, params: dict[str, Any]) -> list[str]:
        names = [f"v{len(self.nodes)}_{i}" for i in range(len(params["sizes"]))]
        parts = [x, self.whole(*params["sizes"])]
        made = self.onnx.helper.make_node("Split", parts, names, axis=params["axis"])
        self.nodes.append(made)
        return names


INSTEAD = "export --to stablehlo has every policy"


def cast(graph: Graph, equation: Any, x: str) -> str:
    return graph.node("Cast", x, to=graph.kind(equation.params["new_dtype"]))


def broadcast(graph: Graph, equation: Any, x: str, *sizes: str) -> str:
    """Sizes of 1 where there was no dimension, which are then expanded."""
    operand, out = equation.invars[0].aval, equation.outvars[0].aval
    kept = dict(zip(equation.params["broadcast_dimensions"], operand.shape, strict=True))
    if operand.shape:
        x = graph.node("Reshape", x, graph.shape([kept.get(i, 1) for i in range(out.ndim)]))
    return graph.node("Expand", x, graph.shape(out.shape))


def reshape(graph: Graph, equation: Any, x: str, *sizes: str) -> str:
    return graph.node("Reshape", x, graph.shape(equation.outvars[0].aval.shape), allowzero=1)


def transpose(graph: Graph, equation: Any, x: str) -> str:
    return graph.node("Transpose", x, perm=list(equation.params["permutation"]))


def concatenate(graph: Graph, equation: Any, *parts: str) -> str:
    return graph.node("Concat", *parts, axis=equation.params["dimension"])


def sliced(graph: Graph, equation: Any, x: str) -> str:
    params, shape = equation.params, equation.invars[0].aval.shape
    strides = params["strides"] or (1,) * len(shape)
    pairs = zip(params["start_indices"], params["limit_indices"], strides, shape, strict=True)
    cut = [(i, p) for i, p in enumerate(pairs) if p[:3] != (0, p[3], 1)]
    if not cut:
        return x
    starts, ends, steps = (graph.whole(*(p[k] for _, p in cut)) for k in range(3))
    return graph.node("Slice", x, starts, ends, graph.whole(*(i for i, _ in cut)), steps)


def selected(graph: Graph, equation: Any, which: str, *cases: str) -> str:
    if equation.invars[0].aval.dtype != np.bool_:
        raise SettingsError(f"a choice of more than two has no form in ONNX: {INSTEAD}")
    return graph.node("Where", which, cases[1], cases[0])


def highest(graph: Graph, equation: Any, x: str) -> str:
    kind = "ArgMax" if equation.primitive.name == "argmax" else "ArgMin"
    index = graph.node(kind, x, axis=equation.params["axes"][0], keepdims=0)
    return graph.node("Cast", index, to=graph.kind(equation.params["index_dtype"]))


def numbered(graph: Graph, equation: Any, *sizes: str) -> str:
    """0, 1, ... along one dimension, whose size is known."""
    out, axis = equation.outvars[0].aval, equation.params["dimension"]
    if not isinstance(out.shape[axis], int):
        raise SettingsError(f"numbers along the batch have no form in ONNX: {INSTEAD}")
    ones = [out.shape[axis] if i == axis else 1 for i in range(out.ndim)]
    values = np.arange(out.shape[axis], dtype=out.dtype).reshape(ones)
    return graph.node("Expand", graph.constant(values), graph.shape(out.shape))


def product(graph: Graph, equation: Any, x: str, y: str) -> str:
    """A product of matrices, in Einstein's notation."""
    (contract, batch), letters = equation.params["dimension_numbers"], iter("abcdefghijklmnopq")
    left: dict[int, str] = {i: next(letters) for i in range(equation.invars[0].aval.ndim)}
    pairs = [*zip(contract[1], contract[0], strict=True), *zip(batch[1], batch[0], strict=True)]
    same = {j: left[i] for j, i in pairs}
    right = {j: same.get(j) or next(letters) for j in range(equation.invars[1].aval.ndim)}
    free = [left[i] for i in left if i not in (*contract[0], *batch[0])]
    free += [right[j] for j in right if j not in same]
    out = "".join([left[i] for i in batch[0]] + free)
    text = f"{''.join(left.values())},{''.join(right.values())}->{out}"
    return graph.node("Einsum", x, y, equation=text)


def power(graph: Graph, equation: Any, x: str) -> str:
    exponent = np.asarray(equation.params["y"], equation.invars[0].aval.dtype)
    return graph.node("Pow", x, graph.constant(exponent))


def reduced_truth(graph: Graph, equation: Any, x: str) -> str:
    kind = "ReduceMin" if equation.primitive.name == "reduce_and" else "ReduceMax"
    whole, axes = graph.node("Cast", x, to=graph.kind(np.int32)), equation.params["axes"]
    result = graph.node(kind, whole, graph.whole(*axes), keepdims=0)
    return graph.node("Cast", result, to=graph.kind(np.bool_))


def stacked(graph: Graph, equation: Any, *parts: str) -> str:
    axis = equation.params["axis"]
    return graph.node(
        "Concat", *(graph.node("Unsqueeze", x, graph.whole(axis)) for x in parts), axis=axis
    )


def is_finite(graph: Graph, equation: Any, x: str) -> str:
    return graph.node("Not", graph.node("Or", graph.node("IsNaN", x), graph.node("IsInf", x)))


OWN: dict[str, Callable[..., str]] = {
    "convert_element_type": cast, "broadcast_in_dim": broadcast, "reshape": reshape,
    "squeeze": reshape, "expand_dims": reshape, "transpose": transpose, "concatenate": concatenate,
    "slice": sliced, "select_n": selected, "argmax": highest, "argmin": highest, "iota": numbered,
    "dot_general": product, "integer_pow": power, "reduce_and": reduced_truth,
    "reduce_or": reduced_truth, "stack": stacked, "is_finite": is_finite,
    "ne": lambda graph, _, x, y: graph.node("Not", graph.node("Equal", x, y)),
    "rsqrt": lambda graph, _, x: graph.node("Reciprocal", graph.node("Sqrt", x)),
    "square": lambda graph, _, x: graph.node("Mul", x, x),
    "rem": lambda graph, _, x, y: graph.node("Mod", x, y, fmod=1),
    "clamp": lambda graph, _, low, x, high: graph.node("Min", graph.node("Max", x, low), high),
}  # fmt: skip
