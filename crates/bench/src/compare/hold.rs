//! Locks of what a comparison writes to disk, so that the next one removes it if the comparison was
//! killed: the system frees the lock of a process that is gone.

use std::fs::{self, File, TryLockError};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

/// A locked file, which is removed when dropped.
#[derive(Debug)]
pub(super) struct Hold {
    file: File,
    path: PathBuf,
}

impl Hold {
    /// Creates a locked file with this text.
    pub(super) fn new(path: &Path, text: &str) -> io::Result<Self> {
        // Under another name until it is locked, so that nobody takes it for one of the dead.
        let new = path.with_extension(format!("new-{}", std::process::id()));
        let mut file = File::create(&new)?;
        file.write_all(text.as_bytes())?;
        file.lock()?;
        fs::rename(&new, path)?;
        let path = path.to_owned();
        Ok(Self { file, path })
    }

    /// Takes the file over if it is there and whoever created it is gone. Returns its text, too.
    pub(super) fn abandoned(path: &Path) -> Option<(Self, String)> {
        let file = File::open(path).ok()?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock | TryLockError::Error(_)) => return None,
        }
        let text = io::read_to_string(&file).ok()?;
        let path = path.to_owned();
        Some((Self { file, path }, text))
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
        let _ = self.file.unlock();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_abandoned_once_its_lock_is_gone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lock");
        assert!(Hold::abandoned(&path).is_none());
        let hold = Hold::new(&path, "tree").unwrap();
        assert!(Hold::abandoned(&path).is_none());
        // As when the process is killed: the lock is gone, and the file is still there.
        hold.file.unlock().unwrap();
        std::mem::forget(hold);
        let (taken, text) = Hold::abandoned(&path).unwrap();
        assert_eq!(text, "tree");
        assert!(Hold::abandoned(&path).is_none());
        drop(taken);
        assert!(fs::read_dir(folder.path()).unwrap().next().is_none());
    }
}
