#!/usr/bin/env python3
"""tapq against ONNX Runtime's static quantizer on real networks: fidelity, size, cost, speed in ONNX Runtime.

    cargo build --release && python3 benches/peers.py ASSETS [--tools TOOLS] [--names a,b] [--targets cpu,jetson] [--optimized]

ASSETS holds manifest.yaml, models and labelled samples; TOOLS holds judge.py and peer_ort.py (an independent
judge and the peer on the same samples). Figures are of the file as it says, and for the CPU also as ONNX Runtime's
integer kernels run it on this machine: without VNNI they saturate. With --optimized both get what ONNX Runtime's extended optimizations make of
each network, operators of its own included. Prints a Markdown table. Cost is user CPU seconds and peak memory of the
whole command. Needs: pip install onnx onnxruntime numpy pillow pyyaml sympy, and GNU time in /usr/bin/time
"""
import argparse, collections, json, os, subprocess, sys, tempfile
import yaml

PEER = {"cpu": "u8s8", "cpu-vnni": "u8s8", "jetson": "s8s8"}


def cost(command):
    """User CPU seconds and peak memory in MB of a command, as GNU time sees it (a fork of ours would inherit our peak)."""
    with tempfile.NamedTemporaryFile("r") as figures:
        run = ["/usr/bin/time", "-f", "%U %M", "-o", figures.name] + command
        done = subprocess.run(run, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        if done.returncode != 0:
            sys.exit(f"failed: {' '.join(command)}\n{done.stderr}")
        user, peak = figures.read().split()[-2:]
    return float(user), int(peak) / 1024


def judge(tools, assets, name, path):
    command = [sys.executable, f"{tools}/judge.py", name, path, "--root", assets, "--json"]
    return json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def fused(path):
    """Integer and float Conv/Gemm/MatMul left by ONNX Runtime's optimizer."""
    import onnx, onnxruntime as ort
    options = ort.SessionOptions()
    options.log_severity_level = 3
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    options.optimized_model_filepath = path + ".optimized"
    ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    count = collections.Counter(n.op_type for n in onnx.load(path + ".optimized").graph.node)
    integer = sum(count[k] for k in ("QLinearConv", "QGemm", "QLinearMatMul", "MatMulIntegerToFloat"))
    return integer, sum(count[k] for k in ("Conv", "FusedConv", "Gemm", "FusedGemm", "MatMul"))


def optimized(assets, models, root):
    """ASSETS once more under `root`, with each network as ONNX Runtime's extended optimizations write it."""
    import onnxruntime as ort
    for entry in os.listdir(assets):
        if entry not in ("manifest.yaml", "models"):
            os.symlink(os.path.abspath(f"{assets}/{entry}"), f"{root}/{entry}")
    os.symlink(os.path.abspath(f"{assets}/manifest.yaml"), f"{root}/manifest.yaml")
    for spec in models.values():
        path = f"{root}/{spec['file']}"
        os.makedirs(os.path.dirname(path), exist_ok=True)
        options = ort.SessionOptions()
        options.log_severity_level = 3
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
        options.optimized_model_filepath = path
        ort.InferenceSession(f"{assets}/{spec['file']}", options, providers=["CPUExecutionProvider"])
    return root


def speed_ratio(ours, peer, runs=31):
    """Median over interleaved runs of the peer's time over ours, batch 1, one thread."""
    import numpy as np, onnxruntime as ort, time
    options = ort.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 3
    sessions = [ort.InferenceSession(p, options, providers=["CPUExecutionProvider"]) for p in (ours, peer)]
    i = sessions[0].get_inputs()[0]
    x = np.zeros([d if isinstance(d, int) else 1 for d in i.shape], np.float32)
    ratios = []
    for _ in range(runs):
        times = []
        for s in sessions:
            start = time.perf_counter()
            s.run(None, {i.name: x})
            times.append(time.perf_counter() - start)
        ratios.append(times[1] / times[0])
    return float(np.median(ratios[3:]))


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("assets"); ap.add_argument("--tools"); ap.add_argument("--names"); ap.add_argument("--targets", default="cpu,jetson")
    ap.add_argument("--optimized", action="store_true")
    ap.add_argument("--xtask", default=os.path.join(os.path.dirname(os.path.abspath(__file__)), "../target/release/xtask"))
    a = ap.parse_args()
    tools = a.tools or f"{a.assets}/../tools"
    models = yaml.safe_load(open(f"{a.assets}/manifest.yaml"))["models"]
    names = a.names.split(",") if a.names else [n for n, m in models.items() if "eval" in m]
    print(f"VNNI on this machine: {'yes' if 'vnni' in open('/proc/cpuinfo').read() else 'no'}\n")
    print("| network | target | SQNR dB: tapq / ORT | as it runs here | top-1 drop: tapq / ORT | as it runs here | kB: tapq / ORT | user s, MB: tapq / ORT | integer, float kernels in ORT | ORT's time / ours |")
    print("|---|---|---|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as tmp, tempfile.TemporaryDirectory() as root:
        assets = optimized(a.assets, {n: models[n] for n in names}, root) if a.optimized else a.assets
        for name in names:
            spec = models[name]
            prep = f"{tmp}/{name}.yaml"
            yaml.safe_dump(spec["preprocess"], open(prep, "w"))
            for target in a.targets.split(","):
                ours, peer = f"{tmp}/{name}.{target}.onnx", f"{tmp}/{name}.{target}.peer.onnx"
                c = cost([a.xtask, "quantize", f"{assets}/{spec['file']}", "--target", target, "--calib", f"{assets}/{spec['calib']}",
                          "--preprocess", prep, "--samples", "16", "-q", "-o", ours])
                p = cost([sys.executable, f"{tools}/peer_ort.py", name, peer, "--root", assets, "--variant", PEER[target]])
                x, y = judge(tools, assets, name, ours), judge(tools, assets, name, peer)
                runs = target.startswith("cpu")
                i, f = fused(ours) if runs else ("", "")
                s = f"{speed_ratio(ours, peer):.2f}" if runs else ""
                db = " / ".join(f"{z['optimized']['sqnr_db']:.1f}" for z in (x, y)) if runs else ""
                drop = " / ".join(f"{z['top1_fp32'] - z['optimized']['top1']:.2f}" for z in (x, y)) if runs else ""
                print(f"| {name} | {target} | **{x['sqnr_db']:.1f}** / {y['sqnr_db']:.1f} | {db} | {x['drop']:.2f} / {y['drop']:.2f} | {drop} | "
                      f"{x['file_bytes'] / 1e3:.0f} / {y['file_bytes'] / 1e3:.0f} | {c[0]:.2f}, {c[1]:.0f} / {p[0]:.1f}, {p[1]:.0f} | {i}, {f} | {s} |", flush=True)


if __name__ == "__main__":
    main()
