//! Files: opening, damage, hostility.

use crate::exact::check;
use crate::{Documents, Folder, TIERS, at_least, corpus, documents, some_documents};
use draftwood_base::{Error, Token};
use draftwood_retrieve::index::{Corpus, Followers, Group, Index, MAX_TOKEN, Name, Phase, Tier};
use proptest::prelude::*;
use std::time::{Duration, Instant};

/// Some of the documents have names, some titles, the last ones none.
fn with_names(documents: &Documents) -> Corpus {
    let mut corpus = Corpus::default();
    for (d, document) in documents.iter().enumerate() {
        corpus.push(document).unwrap();
        if d % 3 != 2 && d + 5 < documents.len() {
            corpus.name_last(&format!("§{d}"), if d % 3 == 0 { "Über alles" } else { "" });
        }
    }
    corpus.set_title_end(&[7, 8]).unwrap();
    corpus
}

fn bytes_of(documents: &Documents, tier: Tier) -> Vec<u8> {
    let folder = Folder::new(&format!("bytes-{tier:?}-{:?}", std::thread::current().id()));
    let path = folder.0.join("a.dwx");
    Index::build(&with_names(documents), tier, None, &path, |_| ()).unwrap();
    std::fs::read(&path).unwrap()
}

/// Everything that an index answers about a few n-grams; the first error ends it.
fn answers(index: &Index) -> Result<Vec<u64>, Error> {
    let mut all = vec![index.documents().into(), index.tokens().into(), index.distinct().into()];
    let mut followers = Followers::default();
    index.next(index.start(), &mut followers)?;
    all.extend(followers.ids().iter().chain(followers.counts()).map(|&v| u64::from(v)));
    for ids in [&[1][..], &[4, 9], &[0, 1, 4, 9, 16], &[2, 3, 6]] {
        let ids: Vec<Token> = ids.to_vec();
        let rows = index.find(&ids, false)?;
        all.push(rows.count().into());
        all.push(index.count(&ids, true)?.into());
        index.next(rows, &mut followers)?;
        all.extend(followers.ids().iter().chain(followers.counts()).map(|&v| u64::from(v)));
        all.push(followers.document_ends().into());
        if index.tier() != Tier::Tiny {
            let mut places = Vec::new();
            index.locate(rows, ids.len() as u32, 20, &mut places)?;
            all.extend(
                places.iter().flat_map(|&(document, offset)| [u64::from(document), u64::from(offset)]),
            );
        }
    }
    for document in [0, 3, 4, 39] {
        let name = index.name(document)?;
        all.extend(name.id.bytes().chain([255]).chain(name.title.bytes()).map(u64::from));
    }
    all.extend(index.title_end()?.iter().map(|&id| u64::from(id)));
    if index.tier() != Tier::Tiny {
        let mut text = Vec::new();
        index.extract(3, 2, 90, &mut text)?;
        all.extend(text.iter().map(|&id| u64::from(id)));
    }
    Ok(all)
}

#[test]
fn a_file_opens_as_it_was_built() {
    let folder = Folder::new("open");
    let path = folder.0.join("a.dwx");
    for tier in TIERS {
        let corpus = corpus(&some_documents());
        let mut phases = Vec::new();
        let built = Index::build(&corpus, tier, Some([9; 32]), &path, |phase| phases.push(phase)).unwrap();
        assert_eq!((phases[0], *phases.last().unwrap()), (Phase::Sort, Phase::Lists));
        let opened = Index::open(&path).unwrap();
        opened.verify(|_| ()).unwrap();
        assert_eq!((opened.tier(), opened.fingerprint()), (tier, Some([9; 32])));
        let expected = answers(&Index::build_in_memory(&corpus, tier).unwrap()).unwrap();
        assert_eq!(answers(&opened).unwrap(), expected);
        assert_eq!(answers(&built).unwrap(), expected);
        // Nothing is left beside the file.
        assert_eq!(std::fs::read_dir(&folder.0).unwrap().count(), 1);
    }
    let (total, sections) = Index::open(&path).unwrap().sizes();
    assert_eq!(total, std::fs::metadata(&path).unwrap().len());
    assert!(sections.iter().any(|(name, size)| name == "Positions" && *size == 4 * (40 * 100 + 780 + 40)));
}

