//! Drafts from counted contexts: the followers of the longest context first, what they leave to the shorter ones.

use draftwood_base::Token;
use draftwood_tree::Continuations;

/// Followers looked at per context, the freshest ones: bounds the work per node however repetitive the text is.
pub(crate) const FOLLOWERS: usize = 8;

/// Contexts looked at per node, the longest ones.
pub(crate) const CONTEXTS: usize = 16;

/// How often one of a context's earlier followers is the next token, by the context's length, where nothing was learned
/// yet; measured on recorded texts. The rest of the probability goes to the next shorter context, as escapes do in PPM.
const HIT: [f32; 9] = [0.0, 0.25, 0.45, 0.6, 0.68, 0.74, 0.78, 0.82, 0.88];

/// The part of the probability that the followers of a context of `length` tokens share.
#[inline]
pub(crate) fn hit_rate(length: u32) -> f32 {
    HIT[(length as usize).min(HIT.len() - 1)]
}

/// One token that followed a context.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Follower {
    pub(crate) token: Token,
    /// How often it followed.
    pub(crate) count: u32,
    /// The context extended by the token.
    pub(crate) node: u32,
}

/// A context and its number of tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Context {
    pub(crate) node: u32,
    pub(crate) length: u32,
}

/// A text's contexts with their followers.
pub(crate) trait Contexts {
    /// The tokens that followed a context, the freshest first.
    fn followers(&self, node: u32) -> impl Iterator<Item = Follower>;

    /// The next shorter context that is worth asking; `None` before the empty one.
    fn shorter(&self, context: Context) -> Option<Context>;

    /// The followers of a context will be asked for: fetches the first from memory.
    fn expect(&self, node: u32);
}

/// The next shorter context, before this one is read: where its list ends is seen late, and the next one's first entry
/// can be on its way meanwhile.
#[inline(always)]
fn expected(contexts: &impl Contexts, context: Context) -> Option<Context> {
    let next = contexts.shorter(context);
    if let Some(shorter) = next {
        contexts.expect(shorter.node);
    }
    next
}

/// How often the followers of contexts held the next token, learned from the text itself: by the context's length, and
/// by how many tokens before it were followers too, since a text that repeats tends to go on.
#[derive(Debug, Clone)]
pub(crate) struct Rates {
    seen: [[Record; Self::LENGTHS]; Self::STREAKS],
    streak: usize,
}

/// How often the followers of some contexts held the next token, and the rate that follows.
#[derive(Debug, Clone, Copy)]
struct Record {
    hits: u32,
    misses: u32,
    rate: f32,
}

impl Default for Rates {
    fn default() -> Self {
        let record = |length| Record { hits: 0, misses: 0, rate: hit_rate(length as u32) };
        Self { seen: [std::array::from_fn(record); Self::STREAKS], streak: 0 }
    }
}

impl Rates {
    /// Lengths that are told apart: 1 … 8, up to 16, up to 32, more.
    const LENGTHS: usize = 12;
    /// Streaks that are told apart: 0, 1, and more.
    const STREAKS: usize = 3;
    /// The table of [`hit_rate`] counts as so many observations.
    const PRIOR: f32 = 8.0;

    fn class(length: u32) -> usize {
        match length {
            0..=8 => length as usize,
            9..=16 => 9,
            17..=32 => 10,
            _ => 11,
        }
    }

