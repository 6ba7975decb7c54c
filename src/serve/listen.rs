//! Listening sockets: TCP over IPv4 and IPv6, and Unix sockets.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, ToSocketAddrs};
#[cfg(unix)]
use std::os::unix::net::UnixListener;
#[cfg(unix)]
use std::path::{Path, PathBuf};
use std::sync::Arc;

#[cfg(unix)]
use socket2::{Domain, SockAddr, Socket, Type};

use crate::error::{self, Error};

/// The most connections that the kernel holds until the service accepts them, unless its own limit
/// is lower.
const BACKLOG: i32 = 1024;

/// An address to listen on, as the user gave it.
#[derive(Clone, Debug)]
pub(super) enum Address {
    /// An address such as `[::1]:9464`, or a host name and a port.
    Tcp(String),
    /// A host name and a port, of which all addresses are wanted.
    Every(String),
    #[cfg(unix)]
    Unix(PathBuf),
    /// A socket that the caller has bound.
    Given(Arc<TcpListener>),
    #[cfg(unix)]
    GivenUnix(Arc<UnixListener>),
}

/// A socket that is bound and listens.
#[derive(Debug)]
pub(super) enum Listener {
    Tcp(TcpListener, SocketAddr),
    #[cfg(unix)]
    Unix(UnixListener, Option<SocketFile>),
}

/// An accepted connection.
pub(super) enum Stream {
    Tcp(tokio::net::TcpStream),
    #[cfg(unix)]
    Unix(tokio::net::UnixStream),
}

impl Stream {
    /// Returns the address of the client, unless it is at a Unix socket.
    pub(super) fn remote(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(stream) => stream.peer_addr().ok(),
            #[cfg(unix)]
            Self::Unix(_) => None,
        }
    }
}

/// A listener that is registered with a Tokio runtime.
pub(super) enum AsyncListener {
    Tcp(tokio::net::TcpListener),
    #[cfg(unix)]
    Unix {
        listener: tokio::net::UnixListener,
        _file: Option<SocketFile>,
    },
}

impl Address {
    /// Binds the address, and adds it to those that are bound.
    pub(super) fn bind(&self, mode: u32, bound: &mut Vec<Listener>) -> Result<(), Error> {
        #[cfg(not(unix))]
        let _ = mode;
        let listener = match self {
            Self::Every(name) => return every(name, bound).map_err(|e| cannot_listen(name, e)),
            Self::Tcp(address) => tcp(address.as_str(), address),
            #[cfg(unix)]
            Self::Unix(path) => {
                unix(path, mode).map_err(|e| cannot_listen(&path.display().to_string(), e))
            }
            Self::Given(listener) => listener
                .try_clone()
                .and_then(into_listener)
                .map_err(|e| cannot_listen("the given socket", e)),
            #[cfg(unix)]
            Self::GivenUnix(listener) => listener
                .try_clone()
                .and_then(|listener| into_unix_listener(listener, None))
                .map_err(|e| cannot_listen("the given socket", e)),
        };
        bound.push(listener?);
        Ok(())
    }
}

/// Binds the first address that can be bound. `name` is the address as the caller wrote it.
pub(super) fn tcp(address: impl ToSocketAddrs, name: &str) -> Result<Listener, Error> {
    let bound = match any_port(name) {
        Some(port) => bind_any(port),
        None => bind(address),
    };
    bound
        .and_then(into_listener)
        .map_err(|e| cannot_listen(name, e))
}

/// Binds all addresses that a name stands for, apart from those that are bound.
fn every(name: &str, bound: &mut Vec<Listener>) -> io::Result<()> {
    if let Some(port) = any_port(name) {
        bound.push(into_listener(bind_any(port)?)?);
        return Ok(());
    }
    let mut first_error = None;
    let mut is_bound = false;
    let mut addresses: Vec<SocketAddr> = name.to_socket_addrs()?.collect();
    // A resolver may return an address once per protocol.
    addresses.sort_by_key(|address| (address.is_ipv6(), *address));
    addresses.dedup();
    for address in addresses {
        // Two names may stand for one address.
        let is_own = |own: &Listener| matches!(own, Listener::Tcp(_, own) if *own == address);
        if bound.iter().any(is_own) {
            is_bound = true;
            continue;
        }
        match bind(address).and_then(into_listener) {
            Ok(listener) => {
                bound.push(listener);
                is_bound = true;
            }
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => return Err(error),
            Err(error) => _ = first_error.get_or_insert(error),
        }
    }
    match first_error {
        _ if is_bound => Ok(()),
        Some(error) => Err(error),
        None => Err(io::Error::new(
            io::ErrorKind::AddrNotAvailable,
            "the name has no address",
        )),
    }
}

/// Binds the first address that can be bound.
fn bind(address: impl ToSocketAddrs) -> io::Result<TcpListener> {
    let listener = TcpListener::bind(address)?;
    // The standard library has 128. A client that finds them taken tries again after 1 s.
    socket2::SockRef::from(&listener).listen(BACKLOG)?;
    Ok(listener)
}

/// Returns the port of an address without a host, such as `:9464`, which stands for all addresses
/// of this machine.
fn any_port(address: &str) -> Option<u16> {
    address.strip_prefix(':')?.parse().ok()
}

