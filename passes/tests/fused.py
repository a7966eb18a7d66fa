"""Runs files in ONNX Runtime as they are written: a JSON list of {model, inputs} comes in, a line of JSON goes out for
each: outputs by name, as a list of shape and elements, or a string that says why not."""

import json
import sys

import numpy as np
import onnxruntime as ort

options = ort.SessionOptions()
options.log_severity_level = 4
options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
for case in json.load(sys.stdin):
    try:
        session = ort.InferenceSession(case["model"], options, providers=["CPUExecutionProvider"])
        feeds = {i["name"]: np.array(i["values"], i["type"]).reshape(i["dims"]) for i in case["inputs"]}
        names = [o.name for o in session.get_outputs()]
        found = session.run(names, feeds)
        print(json.dumps({n: [list(np.shape(y)), np.ravel(y).tolist()] for n, y in zip(names, found)}))
    except Exception as error:
        print(json.dumps(str(error)))
