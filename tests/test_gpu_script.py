"""`benchmarks/gpu.py` in miniature: every stage runs on the CPU, and one that fails costs only itself."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
sys.path.insert(0, str(BENCHMARKS))

from gpu_stages import STAGES, trace  # noqa: E402 (the path comes first)
from gpu_stages.runner import Options, Stage, run_all  # noqa: E402

EXPECTED = {
    "ceilings": ("memory", "matmul bf16", "matmul fp32", "copy", "convolution bf16"),
    "right": ("ddpm-cifar10, gradients, fp32", "digits, output, bf16", "DiT-S/2, output, fp32", "counted noise",
              "walk unipc", "walk ode", "sample in bf16 beside fp32"),
    "resume": ("killed and resumed, deterministic", "killed and resumed, as usual"),
    "training": ("ddpm-cifar10, eager, batch 4: images a second", "ddpm-cifar10, eager, batch 4: outside the network",
                 "ddpm-cifar10, eager, batch 4: diffusers' UNet2DModel tuned by hand, ours against it",
                 "ddpm-cifar10, compiled, batch 4: images a second", "adm-imagenet-64, eager, batch 4: images a second",
                 "dit-xl-2, eager, batch 4: diffusers' DiTTransformer2DModel as its users run it, images a second",
                 "dit-xl-2, eager, gradient checkpointing, batch 8: images a second"),
    "sampling": ("ddpm-cifar10, batch 1, eager: network calls a second", "ddpm-cifar10, batch 2, eager: ddim, 3 steps",
                 "ddpm-cifar10, batch 2, eager: unipc, 3 steps, the sampler's share",
                 "dit-xl-2, batch 2, guidance 1.5: ddim, 3 steps",
                 "ddpm-cifar10, batch 2: diffusers' DDIMPipeline tuned and compiled, 3 steps, ours against it"),
    "profile": ("ddpm-cifar10, eager, training step, batch 4: convolution",
                "ddpm-cifar10, network call, batch 2: kernels"),
    "quality": ("mnist-fast: steps", "mnist-fast: loss", "mnist-fast: FD of 8x8 pixels of 40 samples",
                "mnist-fast on colour: loss", "mnist-fast on colour: FD of 8x8 pixels of 40 samples"),
}  # fmt: skip


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """All of it, run once: what came out, and where it wrote."""
    folder = tmp_path_factory.mktemp("gpu")
    command = [sys.executable, str(Path(__file__).parent / "warm_gpu_script.py"), "--tiny", "--out", str(folder)]
    bare = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    return subprocess.run(command, capture_output=True, text=True, env=bare), folder


def test_every_stage_runs_in_miniature(tiny):
    done, folder = tiny
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr
    assert {stage.name for stage in STAGES} == set(EXPECTED)
    for name, expected in EXPECTED.items():
        found = json.loads((folder / f"{name}.json").read_text())
        assert found["status"] == "done"
        rows = {row["what"]: row for row in found["rows"]}
        assert set(expected) <= set(rows), name
        for row in rows.values():
            assert row["device"] == "CPU"
            assert "left_out" in row or row["numbers"]
    assert "| 0 failed |" in done.stdout.splitlines()[-1]


def test_what_is_checked_holds_and_is_not_trivial(tiny):
    rows = [row for name in ("right", "resume") for row in json.loads((tiny[1] / f"{name}.json").read_text())["rows"]]
    checked = {row["what"]: row for row in rows if row.get("ok") is not None}
    assert len(checked) >= 24
    assert all(row["ok"] for row in checked.values())
    assert 0 < checked["ddpm-cifar10, gradients, fp32"]["value"] < 1e-5  # another layout: near, and not the same
    assert 1e-3 < checked["ddpm-cifar10, output, bf16"]["value"] < 3e-2


def test_the_table_and_the_plot(tiny):
    table = (tiny[1] / "gpu.md").read_text()
    for expected in EXPECTED.values():
        for what in expected:
            assert f"| {what} |" in table
    assert (tiny[1] / "gpu.png").stat().st_size > 10_000
    assert (tiny[1] / "quality-mnist-fast.png").exists()


TORCH = "cuda = type('', (), {'is_available': staticmethod(lambda: False)})\ndevice = str"
"""All that a context asks of torch, whose import takes the seconds that are measured here."""

FAKES = {
    "crashes": "def run(context):\n    context.row('first', 1.0, 'x', numbers='fp32')\n    import os; os._exit(3)",
    "hangs": "import time\ndef run(context):\n    context.row('first', 1.0, 'x', numbers='fp32')\n"
             "    with context.trying('the long part'):\n        time.sleep(600)",
    "wrong": "def run(context):\n    context.check('a', 1.0, 0.5, numbers='fp32')\n"
             "    with context.trying('b'):\n        1 / 0\n    context.check('c', float('nan'), 1, numbers='fp32')",
    "good": "def run(context):\n    context.left_out('a peer', 'it is not installed')\n"
            "    assert context.has_time('all', 1)\n    assert not context.has_time('more', 1e6)",
}  # fmt: skip


def test_a_stage_that_fails_or_hangs_costs_only_itself(tmp_path, capsys, monkeypatch):
    (tmp_path / "torch.py").write_text(TORCH)
    for name, text in FAKES.items():
        (tmp_path / f"fake_{name}.py").write_text(text)
    monkeypatch.setattr("gpu_stages.runner.GRACE", 0.0)
    shares = {"crashes": 1, "hangs": 0.125, "wrong": 1, "good": 1}
    stages = [Stage(name, shares[name], f"fake_{name}") for name in FAKES]
    options = Options(tmp_path / "out", 1.5, True, tmp_path)  # 5 s for the one that hangs
    assert run_all(stages, options, {**os.environ, "PYTHONPATH": str(tmp_path)}) == 1
    found = {name: json.loads((options.folder / f"{name}.json").read_text()) for name in FAKES}
    assert found["crashes"]["status"] == "failed with exit status 3"
    assert [row["what"] for row in found["crashes"]["rows"]] == ["first"]
    assert found["hangs"]["status"].startswith("stopped at its limit of ")
    assert found["hangs"]["status"].endswith(", at the long part")
    assert [row["what"] for row in found["hangs"]["rows"]] == ["first"]
    assert [(row["what"], row["ok"]) for row in found["wrong"]["rows"]] == [("a", False), ("b", False), ("c", False)]
    assert found["good"]["status"] == "done"
    assert [row["what"] for row in found["good"]["rows"]] == ["a peer", "more"]
    last = capsys.readouterr().out.splitlines()[-1]
    assert "2 rows" not in last.split("|")[0]
    assert "3 failed: wrong: a; wrong: b; wrong: c" in last
    assert "good: a peer (it is not installed)" in last


def test_what_runs_beside_is_stopped_before_something_is_timed(tmp_path):
    """It writes as long as it lives; the stages say how much it had written."""
    (tmp_path / "torch.py").write_text(TORCH)
    (tmp_path / "fake_beside.py").write_text(
        "import time\ndef run(context):\n    while True:\n        time.sleep(0.05)\n"
        "        with (context.folder / 'beside').open('a') as f: f.write('x')"
    )
    (tmp_path / "fake_stage.py").write_text(
        "import time\ndef run(context):\n    path = context.folder / 'beside'\n"
        "    for _ in range(200):\n        time.sleep(0.1)\n        if path.exists() or context.name == 'timed': break\n"
        "    before = len(path.read_text())\n    time.sleep(0.5)\n"
        "    context.row('written', float(len(path.read_text()) - before), 'x', numbers='fp32')"
    )
    stages = [Stage("first", 1, "fake_stage", "fake_beside"), Stage("timed", 1, "fake_stage")]
    options = Options(tmp_path / "out", 2.0, False, tmp_path)
    assert run_all(stages, options, {**os.environ, "PYTHONPATH": str(tmp_path)}) == 0
    written = [json.loads((options.folder / f"{s.name}.json").read_text())["rows"][0]["value"] for s in stages]
    assert written[0] > 0
    assert written[1] == 0


def test_a_trace_of_a_gpu_is_read(tmp_path):
    """Two overlapping kernels, a gap, a copy; what the host did meanwhile does not count."""
    events = [("kernel", "void cudnn::sm90_xmma_fprop_implicit_gemm_bf16", 0, 40, {}),
              ("kernel", "void at::native::vectorized_elementwise_kernel<4, silu>", 30, 30, {}),
              ("gpu_memcpy", "Memcpy HtoD (Pinned -> Device)", 80, 20, {"bytes": 4096}),
              ("cpu_op", "aten::conv2d", 0, 500, {})]  # fmt: skip
    lines = [
        {"ph": "X", "cat": c, "name": n, "ts": ts, "dur": dur, "args": a, "pid": 0, "tid": 0}
        for c, n, ts, dur, a in events
    ]
    path = tmp_path / "trace.json"
    path.write_text(json.dumps({"traceEvents": lines}))
    found = trace.read(path, cuda=True)
    assert trace.span(found) == pytest.approx(100e-6)
    assert trace.busy(found) == pytest.approx(80e-6)
    kinds = {kind: (pytest.approx(seconds), n) for kind, seconds, n in trace.by(found, "kind")}
    assert kinds == {
        "convolution": (40e-6, 1),
        "element by element": (30e-6, 1),
        "copies between host and device": (20e-6, 1),
    }
    assert found[-1].size == 4096


def test_a_trace_of_a_cpu_counts_every_operation_without_those_it_calls(tmp_path):
    events = [
        ("aten::conv2d", 0, 100),
        ("aten::resize_", 10, 20),
        ("aten::mkldnn_convolution", 40, 50),
        ("aten::add", 100, 5),
    ]
    lines = [{"ph": "X", "cat": "cpu_op", "name": n, "ts": ts, "dur": dur, "pid": 0, "tid": 0} for n, ts, dur in events]
    path = tmp_path / "trace.json"
    path.write_text(json.dumps({"traceEvents": lines}))
    found = {name: round(1e6 * seconds) for name, seconds, _ in trace.by(trace.read(path, cuda=False), "name")}
    assert found == {"aten::conv2d": 30, "aten::resize_": 20, "aten::mkldnn_convolution": 50, "aten::add": 5}
