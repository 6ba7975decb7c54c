//! Files of settings, which are opened in one way: it neither waits nor reads without end.

use std::io::{Error, Read, Result};
use std::path::Path;

/// Reads a regular file of at most so many MiB. Opening a pipe would wait for its other end, and a
/// device may never end.
///
/// ```
/// use std::path::Path;
///
/// let error = tallies_names::read_file(Path::new("/dev/zero"), 1).unwrap_err();
/// # #[cfg(unix)]
/// assert_eq!(error.to_string(), "it is not a regular file");
/// ```
///
/// # Errors
///
/// A file that cannot be read, is not a regular one, or is larger.
pub fn read_file(path: &Path, mib: u64) -> Result<Vec<u8>> {
    let mut options = std::fs::OpenOptions::new();
    options.read(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::custom_flags(&mut options, libc::O_NONBLOCK);
    let file = options.open(path)?;
    if !file.metadata()?.is_file() {
        return Err(Error::other("it is not a regular file"));
    }
    let mut bytes = Vec::new();
    file.take((mib << 20) + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > mib << 20 {
        return Err(Error::other(format!("it is larger than {mib} MiB")));
    }
    Ok(bytes)
}
