//! Ancestor masks: row i has bit j set when node j is i itself or an ancestor of i.

/// Words of 32 bits that hold a row of `nodes` bits.
pub fn words_for(nodes: usize) -> usize {
    nodes.div_ceil(32)
}

/// Writes the packed masks of a tree, `words` words per row: `M[i] = M[parent[i]] | e_i`.
///
/// # Panics
/// If `out` is shorter than `parents.len() · words`, or a row does not fit its words.
pub fn ancestor_masks(parents: &[i32], words: usize, out: &mut [u32]) {
    assert!(words >= words_for(parents.len()), "a row of {} bits needs more words", parents.len());
    for (i, &parent) in parents.iter().enumerate() {
        let (before, row) = out.split_at_mut(i * words);
        match usize::try_from(parent) {
            Ok(p) => row[..words].copy_from_slice(&before[p * words..(p + 1) * words]),
            Err(_) => row[..words].fill(0),
        }
        row[i / 32] |= 1 << (i % 32);
    }
}

/// Unpacks rows of bits into bytes of 0 and 1, for frameworks that want a boolean matrix.
///
/// # Panics
/// If `out` is not `rows · columns` long or a row has fewer than `columns` bits.
pub fn unpack_masks(packed: &[u32], words: usize, columns: usize, out: &mut [u8]) {
    for (bits, row) in packed.chunks_exact(words).zip(out.chunks_exact_mut(columns)) {
        for (j, byte) in row.iter_mut().enumerate() {
            *byte = (bits[j / 32] >> (j % 32) & 1) as u8;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn masks_equal_a_walk_to_the_root(seeds in prop::collection::vec(any::<u32>(), 1..100)) {
            let parents: Vec<i32> =
                seeds.iter().enumerate().map(|(i, s)| if i == 0 { -1 } else { (*s as usize % i) as i32 }).collect();
            let (n, words) = (parents.len(), words_for(parents.len()));
            let (mut packed, mut bytes) = (vec![u32::MAX; n * words], vec![7u8; n * n]);
            ancestor_masks(&parents, words, &mut packed);
            unpack_masks(&packed, words, n, &mut bytes);
            for i in 0..n {
                let mut expected = vec![0u8; n];
                let mut node = i as i32;
                while node >= 0 {
                    expected[node as usize] = 1;
                    node = parents[node as usize];
                }
                prop_assert_eq!(&bytes[i * n..(i + 1) * n], &expected[..]);
            }
        }
    }
}