#[test]
fn documents_keep_their_names() {
    let documents = some_documents();
    let index = Index::build_in_memory(&with_names(&documents), Tier::Tiny).unwrap();
    for d in 0..40u32 {
        let has_name = d % 3 != 2 && d < 35;
        let id = if has_name { format!("§{d}") } else { String::new() };
        let title = if has_name && d % 3 == 0 { "Über alles".into() } else { String::new() };
        assert_eq!(index.name(d).unwrap(), Name { id, title });
    }
    assert!(index.name(40).unwrap_err().to_string().contains("must be below 40"));
    assert_eq!(index.title_end().unwrap(), [7, 8]);
    let bare = Index::build_in_memory(&corpus(&documents), Tier::Tiny).unwrap();
    assert_eq!((bare.name(3).unwrap(), bare.title_end().unwrap()), (Name::default(), Vec::new()));
    let mut other = corpus(&documents);
    other.set_title_end(&[7]).unwrap();
    let other = Index::build_in_memory(&other, Tier::Tiny).unwrap();
    let group = Group::new(vec![bare, index]).unwrap();
    assert_eq!((group.title_end().unwrap(), group.name(43).unwrap().id), (vec![7, 8], "§3".into()));
    let index = Index::build_in_memory(&with_names(&documents), Tier::Tiny).unwrap();
    let error = Group::new(vec![index, other]).unwrap().title_end().unwrap_err().to_string();
    assert!(error.contains("the end of titles must be [7, 8] in every index, got [7]"), "{error}");
}

#[test]
fn documents_in_files_make_the_same_index() {
    let folder = Folder::new("pieces");
    let documents: Documents = vec![vec![], vec![5, 1, 5], vec![], vec![7], vec![1, 5, 2], vec![], vec![]];
    let (whole, path) = (folder.0.join("whole.dwx"), folder.0.join("parts.dwx"));
    for tier in TIERS {
        let mut memory = corpus(&documents);
        memory.name_last("last", "");
        Index::build(&memory, tier, None, &whole, |_| ()).unwrap();
        // In memory, in a file with something before it, in memory, and in a file of empty documents.
        let bytes: Vec<u8> = [9u32, 7, 1, 5, 2].iter().flat_map(|id| id.to_le_bytes()).collect();
        std::fs::write(folder.0.join("tokens"), bytes).unwrap();
        let mut parts = corpus(&documents[..3].to_vec());
        parts.push_file(&folder.0.join("tokens"), 4, &[1, 3], &[]).unwrap();
        parts.push(&[]).unwrap();
        let seen: Vec<&[Token]> = (0..parts.documents()).map(|d| parts.document(d)).collect();
        assert_eq!(seen, [&[][..], &[5, 1, 5], &[], &[], &[], &[]]);
        parts.push_file(&folder.0.join("tokens"), 0, &[0], &[("last".into(), String::new())]).unwrap();
        Index::build(&parts, tier, None, &path, |_| ()).unwrap();
        assert!(std::fs::read(&whole).unwrap() == std::fs::read(&path).unwrap(), "{tier:?}");
    }
    let tokens = folder.0.join("tokens");
    let mut corpus = Corpus::default();
    let mut error = |offset, lengths: &[u32], names: &[(String, String)]| {
        corpus.push_file(&tokens, offset, lengths, names).unwrap_err().to_string()
    };
    assert!(error(4, &[5], &[]).contains("a file of tokens must be readable"));
    assert!(error(1, &[2, 2], &[]).contains("token 0 of document 0 must be 0 … 1048575, got 117440512"));
    assert!(error(0, &[5, 0, 1], &[]).contains("a file of tokens must be readable"));
    assert!(
        error(0, &[1, 1], &[(String::new(), String::new())]).contains("the number of names must be 2, got 1")
    );
    assert_eq!((corpus.documents(), corpus.tokens()), (0, 0));
}

