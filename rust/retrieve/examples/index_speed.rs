//! Our side of `benches/retrieval`: the same arguments and the same lines as `sdsl_index.cpp`.
#![allow(clippy::print_stdout, missing_docs)]

use draftwood_base::Token;
use draftwood_retrieve::index::{Corpus, Followers, Index, Rows, Tier};
use std::error::Error;
use std::fs::File;
use std::hint::black_box;
use std::io::{BufReader, BufWriter, Read, Write};
use std::path::Path;
use std::time::Instant;

const TESTS: usize = 64;
const TESTED: usize = 2000;
const OPENINGS: usize = 101;

fn words<const N: usize>(path: &Path) -> std::io::Result<Vec<[u8; N]>> {
    let bytes = std::fs::read(path)?;
    Ok(bytes.as_chunks::<N>().0.to_vec())
}

/// As sdsl builds: out of a file of 4 bytes per token, which is written first, token by token, so that the peak of memory
/// is that of the build.
fn build(folder: &Path, tier: Tier, file: &Path) -> Result<(), Box<dyn Error>> {
    let offsets: Vec<u64> =
        words::<8>(&folder.join("corpus.docs"))?.into_iter().map(u64::from_le_bytes).collect();
    // Without the token that closes a document: our separators are no tokens.
    let lengths: Vec<u32> = offsets.windows(2).map(|pair| (pair[1] - pair[0] - 1) as u32).collect();
    let (raw, symbols) = (file.with_extension("raw"), offsets.last().copied().unwrap_or(0));
    {
        let mut tokens = BufReader::new(File::open(folder.join("corpus.u16"))?);
        let (mut out, mut token) = (BufWriter::new(File::create(&raw)?), [0; 2]);
        for &length in &lengths {
            for _ in 0..length {
                tokens.read_exact(&mut token)?;
                out.write_all(&Token::from(u16::from_le_bytes(token)).to_le_bytes())?;
            }
            tokens.read_exact(&mut token)?;
        }
        out.flush()?;
    }
    let mut corpus = Corpus::default();
    corpus.push_file(&raw, 0, &lengths, &[])?;
    let start = Instant::now();
    let index = Index::build(&corpus, tier, None, file, |_| ())?;
    println!("build\t{}\t{symbols}", start.elapsed().as_nanos());
    println!("peak\t{}\t{symbols}", peak()?);
    println!("bytes\t{}\t{symbols}", index.sizes().0);
    Ok(std::fs::remove_file(raw)?)
}

/// Most bytes of memory that this process has held so far.
fn peak() -> Result<u64, Box<dyn Error>> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).ok_or("no VmHWM")?;
    Ok(1024 * line.trim().trim_end_matches(" kB").parse::<u64>()?)
}

/// The time to open a file that the page cache holds: the first time in this process, and the median of many.
fn open(file: &Path) -> Result<(), Box<dyn Error>> {
    let mut spent = Vec::new();
    for _ in 0..OPENINGS {
        let start = Instant::now();
        black_box(Index::open(file)?);
        spent.push(start.elapsed().as_nanos());
    }
    println!("open\t{}\t0", spent[0]);
    spent.sort_unstable();
    println!("open again\t{}\t0", spent[OPENINGS / 2]);
    Ok(())
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, folder, mode, tier @ ..] = arguments.as_slice() else {
        return Err("FOLDER build [TIER] | FOLDER open | FOLDER QUERIES".into());
    };
    let tier = tier.first().map_or("standard", String::as_str);
    let (folder, file) = (Path::new(folder), Path::new(folder).join(format!("{tier}.dwx")));
    if mode == "build" {
        let tiers = [
            ("tiny", Tier::Tiny),
            ("compact", Tier::Compact),
            ("standard", Tier::Standard),
            ("fast", Tier::Fast),
        ];
        let known = tiers.into_iter().find(|known| known.0 == tier).ok_or("no such tier")?;
        return build(folder, known.1, &file);
    }
    open(&file)?;
    if mode == "open" {
        return Ok(());
    }
    let index = Index::open(&file)?;
    index.verify(|_| ())?; // every block is checked once, as after the first queries
    let queries: Vec<u32> = words::<4>(Path::new(mode))?.into_iter().map(u32::from_le_bytes).collect();
    dependent_miss(2 * index.tokens() as usize);
    let mut rest = queries.as_slice();
    while let [kind, length, count, behind @ ..] = rest {
        let (ids, after) = behind.split_at((length * count) as usize);
        rest = after;
        let grams: Vec<&[Token]> = ids.chunks(*length as usize).collect();
        if *kind == 0 {
            one_by_one(&index, &grams, *length)?;
            sixteen_at_once(&index, &grams, *length)?;
            two_threads(&index, &grams, *length)?;
            all_at_once(&index, &grams, *length)?;
            if *length == 3 {
                candidates(&index, &grams)?;
            }
        } else {
            distinct(&index, &grams, *kind)?;
        }
    }
    Ok(())
}

fn one_by_one(index: &Index, grams: &[&[Token]], length: u32) -> Result<(), Box<dyn Error>> {
    let (start, mut sum) = (Instant::now(), 0u64);
    for gram in grams {
        sum += u64::from(index.count(gram, false)?);
    }
    let each = start.elapsed().as_nanos() as f64 / grams.len() as f64 / f64::from(length);
    println!("extend {length}-grams\t{each:.1}\t{sum}");
    Ok(())
}

