//! Why a build ended.

use draftwood_base::Error;
use std::io::{self, ErrorKind};
use std::path::Path;

/// What the disk refused, or an error that has its words already.
#[derive(Debug)]
pub(super) enum Failure {
    Disk(io::Error),
    Told(Error),
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Failure::Disk(error)
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Failure::Told(error)
    }
}

impl Failure {
    /// The error that users see; `path` is the index to be built.
    pub(super) fn told(self, path: &Path) -> Error {
        let error = match self {
            Failure::Told(error) => return error,
            Failure::Disk(error) => error,
        };
        let got = format!("{}: {error}", path.display());
        match error.kind() {
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge => Error::invalid(
                "the room for the index",
                "as large as its file",
                got,
                "free some space, or choose a tier that keeps less",
            ),
            _ => Error::invalid("the index path", "writable", got, "check the folder and the rights in it"),
        }
    }
}

/// The system has no thread for the build.
pub(super) fn no_thread(error: io::Error) -> Error {
    Error::invalid(
        "the limit on threads",
        "above those that run",
        error,
        "raise it (ulimit -u), or end other work",
    )
}

/// A file of tokens that cannot be read.
pub(super) fn unreadable(path: &Path, error: io::Error) -> Error {
    let got = format!("{}: {error}", path.display());
    Error::invalid(
        "a file of tokens",
        "readable to its end",
        got,
        "write it whole, and leave it until the index is built",
    )
}

/// A file of tokens that is not what it was.
pub(super) fn changed(got: impl std::fmt::Display) -> Error {
    let hint = "build again, and let nothing else write to the files of tokens";
    Error::invalid("a file of tokens", "the same until the index is built", got, hint)
}
