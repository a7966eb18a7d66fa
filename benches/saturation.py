#!/usr/bin/env python3
"""What is left of 8-bit files on a processor without VNNI: tapq and ONNX Runtime's static quantizer, with all bits and with one less.

    cargo build --release && python3 benches/saturation.py ASSETS [--tools TOOLS] [--names a,b]

ASSETS holds manifest.yaml, models and labelled samples; TOOLS holds judge.py. Prints a Markdown table: SQNR of each file
as it says and as ONNX Runtime's integer kernels run it on this machine, the share of labelled samples that are then answered as
by the float network, and milliseconds of one sample on one thread, interleaved. On a processor with VNNI both figures agree.
Needs: pip install onnx onnxruntime numpy pillow pyyaml sympy
"""
import argparse, os, subprocess, sys, tempfile, time
import numpy as np, onnxruntime as ort, yaml


class Reader:
    def __init__(self, name, x):
        self.rows = iter([{name: x[i:i + 1]} for i in range(len(x))])

    def get_next(self):
        return next(self.rows, None)


def peer(source, target, x, reduced):
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process
    prepared = target + ".prepared"
    quant_pre_process(source, prepared, skip_symbolic_shape=True)
    name = ort.InferenceSession(prepared, providers=["CPUExecutionProvider"]).get_inputs()[0].name
    quantize_static(prepared, target, Reader(name, x), quant_format=QuantFormat.QDQ, per_channel=True, reduce_range=reduced,
                    activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8)


def session(path, optimized, threads):
    options = ort.SessionOptions()
    options.log_severity_level, options.intra_op_num_threads = 3, threads
    if not optimized:
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    return ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def outputs(path, x, optimized):
    run = session(path, optimized, 0)
    name = run.get_inputs()[0].name
    return np.concatenate([run.run(None, {name: x[i:i + 20]})[0] for i in range(0, len(x), 20)]).astype(np.float64)


def milliseconds(paths, x, runs=40):
    """The least of interleaved runs of each file."""
    runners = [session(p, True, 1) for p in paths]
    feed = {runners[0].get_inputs()[0].name: x[:1]}
    best = [np.inf] * len(paths)
    for _ in range(runs):
        for at, runner in enumerate(runners):
            start = time.process_time()
            runner.run(None, feed)
            best[at] = min(best[at], time.process_time() - start)
    return [1e3 * b for b in best]


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("assets"); ap.add_argument("--tools"); ap.add_argument("--names")
    ap.add_argument("--xtask", default=os.path.join(os.path.dirname(os.path.abspath(__file__)), "../target/release/xtask"))
    a = ap.parse_args()
    sys.path.insert(0, a.tools or f"{a.assets}/../tools")
    import judge
    models = yaml.safe_load(open(f"{a.assets}/manifest.yaml"))["models"]
    names = a.names.split(",") if a.names else [n for n, m in models.items() if "eval" in m]
    print(f"VNNI on this machine: {'yes' if 'vnni' in open('/proc/cpuinfo').read() else 'no'}\n")
    print("| network | file | SQNR dB, as it says | as it runs here | same answers % | ms |\n|---|---|---|---|---|---|")
    for name in names:
        spec = models[name]
        source = f"{a.assets}/{spec['file']}"
        calib, _ = judge.samples(a.assets, spec["calib"], spec["preprocess"], 16)
        x, _ = judge.samples(a.assets, spec["eval"], spec["preprocess"], None)
        float_out = outputs(source, x, True)
        with tempfile.TemporaryDirectory() as tmp:
            yaml.safe_dump(spec["preprocess"], open(f"{tmp}/prep.yaml", "w"))
            files = {}
            for words, target in (("tapq, `cpu`", "cpu"), ("tapq, `cpu-vnni`", "cpu-vnni")):
                files[words] = f"{tmp}/{target}.onnx"
                subprocess.run([a.xtask, "quantize", source, "--target", target, "--calib", f"{a.assets}/{spec['calib']}", "--preprocess",
                                f"{tmp}/prep.yaml", "--samples", "16", "-q", "-o", files[words]], check=True, stdout=subprocess.DEVNULL)
            for words, reduced in (("ORT", False), ("ORT, `reduce_range`", True)):
                files[words] = f"{tmp}/ort{int(reduced)}.onnx"
                peer(source, files[words], calib, reduced)
            times = milliseconds([source] + list(files.values()), x)
            print(f"| {name} | float | | | | {times[0]:.2f} |")
            for (words, path), ms in zip(files.items(), times[1:]):
                says, runs = outputs(path, x, False), outputs(path, x, True)
                db = [10 * np.log10((float_out ** 2).sum() / ((o - float_out) ** 2).sum()) for o in (says, runs)]
                same = 100 * (runs.argmax(1) == float_out.argmax(1)).mean()
                print(f"| {name} | {words} | {db[0]:.1f} | {db[1]:.1f} | {same:.1f} | {ms:.2f} |", flush=True)


if __name__ == "__main__":
    main()
