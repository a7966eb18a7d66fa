#!/usr/bin/env python3
"""Weights in blocks: tapq against ONNX Runtime's MatMulNBitsQuantizer on a network of your own.

    cargo build --release && python3 benches/blocks.py MODEL.onnx --calib CALIB.npz --eval EVAL.npz

Both files hold one array a network input, first axis the samples; EVAL must not be among CALIB. Prints a Markdown table:
SQNR and top-1 agreement of the first output with the float network, both in ONNX Runtime as the file says
(optimizations off); for a language model (int64 ids, logits of three axes) the perplexity; kB; user CPU seconds of the whole
command; and CPU milliseconds of one run with optimizations on, one thread, for one sample and, where the axis is
open, for one token. Needs: pip install onnx onnxruntime numpy, and GNU time in /usr/bin/time
"""
import argparse, os, subprocess, sys, tempfile, time
import numpy as np, onnxruntime as ort

OURS = ["--weight-only", "--weight-only --block-size 32", "--weight-only --block-size 128",
        "--weight-only --avg-weight-bits 4.5", "--weight-only --avg-weight-bits 5", "--weight-only --weight-bits 8",
        "--avg-weight-bits 5", ""]
PEER = """
import sys, onnx
from onnxruntime.quantization.matmul_nbits_quantizer import MatMulNBitsQuantizer
from onnxruntime.quantization import QuantFormat
source, target, block, symmetric = sys.argv[1:]
quantizer = MatMulNBitsQuantizer(onnx.load(source), block_size=int(block), is_symmetric=symmetric == "1", quant_format=QuantFormat.QDQ)
quantizer.process()
onnx.save(quantizer.model.model, target)
"""


def cost(command):
    """User CPU seconds of a command."""
    with tempfile.NamedTemporaryFile("r") as figures:
        run = ["/usr/bin/time", "-f", "%U", "-o", figures.name] + command
        done = subprocess.run(run, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        if done.returncode not in (0, 3):
            sys.exit(f"failed: {' '.join(command)}\n{done.stderr}")
        return float(figures.read().split()[-1])


def session(path, optimized):
    options = ort.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 3
    if not optimized:
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    return ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def outputs(path, samples):
    run = session(path, False)
    return [run.run(None, sample)[0].astype(np.float64) for sample in samples]


def loss(logits, ids):
    """Sum of the cross-entropy of each token given those before it, and their number."""
    z = logits[:, :-1]
    top = z.max(-1, keepdims=True)
    log_sum = np.log(np.exp(z - top).sum(-1)) + top[..., 0]
    return (log_sum - np.take_along_axis(z, ids[:, 1:, None], -1)[..., 0]).sum(), ids[:, 1:].size


def milliseconds(path, sample):
    run = session(path, True)
    taken = []
    for _ in range(40):
        start = time.process_time()
        run.run(None, sample)
        taken.append(time.process_time() - start)
    return 1e3 * sorted(taken)[len(taken) // 4]


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("model"); ap.add_argument("--calib", required=True); ap.add_argument("--eval", required=True)
    ap.add_argument("--samples", type=int, default=40)
    ap.add_argument("--xtask", default=os.path.join(os.path.dirname(os.path.abspath(__file__)), "../target/release/xtask"))
    a = ap.parse_args()
    arrays = dict(np.load(a.eval))
    count = min(a.samples, *(len(v) for v in arrays.values()))
    samples = [{name: v[i:i + 1] for name, v in arrays.items()} for i in range(count)]
    ids = next(iter(samples[0].values()))
    wanted = outputs(a.model, samples)
    is_text = len(arrays) == 1 and ids.dtype == np.int64 and wanted[0].ndim == 3 and wanted[0].shape[:2] == ids.shape
    shapes = session(a.model, False).get_inputs()[0].shape
    token = {name: v[:, :1] for name, v in samples[0].items()} if is_text and not isinstance(shapes[1], int) else None

    def perplexity(found):
        sums = [loss(y, next(iter(s.values()))) for y, s in zip(found, samples)]
        return f"{np.exp(sum(s for s, _ in sums) / sum(n for _, n in sums)):.2f}" if is_text else "-"

    def row(what, path, user):
        found = wanted if path == a.model else outputs(path, samples)
        error = sum(((x - y) ** 2).sum() for x, y in zip(wanted, found))
        sqnr = "-" if error == 0 else f"{10 * np.log10(sum((x ** 2).sum() for x in wanted) / error):.1f}"
        agree = np.mean(np.concatenate([(x.argmax(-1) == y.argmax(-1)).ravel() for x, y in zip(wanted, found)]))
        one = f"{milliseconds(path, token):.2f}" if token else "-"
        size = os.path.getsize(path) / 1e3
        print(f"| {what} | {sqnr} | {100 * agree:.1f} | {perplexity(found)} | {size:.0f} | {user} | {milliseconds(path, samples[0]):.2f} | {one} |", flush=True)

    print("| file | SQNR dB | agreement % | perplexity | kB | user s | ms | ms, one token |\n|---|---|---|---|---|---|---|---|")
    row("float", a.model, "-")
    with tempfile.TemporaryDirectory() as folder:
        for options in OURS:
            path = f"{folder}/ours.onnx"
            command = [a.xtask, "quantize", a.model, "--target", "cpu", "--calib", a.calib, "--samples", "16", "--verify-samples", "0", "-q", "-o", path]
            row(f"tapq `{options}`" if options else "tapq, 8 bits, activations too", path, f"{cost(command + options.split()):.1f}")
        for block in (32, 64, 128):
            for symmetric in (1, 0):
                path = f"{folder}/peer.onnx"
                user = cost([sys.executable, "-c", PEER, a.model, path, str(block), str(symmetric)])
                row(f"ORT, blocks of {block}, {'symmetric' if symmetric else 'zero points'}", path, f"{user:.1f}")


if __name__ == "__main__":
    main()
