"""Small models over every operator that `upgrade_opset` rewrites, and a judge that runs them in ONNX Runtime.

    upgrade_models.py make DIR      writes DIR/<n>_<operator>_<opset>.onnx
    upgrade_models.py compare DIR   runs each DIR/*.onnx and its conversions DIR/*.onnx.to<opset> on the same input
"""
import glob
import sys

import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto, helper, numpy_helper

IR = {7: 3, 8: 3, 9: 4, 10: 5, 11: 6, 12: 7, 15: 8, 16: 8, 17: 8, 18: 8}
f32, i64 = np.float32, np.int64
MODELS = []


def add(op, opset, x, y, constants=None, more=(), positive=False, **attributes):
    """`x` and `y` are shapes; `more` are further outputs (name, type, shape)."""
    constants = constants or {}
    outputs = [("y", TensorProto.FLOAT, y), *more]
    source = "positive" if positive else "x"
    nodes = [helper.make_node("Abs", ["x"], ["positive"])] if positive else []
    nodes.append(helper.make_node(op, [source, *constants], [o[0] for o in outputs], **attributes))
    tensors = [numpy_helper.from_array(v, k) for k, v in constants.items()]
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, x)]
    if IR[opset] < 4:
        inputs += [helper.make_tensor_value_info(t.name, t.data_type, t.dims) for t in tensors]
    outputs = [helper.make_tensor_value_info(*o) for o in outputs]
    graph = helper.make_graph(nodes, "g", inputs, outputs, tensors)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=IR[opset])
    MODELS.append((f"{op}_{opset}", model))


def before_11(opset):
    x = [2, 3, 4]
    add("Clip", opset, x, x, min=-0.3)
    add("Clip", opset, x, x, max=0.3)
    add("Clip", opset, x, x)
    for mode in ("constant", "reflect", "edge"):
        add("Pad", opset, x, [2, 4, 6], pads=[0, 1, 1, 0, 0, 1], mode=mode, value=0.5)
    add("Dropout", opset, x, x, ratio=0.3)
    if opset < 10:
        add("Slice", opset, x, [2, 2, 3], starts=[1, -3], ends=[9, 4], axes=[1, 2])
        add("Slice", opset, x, x, starts=[0], ends=[2])
        add("TopK", opset, x, [2, 3, 2], more=[("i", TensorProto.INT64, [2, 3, 2])], k=2)
        add("TopK", opset, x, [2, 2, 4], more=[("i", TensorProto.INT64, [2, 2, 4])], k=2, axis=1)
    if opset < 9:
        statistics = {"s": f32([1, 2]), "b": f32([0, 1]), "m": f32([1, -1]), "v": f32([1, 2])}
        add("BatchNormalization", opset, [1, 2, 3], [1, 2, 3], statistics, spatial=1)
    for mode in ("nearest", "linear"):
        small, large = [1, 2, 3, 4], [1, 2, 6, 12]
        if opset < 9:
            add("Upsample", opset, small, large, scales=[1.0, 1.0, 2.0, 3.0], mode=mode)
        else:
            name = "Upsample" if opset == 9 else "Resize"
            add(name, opset, small, large, {"scales": f32([1, 1, 2, 3])}, mode=mode)
    if opset == 9:
        add("Scatter", opset, [3, 3], [3, 3], {"i": i64([[1, 0, 2]]), "u": f32([[1, 2, 3]])})


def before_13(opset):
    x = [2, 3, 4]
    for op in ("Softmax", "LogSoftmax", "Hardmax"):
        add(op, opset, x, x)
        for axis in (0, 1, 2):
            add(op, opset, x, x, axis=axis)
    add("Squeeze", opset, [1, 3, 1], [3])
    add("Squeeze", opset, [1, 3, 1], [1, 3], axes=[2])
    add("Unsqueeze", opset, [3], [1, 3, 1], axes=[0, 2])
    add("Split", opset, [4, 2], [1, 2], more=[("z", TensorProto.FLOAT, [3, 2])], split=[1, 3])
    add("Split", opset, [4, 2], [2, 2], more=[("z", TensorProto.FLOAT, [2, 2])])
    for what in ("Sum", "Mean", "Max", "Min", "Prod", "L1", "L2", "LogSum", "LogSumExp", "SumSquare"):
        add("Reduce" + what, opset, x, [2, 4], positive=True, axes=[1], keepdims=0)
        add("Reduce" + what, opset, x, [1, 1, 1], positive=True)


def later():
    roi = {"rois": f32([[0, 0, 5, 5]]), "batch": i64([0])}
    for opset in (10, 11, 15):
        add("RoiAlign", opset, [1, 1, 8, 8], [1, 1, 2, 2], roi, output_height=2, output_width=2, sampling_ratio=2)
    grid = {"grid": f32([[[[-0.5, 0.2], [0.3, 0.1]], [[0, 0], [0.9, -0.9]]]])}
    for mode in ("bilinear", "bicubic", "nearest"):
        add("GridSample", 16, [1, 1, 4, 4], [1, 1, 2, 2], grid, mode=mode)
    add("DFT", 17, [1, 4, 4, 1], [1, 4, 4, 2])
    add("DFT", 17, [1, 4, 4, 1], [1, 4, 4, 2], axis=2)
    groups = {"s": f32([1, 2]), "b": f32([0.5, 0.1])}
    add("GroupNormalization", 18, [1, 4, 3], [1, 4, 3], groups, num_groups=2)


def make(folder):
    for opset in (7, 8, 9, 10):
        before_11(opset)
    for opset in (7, 11, 12):
        before_13(opset)
    later()
    for i, (name, model) in enumerate(MODELS):
        onnx.save(model, f"{folder}/{i:03}_{name}.onnx")


def run(path):
    session = ort.InferenceSession(path, providers=["CPUExecutionProvider"])
    shape = session.get_inputs()[0].shape
    return session.run(None, {"x": np.random.default_rng(7).standard_normal(shape).astype(f32)})


def compare(folder):
    ort.set_default_logger_severity(4)
    compared, wrong = 0, []
    for path in sorted(glob.glob(f"{folder}/*.onnx")):
        before = run(path)
        for converted in sorted(glob.glob(path + ".to*")):
            onnx.checker.check_model(onnx.load(converted), full_check=True)
            after = run(converted)
            same = all(np.allclose(b, a, rtol=1e-5, atol=1e-6) for b, a in zip(before, after))
            compared += 1
            if not same or len(before) != len(after):
                wrong.append(converted)
    print(f"{compared} conversions compared")
    sys.exit("\n".join(["these compute something else:", *wrong]) if wrong else 0)


if __name__ == "__main__":
    {"make": make, "compare": compare}[sys.argv[1]](sys.argv[2])
