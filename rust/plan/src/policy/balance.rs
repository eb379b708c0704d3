//! What drafts have brought so far, and what is risked on further ones.

/// The running rate is an average over about so many steps.
const RATE_DECAY: f32 = 0.99;
/// Plain steps' worth of time that drafts may have lost before they must stop.
const CREDIT: f32 = 1.2;
/// Before that, each lost step's worth makes drafts prove themselves by so much more.
const CAUTION: f32 = 0.6;
/// Gains count up to here, so that a text that repeated pays little for one that does not.
const MOST_SAVED: f32 = 0.5;
/// A text begins with so much of that, whatever texts before it have shown, …
const FIRST_CREDIT: f32 = 0.15;
/// … and each of its first steps earns so much of a plain step to be risked, so that short texts lose little too; …
const EARLY_ALLOWANCE: f32 = 0.015;
const EARLY: u32 = 40;
/// … a later one so much: the bound on what drafts cost a text that they never suit.
const ALLOWANCE: f32 = 0.005;
/// After drafts had to stop, tokens that they would have brought count so much; …
const ON_PAPER: f32 = 0.8;
/// … they need to make up for this many plain steps' worth at most, …
const MOST_DOUBT: f32 = 0.3;
/// … and give back so much at most to be risked again.
const MOST_REGAINED: f32 = 1.2;
/// The weight of the latest proposal in what proposals are worth.
const WORTH_RATE: f32 = 0.25;
/// The weight of the latest proposal in what they cost.
const PROPOSING_RATE: f32 = 0.5;
/// Proposals of less than this share of a plain step are always made.
const CHEAP: f32 = 0.005;
/// Those that do not pay are repeated so rarely that they cost this share.
const RETRY_SHARE: f32 = 0.01;
const MOST_BETWEEN_RETRIES: f32 = 256.0;

/// All times are in plain steps: 1 is a forward of the same texts without drafts.
#[derive(Debug, Clone)]
pub(crate) struct Balance {
    /// Tokens per text, and time, both decaying.
    tokens: f32,
    time: f32,
    /// Time that drafts have saved, within −[`CREDIT`] … [`MOST_SAVED`] or so; while they are stopped also what they would
    /// have saved.
    saved: f32,
    /// Steps since a text began alone.
    age: u32,
    /// Time that a proposal is expected to save, its own making deducted.
    worth: f32,
    /// Time of a proposal, and of the last one alone.
    proposing: f32,
    last: f32,
    /// Steps until the next proposal.
    pause: u32,
}

impl Default for Balance {
    fn default() -> Self {
        Self {
            tokens: 1.0,
            time: 1.0,
            saved: MOST_SAVED,
            age: EARLY,
            worth: 0.0,
            proposing: 0.0,
            last: 0.0,
            pause: 0,
        }
    }
}

impl Balance {
    /// Tokens that a plain step's time must bring: as many as it has brought lately, at least the one of plain decoding,
    /// and more after losses.
    pub fn rate(&self) -> f32 {
        (self.tokens / self.time).max(1.0) * (1.0 + CAUTION * (-self.saved).max(0.0))
    }

    /// Whether rows may be risked.
    pub fn may_risk(&self) -> bool {
        self.saved > -CREDIT
    }

    /// A text begins, and no other runs.
    pub fn text_begins(&mut self) {
        self.saved = self.saved.min(FIRST_CREDIT - CREDIT);
        self.age = 0;
    }

    /// A step gave `tokens` per text, and its drafted rows took `extra`.
    pub fn stepped(&mut self, tokens: f32, extra: f32) {
        self.tokens = self.tokens * RATE_DECAY + tokens;
        self.time = self.time * RATE_DECAY + 1.0 + extra;
        let allowance = if self.age < EARLY { EARLY_ALLOWANCE } else { ALLOWANCE };
        self.age = self.age.saturating_add(1);
        self.saved = (self.saved + tokens - 1.0 - extra + allowance).min(MOST_SAVED);
    }

    /// Drafts that were not risked would have given `tokens` more per text for `extra`: it is no gain, but as good a
    /// proof as one that they begin to pay.
    pub fn missed(&mut self, tokens: f32, extra: f32) {
        let paid = self.saved + tokens * ON_PAPER - extra;
        self.saved = paid.clamp(-CREDIT - MOST_DOUBT, MOST_REGAINED - CREDIT);
    }

