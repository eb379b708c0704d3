//! The stream against the obvious answer: decode everything, cut at the first stop.
#![allow(missing_docs)]

use draftwood_text::{StopStrings, TextStream};
use proptest::prelude::*;

/// The first stop string of `bytes` that completes after byte `active_from`: (end, index).
fn first_stop(bytes: &[u8], stops: &[String], active_from: usize) -> Option<(usize, usize)> {
    (active_from + 1..=bytes.len()).find_map(|end| {
        let mut best: Option<usize> = None;
        for (i, stop) in stops.iter().enumerate() {
            if bytes[..end].ends_with(stop.as_bytes()) && best.is_none_or(|b| stops[b].len() < stop.len()) {
                best = Some(i);
            }
        }
        best.map(|i| (end, i))
    })
}

fn reference(bytes: &[u8], stops: &[String], active_from: usize) -> (String, Option<usize>) {
    match first_stop(bytes, stops, active_from) {
        Some((end, i)) => (String::from_utf8_lossy(&bytes[..end - stops[i].len()]).into_owned(), Some(i)),
        None => (String::from_utf8_lossy(bytes).into_owned(), None),
    }
}

/// Pushes the pieces that `cuts` makes, stops suspended during the first `suspended` of them.
///
/// Also checks what a reader of the stream may rely on: at every moment the text so far is a prefix of the whole.
fn run(bytes: &[u8], cuts: &[usize], stops: &[String], suspended: usize) -> (Vec<String>, Option<usize>) {
    let mut stream = TextStream::new(&StopStrings::new(stops).unwrap());
    let (mut events, mut stop, mut from) = (Vec::new(), None, 0);
    for (i, &to) in cuts.iter().chain([&bytes.len()]).enumerate() {
        let mut out = String::new();
        stream.suspend_stops(i < suspended);
        let hit = stream.push(&bytes[from..to], &mut out);
        assert!(stop.is_none() || (hit.is_none() && out.is_empty()), "nothing follows a stop");
        stop = stop.or(hit);
        events.push(out);
        from = to;
    }
    let mut out = String::new();
    stream.finish(&mut out);
    stream.finish(&mut out);
    events.push(out);
    (events, stop)
}

/// Few distinct bytes, so that characters break and stops occur.
fn alphabet() -> impl Strategy<Value = Vec<u8>> {
    let texts: Vec<&[u8]> = vec![b"a", b"b", "é".as_bytes(), "漢".as_bytes(), "🙂".as_bytes()];
    let broken: Vec<&[u8]> = vec![
        b"\x80",
        b"\xc3",
        b"\xe6",
        b"\xe6\xbc",
        b"\xf0\x9f",
        b"\xf0\x9f\x99",
        b"\xff",
        b"\xc0\x80",
        b"\xed\xa0\x80",
        b"\xf4\x90\x80\x80",
        b"\xe0\x9f",
        b"\0",
    ];
    let unit = prop_oneof![2 => prop::sample::select(texts), 1 => prop::sample::select(broken)];
    prop::collection::vec(unit, 0..24).prop_map(|units| units.concat())
}

fn stop_strings() -> impl Strategy<Value = Vec<String>> {
    let one = prop::collection::vec(prop::sample::select(vec!['a', 'b', 'é', '漢', '🙂', '\0']), 1..5)
        .prop_map(|chars| chars.into_iter().collect::<String>());
    prop::collection::vec(one, 0..5)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(ProptestConfig::default().cases.max(4096)))]

    #[test]
    fn any_cutting_gives_the_same_text(
        bytes in prop_oneof![alphabet(), prop::collection::vec(any::<u8>(), 0..40)],
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..12),
        stops in stop_strings(),
        suspended in 0usize..8,
    ) {
        let mut cuts: Vec<usize> = cuts.iter().map(|c| c.index(bytes.len() + 1)).collect();
        cuts.sort_unstable();
        let active_from = cuts.iter().chain([&bytes.len()]).nth(suspended.wrapping_sub(1)).copied();
        let active_from = if suspended == 0 { 0 } else { active_from.unwrap_or(bytes.len()) };
        let (want, want_stop) = reference(&bytes, &stops, active_from);
        let (events, stop) = run(&bytes, &cuts, &stops, suspended);
        prop_assert_eq!(stop, want_stop);
        prop_assert_eq!(events.concat(), want);
    }

    /// Nothing is held back that cannot matter: after each byte only an unfinished character or the start of a
    /// stop string is missing.
    #[test]
    fn no_text_is_late(bytes in alphabet(), stops in stop_strings()) {
        let mut stream = TextStream::new(&StopStrings::new(&stops).unwrap());
        let mut out = String::new();
        for end in 1..=bytes.len() {
            if stream.push(&bytes[end - 1..end], &mut out).is_some() {
                return Ok(());
            }
            let seen = &bytes[..end];
            let opens = |from: usize| stops.iter().any(|s| s.len() > end - from && s.as_bytes().starts_with(&seen[from..]));
            let open = (0..end).find(|&from| opens(from)).unwrap_or(end);
            prop_assert_eq!(out.as_str(), settled(&seen[..open]));
        }
    }
}

