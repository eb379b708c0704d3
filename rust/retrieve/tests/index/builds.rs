//! Builds of one path beside each other and after each other, and how they fail.

use crate::{Documents, Folder, TIERS, corpus, some_documents};
use draftwood_base::{Error, Token};
use draftwood_retrieve::index::{Claim, Corpus, Followers, Group, Index, Rows, Tier};
use std::path::Path;
use std::sync::Barrier;

fn refused(result: Result<Index, Error>) -> (String, String) {
    match result.err().expect("a build that is refused") {
        Error::InvalidArgument(problem) => {
            assert!(!problem.hint.is_empty(), "{problem}");
            (problem.to_string(), problem.what)
        }
        error => panic!("{error:?}"),
    }
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn a_second_build_of_a_path_is_refused_until_the_first_is_done() {
    let folder = Folder::new("second");
    let (path, alone) = (folder.0.join("a.dwx"), folder.0.join("alone.dwx"));
    let (first, second) = (corpus(&some_documents()), corpus(&vec![vec![1, 2, 3]; 3000]));
    for tier in TIERS {
        Index::build(&first, tier, None, &alone, |_| ()).unwrap();
        let mut refusals = 0;
        let built = Index::build(&first, tier, None, &path, |_| {
            let (message, _) = refused(Index::build(&second, tier, None, &path, |_| ()));
            assert!(
                message.contains("the index path must be built by one process at a time, got a build in")
            );
            refusals += 1;
        });
        let built = built.unwrap();
        assert!(refusals >= 3, "{refusals}");
        built.verify(|_| ()).unwrap();
        assert!(std::fs::read(&path).unwrap() == std::fs::read(&alone).unwrap());
        // What is open stays as it is when the path is built again.
        let again = Index::build(&second, tier, None, &path, |_| ()).unwrap();
        built.verify(|_| ()).unwrap();
        assert_eq!((built.tokens(), again.tokens()), (first.tokens() as u32, 9000));
        assert_eq!(names(&folder.0), ["a.dwx", "alone.dwx"]);
    }
}

#[test]
fn threads_that_build_one_path_leave_one_whole_file() {
    const THREADS: usize = 6;
    let folder = Folder::new("threads");
    let path = folder.0.join("a.dwx");
    let corpora: Vec<Corpus> = (0..THREADS)
        .map(|t| corpus(&(0..20 + 30 * t as u32).map(|d| vec![d % 7 + t as u32; 50 + t]).collect()))
        .collect();
    let barrier = Barrier::new(THREADS);
    let (mut done, mut open) = (0, Vec::new());
    for _ in 0..25 {
        let results: Vec<_> = std::thread::scope(|scope| {
            let build = |corpus| {
                let (path, barrier) = (&path, &barrier);
                scope.spawn(move || {
                    barrier.wait();
                    Index::build(corpus, Tier::Standard, None, path, |_| ())
                })
            };
            let threads: Vec<_> = corpora.iter().map(build).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        for result in results {
            match result {
                Ok(index) => {
                    done += 1;
                    open.push(index);
                }
                error => assert_eq!(refused(error).1, "the index path"),
            }
        }
        let last = Index::open(&path).unwrap();
        last.verify(|_| ()).unwrap();
        assert!(corpora.iter().any(|corpus| corpus.tokens() == last.tokens() as usize));
        assert_eq!(names(&folder.0), ["a.dwx"]);
    }
    assert!(done >= 25, "every round has a winner: {done}");
    // No published file has been written to.
    open.iter().for_each(|index| index.verify(|_| ()).unwrap());
}

#[test]
fn what_killed_builds_leave_is_no_obstacle() {
    let folder = Folder::new("killed");
    let path = folder.0.join("a.dwx");
    let partial = Claim::folder_of(&path);
    Index::build(&corpus(&some_documents()), Tier::Tiny, None, &path, |_| ()).unwrap();
    let before = std::fs::read(&path).unwrap();
    for round in 0..3 {
        match round {
            // A file, as earlier versions wrote it.
            0 => std::fs::write(&partial, &before[..9000]).unwrap(),
            1 => std::fs::create_dir(&partial).unwrap(),
            _ => {
                std::fs::create_dir(&partial).unwrap();
                std::fs::write(partial.join("lock"), "").unwrap();
                std::fs::write(partial.join("index-1-0.tmp"), &before[..9000]).unwrap();
            }
        }
        Index::build(&corpus(&vec![vec![1; round + 1]]), Tier::Tiny, None, &path, |_| ()).unwrap();
        assert_eq!(Index::open(&path).unwrap().tokens() as usize, round + 1);
        assert_eq!(names(&folder.0), ["a.dwx"]);
    }
}

#[test]
fn a_claim_keeps_what_waits_for_the_next_build() {
    let folder = Folder::new("claim");
    let path = folder.0.join("a.dwx");
    let claim = Claim::take(&path).unwrap();
    assert!(Claim::take(&path).is_err());
    std::fs::write(claim.folder().join("0.chunk"), "x").unwrap();
    std::fs::write(claim.folder().join("1.tmp"), "x").unwrap();
    claim.release();
    claim.release();
    assert_eq!(names(claim.folder()), ["0.chunk", "lock"]);
    let next = Claim::take(&path).unwrap();
    drop(claim); // has no right any more
    assert!(Claim::take(&path).is_err());
    Index::build_claimed(&corpus(&some_documents()), Tier::Tiny, None, &next, |_| ()).unwrap();
    drop(next);
    assert_eq!(names(&folder.0), ["a.dwx"]);
    let empty = Claim::take(&path).unwrap();
    std::fs::write(empty.folder().join("0.chunk"), "x").unwrap();
    empty.clear();
    drop(empty);
    assert_eq!(names(&folder.0), ["a.dwx"]);
    // Someone deletes the folder under a build, and another one begins: neither harms the other.
    let robbed = Claim::take(&path).unwrap();
    let other = corpus(&vec![vec![1]; 9]);
    let lost = Index::build_claimed(&corpus(&some_documents()), Tier::Tiny, None, &robbed, |phase| {
        if phase == draftwood_retrieve::index::Phase::Lists {
            std::fs::remove_dir_all(robbed.folder()).unwrap();
            Index::build(&other, Tier::Tiny, None, &path, |_| ()).unwrap();
        }
    });
    assert!(refused(lost).0.contains("the index path must be writable"));
    drop(robbed);
    let index = Index::open(&path).unwrap();
    index.verify(|_| ()).unwrap();
    assert_eq!(index.tokens(), 9);
}

#[test]
fn each_failure_of_a_build_has_its_own_words() {
    let folder = Folder::new("failures");
    let documents = corpus(&some_documents());
    let path = folder.0.join("a.dwx");
    let build =
        |path: &Path, corpus: &Corpus| refused(Index::build(corpus, Tier::Fast, None, path, |_| ())).0;
    let nowhere = build(&folder.0.join("no/such/folder/a.dwx"), &documents);
    assert!(
        nowhere.contains("the index path must be writable") && nowhere.contains("No such file"),
        "{nowhere}"
    );
    // What is built cannot have the name of a folder.
    std::fs::create_dir(folder.0.join("folder.dwx")).unwrap();
    let taken = build(&folder.0.join("folder.dwx"), &documents);
    assert!(taken.contains("the index path must be writable") && taken.contains("directory"), "{taken}");
    assert_eq!(names(&folder.0), ["folder.dwx"]);

    // What changes under the build is noticed, whatever it becomes.
    let tokens = folder.0.join("tokens");
    let write = |ids: &[u32]| {
        let bytes: Vec<u8> = ids.iter().flat_map(|id| id.to_le_bytes()).collect();
        std::fs::write(&tokens, bytes).unwrap();
    };
    write(&[1, 2, 3, 4, 5]);
    let mut files = Corpus::default();
    files.push_file(&tokens, 0, &[5], &[]).unwrap();
    write(&[1, 2]);
    assert!(build(&path, &files).contains("a file of tokens must be readable to its end"));
    write(&[1, 2, 3, 4, 1 << 20]);
    let changed = build(&path, &files);
    assert!(changed.contains("a file of tokens must be the same until the index is built"), "{changed}");
    assert!(changed.contains("a token id of 1048576; build again"), "{changed}");
    write(&[1, 2, 3, 4, 5]);
    let mut is_first = true;
    let changing = Index::build(&files, Tier::Fast, None, &path, |_| {
        if std::mem::take(&mut is_first) {
            std::fs::remove_file(&tokens).unwrap();
        }
    });
    assert!(refused(changing).0.contains("a file of tokens must be readable to its end"));
    assert_eq!(names(&folder.0), ["folder.dwx"]);
}

#[test]
fn every_refusal_says_what_to_do() {
    let documents: Documents = vec![vec![1, 2, 3]];
    let build = |tier| Index::build_in_memory(&corpus(&documents), tier).unwrap();
    let (index, tiny) = (build(Tier::Standard), build(Tier::Tiny));
    let group = Group::new(vec![build(Tier::Standard)]).unwrap();
    let rows = index.find(&[2], false).unwrap();
    let (mut places, mut text, mut followers) = (Vec::new(), Vec::<Token>::new(), Followers::default());
    let mut empty = Corpus::default();
    let errors = [
        Group::new(Vec::new()).err(),
        group.name(1).err(),
        group.extract(1, 0, 1, &mut Vec::new()).err(),
        group.attribute(&[1], 0, 1).err(),
        index.name(1).err(),
        index.document_length(1).err(),
        index.document_of(9).err(),
        index.extract(1, 0, 1, &mut text).err(),
        index.extend_all(&mut [rows], &[]).err(),
        index.extend(Rows { start: 2, end: 9 }, 1).err(),
        index.locate(rows, 3, 9, &mut places).err(),
        tiny.locate(rows, 1, 9, &mut places).err(),
        tiny.next_sampled(tiny.start(), 1, &mut followers).err(),
        empty.push(&[1 << 20]).err(),
        empty.set_title_end(&[1; 65]).err(),
        empty.push_file(Path::new("no/such/file"), 0, &[1], &[]).err(),
        empty.push_file(Path::new("no/such/file"), 0, &[1], &[Default::default(), Default::default()]).err(),
        Index::open(Path::new("no/such/file")).err(),
        Index::open(Path::new("/")).err(),
    ];
    for (i, error) in errors.into_iter().enumerate() {
        match error {
            Some(Error::InvalidArgument(problem)) => assert!(!problem.hint.is_empty(), "{i}: {problem}"),
            other => panic!("{i}: {other:?}"),
        }
    }
}
