//! The state of all texts between and within steps.

use crate::arrays::StepPlan;
use crate::begin::Scheduled;
use crate::events::Events;
use crate::policy::Policy;
use crate::request::{Request, RequestId};
use crate::sequence::Sequence;
use crate::verify::Record;
use crate::{DraftCounts, SessionConfig};
use draftwood_base::{Error, Result, SequenceId, Token};
use draftwood_logits::States;
use draftwood_sample::Sampler;
use draftwood_store::{GroupKind, Reservation, Stats, Store, StoreConfig, Want};
use draftwood_tree::Forest;
use std::collections::VecDeque;

/// Where a step stands. Calls out of order are refused, a plan that is not committed is rolled back.
#[derive(Debug, Default)]
pub(crate) enum Phase {
    #[default]
    Idle,
    Begun,
    Planned(Reservation),
    Verified(Reservation),
}

/// Sizes that users see in `engine.stats()`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counts {
    /// Texts in the batch.
    pub running: u32,
    /// Requests that wait for pages.
    pub waiting: u32,
    /// Pages of the pool, and cache rows copied so far.
    pub store: Stats,
}

/// All texts of one model. Not shared: callers lock it per call.
pub struct Session {
    pub(crate) config: SessionConfig,
    pub(crate) store: Store,
    pub(crate) running: Vec<Sequence>,
    pub(crate) waiting: VecDeque<(RequestId, Request)>,
    pub(crate) phase: Phase,
    pub(crate) scheduled: Vec<Scheduled>,
    /// The pruned drafts, one per scheduled sequence.
    pub(crate) proposals: Forest,
    /// What of them is forwarded.
    pub(crate) trees: Forest,
    pub(crate) policy: Policy,
    /// Whether this step asks for drafts, and whether it got any.
    pub(crate) wants_drafts: bool,
    pub(crate) was_asked: bool,
    pub(crate) plan: StepPlan,
    pub(crate) record: Record,
    pub(crate) events: Events,
    pub(crate) sampler: Sampler,
    /// Ids in the vocabulary's range that the tokenizer does not have, below `usable`.
    pub(crate) holes: Vec<Token>,
    /// Columns up to the last one that has a token.
    pub(crate) usable: usize,
    next_request: u32,
    /// First sequence to be considered by the next step, so that none starves when rows are short.
    pub(crate) turn: usize,
    pub(crate) scratch: Scratch,
}

/// Vectors that every step refills.
#[derive(Debug, Default)]
pub(crate) struct Scratch {
    pub depths: Vec<u32>,
    pub renumbered: Vec<Option<u32>>,
    pub path: Vec<u32>,
    pub row: Vec<f32>,
    pub best: Vec<(Token, f32)>,
    pub wants: Vec<Want>,
    pub mask_bits: Vec<u32>,
    pub states: Vec<Option<States>>,
}

impl Session {
    /// An empty session.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] for impossible sizes.
    pub fn new(config: SessionConfig) -> Result<Self> {
        config.validate()?;
        let store = Store::new(StoreConfig {
            pages: config.pages,
            page_size: config.page_size,
            groups: vec![GroupKind::Full],
        })?;
        let vocab = config.vocab as usize;
        let (usable, holes) = match &config.token_bytes {
            None => (vocab, Vec::new()),
            Some(bytes) => {
                let usable =
                    (0..vocab).rev().find(|&id| bytes.exists(id as Token)).map_or(vocab, |id| id + 1);
                (usable, (0..usable as Token).filter(|&id| !bytes.exists(id)).collect())
            }
        };
        Ok(Self {
            plan: StepPlan::with_room(&config),
            policy: Policy::new(config.draft_policy),
            wants_drafts: false,
            was_asked: false,
            config,
            store,
            running: Vec::new(),
            waiting: VecDeque::new(),
            phase: Phase::Idle,
            scheduled: Vec::new(),
            proposals: Forest::default(),
            trees: Forest::default(),
            record: Record::default(),
            events: Events::default(),
            sampler: Sampler::default(),
            holes,
            usable,
            next_request: 0,
            turn: 0,
            scratch: Scratch::default(),
        })
    }

