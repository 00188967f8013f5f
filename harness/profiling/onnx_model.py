"""The complete accounting of an ONNX file, by the shapes that onnx infers; nothing is run."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from harness.errors import CellError
from harness.profiling.graph import Graph, Operator
from harness.profiling.onnx_operators import VIEWS, count_macs, extra_flops
from harness.profiling.request import USUAL_IMAGE_SIZE, ImageSize, Options, sides
from harness.util.error_text import describe_error

if TYPE_CHECKING:
    import onnx


@dataclass(frozen=True, kw_only=True)
class Value:
    """A tensor of the file: its shape, and the bytes of an element."""

    shape: tuple[int, ...]
    bytes_each: int

    @property
    def elements(self) -> int:
        """The number of elements."""
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        """The size in bytes."""
        return self.elements * self.bytes_each


@dataclass(frozen=True, kw_only=True)
class OnnxModel:
    """What a file says.

    Attributes:
        image_size: The size in pixels of the images that it takes.
        graph: Its operators, without views and without what depends on constants alone.
        params: The floating-point numbers that it holds.
        model_size_bytes: The size of all numbers that it holds.
        peak_activation_bytes: The largest sum of results that are still needed.
        tensors: Names and shapes of the tensors that it holds, by name.
        outputs: The shapes of its results.
        parameters: The elements of each tensor of floating-point numbers that it holds, by the name
            of the node that reads it first, a dot and the tensor's name.
    """

    image_size: ImageSize
    graph: Graph
    params: int
    model_size_bytes: int
    peak_activation_bytes: int
    tensors: tuple[tuple[str, tuple[int, ...]], ...]
    outputs: tuple[tuple[int, ...], ...]
    parameters: dict[str, int]


def read_onnx(path: str, options: Options, element_bytes: int) -> OnnxModel:
    """Count the operators of a file.

    Raises:
        CellError: onnx is not installed, the file cannot be read, takes other inputs, or has
            shapes that cannot be inferred.
    """
    try:
        import onnx
    except ImportError:
        raise CellError("onnx is not installed: it comes with the extra onnxruntime") from None
    try:
        model = onnx.load(path, load_external_data=False)
        image_size = _fix_inputs(model, options)
        model = onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True)
    except CellError:
        raise
    except Exception as error:
        raise CellError(f"{path} cannot be read: {describe_error(error)}") from error
    reader = _Reader(model, element_bytes)
    constants = sorted(reader.stored.items())
    graph = reader.graph()
    return OnnxModel(
        image_size=image_size,
        graph=graph,
        params=sum(value.elements for name, value in constants if name in reader.floating),
        model_size_bytes=sum(value.nbytes for _, value in constants),
        peak_activation_bytes=reader.peak_bytes(),
        tensors=tuple((name, value.shape) for name, value in constants),
        outputs=tuple(reader.values[output.name].shape for output in model.graph.output),
        parameters=reader.parameters(),
    )


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

    def __init__(self, model: onnx.ModelProto, element_bytes: int) -> None:
        from onnx import helper

        graph = model.graph
        tensors = {each.name: each for each in graph.initializer}
        for node in graph.node:
            if node.op_type == "Constant" and "value" in (given := _attributes(node)):
                tensors[node.output[0]] = given["value"]
        types = {name: each.data_type for name, each in tensors.items()}
        shapes = {name: tuple(each.dims) for name, each in tensors.items()}
        for each in (*graph.value_info, *graph.input, *graph.output):
            kind = each.type.tensor_type
            types[each.name] = kind.elem_type
            if all(dimension.HasField("dim_value") for dimension in kind.shape.dim):
                shapes[each.name] = tuple(dimension.dim_value for dimension in kind.shape.dim)
        dtypes = {key: helper.tensor_dtype_to_np_dtype(key) for key in set(types.values()) if key}
        self.floating = {name for name, key in types.items() if key and dtypes[key].kind in "fV"}
        self.values = {
            name: Value(
                shape=shape,
                bytes_each=element_bytes if name in self.floating else dtypes[types[name]].itemsize,
            )
            for name, shape in shapes.items()
            if types[name]
        }
        self.stored = {name: self.values[name] for name in tensors}
        self._graph = graph
        # What depends on constants and shapes alone is computed once, before any image.
        self._constant = set(tensors)
        self._nodes = [node for node in graph.node if not self._is_constant(node)]
        # The tensor that a view is of.
        self._source: dict[str, str] = {}
        for node in self._nodes:
            if node.op_type in VIEWS:
                self._source[node.output[0]] = self._root(node.input[0])

    def graph(self) -> Graph:
        """Return the operators, without views."""
        writer: dict[str, int] = {}
        operators: list[Operator] = []
        unknown: dict[str, None] = {}
        for node in self._nodes:
            if node.op_type in VIEWS:
                continue
            read = dict.fromkeys(self._root(name) for name in node.input if name)
            made = [name for name in node.output if name]
            if missing := [name for name in (*read, *made) if name not in self.values]:
                raise CellError(f"{node.op_type}: the shape of '{missing[0]}' cannot be inferred")
            shapes = (self._shapes(node.input), self._shapes(node.output))
            macs = count_macs(node.op_type, _attributes(node), *shapes)
            extra = extra_flops(node.op_type, _attributes(node), *shapes)
            if extra is None and not macs:
                unknown[node.op_type] = None
            weights = [name for name in read if name in self._constant]
            elements = sum(self.values[name].elements for name in made)
            is_layer = node.op_type in ("Conv", "Gemm") or (node.op_type == "MatMul" and weights)
            axis = 1 if node.op_type in ("Conv", "Gemm") else -1
            for name in made:
                writer[name] = len(operators)
            operators.append(
                Operator(
                    name=node.op_type,
                    module=node.name,
                    macs=macs,
                    flops=2 * macs + (extra or 0),
                    input_bytes=self._bytes(set(read) - set(weights)),
                    output_bytes=self._bytes(made),
                    weight_bytes=self._bytes(weights),
                    channels=self.values[made[0]].shape[axis] if is_layer else None,
                    predecessors=tuple(sorted({writer[n] for n in read if n in writer})),
                    output_shapes=tuple(self.values[name].shape for name in made),
                    activations=elements if macs else 0,
                )
            )
        results = frozenset(writer[self._root(each.name)] for each in self._graph.output)
        return Graph(operators=tuple(operators), results=results, unknown=tuple(unknown))

    def parameters(self) -> dict[str, int]:
        """Return the elements of what the file holds, by node and name; see `OnnxModel`."""
        reading: dict[str, str] = {}
        for node in self._nodes:
            for name in node.input:
                reading.setdefault(name, node.name)
        held = {name: value for name, value in self.stored.items() if name in self.floating}
        return {
            f"{reading.get(name, '')}.{name.replace('.', '_')}": value.elements
            for name, value in held.items()
        }

    def peak_bytes(self) -> int:
        """Return the largest sum of results that a later node, or the caller, still needs."""
        last = {self._root(n): at for at, node in enumerate(self._nodes) for n in node.input if n}
        returned = {self._root(each.name) for each in self._graph.output}
        live: dict[str, int] = {}
        peak = 0
        for at, node in enumerate(self._nodes):
            if node.op_type not in VIEWS:
                live |= {name: self.values[name].nbytes for name in node.output if name}
            peak = max(peak, sum(live.values()))
            live = {n: size for n, size in live.items() if n in returned or last.get(n, at) > at}
        return peak

    def _is_constant(self, node: onnx.NodeProto) -> bool:
        constant = node.op_type in ("Shape", "Size", "Constant") or all(
            name in self._constant for name in node.input if name
        )
        if constant:
            self._constant.update(node.output)
        return constant

    def _root(self, name: str) -> str:
        return self._source.get(name, name)

    def _bytes(self, names: Iterable[str]) -> int:
        return sum(self.values[name].nbytes for name in names)

    def _shapes(self, names: Sequence[str]) -> list[tuple[int, ...]]:
        return [self.values[name].shape for name in names if name]


def _attributes(node: onnx.NodeProto) -> dict[str, Any]:
    from onnx import helper

    return {each.name: helper.get_attribute_value(each) for each in node.attribute}
