"""Loading holds the weights once: the peak of a process of its own, above what it had before."""

from __future__ import annotations

import subprocess
import sys

import pytest

PEAK = """
import sys
from draftwood.models.folder import open_folder
from draftwood.models.gguf import open_model
from draftwood.executors.options import NativeOptions
import draftwood.executors.native
path, weights = sys.argv[1:]
model = (open_model if path.endswith(".gguf") else open_folder)(path)
def now(key): return next(int(line.split()[1]) << 10 for line in open("/proc/self/status") if line.startswith(key))
before = now("VmRSS")
open("/proc/self/clear_refs", "w").write("5")
executor = model.native(options=NativeOptions(weights=weights))
executor.allocate(64, 16)
print(now("VmHWM") - before, 64 * 16 * executor.caps.slot_bytes)
"""

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")


def peak(path, weights):
    """Bytes of the peak above the process before, and of the cache."""
    done = subprocess.run(
        [sys.executable, "-c", PEAK, str(path), weights], capture_output=True, text=True, check=True, timeout=300
    )
    return tuple(map(int, done.stdout.split()))


def check(path, weights, largest):
    high, cache = peak(path, "repack")
    assert 0.8 * weights < high <= 1.1 * weights + cache + largest
    # Mapped, only vectors and addresses are made.
    assert peak(path, "map")[0] < 0.15 * weights + cache


def test_a_folder(tmp_path):
    pytest.importorskip("torch")
    from support.families import family_model

    module = family_model(
        "llama2", hidden_size=768, intermediate_size=2048, num_hidden_layers=8, head_dim=128, vocab_size=2000
    )
    module.save_pretrained(tmp_path)
    sizes = [parameter.numel() * 4 for parameter in module.parameters()]
    check(tmp_path, sum(sizes), max(sizes))


def test_the_gguf_of_smollm2():
    gguf = pytest.importorskip("gguf")
    from draftwood.models.gguf import find

    path = find()
    sizes = [int(tensor.n_bytes) for tensor in gguf.GGUFReader(path).tensors]
    check(path, sum(sizes), max(sizes))
