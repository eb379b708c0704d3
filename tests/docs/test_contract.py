"""Public names have the documentation that DESIGN asks for, its examples run, and its sources exist."""

from __future__ import annotations

import doctest
import inspect
import re

import pytest

import draftwood as dw
from draftwood.papers import PAPERS
from draftwood.retrieval import read_documents

SECTIONS = ["Shapes", "Returns", "Errors", "Cost", "Source", "Example"]
CLASSES = [getattr(dw, name) for name in dw.__all__ if inspect.isclass(getattr(dw, name))]
COMPUTING = [
    dw.Engine.load,
    dw.Engine.generate,
    dw.Engine.stream,
    dw.Engine.astream,
    dw.Engine.abeam_search,
    dw.Engine.beam_search,
    dw.Engine.encode,
    dw.Engine.on_step,
    dw.FMIndex.attribute,
    dw.FMIndex.build,
    dw.FMIndex.check_tokenizer,
    dw.FMIndex.count,
    dw.FMIndex.counts,
    dw.FMIndex.document,
    dw.FMIndex.extract,
    dw.FMIndex.fingerprint,
    dw.FMIndex.info,
    dw.FMIndex.locate,
    dw.FMIndex.name,
    dw.FMIndex.next_tokens,
    dw.FMIndex.open,
    dw.FMIndex.probability,
    dw.FMIndex.title_end,
    dw.FMIndex.verify,
    dw.Seal,
    dw.Seal.keys,
    dw.Engine.embed,
    dw.Engine.score,
    dw.Seal.search,
    dw.drafters.Mix,
    dw.drafters.NGram,
    dw.search.AllowedPrefix,
    dw.search.BlockNgrams,
    dw.search.InCorpus,
    dw.search.Phrases,
    dw.search.Trie,
    dw.drafters.Outputs,
    dw.search.beam,
    dw.search.exact,
    dw.search.superposed,
    dw.drafters.Retrieval,
    dw.drafters.Suffix,
    dw.drafters.Trigram,
    read_documents,
    dw.testing.toy_engine,
]


def name_of(thing):
    """Of a class, a function or a property."""
    return (thing.fget if isinstance(thing, property) else thing).__qualname__


def sections(thing):
    return re.findall(rf"^\s*({'|'.join(SECTIONS)})$", inspect.getdoc(thing) or "", re.MULTILINE)


@pytest.mark.parametrize("thing", [*CLASSES, *COMPUTING], ids=name_of)
def test_the_first_line_is_a_sentence(thing):
    text = inspect.getdoc(thing)
    assert text
    assert re.search(r"[.:;]", text.split("\n\n")[0]), text


@pytest.mark.parametrize("thing", COMPUTING, ids=name_of)
def test_what_computes_has_all_sections_in_order(thing):
    assert sections(thing) == SECTIONS


@pytest.mark.parametrize("thing", COMPUTING, ids=name_of)
def test_sources_are_known(thing):
    source = inspect.getdoc(thing).split("\nSource\n")[1].split("\nExample\n")[0]
    keys = re.findall(r"\b[a-z]+(?:19|20)\d\d\b", source)
    assert set(keys) <= set(PAPERS), keys


@pytest.mark.parametrize("thing", COMPUTING, ids=name_of)
def test_named_errors_exist(thing):
    text = inspect.getdoc(thing).split("\nErrors\n")[1].split("\nCost\n")[0]
    for name in re.findall(r"\b[A-Z][a-z]+[A-Z]\w+\b", text):
        assert hasattr(dw, name), name


@pytest.mark.parametrize(
    "module",
    [
        "engine",
        "running",
        "search",
        "constraints",
        "testing",
        "runtime",
        "drafters.mix",
        "drafters.ngram",
        "drafters.outputs",
        "drafters.retrieval",
        "drafters.suffix",
        "drafters.trigram",
        "executors.hf",
        "retrieval.corpora",
        "retrieval.documents",
        "retrieval.index",
        "retrieval.seal",
    ],
    ids=lambda name: name,
)
def test_examples_of_docstrings_run(module):
    import importlib

    found = importlib.import_module(f"draftwood.{module}")
    flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    results = doctest.testmod(found, optionflags=flags)
    assert results.attempted > 0
    assert results.failed == 0
