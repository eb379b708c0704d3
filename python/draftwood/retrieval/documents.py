"""What an index' files hold: documents with their names, the tokenizer they were built with, sizes and checksums."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ..errors import IndexFormatError
from ..requests import _count as count_of
from .arguments import MOST, callback_of
from .results import Document

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from .. import _core
    from ..models.tokenizer import Tokenizer

__all__ = ["IndexedDocuments"]

_LONGEST = 2**32 - 1
"""More tokens than a document has."""


class IndexedDocuments:
    """The base of `FMIndex`: the documents of its files, numbered on from file to file, apart from any search."""

    core: _core.Index

    def __init__(self, core: _core.Index, tokenizer: Tokenizer | None = None) -> None:
        self.core, self.tokenizer = core, tokenizer

    def check_tokenizer(self, tokenizer: Any) -> None:
        """Refuses a tokenizer whose ids do not mean what this index' ids mean.

        An index that was built from bare ids stores no fingerprint and fits all; so does a tokenizer without one.

        Shapes
            tokenizer: anything with a `fingerprint`, as an engine's tokenizer has it.
        Returns
            None.
        Errors
            IndexFormatError for a tokenizer with another fingerprint.
        Cost
            None: read from the header.
        Source
            None.
        Example
            >>> import draftwood as dw, tempfile
            >>> with tempfile.TemporaryDirectory() as folder:
            ...     dw.FMIndex.build([[1, 2]], path=f"{folder}/a.dwx").check_tokenizer(None)
        """
        mine, its = self.fingerprint, getattr(tokenizer, "fingerprint", None)
        if mine is not None and its is not None and mine != its:
            what, expected, got = "the index", f"built with the tokenizer {its[:12]}…", f"{mine[:12]}…"
            hint = "build it again with this model's tokenizer"
            raise IndexFormatError(
                f"{what} must be {expected}, got {got}; {hint}", what=what, expected=expected, got=got, hint=hint
            )

    @property
    def fingerprint(self) -> str | None:
        """SHA-256 of the tokenizer that the index was built with, in hexadecimal.

        Shapes
            None.
        Returns
            64 characters; None for an index that was built from bare ids.
        Errors
            None.
        Cost
            None: read from the header.
        Source
            None. It is taken over the table of token ids and their bytes and over the special tokens, so that all files
            of one model agree.
        Example
            >>> import draftwood as dw, tempfile
            >>> with tempfile.TemporaryDirectory() as folder:
            ...     dw.FMIndex.build([[1, 2]], path=f"{folder}/a.dwx").fingerprint is None
            True
        """
        stored = self.core.fingerprint
        return None if stored is None else bytes(stored).hex()

    def __len__(self) -> int:
        """Number of documents."""
        return self.core.documents

    def extract(self, document: int, start: int = 0, stop: int | None = None) -> NDArray[np.uint32]:
        """Tokens `start … stop` of a document, to its end if `stop` is None.

        Shapes
            document: 0 … len(index) − 1.
        Returns
            ids [n] uint32.
        Errors
            InvalidArgument for numbers that are none or negative, a document that does not exist and the tiny tier;
            IndexFormatError.
        Cost
            One read per token; in the compact tier one step per token from the document's start.
        Source
            ferragina2000.
        Example
            >>> import draftwood as dw, tempfile
            >>> with tempfile.TemporaryDirectory() as folder:
            ...     dw.FMIndex.build([[1, 2, 3], [4]], path=f"{folder}/a.dwx").extract(0, 1).tolist()
            [2, 3]
        """
        import numpy as np

        document = count_of(document, "the document", MOST)
        end = _LONGEST if stop is None else min(count_of(stop, "stop", MOST), _LONGEST)
        start = min(count_of(start, "start", MOST), _LONGEST)
        return np.frombuffer(self.core.extract(document, start, end), np.uint32)

    @property
    def title_end(self) -> tuple[int, ...]:
        """The ids that end the titles with which documents begin.

        Shapes
            None.
        Returns
            A tuple of ids; empty if the documents have no titles.
        Errors
            InvalidArgument for files whose titles end differently; IndexFormatError for a damaged block.
        Cost
            One read per file.
        Source
            bevilacqua2022.
        Example
            >>> import draftwood as dw, tempfile
            >>> with tempfile.TemporaryDirectory() as folder:
            ...     dw.FMIndex.build([[5, 9, 1, 2]], path=f"{folder}/a.dwx", title_end=[9]).title_end
            (9,)
        """
        import numpy as np

        return tuple(np.frombuffer(self.core.title_end(), np.uint32).tolist())

    def document(self, number: int) -> Document:
        """A document: what it is called, and its tokens.

        Shapes
            number: 0 … len(index) − 1, in the order of the build.
        Returns
            A `Document`; its text is None if the index has no tokenizer.
        Errors
            As `extract`.
        Cost
            As `extract`.
        Source
            None.
        Example
            >>> import draftwood as dw, tempfile
            >>> with tempfile.TemporaryDirectory() as folder:
            ...     index = dw.FMIndex.build([("a.txt", "First", [1, 2])], path=f"{folder}/a.dwx")
            ...     one = index.document(0)
            >>> one.id, one.title, one.token_ids.tolist(), one.text
            ('a.txt', 'First', [1, 2], None)
        """
        number = count_of(number, "the document", MOST)
        ids = self.extract(number)
        name, title = self.core.name(number)
        text = None if self.tokenizer is None else self.tokenizer.decode(ids)
        return Document(number, name or None, title or None, ids, text)

    def name(self, number: int) -> tuple[str | None, str | None]:
        """What a document's builder called it, and its title; None where it has none. Every tier knows them.

        Shapes
            number: as in `document`.
        Returns
            (id, title).
        Errors
            InvalidArgument for a document that does not exist; IndexFormatError.
        Cost
            Two reads.
        Source
            None.
        Example
            >>> import draftwood as dw, tempfile
            >>> with tempfile.TemporaryDirectory() as folder:
            ...     dw.FMIndex.build([("a.txt", "", [1, 2])], path=f"{folder}/a.dwx").name(0)
            ('a.txt', None)
        """
        name, title = self.core.name(count_of(number, "the document", MOST))
        return name or None, title or None

    def info(self) -> dict[str, Any]:
        """What the index holds: tier, documents, tokens, bytes, fingerprint, and the same for each file.

        Shapes
            None.
        Returns
            A dictionary of plain values.
        Errors
            None.
        Cost
            None: read from the header.
        Source
            None.
        Example
            >>> import draftwood as dw, tempfile
            >>> with tempfile.TemporaryDirectory() as folder:
            ...     dw.FMIndex.build([[1, 2, 3], [4]], path=f"{folder}/a.dwx").info()["documents"]
            2
        """
        parts = self.core.parts()
        for part in parts:
            part["sections"] = dict(part["sections"])
            part["fingerprint"] = None if part["fingerprint"] is None else part["fingerprint"].hex()
        return {
            "tier": self.core.tier,
            "documents": self.core.documents,
            "tokens": self.core.tokens,
            "bytes": sum(part["bytes"] for part in parts),
            "fingerprint": self.fingerprint,
            "files": parts,
        }

    def verify(self, progress: Callable[[float], None] | None = None) -> None:
        """Reads the files whole and compares every checksum; `progress` gets the part done, 0 … 1.

        Shapes
            None.
        Returns
            None.
        Errors
            IndexFormatError with the offset of the first damaged block; InvalidArgument for a `progress` that cannot be
            called.
        Cost
            One reading of the files.
        Source
            None.
        Example
            >>> import draftwood as dw, tempfile
            >>> with tempfile.TemporaryDirectory() as folder:
            ...     dw.FMIndex.build([[1, 2, 3]], path=f"{folder}/a.dwx").verify()
        """
        self.core.verify(callback_of(progress, "progress"))