    /// Queues a request; it starts when its pages can be booked.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] for a value outside its contract, [`Error::OutOfPages`] for a request that cannot
    /// fit an empty pool.
    pub fn submit(&mut self, request: Request) -> Result<RequestId> {
        request.validate(&self.config)?;
        if let Some(&token) = request.forced.iter().find(|&&token| token as usize >= self.usable) {
            let expected = format!("0 … {}", self.usable - 1);
            return Err(Error::invalid(
                "a forced token",
                expected,
                token,
                "these ids may belong to another tokenizer",
            ));
        }
        if let Some(token) = request.backspace
            && (token as usize >= self.usable || self.holes.contains(&token))
        {
            let expected = format!("a token of the model, below {}", self.usable);
            return Err(Error::invalid("backspace_token_id", expected, token, ""));
        }
        let needed =
            self.store.pages_for_shared(request.capacity(&self.config), request.texts(), request.shared());
        if needed > self.store.total() {
            return Err(Error::OutOfPages {
                needed,
                free: self.store.bookable(),
                total: self.store.total(),
                hint: "give the cache more bytes, or ask for fewer tokens".into(),
            });
        }
        let id = RequestId(self.next_request);
        self.next_request += 1;
        self.waiting.push_back((id, request));
        Ok(id)
    }

    /// Gives up the step that was begun: its rows go back, every text is as it was before.
    pub fn rollback(&mut self) {
        self.phase = Phase::Idle;
        self.drop_ended();
    }

    /// Takes a request out of the schedule, or back into it: a stream that nobody reads.
    pub fn pause(&mut self, request: RequestId, paused: bool) {
        for sequence in self.running.iter_mut().filter(|sequence| sequence.request == request) {
            sequence.paused = paused;
        }
    }

    /// The tokens of a running text, prompt included.
    pub fn tokens(&self, sequence: SequenceId) -> Option<&[Token]> {
        self.running.iter().find(|s| s.id == sequence).map(|s| &s.tokens[..])
    }

    /// What the encoder reads for a running text.
    pub fn source(&self, sequence: SequenceId) -> Option<&[Token]> {
        self.running.iter().find(|s| s.id == sequence).map(|s| &*s.spec.source)
    }

    /// Whose a running text is: the request, and the samples that it stands for.
    pub fn samples(&self, sequence: SequenceId) -> Option<(RequestId, &[u32])> {
        self.running.iter().find(|s| s.id == sequence).map(|s| (s.request, &s.spec.samples[..]))
    }

    /// Rows of a running text that are in the cache.
    pub fn cached_rows(&self, sequence: SequenceId) -> Option<u32> {
        self.running.iter().any(|s| s.id == sequence).then(|| self.store.len(sequence))
    }

    /// Requests whose prompt is not read to its end: tokens in the cache, and tokens of the prompt.
    pub fn prefill(&self) -> impl Iterator<Item = (RequestId, u32, u32)> {
        let reading = self.running.iter().filter(|s| s.stats.new_tokens == 0);
        let running = reading.map(|s| (s.request, self.store.len(s.id), s.stats.prompt_tokens));
        running.chain(self.waiting.iter().map(|(id, request)| (*id, 0, request.prompt.len() as u32)))
    }

    /// The configuration.
    pub fn config(&self) -> &SessionConfig {
        &self.config
    }

    /// The rows of the present step.
    pub fn step_plan(&self) -> &StepPlan {
        &self.plan
    }

    /// News since [`Session::clear_events`].
    pub fn events(&self) -> &Events {
        &self.events
    }

    /// Forgets the news that have been delivered.
    pub fn clear_events(&mut self) {
        self.events.clear();
    }

    /// Whether drafts can pay in the step that was begun; a drafter that is not asked costs nothing.
    pub fn wants_drafts(&self) -> bool {
        self.wants_drafts
    }

    /// Tells what the present step has cost until now, before [`Session::commit`]: seconds for proposing drafts, and for
    /// everything else. Decides how much later steps draft, never what they say.
    pub fn took(&mut self, proposing: f32, rest: f32) {
        self.policy.took(proposing, rest);
    }

    /// Tells the seconds of a forward of `rows` rows that was made for this purpose.
    pub fn measured(&mut self, rows: u32, seconds: f32) {
        self.policy.saw(rows, seconds);
    }

    /// Seconds of a step of `rows` rows; none if no step of about that size was seen lately.
    pub fn seconds_of(&self, rows: u32) -> Option<f32> {
        self.policy.seconds(rows)
    }

    /// What was proposed, forwarded and accepted.
    pub fn draft_counts(&self) -> DraftCounts {
        self.policy.counts()
    }

    /// Sizes at this moment.
    pub fn counts(&mut self) -> Counts {
        Counts {
            running: self.running.len() as u32,
            waiting: self.waiting.len() as u32,
            store: self.store.stats(),
        }
    }

    /// Whether anything is left to do.
    pub fn is_idle(&self) -> bool {
        self.running.is_empty() && self.waiting.is_empty()
    }
}
