"""What a build costs: memory that is bounded, and tokenisation on more than one core."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import numpy as np
import pytest

from draftwood.retrieval.encoding import Given, encode_batch

TOKENS = 3_000_000
PEAK = textwrap.dedent("""
    import sys, tempfile
    import numpy as np
    import draftwood as dw

    def status(key):
        with open("/proc/self/status") as lines:
            return next(int(line.split()[1]) for line in lines if line.startswith(key)) * 1024

    def documents(tokens):
        # As often as words, in runs that come back; made one by one, so that only the build holds them.
        rng = np.random.default_rng(1)
        said = np.zeros(0, np.uint32)
        for _ in range(tokens // 500):
            fresh = ((rng.zipf(1.2, 300) - 1) % {distinct}).astype(np.uint32)
            at = rng.integers(0, max(len(said) - 200, 1))
            document = np.concatenate([fresh, said[at : at + 200]])
            said = document
            yield np.resize(document, 500)

    with tempfile.TemporaryDirectory() as folder:
        dw.FMIndex.build(documents(5000), path=folder + "/warm.dwx")
        with open("/proc/self/clear_refs", "w") as file:
            file.write("5")  # the peak begins anew
        before = status("VmRSS")
        index = dw.FMIndex.build(documents({tokens}), path=folder + "/a.dwx", tier="fast")
        print(index.info()["tokens"], index.info()["files"][0]["distinct"], status("VmHWM") - before)
""")


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="asks Linux for the peak of a process")
@pytest.mark.parametrize(("distinct", "per_token"), [(50_000, 10), (500_000, 14)])
def test_the_peak_of_a_build_is_bounded_by_its_tokens(distinct: int, per_token: int) -> None:
    """As `FMIndex.build` says, above 80 MB of buffers: twice as much is not held at any moment."""
    code = PEAK.format(tokens=TOKENS, distinct=distinct)
    told = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, check=True).stdout
    tokens, found, peak = map(int, told.split())
    assert tokens == TOKENS
    assert (found > 65_535) == (per_token == 14)
    assert peak < 80e6 + per_token * tokens, f"{peak / tokens:.2f} bytes per token"


def _time_on_processors() -> dict[int, int]:
    """Nanoseconds that each thread of this process has run."""
    times = {}
    for thread in Path("/proc/self/task").iterdir():
        try:
            times[int(thread.name)] = int((thread / "schedstat").read_text().split()[0])
        except OSError:  # it has just ended
            continue
    return times


@pytest.mark.skipif(
    not Path("/proc/self/schedstat").exists() or len(os.sched_getaffinity(0)) < 2, reason="counts threads on two cores"
)
def test_the_documents_of_a_batch_are_encoded_by_several_threads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokenizers = pytest.importorskip("tokenizers")
    from draftwood.models.tokenizer import Tokenizer

    monkeypatch.setenv("TOKENIZERS_PARALLELISM", "true")
    letters = [chr(c) for c in range(97, 123)]
    pairs = [(a, b) for a in letters for b in letters]
    vocabulary = {text: i for i, text in enumerate([*letters, "Ġ", "@", *(a + b for a, b in pairs)])}
    backend = tokenizers.Tokenizer(tokenizers.models.BPE(vocabulary, pairs))
    backend.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = tokenizers.decoders.ByteLevel()
    backend.save(str(tmp_path / "tokenizer.json"))
    tokenizer = Tokenizer.from_file(tmp_path / "tokenizer.json")
    rng = np.random.default_rng(0)
    texts = ["".join(letters[i] for i in rng.integers(0, 26, 20_000)) for _ in range(64)]
    batch = [Given("", "", text, False) for text in texts]
    before = _time_on_processors()
    encoded = encode_batch(batch, tokenizer, 0)
    spent = {thread: ran - before.get(thread, 0) for thread, ran in _time_on_processors().items()}
    assert len(encoded) == 64
    workers = [ran for thread, ran in spent.items() if thread != threading.get_native_id() and ran > 0]
    shares = sorted(ran / sum(workers) for ran in workers)
    assert len(shares) >= 2
    assert shares[-2] > 0.05, shares  # an idle thread runs for microseconds