/// Binds all addresses of this machine. A socket for IPv6 usually takes IPv4, too.
fn bind_any(port: u16) -> io::Result<TcpListener> {
    bind((Ipv6Addr::UNSPECIFIED, port)).or_else(|_| bind((Ipv4Addr::UNSPECIFIED, port)))
}

fn into_listener(listener: TcpListener) -> io::Result<Listener> {
    listener.set_nonblocking(true)?;
    let address = listener.local_addr()?;
    Ok(Listener::Tcp(listener, address))
}

#[cfg(unix)]
fn into_unix_listener(listener: UnixListener, file: Option<SocketFile>) -> io::Result<Listener> {
    listener.set_nonblocking(true)?;
    Ok(Listener::Unix(listener, file))
}

/// Binds a Unix socket at `path`. A socket file that refuses connections was left behind by a
/// program that has ended, so it is replaced. Any other file at `path` is an error.
#[cfg(unix)]
fn unix(path: &Path, mode: u32) -> io::Result<Listener> {
    use std::os::unix::fs::FileTypeExt;
    let listener = bound_unix(path, mode).or_else(|error| {
        let socket = std::fs::symlink_metadata(path).is_ok_and(|m| m.file_type().is_socket());
        if error.kind() == io::ErrorKind::AddrInUse && socket && refuses_connections(path) {
            std::fs::remove_file(path)?;
            bound_unix(path, mode)
        } else {
            Err(error)
        }
    })?;
    into_unix_listener(listener, Some(SocketFile::of(path.to_owned())))
}

/// Binds a socket, and listens only after its file has its permissions, so that no client connects
/// before.
#[cfg(unix)]
fn bound_unix(path: &Path, mode: u32) -> io::Result<UnixListener> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.bind(&SockAddr::unix(path)?)?;
    match set_socket_mode(path, mode).and_then(|()| socket.listen(BACKLOG)) {
        Ok(()) => Ok(socket.into()),
        Err(error) => {
            let _ = std::fs::remove_file(path);
            Err(error)
        }
    }
}

/// Sets the permissions of the socket at `path`. If someone has put a link there instead, the file
/// that it leads to keeps its permissions.
#[cfg(unix)]
fn set_socket_mode(path: &Path, mode: u32) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    let mode = std::fs::Permissions::from_mode(mode);
    #[cfg(any(target_os = "linux", target_os = "android"))]
    {
        use std::os::fd::AsRawFd;
        use std::os::unix::fs::FileTypeExt;
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
#[cfg(unix)]
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
#[cfg(unix)]
#[derive(Debug)]
pub(super) struct SocketFile {
    path: PathBuf,
    /// The device and inode of the file when it was bound.
    identity: Option<(u64, u64)>,
}

#[cfg(unix)]
impl SocketFile {
    fn of(path: PathBuf) -> Self {
        let identity = Self::identity(&path);
        Self { path, identity }
    }

    fn identity(path: &Path) -> Option<(u64, u64)> {
        use std::os::unix::fs::MetadataExt;
        let metadata = std::fs::symlink_metadata(path).ok()?;
        Some((metadata.dev(), metadata.ino()))
    }
}

#[cfg(unix)]
impl Drop for SocketFile {
    fn drop(&mut self) {
        if self.identity.is_some() && Self::identity(&self.path) == self.identity {
            // Another program may have removed it since.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

impl Listener {
    /// Registers the listener with the current Tokio runtime.
    pub(super) fn into_async(self) -> io::Result<AsyncListener> {
        Ok(match self {
            Self::Tcp(listener, _) => {
                AsyncListener::Tcp(tokio::net::TcpListener::from_std(listener)?)
            }
            #[cfg(unix)]
            Self::Unix(listener, file) => AsyncListener::Unix {
                listener: tokio::net::UnixListener::from_std(listener)?,
                _file: file,
            },
        })
    }
}

impl AsyncListener {
    pub(super) async fn accept(&self) -> io::Result<Stream> {
        match self {
            Self::Tcp(listener) => {
                let (stream, _) = listener.accept().await?;
                // Pages are written whole, so Nagle's algorithm would only delay their last packet.
                let _ = stream.set_nodelay(true);
                Ok(Stream::Tcp(stream))
            }
            #[cfg(unix)]
            Self::Unix { listener, .. } => Ok(Stream::Unix(listener.accept().await?.0)),
        }
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

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
        let _listener = bound_unix(&link, 0o660).unwrap();
        assert_eq!(mode(&link), 0o660);
        std::fs::remove_dir_all(folder).unwrap();
    }
}

/// Returns the error of an address on which the service cannot listen.
fn cannot_listen(address: &str, cause: io::Error) -> Error {
    // A Unix socket's path has a slash.
    let is_name = cause.kind() == io::ErrorKind::InvalidInput && !address.contains('/');
    let hint = match is_name {
        true => "; an address has a host and a port, such as `127.0.0.1:9464`",
        false => "",
    };
    let address = address.escape_debug();
    error::Kind::Io(cause.kind()).error(format_args!("cannot listen on `{address}`: {cause}{hint}"))
}
