//! How many random cases a property is tried on.

use proptest::prelude::ProptestConfig;

/// As many as proptest is told to try (`make test-long` says 20,000), at least so many.
pub fn at_least(cases: u32) -> ProptestConfig {
    let told = ProptestConfig::default();
    ProptestConfig { cases: told.cases.max(cases), ..told }
}
