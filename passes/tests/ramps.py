"""Runs DIR/<n>.before.onnx and DIR/<n>.after.onnx in ONNX Runtime on DIR/x: outputs must be the same; see ramps.rs.

    ramps.py DIR TOLERANCE    in parts of the largest output
"""
import glob
import sys

import numpy as np
import onnx
import onnxruntime as ort

folder, tolerance = sys.argv[1], float(sys.argv[2])
x = np.fromfile(f"{folder}/x", np.float32).reshape(1, 1, 8, 32)


def run(path):
    onnx.checker.check_model(path, full_check=True)
    options = ort.SessionOptions()
    options.log_severity_level = 3
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    return ort.InferenceSession(path, options, providers=["CPUExecutionProvider"]).run(None, {"x": x})


compared = 0
for path in sorted(glob.glob(f"{folder}/*.before.onnx")):
    before, after = run(path), run(path.replace(".before.", ".after."))
    for a, b in zip(before, after, strict=True):
        assert a.shape == b.shape, (path, a.shape, b.shape)
        worst = np.abs(a - b).max()
        assert worst <= tolerance * np.abs(a).max(), (path, worst, np.abs(a).max())
    compared += 1
print(compared, "pairs compared")
