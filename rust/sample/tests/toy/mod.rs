//! A model of eight tokens whose laws can be written out in full, the drafters, and the loop around verification.

pub mod chi2;
pub mod walks;

use crate::reference;
use draftwood_base::Token;
use draftwood_base::noise::{Address, Purpose};
use draftwood_sample::{Draw, Params, Sampler};
use draftwood_tree::{Forest, TreeRef};
use std::collections::BTreeMap;

pub const VOCAB: usize = 8;
/// The token that ends a text.
pub const END: Token = 7;
/// The one token of the prompt.
pub const ROOT: Token = 3;
/// How many tokens a text has, unless it ends before.
pub const LENGTH: usize = 3;

/// Logits that depend on the last two tokens, fixed for good.
pub struct Toy {
    rows: Vec<[f32; VOCAB]>,
}

impl Toy {
    pub fn new() -> Self {
        let noise = Address { seed: 2024, purpose: Purpose::Growth, slot: 0, sample: 0, position: 0 };
        let rows = (0..9 * 8).map(|r| std::array::from_fn(|i| 1.2 * noise.gumbel(r * 8 + i as u32)));
        Self { rows: rows.collect() }
    }

    pub fn row(&self, text: &[Token]) -> &[f32; VOCAB] {
        let last = text[text.len() - 1] as usize;
        let before = if text.len() < 2 { VOCAB } else { text[text.len() - 2] as usize };
        &self.rows[before * VOCAB + last]
    }

    /// The probability of every text, by enumeration in f64.
    pub fn law(&self, params: &Params) -> BTreeMap<Vec<Token>, f64> {
        let mut law = BTreeMap::new();
        let mut open = vec![(vec![ROOT], 1.0)];
        while let Some((text, p)) = open.pop() {
            if text.len() > LENGTH || (text.len() > 1 && text.last() == Some(&END)) {
                law.insert(text[1..].to_vec(), p);
                continue;
            }
            let (next, margin) = reference::law(self.row(&text), params);
            assert!(margin > 1e-4, "the toy's table must decide every filter clearly, margin {margin}");
            for (token, q) in next.into_iter().enumerate().filter(|&(_, q)| q > 0.0) {
                let longer = text.iter().copied().chain([token as Token]).collect();
                open.push((longer, p * q));
            }
        }
        law
    }
}

/// One sequence in one step.
pub struct Scene<'a> {
    pub toy: &'a Toy,
    pub sampler: &'a mut Sampler,
    pub params: &'a Params,
    pub seed: u64,
    pub sample: u32,
    /// Everything emitted, the root last.
    pub text: &'a [Token],
}

impl Scene<'_> {
    /// The address of the token after `depth` further ones.
    pub fn draw(&self, depth: usize) -> Draw {
        Draw { seed: self.seed, sample: self.sample, position: (self.text.len() + depth) as u32, slot: 0 }
    }

    /// The target's choice after `text + more`.
    pub fn choose(&mut self, more: &[Token], draw: &Draw) -> Token {
        let text = [self.text, more].concat();
        self.sampler.choose(self.toy.row(&text), self.params, draw).unwrap().token
    }

    /// What plain decoding says next.
    pub fn plain(&mut self, count: usize) -> Vec<Token> {
        let mut more = Vec::new();
        for depth in 0..count {
            let draw = self.draw(depth);
            let token = self.choose(&more, &draw);
            more.push(token);
        }
        more
    }
}

/// Small, seeded, not the sampler's own.
pub struct Random(pub u64);

impl Random {
    pub fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let x = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((x ^ (x >> 31)) % n as u64) as usize
    }
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Drafter {
    /// The root alone.
    None,
    /// The chain that plain decoding will say: it reads the same noise.
    Right,
    /// Chains that are wrong at every node.
    Wrong,
    /// Random trees, children of ending tokens included; half of them contain a right chain of random length. Low ids are
    /// drafted more often: were all equally likely, some wrong walks would be right on average.
    Random,
    /// The same with 64 nodes.
    Large,
}

impl Drafter {
    /// Writes one tree.
    pub fn draft(self, scene: &mut Scene<'_>, random: &mut Random, forest: &mut Forest) {
        forest.clear();
        let mut nodes = vec![(0u32, scene.text[scene.text.len() - 1])];
        let mut add = |forest: &mut Forest, parent: u32, token: Token| {
            if nodes.iter().skip(1).any(|&node| node == (parent, token)) {
                return None;
            }
            nodes.push((parent, token));
            Some(forest.push(parent, token, 0.5))
        };
        forest.open(scene.text[scene.text.len() - 1]);
        match self {
            Drafter::None => {}
            Drafter::Right | Drafter::Wrong => {
                let mut parent = 0;
                for token in scene.plain(LENGTH) {
                    let token = if self == Drafter::Right { token } else { (token + 1) % VOCAB as Token };
                    parent = add(forest, parent, token).unwrap();
                }
            }
            Drafter::Random | Drafter::Large => {
                let mut count = 1;
                if random.below(2) == 0 {
                    let mut parent = 0;
                    for token in scene.plain(1 + random.below(LENGTH)) {
                        parent = add(forest, parent, token).unwrap();
                        count += 1;
                    }
                }
                let more = if self == Drafter::Large { 64 - count } else { random.below(10) };
                while count < 64 && more > 0 {
                    let (parent, token) =
                        (random.below(count) as u32, random.below(VOCAB).min(random.below(VOCAB)) as Token);
                    count += usize::from(add(forest, parent, token).is_some());
                    if self == Drafter::Random && random.below(more) == 0 {
                        break;
                    }
                }
            }
        }
        forest.close();
    }
}

/// A way to verify: appends the accepted tokens and the next one.
pub type Verify = fn(&mut Scene<'_>, TreeRef<'_>, &mut Vec<Token>);

/// Generates one text and counts the steps.
pub fn generate(
    toy: &Toy,
    sampler: &mut Sampler,
    params: &Params,
    (seed, sample): (u64, u32),
    drafter: Drafter,
    verify: Verify,
) -> (Vec<Token>, usize) {
    let mut random = Random(seed ^ (u64::from(sample) << 40) ^ 0x5EED);
    let mut forest = Forest::default();
    let mut text = vec![ROOT];
    let mut emitted = Vec::new();
    let mut steps = 0;
    while text.len() <= LENGTH && (steps == 0 || text.last() != Some(&END)) {
        let mut scene = Scene { toy, sampler, params, seed, sample, text: &text };
        drafter.draft(&mut scene, &mut random, &mut forest);
        emitted.clear();
        verify(&mut scene, forest.tree(0), &mut emitted);
        text.extend_from_slice(&emitted);
        steps += 1;
    }
    text.remove(0);
    text.truncate(LENGTH);
    (text, steps)
}
