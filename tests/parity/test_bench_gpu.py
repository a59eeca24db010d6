"""bench/gpu.py, with both programs on the processor and small sizes: it compares, measures and writes its record."""
import json
import sys

import pytest

import conftest

torch = pytest.importorskip("torch")


@pytest.fixture
def gpu(monkeypatch):
    for name in ("m2bert-bench-inference", "m2bert-bench-operations"):
        conftest.program(name)
    monkeypatch.setenv("M2BERT_BUILD", str(conftest.build_folder()))
    monkeypatch.syspath_prepend(str(conftest.REPOSITORY / "bench"))
    import gpu
    small = {"DEVICE": "cpu", "ENVIRONMENT": {}, "RECIPE": conftest.REPOSITORY / "recipes" / "pretrain" / "m2-bert-small.yaml", "TOKENS": 128,
             "CHECKED_TOKENS": 64, "RUNS": 2, "REPEATS": 1, "PADDED_LENGTHS": [64],
             "gpus": lambda: [["A GPU", "580.1", "141 GB"]]}
    for name, value in small.items():
        monkeypatch.setattr(gpu, name, value)
    return gpu


def run(gpu, monkeypatch, out, *words):
    monkeypatch.setattr(sys, "argv", ["gpu.py", "--lengths", "64", "--no-compile", "--out", str(out), *words])
    gpu.main()
    record, = out.glob("gpu_a-gpu_*.json")
    return json.loads(record.read_text())["results"], record.with_suffix(".md").read_text()


def test_stages_are_measured_and_written(gpu, monkeypatch, tmp_path):
    results, text = run(gpu, monkeypatch, tmp_path, "--stages", "inference", "padding", "mixer")
    assert results.get("notes", []) == []
    assert results["inference"]["64"]["ours"]["cosine"] > 0.999 and results["inference"]["64"]["peers"]["eager"]["best"] > 0
    assert results["mixer"]["64"]["error"] < 0.03 and results["mixer"]["64"]["forward"]["core"] != 0
    padding = results["padding"]["64"]
    assert padding["padded"]["cosine"] > 0.999 and 0.1 < padding["share"] < 1 and padding["full"]["best"] > 0
    for part in ("## Inference", "## A model with mask_padding", "## One mixer"):
        assert part in text


def test_a_limit_ends_a_stage_and_earlier_results_are_merged(gpu, monkeypatch, tmp_path):
    earlier = tmp_path / "earlier.json"
    earlier.write_text(json.dumps({"results": {"two": {"64": {"length": 64, "rows": 1, "one": {"tokens_s": 10.0}, "two": {"tokens_s": 19.0},
                                                              "ratio": 1.9}}, "notes": ["an earlier note"]}}))
    results, text = run(gpu, monkeypatch, tmp_path, "--stages", "inference", "--limit", "1", "--merge", str(earlier))
    assert results["notes"] == ["an earlier note", "inference, length 64: not measured: 1 s were over"]
    assert results["two"]["64"]["ratio"] == 1.9 and "| two GPUs, L = 64 | 1.85 times one | 1.90 | reached |" in text
