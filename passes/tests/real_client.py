"""Loads each quantized model in ONNX Runtime and compares its outputs with ours; see real_client.rs.

Reads a JSON list of {model, inputs, output, fused, kernels} from standard input; `inputs` are {name, file, shape, type} each, and
files hold raw numbers, outputs float32; with `kernels` what the integer kernels compute must be what the file says, too:
without VNNI some of them saturate. Prints one line a model: the greatest difference in units of the output's range over 255.
"""
import json, sys
import numpy as np, onnx, onnxruntime as ort

for case in json.load(sys.stdin):
    onnx.checker.check_model(case["model"], full_check=True)
    options = ort.SessionOptions()
    options.log_severity_level = 3
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = ort.InferenceSession(case["model"], options, providers=["CPUExecutionProvider"])
    # and with every optimization
    optimized = ort.SessionOptions()
    optimized.log_severity_level = 3
    optimized.optimized_model_filepath = case["model"] + ".optimized"
    fast = ort.InferenceSession(case["model"], optimized, providers=["CPUExecutionProvider"])
    if case.get("fused"):
        operator, least = case["fused"]
        nodes = onnx.load(case["model"] + ".optimized", load_external_data=False).graph.node
        found = sum(node.op_type == operator for node in nodes)
        assert found >= least, f'{case["model"]}: {found} {operator}, not {least}'
    ours = np.fromfile(case["output"], np.float32)
    names = [i["name"] for i in case["inputs"]]
    arrays = [np.fromfile(i["file"], i["type"]).reshape([-1] + i["shape"]) for i in case["inputs"]]
    feeds = [{name: row[None] for name, row in zip(names, rows)} for rows in zip(*arrays)]
    theirs = np.concatenate([session.run(None, feed)[0].ravel() for feed in feeds])
    if case.get("kernels"):
        fused = np.concatenate([fast.run(None, feed)[0].ravel() for feed in feeds])
        noise = 10 * np.log10((theirs ** 2).sum() / max(((fused - theirs) ** 2).sum(), 1e-30))
        assert noise > 30, f'{case["model"]}: the kernels are {noise:.1f} dB from what the file says'
    step = (theirs.max() - theirs.min()) / 255
    print(case["model"], np.abs(ours - theirs).max() / step, flush=True)
