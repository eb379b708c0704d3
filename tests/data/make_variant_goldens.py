"""Makes variant_goldens.json.gz: group beams and constrained beams of a transformers that still had them in its core.

    python3 -m venv /tmp/old && /tmp/old/bin/pip install "transformers==4.49.*" torch numpy
    /tmp/old/bin/python tests/data/make_variant_goldens.py

The model is that of tests/support/golden_models.py. The file is a JSON object:

    made_with: versions
    groups, phrases, wide: one object per search
        prompt   ids
        params   fields of dw.BeamParams
        phrases  what must occur: each entry a list of alternatives
        allowed  the only ids that may be generated; in `wide`, whose beams hold every text of them
        found    [token ids, score] of all that were returned, best first; scores of −1e8 and below are left out

That version writes the first of several end tokens, whichever ended a text, so the last id of a finished text may be
another one than was chosen.
"""

from __future__ import annotations

import gzip
import json
import sys
from pathlib import Path

import numpy as np
import torch
import transformers
from transformers import DisjunctiveConstraint, PhrasalConstraint
from transformers.generation.beam_search import BeamHypotheses

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))
from support.golden_models import PAD, VOCAB, golden_model  # noqa: E402

SEARCHES = {"groups": 160, "phrases": 120, "wide": 60}

_add = BeamHypotheses.add


def add(self, hyp, total, beam_indices=None, generated_len=None):
    """Without beam indices: constrained beams lack those of unfinished texts, and then stumble over it."""
    return _add(self, hyp, total, None, generated_len)


BeamHypotheses.add = add


def generate(model, prompt, params, suppressed=(PAD,), **more):
    """[token ids, score] of every hypothesis."""
    ids = torch.tensor([prompt])
    with torch.inference_mode():
        out = model.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            do_sample=False,
            num_beams=params["num_beams"],
            num_return_sequences=params["num_return"],
            max_new_tokens=params["max_new_tokens"],
            min_new_tokens=params["min_new_tokens"] or None,
            length_penalty=params["length_penalty"],
            early_stopping=params["early_stopping"],
            no_repeat_ngram_size=params["no_repeat_ngram_size"],
            eos_token_id=params["eos_token_id"],
            pad_token_id=PAD,
            suppress_tokens=list(suppressed),
            output_scores=True,
            return_dict_in_generate=True,
            **more,
        )
    found = []
    for sequence, score in zip(out.sequences[:, len(prompt) :].tolist(), out.sequences_scores.tolist(), strict=True):
        while sequence and sequence[-1] == PAD:
            sequence.pop()
        if score > -1e8:
            found.append([sequence, float(f"{score:.7g}")])
    return found


def draw(rng, beams):
    """Parameters of both kinds, and a prompt."""
    prompt = [int(t) for t in rng.integers(1, VOCAB, rng.integers(2, 10))]
    return prompt, {
        "num_beams": beams,
        "num_return": beams,
        "max_new_tokens": int(rng.integers(5, 12)),
        "min_new_tokens": int(rng.choice([0, 0, 3])),
        "length_penalty": float(rng.choice([0.0, 1.0, 2.0])),
        "early_stopping": [True, False, "never"][rng.integers(3)],
        "no_repeat_ngram_size": int(rng.choice([0, 0, 2])),
        "eos_token_id": None,
    }


def met(model, prompt, params):
    """Tokens that a search without end tokens comes across."""
    return sorted(
        {token for ids, _ in generate(model, prompt, params) for token in ids[params["min_new_tokens"] + 1 :]}
    )


def groups(model, rng):
    count = int(rng.choice([2, 3, 4]))
    prompt, params = draw(rng, count * int(rng.integers(1, 4)))
    params["eos_token_id"] = sorted({int(t) for t in rng.choice(met(model, prompt, params), rng.integers(1, 4))})
    params["num_beam_groups"] = count
    params["diversity_penalty"] = float(rng.choice([0.3, 1.0, 2.5]))
    more = {name: params[name] for name in ("num_beam_groups", "diversity_penalty")}
    return {"prompt": prompt, "params": params, "found": generate(model, prompt, params, **more)}


def phrases(model, rng):
    prompt, params = draw(rng, int(rng.choice([2, 4, 8])))
    ends = {int(t) for t in rng.choice(met(model, prompt, params), rng.integers(1, 4))}
    # Phrases of the prompt would count as said.
    others = np.array([token for token in range(1, VOCAB) if token not in ends and token not in prompt])
    params["eos_token_id"] = sorted(ends)
    entries = []
    for _ in range(int(rng.integers(1, 3))):
        entries.append([rng.choice(others, rng.integers(1, 4), replace=False).tolist()])
        if rng.random() < 0.3:  # an alternative: none of the two may begin the other
            entries[-1].append(rng.choice(np.setdiff1d(others, entries[-1][0]), 2, replace=False).tolist())
    found = generate(model, prompt, params, constraints=[constraint(entry) for entry in entries])
    return {"prompt": prompt, "params": params, "phrases": entries, "found": found}


def constraint(entry):
    return PhrasalConstraint(entry[0]) if len(entry) == 1 else DisjunctiveConstraint(entry)


def wide(model, rng):
    """An end token and three others, texts of up to three, 32 beams: nothing is ever crowded out."""
    prompt, params = draw(rng, 32)
    allowed = sorted(rng.choice([t for t in range(1, VOCAB) if t not in prompt], 4, replace=False).tolist())
    params |= {"num_return": 3, "max_new_tokens": 3, "min_new_tokens": 0, "no_repeat_ngram_size": 0}
    params["length_penalty"], params["early_stopping"] = [(0.0, False), (1.0, "never")][rng.integers(2)]
    end = int(rng.choice(allowed))
    params["eos_token_id"] = [end]
    others = [token for token in allowed if token != end]
    entries = [[rng.choice(others, rng.integers(1, 3), replace=False).tolist()]]
    if len(entries[0][0]) == 1 and rng.random() < 0.5:
        entries.append([[int(rng.choice([t for t in others if t != entries[0][0][0]]))]])
    suppressed = [token for token in range(VOCAB) if token not in allowed]
    found = generate(model, prompt, params, suppressed, constraints=[constraint(entry) for entry in entries])
    return {"prompt": prompt, "params": params, "phrases": entries, "allowed": allowed, "found": found}


def main() -> None:
    torch.set_num_threads(1)
    transformers.logging.set_verbosity_error()
    model = golden_model()
    golden = {"made_with": {"torch": torch.__version__, "transformers": transformers.__version__}}
    for name, one in (("groups", groups), ("phrases", phrases), ("wide", wide)):
        rng = np.random.default_rng(len(name))
        golden[name] = [one(model, rng) for _ in range(SEARCHES[name])]
    data = json.dumps(golden, separators=(",", ":")).encode()
    (HERE / "variant_goldens.json.gz").write_bytes(gzip.compress(data, 9, mtime=0))


if __name__ == "__main__":
    main()
