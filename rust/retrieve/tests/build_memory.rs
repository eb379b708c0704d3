//! The most memory that a build has at once, above the corpus. Alone in its process, whose peak it asks for.
#![cfg(target_os = "linux")]

use draftwood_base::Token;
use draftwood_retrieve::index::{Corpus, Index, Tier};

const TOKENS: usize = 6_000_000;
/// What does not grow with the corpus: the writer's buffer of 32 MiB, and what the allocator keeps.
const FIXED: u64 = 44 << 20;

fn status(key: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with(key)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
}

/// Tokens as often as words are, most of them in phrases that come back.
fn text(tokens: usize, distinct: u32) -> Corpus {
    let mut seed = 7u64;
    let mut random = |below: u64| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) % below
    };
    let mut corpus = Corpus::default();
    let mut document: Vec<Token> = Vec::new();
    let mut next = 0;
    for _ in 0..tokens / 500 {
        let kept = document.len().min(150 + random(200) as usize);
        document.rotate_left(kept / 2);
        document.truncate(kept);
        while document.len() < 500 {
            // Every id at least once; else the lower the likelier.
            if random(4) == 0 {
                document.push(next);
                next = (next + 1) % distinct;
            } else {
                let rank = random(1 << 20) as f64 / f64::from(1 << 20);
                document.push((f64::from(distinct).powf(rank) - 1.0) as u32);
            }
        }
        corpus.push(&document).unwrap();
    }
    corpus
}

#[test]
fn the_peak_of_a_build_is_bounded_by_its_tokens() {
    let path = std::env::temp_dir().join(format!("draftwood-memory-{}.dwx", std::process::id()));
    // Sorting: text, suffixes and as much again as half of them. Then text, suffixes and transform. In symbols of 2 or 4
    // bytes that is 8 or 12 bytes, and the lists are made while suffixes and transform are there.
    for (distinct, tier, per_token) in [(50_000, Tier::Fast, 10), (100_000, Tier::Standard, 14)] {
        let corpus = text(TOKENS, distinct);
        std::fs::write("/proc/self/clear_refs", "5").unwrap(); // the peak begins anew
        let before = status("VmRSS");
        let index = Index::build(&corpus, tier, None, &path, |_| ()).unwrap();
        let peak = status("VmHWM").saturating_sub(before);
        assert_eq!(index.distinct(), distinct);
        let most = FIXED + per_token * TOKENS as u64;
        let each = peak as f64 / TOKENS as f64;
        assert!(peak <= most, "{tier:?}, {distinct} ids: {each:.2} bytes per token, at most {most} in all");
        // Or else it was not measured.
        assert!(peak > 8 * TOKENS as u64, "{each:.2} bytes per token");
    }
    std::fs::remove_file(&path).unwrap();
}