/// The text that every continuation of `bytes` has in common.
fn settled(bytes: &[u8]) -> String {
    let edges = [0x80, 0x8f, 0x90, 0x9f, 0xa0, 0xbf, b'a'];
    let mut common: Vec<char> = String::from_utf8_lossy(bytes).chars().collect();
    for i in 0..edges.len().pow(3) {
        let next = [edges[i % 7], edges[i / 7 % 7], edges[i / 49]];
        let future = [bytes, &next].concat();
        let future = String::from_utf8_lossy(&future);
        let same = common.iter().zip(future.chars()).take_while(|(a, b)| **a == *b).count();
        common.truncate(same);
    }
    common.into_iter().collect()
}

#[test]
fn one_replacement_for_a_cut_character() {
    for n in 1..4 {
        let (events, _) = run(&"a🙂".as_bytes()[..1 + n], &[], &[], 0);
        assert_eq!(events, ["a", "\u{fffd}"]);
    }
}

#[test]
fn stops_win_by_completion_then_length_then_order() {
    let case = |text: &str, stops: &[&str]| {
        let stops: Vec<String> = stops.iter().map(|s| s.to_string()).collect();
        let (events, stop) = run(text.as_bytes(), &[], &stops, 0);
        (events.concat(), stop)
    };
    assert_eq!(case("xabcd", &["abcd", "bc"]), ("xa".into(), Some(1)), "the earliest completion");
    assert_eq!(case("xab", &["b", "ab"]), ("x".into(), Some(1)), "the longest at one byte");
    assert_eq!(case("xab", &["b", "b"]), ("xa".into(), Some(0)), "the first of equals");
    assert_eq!(case("aab", &["ab", "aaa"]), ("a".into(), Some(0)));
    assert_eq!(case("ab", &["abc"]), ("ab".into(), None));
}

#[test]
fn a_stop_that_completes_while_suspended_is_text() {
    let stops = ["aa".to_string()];
    assert_eq!(run(b"aab", &[2], &stops, 1), (vec!["a".into(), "ab".into(), "".into()], None));
    // The second and third byte are an occurrence of their own, completed in time.
    assert_eq!(run(b"aaab", &[2], &stops, 1), (vec!["a".into(), "".into(), "".into()], Some(0)));
}

#[test]
fn a_fork_goes_its_own_way() {
    let mut a = TextStream::new(&StopStrings::new(&["stop"]).unwrap());
    let (mut left, mut right) = (String::new(), String::new());
    assert_eq!(a.push(b"x st", &mut left), None);
    let mut b = a.clone();
    right.push_str(&left);
    assert_eq!((a.push(b"op", &mut left), b.push(b"ar", &mut right)), (Some(0), None));
    assert_eq!((left.as_str(), right.as_str(), a.ended(), b.ended()), ("x ", "x star", true, false));
}

#[test]
fn empty_and_oversized_stops_are_refused() {
    let error = StopStrings::new(&["a", ""]).unwrap_err();
    assert_eq!(error.to_string(), "stop[1] must be a non-empty string, got \"\"; leave it out");
    assert!(StopStrings::new(&["a".repeat(1 << 21)]).is_err());
    assert!(StopStrings::new::<&str>(&[]).unwrap().is_empty());
}

#[test]
fn work_is_linear() {
    // Failure links walk back at most as far as the state had advanced; a quadratic search would need minutes.
    let stops = [format!("{}b", "a".repeat(100_000)), format!("{}c", "a".repeat(90_000))];
    let text = "a".repeat(4_000_000);
    let mut stream = TextStream::new(&StopStrings::new(&stops).unwrap());
    let mut out = String::new();
    for piece in text.as_bytes().chunks(5) {
        assert_eq!(stream.push(piece, &mut out), None);
    }
    assert_eq!(out.len(), text.len() - 100_000);
}
