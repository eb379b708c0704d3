//! What may change a row before candidates are taken from it: one protocol for penalties and constraints.

use draftwood_base::Token;
use std::any::Any;
use std::fmt;
use std::sync::Arc;

/// A rule over texts. Its state follows one text; a beam that forks clones it.
pub trait Processor: Send + Sync {
    /// What the rule remembers of a text.
    type State: Clone + Send + 'static;

    /// The state after `ids`, the prompt.
    fn init(&self, ids: &[Token]) -> Self::State;

    /// The state after one more token.
    fn advance(&self, state: &mut Self::State, token: Token);

    /// Changes a scratch row of log-probabilities [V]; −inf forbids.
    fn apply(&self, state: &Self::State, row: &mut [f32]);

    /// Whether `token` may follow. `None` from a rule that changes values: [`Processor::apply`] is then needed.
    /// A rule answers `Some` for every token or for none.
    fn allows(&self, state: &Self::State, token: Token) -> Option<bool> {
        let _ = (state, token);
        None
    }
}

type State = Box<dyn Any + Send>;

/// A processor whose type has been forgotten, so that rules of all kinds stand in one list.
#[derive(Clone)]
pub struct AnyProcessor(Arc<dyn Erased>);

impl AnyProcessor {
    /// Wraps a rule.
    pub fn new(rule: impl Processor + 'static) -> Self {
        Self(Arc::new(rule))
    }
}

impl fmt::Debug for AnyProcessor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AnyProcessor")
    }
}

trait Erased: Send + Sync {
    fn init(&self, ids: &[Token]) -> State;
    fn fork(&self, state: &State) -> State;
    fn advance(&self, state: &mut State, token: Token);
    fn apply(&self, state: &State, row: &mut [f32]);
    fn allows(&self, state: &State, token: Token) -> Option<bool>;
}

fn inner<P: Processor>(state: &State) -> Option<&P::State> {
    state.downcast_ref()
}

// A state is made by `init` of the processor that reads it, so that the casts below always find their type.
impl<P: Processor> Erased for P {
    fn init(&self, ids: &[Token]) -> State {
        Box::new(Processor::init(self, ids))
    }

    fn fork(&self, state: &State) -> State {
        match inner::<P>(state) {
            Some(state) => Box::new(state.clone()),
            None => Box::new(()),
        }
    }

    fn advance(&self, state: &mut State, token: Token) {
        if let Some(state) = state.downcast_mut() {
            Processor::advance(self, state, token);
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
}

/// The states of all rules for one text, in the order of the rules.
pub(crate) struct States(Vec<State>);

impl States {
    pub fn init(rules: &[AnyProcessor], ids: &[Token]) -> Self {
        Self(rules.iter().map(|rule| rule.0.init(ids)).collect())
    }

    /// The states of the text that goes on with `token`.
    pub fn child(&self, rules: &[AnyProcessor], token: Token) -> Self {
        let child = |(rule, state): (&AnyProcessor, &State)| {
            let mut state = rule.0.fork(state);
            rule.0.advance(&mut state, token);
            state
        };
        Self(rules.iter().zip(&self.0).map(child).collect())
    }

    /// Whether some rule changes values, so that a scratch row is needed.
    pub fn change_values(&self, rules: &[AnyProcessor]) -> bool {
        rules.iter().zip(&self.0).any(|(rule, state)| rule.0.allows(state, 0).is_none())
    }

    pub fn apply(&self, rules: &[AnyProcessor], row: &mut [f32]) {
        for (rule, state) in rules.iter().zip(&self.0) {
            rule.0.apply(state, row);
        }
    }

    /// For rules of which none changes values.
    pub fn allow(&self, rules: &[AnyProcessor], token: Token) -> bool {
        rules.iter().zip(&self.0).all(|(rule, state)| rule.0.allows(state, token) != Some(false))
    }
}
