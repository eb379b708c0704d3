//! No query allocates, once its output has room.

use allocation_counter::measure;
use draftwood_base::Token;
use draftwood_retrieve::index::{Corpus, Followers, Index, Matcher, Rows, Tier};

const DISTINCT: u32 = 300;

fn text(documents: u32) -> Vec<Vec<Token>> {
    let mut state = 1u64;
    let mut number = move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as u32
    };
    // Low numbers more often, so that n-grams repeat.
    (0..documents).map(|_| (0..200).map(|_| number() % (1 + number() % DISTINCT)).collect()).collect()
}

/// Memory for the answers of all queries.
#[derive(Default)]
struct Room {
    rows: Vec<Rows>,
    children: Vec<Rows>,
    followers: Followers,
    places: Vec<(u32, u32)>,
    tokens: Vec<Token>,
    matcher: Matcher,
}

/// Every query; returns a sum of answers.
fn ask(index: &Index, text: &[Token], candidates: &[Token], room: &mut Room) -> u64 {
    let mut sum = 0;
    for ids in text.windows(3).take(100) {
        let rows = index.find(ids, false).unwrap();
        sum += u64::from(index.count(&ids[..2], true).unwrap());
        sum += u64::from(index.extend(rows, ids[0]).unwrap().count());
        sum += u64::from(index.document_ends(rows).unwrap());
        room.rows.clear();
        room.rows.resize(ids.len(), rows);
        index.extend_all(&mut room.rows, ids).unwrap();
        room.children.clear();
        index.children(rows, candidates, &mut room.children).unwrap();
        index.next(rows, &mut room.followers).unwrap();
        room.followers.keep_top(4);
        room.matcher.append(index, ids[0]).unwrap();
        sum += room.children.iter().map(|rows| u64::from(rows.count())).sum::<u64>() + room.matcher.longest();
        if index.tier() != Tier::Tiny && !rows.is_empty() {
            room.places.clear();
            index.locate(rows, 3, 8, &mut room.places).unwrap();
            index.next_sampled(rows, 4, &mut room.followers).unwrap();
            let document = index.document_of(rows.start).unwrap();
            room.tokens.clear();
            index.extract(document, 10, 60, &mut room.tokens).unwrap();
            sum += room.places.len() as u64 + u64::from(room.tokens[0]);
        }
    }
    room.matcher.clear();
    sum
}

#[test]
fn no_query_allocates() {
    let documents = text(100);
    let mut corpus = Corpus::default();
    documents.iter().for_each(|document| corpus.push(document).unwrap());
    let candidates: Vec<Token> = (0..DISTINCT).collect();
    for tier in [Tier::Tiny, Tier::Compact, Tier::Standard, Tier::Fast] {
        let index = Index::build_in_memory(&corpus, tier).unwrap();
        let (mut room, mut sums) = (Room::default(), [0; 2]);
        let first = measure(|| sums[0] = ask(&index, &documents[7], &candidates, &mut room));
        assert!(first.count_total > 0, "the counter counts");
        let second = measure(|| sums[1] = ask(&index, &documents[7], &candidates, &mut room));
        assert_eq!(sums[0], sums[1]);
        assert_eq!(second.count_total, 0, "{tier:?}: {second:?}");
    }
}
