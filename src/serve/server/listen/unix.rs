//! Unix sockets, and their files.

use std::fs::Permissions;
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use socket2::{Domain, SockAddr, Socket, Type};

use super::{BACKLOG, Listener};

pub(super) fn into_listener(
    listener: UnixListener,
    file: Option<SocketFile>,
) -> io::Result<Listener> {
    listener.set_nonblocking(true)?;
    Ok(Listener::Unix(listener, file))
}

/// Binds a Unix socket at `path`. A socket file that refuses connections was left behind by a
/// program that has ended, so it is replaced. Any other file at `path` is an error.
pub(super) fn bind(path: &Path, mode: u32) -> io::Result<Listener> {
    let listener = bound(path, mode).or_else(|error| {
        let socket = std::fs::symlink_metadata(path).is_ok_and(|m| m.file_type().is_socket());
        if error.kind() == io::ErrorKind::AddrInUse && socket && refuses_connections(path) {
            std::fs::remove_file(path)?;
            bound(path, mode)
        } else {
            Err(error)
        }
    })?;
    into_listener(listener, SocketFile::of(path.to_owned()))
}

/// Binds a socket, and listens only after its file has its permissions, so that no client connects
/// before.
fn bound(path: &Path, mode: u32) -> io::Result<UnixListener> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.bind(&SockAddr::unix(path)?)?;
    let listens = set_socket_mode(path, mode).and_then(|()| socket.listen(BACKLOG));
    if listens.is_err() {
        let _ = std::fs::remove_file(path);
    }
    listens.map(|()| socket.into())
}

/// Sets the permissions of the socket at `path`. If someone has put a link there instead, the file
/// that it leads to keeps its permissions.
fn set_socket_mode(path: &Path, mode: u32) -> io::Result<()> {
    let mode = Permissions::from_mode(mode);
    #[cfg(any(target_os = "linux", target_os = "android"))]
    {
        use std::os::fd::AsRawFd;
        let file = crate::sync::open_path(path)?;
        if !file.metadata()?.file_type().is_socket() {
            return Err(io::Error::other("another file has replaced the socket"));
        }
        // Such a descriptor has no `fchmod`.
        std::fs::set_permissions(format!("/proc/self/fd/{}", file.as_raw_fd()), mode)
    }
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    std::fs::set_permissions(path, mode)
}

/// Returns whether connections to the socket at `path` are refused. It does not wait: a program
/// that listens but does not accept still owns the socket.
fn refuses_connections(path: &Path) -> bool {
    let connect = || {
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
        socket.set_nonblocking(true)?;
        socket.connect(&SockAddr::unix(path)?)
    };
    connect().is_err_and(|e: io::Error| e.kind() == io::ErrorKind::ConnectionRefused)
}

/// The file of a Unix socket. Dropping this value removes the file, unless another program has
/// replaced it.
pub(in crate::serve::server) struct SocketFile {
    path: PathBuf,
    /// The device and inode of the file when it was bound.
    identity: (u64, u64),
}

impl SocketFile {
    fn of(path: PathBuf) -> Option<Self> {
        let identity = Self::identity(&path)?;
        Some(Self { path, identity })
    }

    fn identity(path: &Path) -> Option<(u64, u64)> {
        let metadata = std::fs::symlink_metadata(path).ok()?;
        Some((metadata.dev(), metadata.ino()))
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if Self::identity(&self.path) == Some(self.identity) {
            // Another program may have removed it since.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    /// Someone who may write to the folder could so open files of others.
    #[test]
    fn the_mode_of_a_socket_does_not_follow_a_link() {
        let folder = std::env::temp_dir().join(format!("tallies-mode-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let (secret, link) = (folder.join("secret"), folder.join("socket"));
        std::fs::write(&secret, "").unwrap();
        std::fs::set_permissions(&secret, std::fs::Permissions::from_mode(0o600)).unwrap();
        symlink(&secret, &link).unwrap();
        let error = set_socket_mode(&link, 0o666).unwrap_err();
        assert_eq!(error.to_string(), "another file has replaced the socket");
        let mode = |path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&secret), 0o600);
        std::fs::remove_file(&link).unwrap();
        let _listener = bound(&link, 0o660).unwrap();
        assert_eq!(mode(&link), 0o660);
        std::fs::remove_dir_all(folder).unwrap();
    }
}
