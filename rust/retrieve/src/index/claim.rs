//! The right to build one index file: a folder beside it with a lock, which the system takes back when its holder dies.

use draftwood_base::{Error, Result};
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

const LOCK: &str = "lock";
/// Files of this extension are worth nothing to the next build.
const TEMPORARY: &str = "tmp";
/// How often the folder may vanish between two calls, because others finish, before that is taken for a fault.
const ATTEMPTS: usize = 1000;

/// One builder at a time: whoever holds the claim on a path may write to [`Claim::folder`] and publish the index.
///
/// Temporary files have names of their own and are created, never opened: even a builder that has lost its folder to
/// someone who deleted it cannot write to another one's file. The folder goes with the claim, unless files wait in it for
/// the next build.
#[derive(Debug)]
pub struct Claim {
    path: PathBuf,
    folder: PathBuf,
    lock: File,
    /// A forked child has the file too, but not the right.
    process: u32,
    is_published: AtomicBool,
    is_released: AtomicBool,
}

impl Claim {
    /// The folder in which a build of `path` keeps its files: the path with `.partial` behind it.
    pub fn folder_of(path: &Path) -> PathBuf {
        let mut folder = path.as_os_str().to_owned();
        folder.push(".partial");
        folder.into()
    }

    /// Claims a path. What a killed build left is removed, but for files that wait for this one.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] when another build of the path is running, and for a folder that cannot be written or
    /// locked.
    pub fn take(path: &Path) -> Result<Self> {
        let folder = Self::folder_of(path);
        let unwritable = |error: io::Error| {
            let got = format!("{}: {error}", folder.display());
            Error::invalid("the index path", "writable", got, "check the folder and the rights in it")
        };
        for _ in 0..ATTEMPTS {
            match fs::create_dir(&folder) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(unwritable(error)),
                _ => {}
            }
            let lock = OpenOptions::new().write(true).create(true).truncate(false).open(folder.join(LOCK));
            let lock = match lock {
                Ok(lock) => lock,
                // A file of that name, as versions before this one left it.
                Err(error) if error.kind() == io::ErrorKind::NotADirectory => {
                    fs::remove_file(&folder).map_err(unwritable)?;
                    continue;
                }
                // Its last holder has just removed the folder.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(unwritable(error)),
            };
            match lock.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => {
                    return Err(Error::invalid(
                        "the index path",
                        "built by one process at a time",
                        format!("a build in {}", folder.display()),
                        "wait for the other build, or choose another path",
                    ));
                }
                Err(TryLockError::Error(error)) => {
                    return Err(Error::invalid(
                        "the index path",
                        "on a file system with locks",
                        format!("{}: {error}", folder.display()),
                        "build on a local disk and copy the file",
                    ));
                }
            }
            // The lock counts only if it still lies there: its last holder removes it before it lets go.
            if same_file(&lock, &folder.join(LOCK)) {
                let claim = Self {
                    path: path.to_owned(),
                    folder,
                    lock,
                    process: std::process::id(),
                    is_published: AtomicBool::new(false),
                    is_released: AtomicBool::new(false),
                };
                claim.remove(is_temporary);
                return Ok(claim);
            }
        }
        Err(unwritable(io::Error::other("it is removed again and again")))
    }

    /// Where files may wait for the next build of the path, should this one end early.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Removes what waits in the folder.
    pub fn clear(&self) {
        self.remove(|_| true);
    }

    /// Gives the claim back, and the folder unless files wait in it. Later calls do nothing, nor does one in a forked child.
    pub fn release(&self) {
        if self.process != std::process::id() || self.is_released.swap(true, Ordering::Relaxed) {
            return;
        }
        // If not, someone has deleted the folder, and what lies there now is another's.
        if same_file(&self.lock, &self.folder.join(LOCK)) {
            let is_published = self.is_published.load(Ordering::Relaxed);
            self.remove(|name| is_published || is_temporary(name));
            // Whoever comes now finds the lock taken, or makes a new one, which keeps the folder from being removed.
            let mut names = self.names();
            if names.all(|name| is_lock(&name)) {
                let _ = fs::remove_file(self.folder.join(LOCK));
                let _ = fs::remove_dir(&self.folder);
            }
        }
        let _ = self.lock.unlock();
    }

    /// The path that is claimed.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// A new file for the index.
    pub(super) fn temporary(&self) -> io::Result<(PathBuf, File)> {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = self.folder.join(format!("index-{}-{number}.{TEMPORARY}", self.process));
        let file = OpenOptions::new().write(true).create_new(true).open(&name)?;
        Ok((name, file))
    }

    /// Gives a complete, synchronised file the name that was claimed.
    pub(super) fn publish(&self, temporary: &Path) -> io::Result<()> {
        fs::rename(temporary, &self.path)?;
        self.is_published.store(true, Ordering::Relaxed);
        // The rename itself is safe only once the folder is written.
        let folder = self.path.parent().filter(|folder| !folder.as_os_str().is_empty());
        File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
    }

    /// Removes files of the folder, never the lock.
    fn remove(&self, chosen: impl Fn(&Path) -> bool) {
        for name in self.names().filter(|name| !is_lock(name) && chosen(name)) {
            let _ = fs::remove_file(&name);
        }
    }

    fn names(&self) -> impl Iterator<Item = PathBuf> {
        fs::read_dir(&self.folder).into_iter().flatten().flatten().map(|entry| entry.path())
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.release();
    }
}

fn is_lock(name: &Path) -> bool {
    name.file_name().is_some_and(|name| name == LOCK)
}

fn is_temporary(name: &Path) -> bool {
    name.extension().is_some_and(|extension| extension == TEMPORARY)
}

fn same_file(open: &File, name: &Path) -> bool {
    match (open.metadata(), fs::metadata(name)) {
        (Ok(a), Ok(b)) => (a.dev(), a.ino()) == (b.dev(), b.ino()),
        _ => false,
    }
}