/// A file is read in pieces of 65,536 tokens: documents that end there, reach across and lie between.
#[test]
fn long_files_make_the_same_index() {
    let folder = Folder::new("long");
    let lengths = [3u32, 65_533, 0, 140_000, 0, 1, 30_000];
    let ids: Vec<u32> = (0..lengths.iter().sum()).map(|i: u32| i.wrapping_mul(2_654_435_761) >> 22).collect();
    let documents: Documents = lengths
        .iter()
        .scan(0, |at, &length| {
            *at += length as usize;
            Some(ids[*at - length as usize..*at].to_vec())
        })
        .collect();
    let tokens = folder.0.join("tokens");
    let write = |ids: &[u32]| {
        std::fs::write(&tokens, ids.iter().flat_map(|id| id.to_le_bytes()).collect::<Vec<u8>>())
    };
    write(&ids).unwrap();
    let mut file = Corpus::default();
    file.push_file(&tokens, 0, &lengths, &[]).unwrap();
    let paths = [folder.0.join("memory.dwx"), folder.0.join("file.dwx")];
    for (corpus, path) in [&corpus(&documents), &file].into_iter().zip(&paths) {
        Index::build(corpus, Tier::Standard, None, path, |_| ()).unwrap();
    }
    assert!(std::fs::read(&paths[0]).unwrap() == std::fs::read(&paths[1]).unwrap());
    let mut wrong = ids;
    wrong[65_536 + 70_000] = 1 << 20;
    write(&wrong).unwrap();
    let error = Corpus::default().push_file(&tokens, 0, &lengths, &[]).unwrap_err().to_string();
    assert!(error.contains("token 70000 of document 3 must be 0 … 1048575, got 1048576"), "{error}");
}

#[test]
fn what_is_no_index_is_refused_by_name() {
    let folder = Folder::new("refuse");
    let path = folder.0.join("a.dwx");
    let open = |bytes: &[u8]| {
        std::fs::write(&path, bytes).unwrap();
        let error = Index::open(&path).err().unwrap();
        let Error::IndexFormat { problem, .. } = &error else { panic!("{error:?}") };
        assert!(!problem.hint.is_empty(), "{error}");
        error.to_string()
    };
    assert!(open(b"").contains("an index file must be at least 4096 bytes long, got 0"));
    assert!(open(&[b'x'; 5000]).contains("at byte 0: the first 8 bytes must be DWXINDEX"));
    let bytes = bytes_of(&some_documents(), Tier::Standard);
    assert!(open(&bytes[..bytes.len() - 1]).contains("at byte 88: the length of the file must be"));
    let mut newer = bytes.clone();
    newer[8] = 3;
    let refused = open(&newer);
    let message =
        "at byte 8: the format version must be 2, which this library reads, got 3; build the index again";
    assert!(refused.contains(message), "{refused}");
    let mut header = bytes;
    header[17] ^= 1;
    assert!(open(&header).contains("the checksum of the header"));
    let missing = Index::open(&folder.0.join("none")).err().unwrap();
    assert!(matches!(missing, Error::InvalidArgument(_)), "{missing}");
    assert!(matches!(Index::open(&folder.0).err().unwrap(), Error::InvalidArgument(_)));
}

/// Recomputes all checksums, as an attacker would.
fn reseal(bytes: &mut [u8]) {
    let end = u64::from_le_bytes(bytes[96..104].try_into().unwrap()) as usize;
    if end < 4096 || end > bytes.len() {
        return;
    }
    let sums: Vec<u8> =
        bytes[4096..end].chunks(16 * 1024).flat_map(|block| crc32c::crc32c(block).to_le_bytes()).collect();
    if end + sums.len() == bytes.len() {
        bytes[end..].copy_from_slice(&sums);
    }
    let sum = crc32c::crc32c(&bytes[end..]).to_le_bytes();
    bytes[104..108].copy_from_slice(&sum);
    let sum = crc32c::crc32c(&bytes[..4092]).to_le_bytes();
    bytes[4092..4096].copy_from_slice(&sum);
}

