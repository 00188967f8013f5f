"""The complete accounting of an ONNX file, by the shapes that onnx infers; nothing is run."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING

from harness.errors import CellError
from harness.profiling.graph import Graph, Operator
from harness.profiling.hardware import ELEMENT_BYTES
from harness.profiling.layers import Profile
from harness.profiling.metrics import compute_metrics
from harness.profiling.onnx_operators import VIEWS, count_macs, extra_flops
from harness.profiling.request import USUAL_IMAGE_SIZE, ImageSize, Options, sides
from harness.util.error_text import describe_error

if TYPE_CHECKING:
    import onnx


def read_onnx(path: str, options: Options) -> tuple[Profile, ImageSize]:
    """Count the operators of a file, without views and without what depends on constants alone.

    Each parameter is known by the node that reads it first, a dot and its own name. The profile
    comes with the size of the images. CellError: onnx is not installed, or the file cannot be read,
    takes other inputs, or has shapes that cannot be inferred.
    """
    if options.accounting == "published":
        raise CellError("an ONNX file has no modules: the complete accounting only")
    try:
        import onnx
    except ImportError:
        raise CellError("onnx is not installed: it comes with the extra onnxruntime") from None
    try:
        model = onnx.load(path, load_external_data=False)
        image_size = _fix_inputs(model, options)
        model = onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True)
        return _Reader(model.graph, ELEMENT_BYTES[options.precision]).profile(options), image_size
    except CellError:
        raise
    except Exception as error:
        raise CellError(f"{path} cannot be read: {describe_error(error)}") from error


def _fix_inputs(model: onnx.ModelProto, options: Options) -> ImageSize:
    """Put sizes in place of the names of dimensions, and return the size of the images."""
    stored = {each.name for each in model.graph.initializer}
    inputs = [each for each in model.graph.input if each.name not in stored]
    dimensions = inputs[0].type.tensor_type.shape.dim if inputs else ()
    if len(inputs) != 1 or len(dimensions) != 4:
        raise CellError("it takes other inputs than one tensor of images, N×C×H×W")
    fixed = [int(each.dim_value) for each in dimensions]
    size = options.image_size or (fixed[2] or USUAL_IMAGE_SIZE, fixed[3] or USUAL_IMAGE_SIZE)
    height, width = sides(size)
    wanted = (options.batch_size, options.channels, height, width)
    if any(old not in (0, new) for old, new in zip(fixed, wanted, strict=True)):
        shown = "×".join(str(each or "any") for each in fixed)
        raise CellError(f"it takes {shown}, not {'×'.join(map(str, wanted))}")
    for dimension, number in zip(dimensions, wanted, strict=True):
        dimension.dim_value = number
    return height if height == width else (height, width)


class _Reader:
    """Turns the nodes of a file, whose shapes are known, into operators."""

    def __init__(self, graph: onnx.GraphProto, element_bytes: int) -> None:
        from onnx import helper

        stored = {each.name: each for each in graph.initializer}
        for node in graph.node:
            for given in node.attribute:
                if node.op_type == "Constant" and given.name == "value":
                    stored[node.output[0]] = given.t
        types = {name: each.data_type for name, each in stored.items()}
        self._shapes = {name: tuple(each.dims) for name, each in stored.items()}
        for each in (*graph.value_info, *graph.input, *graph.output):
            kind = each.type.tensor_type
            known = kind.elem_type and kind.HasField("shape")
            if known and all(side.HasField("dim_value") for side in kind.shape.dim):
                types[each.name] = kind.elem_type
                self._shapes[each.name] = tuple(side.dim_value for side in kind.shape.dim)
        dtypes = {name: helper.tensor_dtype_to_np_dtype(key) for name, key in types.items()}
        self._element_bytes = {
            # V stands for the types that NumPy lacks, such as bfloat16.
            name: element_bytes if dtype.kind in "fV" else dtype.itemsize
            for name, dtype in dtypes.items()
        }
        self._stored = sorted(stored)
        self._parameters = [name for name in stored if dtypes[name].kind in "fV"]
        self._results = [each.name for each in graph.output]
        # What depends on constants and shapes alone is computed once, before any image.
        self._constant = set(stored)
        self._nodes: list[onnx.NodeProto] = []
        # The tensor that a view is of, and the node that reads a tensor first.
        self._source: dict[str, str] = {}
        self._reader: dict[str, str] = {}
        for node in graph.node:
            read = {name for name in node.input if name}
            if node.op_type in ("Shape", "Size", "Constant") or read <= self._constant:
                self._constant.update(node.output)
                continue
            self._reader = dict.fromkeys(read, node.name) | self._reader
            if node.op_type in VIEWS:
                self._source[node.output[0]] = self._root(node.input[0])
            else:
                self._nodes.append(node)

    def profile(self, options: Options) -> Profile:
        """Return all that is known of the file."""
        graph = self._graph()
        params = sum(self._elements(name) for name in self._parameters)
        metrics = compute_metrics(
            graph,
            options.accounting,
            options.roof,
            params=params,
            trainable_params=params,
            model_size_mb=self._bytes(self._stored) / 1e6,
            peak_activations_mb=self._peak_bytes() / 1e6,
        )
        return Profile(
            graph=graph,
            metrics=metrics,
            tensors=tuple((name, self._shapes[name]) for name in self._stored),
            outputs=tuple(self._shapes[name] for name in self._results),
            parameters={
                f"{self._reader.get(name, '')}.{name.replace('.', '_')}": self._elements(name)
                for name in self._parameters
            },
        )

    def _graph(self) -> Graph:
        writer: dict[str, int] = {}
        operators: list[Operator] = []
        unknown: dict[str, None] = {}
        for node in self._nodes:
            operator = self._operator(node, writer, unknown)
            writer |= dict.fromkeys(node.output, len(operators))
            operators.append(operator)
        # An image that is returned as it is has no writer.
        results = {writer[root] for root in map(self._root, self._results) if root in writer}
        return Graph(operators=tuple(operators), results=frozenset(results), unknown=tuple(unknown))

    def _operator(
        self, node: onnx.NodeProto, writer: dict[str, int], unknown: dict[str, None]
    ) -> Operator:
        """Return the operator of a node, and note its kind among those without a formula."""
        from onnx import helper

        kind = node.op_type
        read = {self._root(name) for name in node.input if name}
        made = [name for name in node.output if name]
        for name in (*node.input, *made):
            if name and name not in self._shapes:
                raise CellError(f"{kind}: the shape of '{name}' cannot be inferred")
        attributes = {each.name: helper.get_attribute_value(each) for each in node.attribute}
        inputs = [self._shapes[name] for name in node.input if name]
        outputs = [self._shapes[name] for name in made]
        macs = count_macs(kind, attributes, inputs, outputs)
        extra = extra_flops(kind, attributes, inputs, outputs)
        if extra is None and not macs:
            unknown[kind] = None
        weights = read & self._constant
        is_layer = kind in ("Conv", "Gemm") or (kind == "MatMul" and weights)
        return Operator(
            name=kind,
            module=node.name,
            macs=macs,
            flops=2 * macs + (extra or 0),
            input_bytes=self._bytes(read - weights),
            output_bytes=self._bytes(made),
            weight_bytes=self._bytes(weights),
            channels=outputs[0][-1 if kind == "MatMul" else 1] if is_layer else None,
            predecessors=tuple(sorted({writer[name] for name in read if name in writer})),
            output_shapes=tuple(outputs),
            activations=sum(map(math.prod, outputs)) if macs else 0,
        )

    def _peak_bytes(self) -> int:
        """Return the largest sum of results that a later node, or the caller, still needs."""
        last = {self._root(n): at for at, node in enumerate(self._nodes) for n in node.input if n}
        last |= {self._root(name): len(self._nodes) for name in self._results}
        live: set[str] = set()
        peak = 0
        for at, node in enumerate(self._nodes):
            live.update(name for name in node.output if name)
            peak = max(peak, self._bytes(live))
            live = {name for name in live if last.get(name, at) > at}
        return peak

    def _root(self, name: str) -> str:
        return self._source.get(name, name)

    def _elements(self, name: str) -> int:
        return math.prod(self._shapes[name])

    def _bytes(self, names: Iterable[str]) -> int:
        return sum(self._elements(name) * self._element_bytes[name] for name in names)
