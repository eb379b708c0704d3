"""Makes variant_goldens.json.gz: group beams and constrained beams of a transformers that still had them in its core.

    python3 -m venv /tmp/old && /tmp/old/bin/pip install "transformers==4.49.*" torch numpy
    /tmp/old/bin/python tests/data/make_variant_goldens.py

The model is that of tests/support/golden_models.py. The file is a JSON object:

    made_with: versions
    groups, phrases: one object per search
        prompt   ids
        params   fields of dw.BeamParams; `phrases` beside them: each entry a list of alternatives
        found    [token ids, score] of all that were returned, best first; scores of −1e8 and below are left out
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

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))
from support.golden_models import PAD, VOCAB, golden_model  # noqa: E402

SEARCHES = 240


def generate(model, prompt, params, **more):
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
            suppress_tokens=[PAD],
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
    return sorted({token for ids, _ in generate(model, prompt, params) for token in ids[params["min_new_tokens"] + 1 :]})


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
    others = np.array([token for token in range(1, VOCAB) if token not in ends])
    params["eos_token_id"] = sorted(ends)
    entries = []
    for _ in range(int(rng.integers(1, 3))):
        entries.append([rng.choice(others, rng.integers(1, 4), replace=False).tolist()])
        if rng.random() < 0.3:  # an alternative: none of the two may begin the other
            entries[-1].append(rng.choice(np.setdiff1d(others, entries[-1][0]), 2, replace=False).tolist())
    constraints = [PhrasalConstraint(e[0]) if len(e) == 1 else DisjunctiveConstraint(e) for e in entries]
    found = generate(model, prompt, params, constraints=constraints)
    return {"prompt": prompt, "params": params, "phrases": entries, "found": found}


def main() -> None:
    torch.set_num_threads(1)
    transformers.logging.set_verbosity_error()
    model = golden_model()
    golden = {"made_with": {"torch": torch.__version__, "transformers": transformers.__version__}}
    for name, one in (("groups", groups), ("phrases", phrases)):
        rng = np.random.default_rng(len(name))
        golden[name] = [one(model, rng) for _ in range(SEARCHES)]
    data = json.dumps(golden, separators=(",", ":")).encode()
    (HERE / "variant_goldens.json.gz").write_bytes(gzip.compress(data, 9, mtime=0))


if __name__ == "__main__":
    main()
