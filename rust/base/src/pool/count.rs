//! How many threads: what the system lets this process use at the same time.

use crate::{Error, Result};

/// Number of threads of [`super::Pool::shared`]: `DRAFTWOOD_THREADS`, or the least of affinity mask, cgroup quota
/// (rounded down, at least 1) and physical cores. A wish that is no number counts as unset; [`threads_from`] tells.
pub fn threads() -> usize {
    let wish = std::env::var("DRAFTWOOD_THREADS").ok();
    threads_from(wish.as_deref()).unwrap_or_else(|_| available())
}

/// [`threads`] for a given value of `DRAFTWOOD_THREADS`.
///
/// # Errors
/// [`Error::InvalidArgument`] unless it is empty or a number from 1 to 1024.
pub fn threads_from(wish: Option<&str>) -> Result<usize> {
    match wish.filter(|wish| !wish.is_empty()) {
        None => Ok(available()),
        Some(wish) => wish.parse().ok().filter(|n| (1..=1024).contains(n)).ok_or_else(|| {
            Error::invalid(
                "DRAFTWOOD_THREADS",
                "1 … 1024",
                wish,
                "unset it to use all physical cores that this process may use",
            )
        }),
    }
}

fn available() -> usize {
    // The standard library reads the affinity mask and the cgroup quotas, both versions.
    let allowed = std::thread::available_parallelism().map_or(1, |n| n.get());
    physical_cores().map_or(allowed, |cores| allowed.min(cores.max(1)))
}

/// Whether a quota gives this process less time than it has processors.
pub fn has_quota() -> bool {
    let allowed = std::thread::available_parallelism().map_or(1, |n| n.get());
    allowed_processors().is_some_and(|list| allowed < list.len())
}

/// Numbers of the processors in this thread's affinity mask.
fn allowed_processors() -> Option<Vec<usize>> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let list = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"))?;
    parse_list(list.trim())
}

/// Physical cores among the allowed processors: those that share a core name the same siblings.
fn physical_cores() -> Option<usize> {
    let mut cores: Vec<String> = Vec::new();
    for processor in allowed_processors()? {
        let path = format!("/sys/devices/system/cpu/cpu{processor}/topology/thread_siblings_list");
        let siblings = std::fs::read_to_string(path).ok()?;
        if !cores.contains(&siblings) {
            cores.push(siblings);
        }
    }
    Some(cores.len())
}

/// "0-3,8" to its numbers.
fn parse_list(list: &str) -> Option<Vec<usize>> {
    let mut numbers = Vec::new();
    for part in list.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last) = (first.parse::<usize>().ok()?, last.parse::<usize>().ok()?);
        if last.checked_sub(first)? > 1 << 16 {
            return None;
        }
        numbers.extend(first..=last);
    }
    Some(numbers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_read() {
        assert_eq!(parse_list("0-3,8"), Some(vec![0, 1, 2, 3, 8]));
        assert_eq!(parse_list("5"), Some(vec![5]));
        for damaged in ["", "3-1", "a", "0-99999999"] {
            assert_eq!(parse_list(damaged), None, "{damaged}");
        }
    }

    #[test]
    fn a_wish_is_taken_or_refused() {
        assert_eq!(threads_from(Some("3")).unwrap(), 3);
        assert_eq!(threads_from(Some("")).unwrap(), available());
        assert!(threads_from(None).unwrap() >= 1);
        for wish in ["0", "-1", "two", "1025"] {
            let told = threads_from(Some(wish)).unwrap_err().to_string();
            assert!(told.starts_with(&format!("DRAFTWOOD_THREADS must be 1 … 1024, got {wish};")), "{told}");
        }
    }
}
