"""The benchmark of a GPU, run on the device that is there: it measures and divides as it says."""

import re
import sys

from benchmarks import gpu_engine
from model.config import CONFIGS, GemmaConfig, PaliGemmaConfig, VisionConfig

SMALL = PaliGemmaConfig(
    VisionConfig(image_size=28, width=64, depth=2, mlp_dim=128, num_heads=2),
    GemmaConfig(64, 2, 128, 4, 1, 32, 32**-0.5, vocab_size=1024),
)


def test_it_prints_peaks_parts_and_images_a_second(monkeypatch, capsys):
    monkeypatch.setitem(CONFIGS, "small", SMALL)
    options = ["--config", "small", "--batch", "2", "--rounds", "1", "--side", "256"]
    monkeypatch.setattr(sys, "argv", ["gpu_engine", *options, "--copy", "4000000"])
    gpu_engine.main()
    said = capsys.readouterr().out
    peak, bandwidth = re.search(r"products (\S+) TFLOP/s, copies (\S+) GB/s", said).groups()
    rows = re.findall(
        r"\| (encoding|prefill|a token) \| \S+ \| (\S+) \| (\d+)% \| (\S+) \| (\d+)% \|", said
    )
    assert [row[0] for row in rows] == ["encoding", "prefill", "a token"]
    for _, flops, of_products, moved, of_copies in rows:
        assert abs(float(flops) / float(peak) * 100 - int(of_products)) < 2
        assert abs(float(moved) / float(bandwidth) * 100 - int(of_copies)) < 2
    assert re.search(r"palipipe: \S+ images a second", said)
