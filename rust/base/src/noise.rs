//! Addressed noise: Philox4x32-10 and Gumbel values (DESIGN §3).
