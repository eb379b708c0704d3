//! What may change a row before tokens are taken from it: one protocol for penalties and constraints.

use draftwood_base::{Error, Result, Token};
use std::any::Any;
use std::fmt;
use std::sync::Arc;

/// A rule over texts. Its state follows one text; a text that forks clones it.
pub trait Processor: Send + Sync {
    /// What the rule remembers of a text.
    type State: Clone + Send + Sync + 'static;

    /// The state after `ids`, the prompt.
    fn init(&self, ids: &[Token]) -> Self::State;

    /// The state after one more token.
    fn advance(&self, state: &mut Self::State, token: Token);

    /// Changes a scratch row [V] of logits or log-probabilities; −inf forbids.
    fn apply(&self, state: &Self::State, row: &mut [f32]);

    /// Whether `token` may follow. `None` from a rule that changes values: [`Processor::apply`] is then needed.
    /// A rule answers `Some` for every token or for none.
    fn allows(&self, state: &Self::State, token: Token) -> Option<bool> {
        let _ = (state, token);
        None
    }

    /// Writes every token that may follow, ascending, if the rule knows them without testing the vocabulary.
    fn candidates(&self, state: &Self::State, out: &mut Vec<Token>) -> bool {
        let _ = (state, out);
        false
    }

    /// The state after `token` if it may follow: the test and the step in one.
    fn child(&self, state: &Self::State, token: Token) -> Option<Self::State> {
        (self.allows(state, token) != Some(false)).then(|| {
            let mut child = state.clone();
            self.advance(&mut child, token);
            child
        })
    }

    /// How far the text has come towards what must occur in it; `None` from a rule that asks for nothing.
    fn progress(&self, state: &Self::State) -> Option<u32> {
        let _ = state;
        None
    }

    /// Appends the tokens that take the text further towards what must occur.
    fn advances(&self, state: &Self::State, out: &mut Vec<Token>) {
        let _ = (state, out);
    }

    /// Whether the text holds everything that must occur; until then end tokens are masked.
    fn done(&self, state: &Self::State) -> bool {
        let _ = state;
        true
    }

    /// Whether the text may end here with any end token, though the rule does not name it.
    fn ends(&self, state: &Self::State) -> bool {
        let _ = state;
        false
    }

    /// Whether [`Processor::allows`] has an answer; for rules that would have to look for it.
    fn tests(&self, state: &Self::State) -> bool {
        self.allows(state, 0).is_some()
    }

    /// What has failed while the rule was asked: its answers since then are void. `None` from a rule that cannot fail.
    fn failure(&self) -> Option<Error> {
        None
    }
}

type State = Arc<dyn Any + Send + Sync>;

/// A processor whose type has been forgotten, so that rules of all kinds stand in one list.
#[derive(Clone)]
pub struct AnyProcessor(Arc<dyn Erased>);

impl AnyProcessor {
    /// Wraps a rule.
    pub fn new(rule: impl Processor + 'static) -> Self {
        Self(Arc::new(rule))
    }

    /// Refuses what rules have answered if one of them has failed.
    ///
    /// # Errors
    /// The first failure.
    pub fn check(rules: &[Self]) -> Result<()> {
        rules.iter().find_map(|rule| rule.0.failure()).map_or(Ok(()), Err)
    }
}

impl fmt::Debug for AnyProcessor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AnyProcessor")
    }
}

trait Erased: Send + Sync {
    fn init(&self, ids: &[Token]) -> State;
    fn advance(&self, state: &mut State, token: Token);
    fn apply(&self, state: &State, row: &mut [f32]);
    fn allows(&self, state: &State, token: Token) -> Option<bool>;
    fn candidates(&self, state: &State, out: &mut Vec<Token>) -> bool;
    fn child(&self, state: &State, token: Token) -> Option<State>;
    fn progress(&self, state: &State) -> Option<u32>;
    fn advances(&self, state: &State, out: &mut Vec<Token>);
    fn done(&self, state: &State) -> bool;
    fn ends(&self, state: &State) -> bool;
    fn tests(&self, state: &State) -> bool;
    fn failure(&self) -> Option<Error>;
}

fn inner<P: Processor>(state: &State) -> Option<&P::State> {
    state.downcast_ref()
}

// A state is made by `init` of the processor that reads it, so that the casts below always find their type.
impl<P: Processor> Erased for P {
    fn init(&self, ids: &[Token]) -> State {
        Arc::new(Processor::init(self, ids))
    }

    fn advance(&self, state: &mut State, token: Token) {
        match Arc::get_mut(state).and_then(|own| own.downcast_mut()) {
            Some(own) => Processor::advance(self, own, token),
            None => {
                if let Some(mut own) = inner::<P>(state).cloned() {
                    Processor::advance(self, &mut own, token);
                    *state = Arc::new(own);
                }
            }
        }
    }

    fn apply(&self, state: &State, row: &mut [f32]) {
        if let Some(state) = inner::<P>(state) {
            Processor::apply(self, state, row);
        }
    }

    fn allows(&self, state: &State, token: Token) -> Option<bool> {
        inner::<P>(state).and_then(|state| Processor::allows(self, state, token))
    }

    fn candidates(&self, state: &State, out: &mut Vec<Token>) -> bool {
        inner::<P>(state).is_some_and(|state| Processor::candidates(self, state, out))
    }

