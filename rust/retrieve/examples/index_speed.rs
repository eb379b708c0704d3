//! Our side of `benches/retrieval`: the same arguments and the same lines as `sdsl_index.cpp`.
#![allow(clippy::print_stdout, missing_docs)]

use draftwood_base::Token;
use draftwood_retrieve::index::{Corpus, Followers, Index, Rows, Tier};
use std::error::Error;
use std::hint::black_box;
use std::path::Path;
use std::time::Instant;

fn words<const N: usize>(path: &Path) -> std::io::Result<Vec<[u8; N]>> {
    let bytes = std::fs::read(path)?;
    Ok(bytes.as_chunks::<N>().0.to_vec())
}

fn build(folder: &Path, file: &Path) -> Result<(), Box<dyn Error>> {
    let tokens = words::<2>(&folder.join("corpus.u16"))?;
    let offsets: Vec<u64> =
        words::<8>(&folder.join("corpus.docs"))?.into_iter().map(u64::from_le_bytes).collect();
    let mut corpus = Corpus::default();
    for pair in offsets.windows(2) {
        // Without the token that closes a document: our separators are no tokens.
        let document = &tokens[pair[0] as usize..pair[1] as usize - 1];
        let ids: Vec<Token> = document.iter().map(|token| u16::from_le_bytes(*token).into()).collect();
        corpus.push(&ids)?;
    }
    let start = Instant::now();
    let index = Index::build(&corpus, Tier::Standard, None, file, |_| ())?;
    println!("build\t{}\t{}", start.elapsed().as_nanos(), tokens.len());
    println!("bytes\t{}\t{}", index.sizes().0, tokens.len());
    Ok(())
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, folder, mode] = arguments.as_slice() else { return Err("FOLDER build | FOLDER QUERIES".into()) };
    let (folder, file) = (Path::new(folder), Path::new(folder).join("standard.dwx"));
    if mode == "build" {
        return build(folder, &file);
    }
    let start = Instant::now();
    let index = Index::open(&file)?;
    println!("open\t{}\t0", start.elapsed().as_nanos());
    index.verify(|_| ())?; // every block is checked once, as after the first queries
    let queries: Vec<u32> = words::<4>(Path::new(mode))?.into_iter().map(u32::from_le_bytes).collect();
    let mut rest = queries.as_slice();
    while let [kind, length, count, behind @ ..] = rest {
        let (ids, after) = behind.split_at((length * count) as usize);
        rest = after;
        let grams: Vec<&[Token]> = ids.chunks(*length as usize).collect();
        if *kind == 0 {
            one_by_one(&index, &grams, *length)?;
            sixteen_at_once(&index, &grams, *length)?;
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
    let (start, mut sum) = (Instant::now(), 0u64);
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
    let each = start.elapsed().as_nanos() as f64 / grams.len() as f64 / f64::from(length);
    println!("extend {length}-grams, sixteen at once\t{each:.1}\t{sum}");
    Ok(())
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
