"""A sample that fails ends alone; a step that fails is made again for all."""

from __future__ import annotations

import numpy as np
import pytest

import draftwood as dw
from draftwood.loading import Parts
from draftwood.models.toy import ToyExecutor
from support.drafters import RandomTrees
from support.rules import GeneratedText
from support.samples import PARAMS, TOY, VOCAB, engine, texts_of

pytestmark = pytest.mark.usefixtures("leaks")


class Refusing(GeneratedText):
    """A processor that raises where a text is refused."""

    def __init__(self, refuses):
        self.refuses = refuses

    def apply(self, state, row):
        if self.refuses(state):
            raise KeyError(tuple(state))
        row[(sum(state) + 1) % VOCAB] = -np.inf


def test_processors_follow_their_sample_and_what_they_raise_ends_it_alone():
    for drafter in (None, RandomTrees(VOCAB, 12, 4)):
        with engine(drafter) as model:
            quiet = dw.SamplingParams(**PARAMS, n=5, processors=[Refusing(lambda state: False)])
            whole = model.generate([5, 6], quiet)
            texts = texts_of(whole)
            assert all(s.stats.processed_rows >= 20 for s in whole.samples)
            for i in range(5):
                alone = dw.SamplingParams(**PARAMS, n=i + 1, processors=quiet.processors)
                assert texts_of(model.generate([5, 6], alone)) == texts[: i + 1]
            bad = texts[1][:6]
            fails = [text[:6] == bad for text in texts]
            assert sum(fails) < 5
            rule = Refusing(lambda state, bad=bad: state == bad)
            output = model.generate([5, 6], dw.SamplingParams(**PARAMS, n=5, processors=[rule]))
            for sample, text, failed in zip(output.samples, texts, fails, strict=True):
                assert isinstance(sample.error, KeyError) == failed
                assert sample.finish_reason == ("error" if failed else "length")
                tokens = sample.token_ids.tolist()
                assert tokens == (text[: len(tokens)] if failed else text)
                assert len(tokens) <= 6 or not failed
            broken = Refusing(lambda state: True)
            with pytest.raises(KeyError):
                model.generate([5, 6], dw.SamplingParams(**PARAMS, n=5, processors=[broken]))


def test_a_first_sample_that_fails_is_not_the_output():
    with engine() as model:
        quiet = Refusing(lambda state: False)
        free = texts_of(model.generate([5, 6], dw.SamplingParams(**PARAMS, n=6, processors=[quiet])))
        bad = next(i for i in range(2, 20) if any(text[:i] != free[0][:i] for text in free))
        fine = next(i for i, text in enumerate(free) if text[:bad] != free[0][:bad])
        rule = Refusing(lambda state: state == free[0][:bad])
        output = model.generate([5, 6], dw.SamplingParams(**PARAMS, n=6, processors=[rule]))
        assert output.sample == fine > 0
        assert output.error is None
        assert output.samples[0].finish_reason == "error"
        assert output.samples[0].token_ids.tolist() == free[0][:bad]


def test_a_drafter_that_raises_below_the_prompt_ends_all_samples_with_its_error():
    class Broken:
        def propose(self, view):
            raise KeyError("mine")

    with engine(Broken()) as model:
        outputs = model.generate([[5, 6]], dw.SamplingParams(**PARAMS, n=3))
        assert [repr(sample.error) for sample in outputs[0].samples] == ["KeyError('mine')"] * 3
        with pytest.raises(KeyError):
            model.generate([5, 6], dw.SamplingParams(**PARAMS, n=3))


def test_moves_and_forwards_that_fail_while_samples_part():
    class Once(ToyExecutor):
        def __init__(self):
            super().__init__(**TOY)
            self.fails = set()

        def forward(self, plan, hidden=()):
            rows = super().forward(plan, hidden)
            if "forward" in self.fails:
                self.fails.discard("forward")
                raise OSError
            return rows

        def apply(self, moves):
            if "apply" in self.fails:
                self.fails.discard("apply")
                super().apply(moves[:, ::2])
                raise OSError
            super().apply(moves)

    with engine() as model:
        texts = texts_of(model.generate([5, 6], dw.SamplingParams(**PARAMS, n=5)))
    right = {(5, 6, *text[:t]): text[t : t + 4] for text in texts for t in range(1, 20)}

    class Wide:
        """Both children of the prompt's root, and below them what comes."""

        def propose(self, view):
            chain = right.get(tuple(view.token_ids.tolist()))
            if chain is None:
                firsts = sorted({text[0] for text in texts})
                tails = [next(text for text in texts if text[0] == first)[1] for first in firsts]
                count = len(firsts)
                return dw.Tree([6, *firsts, *tails], [-1] + [0] * count + list(range(1, count + 1)))
            return dw.Tree([int(view.token_ids[-1]), *chain], list(range(-1, len(chain))))

    for fails in ({"forward"}, {"apply"}, {"forward", "apply"}):
        executor = Once()
        with dw.Engine(Parts(executor, "toy"), drafter=Wide(), draft_policy="always") as model:
            executor.fails = fails
            stream = model.stream([5, 6], dw.SamplingParams(**PARAMS, n=5))
            raised = 0
            while True:
                try:
                    next(stream)
                except OSError:
                    raised += 1
                except StopIteration:
                    break
            assert raised >= 1
            assert not fails
            assert texts_of(stream.output) == texts