    /// Whether a proposal is made in this step. Called once per step.
    pub fn wants_proposal(&mut self) -> bool {
        if self.pause > 0 {
            self.pause -= 1;
            return false;
        }
        true
    }

    /// A proposal is expected to save `gain`, and took `seconds` of a plain step's `plain`, if those are known. One that
    /// was right is followed by another.
    pub fn proposed(&mut self, gain: f32, seconds: Option<(f32, f32)>, was_right: bool) {
        if let Some((seconds, plain)) = seconds {
            let time = seconds / plain;
            // The first proposal of a text reads all of it, and any may be disturbed: the lesser of two counts.
            let steady = time.min(std::mem::replace(&mut self.last, time));
            self.proposing += (steady - self.proposing) * PROPOSING_RATE;
        }
        let worth = gain - self.proposing;
        self.worth = (self.worth + (worth - self.worth) * WORTH_RATE).max(-self.proposing);
        if self.proposing > CHEAP && self.worth < 0.0 && !was_right {
            self.pause = (self.proposing / RETRY_SHARE).clamp(1.0, MOST_BETWEEN_RETRIES) as u32;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drafts_that_never_come_true_cost_little_whatever_is_promised() {
        let (mut balance, mut lost) = (Balance::default(), 0.0);
        for _ in 0..1000 {
            let extra = if balance.may_risk() { 0.3 } else { 0.0 };
            balance.stepped(1.0, extra);
            lost += extra;
        }
        assert!(lost < 1000.0 * ALLOWANCE + CREDIT + MOST_SAVED + 0.3, "{lost} of 1000 steps");
        // One text that pays brings the courage back, and not more than that.
        (0..50).for_each(|_| balance.stepped(3.0, 0.3));
        assert!(balance.may_risk() && balance.rate() > 1.5);
        let mut lost = 0.0;
        while balance.may_risk() {
            balance.stepped(1.0, 0.3);
            lost += 0.3;
        }
        assert!(lost < CREDIT + MOST_SAVED + 0.3, "{lost} steps lost when the text changed");
    }

    #[test]
    fn drafts_that_would_have_come_true_are_risked_again_at_once() {
        let mut balance = Balance::default();
        while balance.may_risk() {
            balance.stepped(1.0, 0.3);
        }
        // Losses on paper are forgotten but for a little.
        (0..100).for_each(|_| balance.missed(0.0, 0.3));
        assert!(!balance.may_risk());
        let missed = (1..).find(|_| {
            balance.missed(2.0, 0.3);
            balance.may_risk()
        });
        assert!(missed.unwrap() <= 2, "{missed:?}");
        (0..100).for_each(|_| balance.missed(2.0, 0.3));
        let mut lost = 0.0;
        while balance.may_risk() {
            balance.stepped(1.0, 0.3);
            lost += 0.3;
        }
        assert!(lost < MOST_REGAINED + 0.6, "gains on paper are not spent like real ones: {lost}");
    }

    #[test]
    fn dear_proposals_that_do_not_pay_become_rare_and_come_back() {
        let (mut balance, mut made) = (Balance::default(), 0);
        for _ in 0..1000 {
            if balance.wants_proposal() {
                made += 1;
                balance.proposed(0.0, Some((0.2, 1.0)), false);
            }
        }
        assert!((20..80).contains(&made), "{made} proposals of a fifth of a step each in 1000 steps");
        let mut steps = 0;
        while !balance.wants_proposal() {
            steps += 1;
        }
        assert!(steps <= 20);
        for _ in 0..20 {
            balance.proposed(1.0, Some((0.2, 1.0)), true);
            assert!(balance.wants_proposal());
        }
    }

    #[test]
    fn cheap_proposals_are_always_made() {
        let mut balance = Balance::default();
        for i in 0..300 {
            assert!(balance.wants_proposal());
            // The first one reads a long prompt.
            balance.proposed(0.0, Some((if i == 0 { 0.5 } else { 0.002 }, 1.0)), false);
        }
    }
}