    /// `token` is about to be appended to a text with this longest context: asks the contexts as a draft would. Returns
    /// how many of the longest ones it never followed: those that it read to the end, so that nobody need ask again.
    pub(crate) fn learn(&mut self, contexts: &impl Contexts, tail: Option<Context>, token: Token) -> usize {
        let mut known = [0 as Token; CONTEXTS * FOLLOWERS];
        let (mut count, mut next) = (0, tail);
        let (mut without, mut to_the_end) = (0, true);
        for _ in 0..CONTEXTS {
            let Some(context) = next else { break };
            next = expected(contexts, context);
            let first = count;
            let mut hit = false;
            let mut followers = contexts.followers(context.node);
            for follower in followers.by_ref().take(FOLLOWERS) {
                if follower.token == token {
                    hit = true;
                    count = first + 1;
                    break;
                }
                if !known[..first].contains(&follower.token) {
                    known[count] = follower.token;
                    count += 1;
                }
            }
            if count > first {
                let record = &mut self.seen[self.streak][Self::class(context.length)];
                if hit {
                    record.hits += 1
                } else {
                    record.misses += 1
                }
                let seen = (record.hits + record.misses) as f32;
                let expected = Self::PRIOR * hit_rate(context.length);
                record.rate = (record.hits as f32 + expected) / (seen + Self::PRIOR);
            }
            if hit {
                self.streak = (self.streak + 1).min(Self::STREAKS - 1);
                return without;
            }
            to_the_end &= followers.next().is_none();
            without += usize::from(to_the_end);
        }
        self.streak = 0;
        without
    }

    /// The part of the probability that the followers of a context share, `depth` tokens below the root of a draft.
    fn hit(&self, length: u32, depth: usize) -> f32 {
        let streak = (self.streak + depth).min(Self::STREAKS - 1);
        self.seen[streak][Self::class(length)].rate
    }
}

/// A node of a draft: its longest context (none if nothing matches), and how probable the path to it is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct State {
    pub(crate) context: Option<Context>,
    pub(crate) path_prob: f32,
    pub(crate) depth: u32,
}

impl State {
    /// The end of the text.
    pub(crate) fn root(context: Option<Context>) -> Self {
        Self { context, path_prob: 1.0, depth: 0 }
    }
}

/// The continuations of a node by all its contexts; of equal followers the fresher one comes first.
pub(crate) struct Source<'a, C> {
    pub(crate) contexts: &'a C,
    pub(crate) rates: &'a Rates,
    /// Nodes whose path is less probable are not proposed.
    pub(crate) min_prob: f32,
}

impl<C: Contexts> Continuations for Source<'_, C> {
    type State = State;

    fn expand(
        &mut self,
        State { context, path_prob, depth }: State,
        floor: f32,
        out: &mut Vec<(Token, f32, State)>,
    ) {
        let first = out.len();
        let mut left = 1.0f32;
        // One bit per hashed token found so far: most tokens are new, and then no search is needed.
        let mut found = 0u64;
        let mut next = context;
        for _ in 0..CONTEXTS {
            if left < floor || path_prob * left < self.min_prob {
                break;
            }
            let Some(context) = next else { break };
            next = expected(self.contexts, context);
            let start = out.len();
            let mut total = 0;
            for follower in self.contexts.followers(context.node).take(FOLLOWERS) {
                let bit = 1 << (follower.token.wrapping_mul(0x9E37_79B9) >> 26);
                if found & bit != 0 && out[first..start].iter().any(|known| known.0 == follower.token) {
                    continue;
                }
                found |= bit;
                total += follower.count;
                let longer = Context { node: follower.node, length: context.length + 1 };
                out.push((
                    follower.token,
                    follower.count as f32,
                    State { context: Some(longer), path_prob, depth: depth + 1 },
                ));
            }
            if total > 0 {
                let hit = self.rates.hit(context.length, depth as usize);
                let share = left * hit / total as f32;
                for (_, prob, state) in &mut out[start..] {
                    *prob *= share;
                    state.path_prob *= *prob;
                }
                left *= 1.0 - hit;
            }
        }
        out.retain(|(_, _, state)| state.path_prob >= self.min_prob);
    }
}

/// The settings' check that all these drafters share.
pub(crate) fn check_min_prob(min_prob: f32) -> draftwood_base::Result<()> {
    if (0.0..=1.0).contains(&min_prob) {
        return Ok(());
    }
    Err(draftwood_base::Error::invalid(
        "min_prob",
        "a probability, 0 … 1",
        min_prob,
        "it is the least probability of a drafted path",
    ))
}
