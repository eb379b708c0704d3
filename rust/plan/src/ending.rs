//! Texts that end without a verdict: cancelled, or failed.

use crate::SequenceStats;
use crate::events::FinishReason;
use crate::request::RequestId;
use crate::sequence::Sequence;
use crate::session::{Phase, Session};
use draftwood_base::{Error, SequenceId};

impl Session {
    /// Ends a request. Within a step its pages go back when the step is committed or rolled back, else at once; the
    /// end of each of its samples is told by the next events.
    pub fn cancel(&mut self, request: RequestId) {
        if let Some(at) = self.waiting.iter().position(|(id, _)| *id == request)
            && let Some((_, spec)) = self.waiting.remove(at)
        {
            for &sample in &spec.samples {
                self.events.tell_end(
                    (request, sample),
                    None,
                    SequenceStats::default(),
                    FinishReason::Cancelled,
                    None,
                );
            }
        }
        for sequence in self.running.iter_mut().filter(|sequence| sequence.request == request) {
            sequence.cancelled = true;
        }
        if matches!(self.phase, Phase::Idle) {
            self.drop_ended();
        }
    }

    /// Ends one sample of a request, as [`Session::cancel`] ends all; the others go on.
    pub fn cancel_sample(&mut self, request: RequestId, sample: u32) {
        if let Some((_, spec)) = self.waiting.iter_mut().find(|(id, _)| *id == request)
            && spec.samples.contains(&sample)
        {
            if spec.samples.len() == 1 {
                return self.cancel(request);
            }
            spec.samples.retain(|&other| other != sample);
            self.events.tell_end(
                (request, sample),
                None,
                SequenceStats::default(),
                FinishReason::Cancelled,
                None,
            );
        }
        let mine = |s: &&mut Sequence| s.request == request && s.spec.samples.contains(&sample);
        if let Some(sequence) = self.running.iter_mut().find(mine)
            && !sequence.dropped.contains(&sample)
        {
            sequence.dropped.push(sample);
            sequence.cancelled = sequence.dropped.len() == sequence.spec.samples.len();
        }
        if matches!(self.phase, Phase::Idle) {
            self.drop_ended();
        }
    }

    /// Ends a text with an error at the next call, without touching the others of the step.
    pub fn fail(&mut self, sequence: SequenceId, error: Error) {
        if let Some(sequence) = self.running.iter_mut().find(|s| s.id == sequence) {
            sequence.failed = Some(error);
        }
    }

    /// Closes what was cancelled or has failed, and forgets cancelled samples of prompts that are still read.
    pub(crate) fn drop_ended(&mut self) {
        let mut at = 0;
        while at < self.running.len() {
            let sequence = &mut self.running[at];
            let reason = match (&sequence.failed, sequence.cancelled) {
                (Some(_), _) => FinishReason::Error,
                (None, true) => FinishReason::Cancelled,
                (None, false) => {
                    for sample in sequence.dropped.drain(..) {
                        sequence.spec.samples.retain(|&other| other != sample);
                        let text = (sequence.request, sample);
                        self.events.tell_end(text, None, sequence.stats, FinishReason::Cancelled, None);
                    }
                    at += 1;
                    continue;
                }
            };
            let mut sequence = self.running.remove(at);
            self.store.close(sequence.id);
            let error = sequence.failed.take();
            let spec = std::mem::take(&mut sequence.spec.samples);
            for &sample in &spec {
                let start = self.events.text.len();
                if spec.len() == 1 {
                    sequence.text.finish(&mut self.events.text);
                }
                let text = (sequence.request, sample);
                self.events.tell_end_from(
                    start,
                    text,
                    Some(sequence.id),
                    sequence.stats,
                    reason,
                    error.clone(),
                );
            }
        }
    }
}
