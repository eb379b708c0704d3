//! Random damage to files, and how much of it.

/// Damaged files made of each sound one.
pub const DAMAGES_PER_FILE: u32 = 50;

/// Damaged files of a run, `DRAFTWOOD_FUZZ_CASES`.
pub fn damaged_files() -> u32 {
    std::env::var("DRAFTWOOD_FUZZ_CASES").ok().and_then(|v| v.parse().ok()).unwrap_or(100_000)
}

/// One change: a flipped bit, a field of 4 or 8 bytes replaced, bytes cut out, copied in, or cut off the end.
pub fn damage(bytes: &mut Vec<u8>, kind: u8, at: u16, value: u64) {
    if bytes.is_empty() {
        return;
    }
    let at = usize::from(at) % bytes.len();
    let extreme = [0, 1, 2, 0x7FFF_FFFF, 0xFFFF_FFFF, 1 << 32, u64::MAX / 8, 1 << 63, u64::MAX, value % 64];
    let field = extreme[value as usize % extreme.len()].to_le_bytes();
    let end = |n: usize| (at + n).min(bytes.len());
    match kind % 6 {
        0 => bytes[at] ^= 1 << (value % 8),
        1 => {
            let end = end(8);
            bytes[at..end].copy_from_slice(&field[..end - at]);
        }
        2 => {
            let end = end(4);
            bytes[at..end].copy_from_slice(&field[..end - at]);
        }
        3 => drop(bytes.drain(at..end(1 + value as usize % 16))),
        4 => {
            let copy = bytes[at..end(1 + value as usize % 64)].to_vec();
            bytes.splice(at..at, copy);
        }
        _ => bytes.truncate(at),
    }
}