/// Whatever a file holds, the reply takes a second at most.
fn in_time<T>(reply: impl Fn() -> T) -> T {
    // A machine that does other things may be late once.
    for _ in 0..3 {
        let start = Instant::now();
        let answer = reply();
        if start.elapsed() < Duration::from_secs(1) {
            return answer;
        }
    }
    panic!("a file holds its reader up for more than a second");
}

/// What is refused names a byte of the file and what to do; a hostile file may also make an argument wrong.
fn assert_refused(error: &Error, length: usize) {
    match error {
        Error::IndexFormat { offset, problem, .. } => {
            assert!(*offset <= length as u64, "byte {offset} of {length}");
            assert!(!problem.hint.is_empty() && !problem.what.is_empty(), "{error}");
        }
        error => panic!("{error:?}"),
    }
}

/// A file either is refused or gives answers inside the corpus that it claims to hold.
fn reply_in_range(bytes: &[u8]) {
    in_time(|| reply(bytes));
}

fn reply(bytes: &[u8]) {
    let index = match Index::from_bytes(bytes.to_vec()) {
        Ok(index) => index,
        Err(error) => return assert_refused(&error, bytes.len()),
    };
    index.verify(|_| ()).unwrap();
    if let Err(error) = answers(&index) {
        assert!(matches!(error, Error::IndexFormat { .. } | Error::InvalidArgument(_)), "{error:?}");
    }
    let all = index.tokens() + index.documents();
    let mut followers = Followers::default();
    for id in 0..80 {
        let rows = match index.find(&[id, (id * id) % 70], false) {
            Ok(rows) => rows,
            Err(error) => {
                assert_refused(&error, bytes.len());
                continue;
            }
        };
        assert!(rows.start <= rows.end && rows.end <= all);
        match index.next(rows, &mut followers) {
            Ok(()) => {
                assert_eq!(followers.ids().len(), followers.counts().len());
                assert!(followers.ids().len() <= index.distinct() as usize);
                assert!(followers.ids().iter().all(|&id| id <= MAX_TOKEN));
                assert!(followers.counts().iter().all(|count| (1..=all).contains(count)));
                assert!(followers.document_ends() <= all);
            }
            Err(error) => assert_refused(&error, bytes.len()),
        }
        let mut places = Vec::new();
        if index.tier() == Tier::Tiny {
            continue;
        }
        match index.locate(rows, 2, 20, &mut places) {
            Ok(()) => {
                assert_eq!(places.len(), 20.min(rows.count() as usize));
                for (document, offset) in places {
                    assert!(document < index.documents());
                    assert!(offset < index.document_length(document).unwrap());
                }
            }
            // Rows that no n-gram of two tokens has.
            Err(Error::InvalidArgument(problem)) => assert_eq!(problem.what, "the length of the n-gram"),
            Err(error) => assert_refused(&error, bytes.len()),
        }
    }
    let mut text = Vec::new();
    for document in 0..index.documents().min(50) {
        text.clear();
        match index.extract(document, 0, 200, &mut text) {
            Ok(()) => assert!(text.iter().all(|&id| id <= MAX_TOKEN)),
            Err(Error::InvalidArgument(problem)) => assert_eq!(problem.what, "the tier of the index"),
            Err(error) => assert_refused(&error, bytes.len()),
        }
    }
}

