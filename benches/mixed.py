#!/usr/bin/env python3
"""Chosen widths against one width for all, at equal nominal size: SQNR and top-1 drop on held-out labelled sets.

    cargo build --release && python3 benches/mixed.py ASSETS [--tools TOOLS] [--names a,b] [--effort balanced]
                                                      [--averages 3,3.5,4,5,6] [--limit N]

ASSETS and TOOLS are as for peers.py. For each network and average, `--avg-weight-bits X` and the uniform width
floor(X) on the target `fpga` (8-bit activations), first 16 calibration samples. Prints a Markdown table.
"""
import argparse, json, os, subprocess, sys, tempfile
import yaml

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from peers import cost


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("assets"); ap.add_argument("--tools"); ap.add_argument("--names"); ap.add_argument("--effort", default="balanced")
    ap.add_argument("--averages", default="3,3.5,4,5,6"); ap.add_argument("--limit")
    ap.add_argument("--xtask", default=os.path.join(os.path.dirname(os.path.abspath(__file__)), "../target/release/xtask"))
    a = ap.parse_args()
    tools = a.tools or f"{a.assets}/../tools"
    models = yaml.safe_load(open(f"{a.assets}/manifest.yaml"))["models"]
    names = a.names.split(",") if a.names else [n for n, m in models.items() if "eval" in m]
    print("| network | average bits | SQNR dB: chosen / uniform | top-1 drop: chosen / uniform | user s, MB: chosen | taken |")
    print("|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as tmp:
        def run(name, *choice):
            spec, out, prep = models[name], f"{tmp}/out.onnx", f"{tmp}/prep.yaml"
            yaml.safe_dump(spec["preprocess"], open(prep, "w"))
            c = cost([a.xtask, "quantize", f"{a.assets}/{spec['file']}", "--target", "fpga", "--calib", f"{a.assets}/{spec['calib']}",
                      "--preprocess", prep, "--samples", "16", "-q", "-o", out, "--effort", a.effort, *choice])
            judge = [sys.executable, f"{tools}/judge.py", name, out, "--root", a.assets, "--json"]
            judge += ["--limit", a.limit] if a.limit else []
            found = json.loads(subprocess.run(judge, capture_output=True, text=True, check=True).stdout)
            return found, c, yaml.safe_load(open(f"{tmp}/out.plan.yaml"))["allocation"]["method"]
        for name in names:
            uniform = {}
            for average in a.averages.split(","):
                bits = int(float(average))
                if bits not in uniform:
                    uniform[bits] = run(name, "--weight-bits", str(bits))[0]
                x, c, method = run(name, "--avg-weight-bits", average)
                y = uniform[bits]
                print(f"| {name} | {average} | {x['sqnr_db']:.1f} / {y['sqnr_db']:.1f} | {x['drop']:.2f} / {y['drop']:.2f} | "
                      f"{c[0]:.1f}, {c[1]:.0f} | {method} |", flush=True)


if __name__ == "__main__":
    main()