fn sixteen_at_once(index: &Index, grams: &[&[Token]], length: u32) -> Result<(), Box<dyn Error>> {
    let start = Instant::now();
    let sum = batched(index, grams, length)?;
    let each = start.elapsed().as_nanos() as f64 / grams.len() as f64 / f64::from(length);
    println!("extend {length}-grams, sixteen at once\t{each:.1}\t{sum}");
    Ok(())
}

/// The same by two threads at once, each of which does all of it: per token of either.
fn two_threads(index: &Index, grams: &[&[Token]], length: u32) -> Result<(), Box<dyn Error>> {
    let (start, work) = (Instant::now(), || batched(index, grams, length));
    let (mine, its) = std::thread::scope(|scope| {
        let other = scope.spawn(work);
        (work(), other.join())
    });
    let each = start.elapsed().as_nanos() as f64 / (2 * grams.len()) as f64 / f64::from(length);
    let sum = mine?;
    if its.map_err(|_| "a thread panicked")?? != sum {
        return Err("two threads must answer alike".into());
    }
    println!("extend {length}-grams, sixteen at once, two threads\t{each:.1}\t{sum}");
    Ok(())
}

fn batched(index: &Index, grams: &[&[Token]], length: u32) -> draftwood_base::Result<u64> {
    let mut sum = 0;
    let (mut rows, mut ids): (Vec<Rows>, Vec<Token>) = (Vec::new(), Vec::new());
    for batch in grams.chunks(16) {
        rows.clear();
        rows.resize(batch.len(), index.start());
        for i in 0..length as usize {
            ids.clear();
            ids.extend(batch.iter().map(|gram| gram[i]));
            index.extend_all(&mut rows, &ids)?;
        }
        sum += rows.iter().map(|rows| u64::from(rows.count())).sum::<u64>();
    }
    Ok(sum)
}

/// In one call, whose walks of many n-grams wait for memory together.
fn all_at_once(index: &Index, grams: &[&[Token]], length: u32) -> Result<(), Box<dyn Error>> {
    let mut rows = Vec::with_capacity(grams.len());
    let start = Instant::now();
    index.find_all(grams, false, &mut rows)?;
    let sum = rows.iter().map(|rows| u64::from(rows.count())).sum::<u64>();
    let each = start.elapsed().as_nanos() as f64 / grams.len() as f64 / f64::from(length);
    println!("extend {length}-grams, all in one call\t{each:.1}\t{sum}");
    Ok(())
}

/// May these tokens follow, and where: the last tokens of other grams after the first token of each.
fn candidates(index: &Index, grams: &[&[Token]]) -> Result<(), Box<dyn Error>> {
    let some = &grams[..grams.len().min(TESTED)];
    let rows = some.iter().map(|gram| index.find(&gram[..1], false)).collect::<Result<Vec<Rows>, _>>()?;
    let ids: Vec<Token> = grams.iter().map(|gram| gram[2]).collect();
    let (mut children, mut sum) = (Vec::with_capacity(TESTS), 0u64);
    let start = Instant::now();
    for (i, &rows) in rows.iter().enumerate() {
        children.clear();
        let at = i * TESTS % (ids.len() - TESTS);
        index.children(rows, &ids[at..at + TESTS], &mut children)?;
        sum += children.iter().map(|rows| u64::from(rows.count())).sum::<u64>();
    }
    let each = start.elapsed().as_nanos() as f64 / (some.len() * TESTS) as f64;
    println!("candidate test\t{each:.1}\t{sum}");
    Ok(())
}

/// What one miss costs that waits for the one before, in as much memory as the lists of occurrences take.
fn dependent_miss(bytes: usize) {
    let lines = (bytes / 64).max(2);
    let (mut order, mut state): (Vec<u32>, u64) = ((0..lines as u32).collect(), 88_172_645_463_325_252);
    for i in (1..lines).rev() {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        order.swap(i, (state % i as u64) as usize); // Sattolo's: one cycle
    }
    let mut memory = vec![[0u32; 16]; lines];
    memory.iter_mut().zip(&order).for_each(|(line, &next)| line[0] = next);
    let (steps, mut at) = (1_000_000, 0u32);
    (0..steps).for_each(|_| at = memory[at as usize][0]);
    let start = Instant::now();
    (0..steps).for_each(|_| at = memory[at as usize][0]);
    let each = start.elapsed().as_nanos() as f64 / f64::from(steps);
    println!("dependent miss\t{each:.1}\t{}", u32::from(black_box(at) == u32::MAX));
}

fn distinct(index: &Index, grams: &[&[Token]], kind: u32) -> Result<(), Box<dyn Error>> {
    let rows = grams.iter().map(|gram| index.find(gram, false)).collect::<Result<Vec<Rows>, _>>()?;
    let mut followers = Followers::default();
    index.next(index.start(), &mut followers)?; // its arrays have their sizes
    let (start, mut sum) = (Instant::now(), 0u64);
    for &rows in &rows {
        index.next(rows, &mut followers)?;
        sum += black_box(&followers).counts().iter().map(|&count| u64::from(count)).sum::<u64>();
    }
    let each = start.elapsed().as_nanos() as f64 / rows.len() as f64;
    println!("distinct of {kind} rows\t{each:.1}\t{sum}");
    Ok(())
}