#[test]
fn whole_sections_of_nonsense_do_no_harm() {
    let mut seed = 1u32;
    for tier in TIERS {
        let intact = bytes_of_once(tier);
        let sections = u32::from_le_bytes(intact[108..112].try_into().unwrap()) as usize;
        for (section, pattern) in
            (0..sections).flat_map(|section| (0..12).map(move |pattern| (section, pattern)))
        {
            let entry = 128 + section * 24;
            let number = |at: usize| u64::from_le_bytes(intact[at..at + 8].try_into().unwrap()) as usize;
            let (offset, length) = (number(entry + 8), number(entry + 16));
            let mut bytes = intact.to_vec();
            for byte in &mut bytes[offset..offset + length] {
                seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                match pattern {
                    0 => *byte = 0xFF,
                    1 => *byte = 0,
                    2 => *byte = 0x80,
                    3..6 => *byte = (seed >> 24) as u8,
                    // Mostly intact, so that a query gets deep before it meets nonsense.
                    6..9 if seed >> 24 < 3 => *byte ^= (seed >> 16) as u8,
                    9..12 if seed >> 24 < 20 => *byte = byte.wrapping_add(1),
                    _ => {}
                }
            }
            reseal(&mut bytes);
            reply_in_range(&bytes);
        }
    }
}

proptest! {
    #![proptest_config(at_least(2500))]

    #[test]
    fn damage_is_noticed_or_harmless(
        tier in prop::sample::select(TIERS.to_vec()),
        edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        cut in prop::option::weighted(0.1, any::<prop::sample::Index>()),
    ) {
        let intact = bytes_of_once(tier);
        let mut bytes = intact.to_vec();
        edits.iter().for_each(|(at, value)| bytes[at.index(intact.len())] = *value);
        if let Some(cut) = cut {
            bytes.truncate(cut.index(intact.len()));
        }
        match in_time(|| Index::from_bytes(bytes.clone()).and_then(|index| answers(&index))) {
            Ok(got) => prop_assert_eq!(got, answers(&Index::from_bytes(intact.to_vec()).unwrap()).unwrap()),
            Err(error) => assert_refused(&error, bytes.len()),
        }
    }

    #[test]
    fn hostile_files_are_refused_or_answered_in_range(
        tier in prop::sample::select(TIERS.to_vec()),
        edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u64>(), 0u32..4), 1..6), header in any::<bool>(),
    ) {
        let mut bytes = bytes_of_once(tier).to_vec();
        for (at, value, width) in &edits {
            let at = if header { at.index(500) } else { at.index(bytes.len()) };
            let width = (1usize << width).min(bytes.len() - at);
            bytes[at..at + width].copy_from_slice(&value.to_le_bytes()[..width]);
        }
        reseal(&mut bytes);
        reply_in_range(&bytes);
    }
}

proptest! {
    #[test]
    fn random_corpora_survive_the_disk_format(
        documents in documents(), tier in prop::sample::select(TIERS.to_vec()), named in any::<bool>(),
    ) {
        let folder = Folder::new("survive");
        let path = folder.0.join("a.dwx");
        let corpus = if named { with_names(&documents) } else { corpus(&documents) };
        drop(Index::build(&corpus, tier, Some([3; 32]), &path, |_| ()).unwrap());
        let index = Index::open(&path).unwrap();
        prop_assert_eq!((index.tier(), index.fingerprint()), (tier, Some([3; 32])));
        prop_assert_eq!(index.documents() as usize, documents.len());
        let mut out = Followers::default();
        for length in 1..4 {
            let grams: std::collections::BTreeSet<&[Token]> =
                documents.iter().flat_map(|document| document.windows(length)).collect();
            grams.into_iter().step_by(length).for_each(|ids| check(&index, &documents, ids, &mut out));
        }
        let memory = Index::build_in_memory(&corpus, tier).unwrap();
        prop_assert_eq!(index.title_end().unwrap(), memory.title_end().unwrap());
        for (d, document) in documents.iter().enumerate() {
            let d = d as u32;
            prop_assert_eq!(index.name(d).unwrap(), memory.name(d).unwrap());
            if tier != Tier::Tiny {
                let mut text = Vec::new();
                index.extract(d, 0, u32::MAX, &mut text).unwrap();
                prop_assert_eq!(&text, document);
            }
        }
    }
}

fn bytes_of_once(tier: Tier) -> &'static [u8] {
    static FILES: std::sync::OnceLock<Vec<Vec<u8>>> = std::sync::OnceLock::new();
    &FILES.get_or_init(|| TIERS.map(|tier| bytes_of(&some_documents(), tier)).to_vec())[tier as usize]
}
