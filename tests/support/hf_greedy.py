"""HF-greedy: token-identical to `generate(do_sample=False)`, near-ties counted (DESIGN §6)."""

from __future__ import annotations

import numpy as np


class Tally:
    """Counts equal texts and near-ties; anything else fails at once."""

    def __init__(self, limit: float):
        self.limit = limit
        self.texts = self.near_ties = 0

    def compare(self, ours, reference, gaps, what=""):
        """`gaps[i]` is the difference of the two best reference logits at token i; texts may part there only if it is
        below `limit`, twice the largest logit difference of the run."""
        self.texts += 1
        ours, reference = list(map(int, ours)), list(map(int, reference))
        if ours == reference:
            return
        at = next((i for i, (a, b) in enumerate(zip(ours, reference, strict=False)) if a != b), None)
        assert at is not None, f"{what}: one text is a prefix of the other: {len(ours)} and {len(reference)} tokens"
        assert gaps[at] < self.limit, (
            f"{what}: token {at} is {ours[at]}, transformers says {reference[at]} with a gap of {gaps[at]:.2e}"
        )
        self.near_ties += 1

    def check(self):
        """At most 3 % near-ties."""
        assert self.near_ties <= 0.03 * self.texts, f"{self.near_ties} near-ties in {self.texts} texts"


def reference(module, ids, tokens, **settings):
    """transformers' greedy continuation of one prompt: ids, gaps, and the logits of each step."""
    import torch

    prompt = torch.tensor([list(map(int, ids))])
    with torch.inference_mode():
        out = module.generate(
            prompt,
            attention_mask=torch.ones_like(prompt),
            do_sample=False,
            max_new_tokens=tokens,
            output_logits=True,
            return_dict_in_generate=True,
            pad_token_id=0,
            **settings,
        )
    logits = torch.stack([row[0] for row in out.logits]).float().numpy()
    best = np.sort(logits, axis=1)[:, -2:]
    return out.sequences[0, len(ids) :].tolist(), best[:, 1] - best[:, 0], logits