    fn child(&self, state: &State, token: Token) -> Option<State> {
        let child = Processor::child(self, inner::<P>(state)?, token)?;
        Some(Arc::new(child))
    }

    fn progress(&self, state: &State) -> Option<u32> {
        inner::<P>(state).and_then(|state| Processor::progress(self, state))
    }

    fn advances(&self, state: &State, out: &mut Vec<Token>) {
        if let Some(state) = inner::<P>(state) {
            Processor::advances(self, state, out);
        }
    }

    fn done(&self, state: &State) -> bool {
        inner::<P>(state).is_none_or(|state| Processor::done(self, state))
    }

    fn ends(&self, state: &State) -> bool {
        inner::<P>(state).is_some_and(|state| Processor::ends(self, state))
    }

    fn tests(&self, state: &State) -> bool {
        inner::<P>(state).is_some_and(|state| Processor::tests(self, state))
    }

    fn failure(&self) -> Option<Error> {
        Processor::failure(self)
    }
}

/// The states of all rules for one text, in the order of the rules. A copy shares them until one of the two advances.
#[derive(Clone, Default)]
pub struct States(Vec<State>);

impl fmt::Debug for States {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "States({})", self.0.len())
    }
}

impl States {
    /// The states after a prompt.
    pub fn init(rules: &[AnyProcessor], ids: &[Token]) -> Self {
        Self(rules.iter().map(|rule| rule.0.init(ids)).collect())
    }

    /// The states after one more token.
    pub fn advance(&mut self, rules: &[AnyProcessor], token: Token) {
        for (rule, state) in rules.iter().zip(&mut self.0) {
            rule.0.advance(state, token);
        }
    }

    /// The states of the text that goes on with `token`, which has been allowed.
    pub fn child(&self, rules: &[AnyProcessor], token: Token) -> Self {
        let child = |(rule, state): (&AnyProcessor, &State)| {
            rule.0.child(state, token).unwrap_or_else(|| {
                // An end token that the rule does not name: nothing follows it.
                let mut state = State::clone(state);
                rule.0.advance(&mut state, token);
                state
            })
        };
        Self(rules.iter().zip(&self.0).map(child).collect())
    }

    fn each<'a>(&'a self, rules: &'a [AnyProcessor]) -> impl Iterator<Item = (&'a dyn Erased, &'a State)> {
        rules.iter().map(|rule| &*rule.0).zip(&self.0)
    }

    /// Whether some rule changes values, so that a scratch row is needed.
    pub fn change_values(&self, rules: &[AnyProcessor]) -> bool {
        self.each(rules).any(|(rule, state)| !rule.tests(state))
    }

    /// Whether some rule says of single tokens whether they may follow.
    pub fn test(&self, rules: &[AnyProcessor]) -> bool {
        self.each(rules).any(|(rule, state)| rule.tests(state))
    }

    /// Changes a scratch row by the rules' own hands: what end tokens may do is left to the caller.
    pub fn apply_alone(&self, rules: &[AnyProcessor], row: &mut [f32]) {
        self.each(rules).for_each(|(rule, state)| rule.apply(state, row));
    }

    /// Changes a scratch row; `ends` are the end tokens.
    pub fn apply(&self, rules: &[AnyProcessor], row: &mut [f32], ends: &[Token]) {
        for (rule, state) in self.each(rules) {
            if rule.ends(state) {
                let value = |&end: &Token| row.get(end as usize).copied();
                let kept: Vec<Option<f32>> = ends.iter().map(value).collect();
                rule.apply(state, row);
                for (&end, value) in ends.iter().zip(kept) {
                    if let (Some(x), Some(value)) = (row.get_mut(end as usize), value) {
                        *x = value;
                    }
                }
            } else {
                rule.apply(state, row);
            }
            if !rule.done(state) {
                crate::mask(row, ends);
            }
        }
    }

    /// Whether all rules allow `token`; rules that change values are not asked. `is_end`: it is an end token.
    pub fn allow(&self, rules: &[AnyProcessor], token: Token, is_end: bool) -> bool {
        self.each(rules).all(|(rule, state)| match is_end {
            true if !rule.done(state) => false,
            true if rule.ends(state) => true,
            _ => rule.allows(state, token) != Some(false),
        })
    }

    /// Writes the tokens that the first rule which knows them lists; end tokens that it merely accepts are left out.
    pub fn candidates(&self, rules: &[AnyProcessor], out: &mut Vec<Token>) -> bool {
        out.clear();
        self.each(rules).any(|(rule, state)| rule.candidates(state, out))
    }

    /// Sum of all progress; `None` if no rule asks for anything.
    pub fn progress(&self, rules: &[AnyProcessor]) -> Option<u32> {
        self.each(rules).filter_map(|(rule, state)| rule.progress(state)).reduce(u32::wrapping_add)
    }

    /// Appends the tokens that take the text further.
    pub fn advances(&self, rules: &[AnyProcessor], out: &mut Vec<Token>) {
        self.each(rules).for_each(|(rule, state)| rule.advances(state, out));
    }

    /// Whether everything that must occur has occurred.
    pub fn done(&self, rules: &[AnyProcessor]) -> bool {
        self.each(rules).all(|(rule, state)| rule.done(state))
    }

    /// Whether some rule accepts any end token here.
    pub fn ends(&self, rules: &[AnyProcessor]) -> bool {
        self.each(rules).any(|(rule, state)| rule.ends(state))
    }
}
