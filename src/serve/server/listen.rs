//! Listening sockets: TCP over IPv4 and IPv6, and Unix sockets.

#[cfg(unix)]
mod unix;

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, ToSocketAddrs};
#[cfg(unix)]
use std::os::unix::net::UnixListener;
#[cfg(unix)]
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

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
pub(super) enum Listener {
    Tcp(TcpListener, SocketAddr),
    #[cfg(unix)]
    Unix(UnixListener, Option<unix::SocketFile>),
}

/// An accepted connection.
pub(super) enum ClientStream {
    Tcp(tokio::net::TcpStream),
    #[cfg(unix)]
    Unix(tokio::net::UnixStream),
}

impl ClientStream {
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
        _file: Option<unix::SocketFile>,
    },
}

impl Address {
    /// Binds the address, and adds it to those that are bound.
    pub(super) fn bind(&self, mode: u32, bound: &mut Vec<Listener>) -> Result<(), Error> {
        #[cfg(not(unix))]
        let _ = mode;
        let failed = |e| cannot_listen(&self.name(), e);
        let listener = match self {
            Self::Every(name) => return every(name, bound).map_err(failed),
            Self::Tcp(name) => tcp(name.as_str(), name),
            #[cfg(unix)]
            Self::Unix(path) => unix::bind(path, mode),
            Self::Given(listener) => listener.try_clone().and_then(into_listener),
            #[cfg(unix)]
            Self::GivenUnix(listener) => {
                let listener = listener.try_clone();
                listener.and_then(|listener| unix::into_listener(listener, None))
            }
        };
        bound.push(listener.map_err(failed)?);
        Ok(())
    }

    /// Returns the name that errors show.
    fn name(&self) -> String {
        match self {
            Self::Tcp(name) | Self::Every(name) => name.clone(),
            #[cfg(unix)]
            Self::Unix(path) => path.display().to_string(),
            _ => "the given socket".to_owned(),
        }
    }
}

/// Binds the first address that can be bound. `name` is the address as the caller wrote it.
pub(super) fn tcp(address: impl ToSocketAddrs, name: &str) -> io::Result<Listener> {
    into_listener(match any_port(name) {
        Some(port) => bind_any(port)?,
        None => bind(address)?,
    })
}

/// Binds all addresses that a name stands for, apart from those that are bound.
fn every(name: &str, bound: &mut Vec<Listener>) -> io::Result<()> {
    if any_port(name).is_some() {
        bound.push(tcp(name, name)?);
        return Ok(());
    }
    // An error does not matter if an address is bound.
    let mut outcome = None;
    let mut addresses: Vec<SocketAddr> = name.to_socket_addrs()?.collect();
    // A resolver may return an address once per protocol.
    addresses.sort_by_key(|address| (address.is_ipv6(), *address));
    addresses.dedup();
    for address in addresses {
        // Two names may stand for one address.
        let is_own = |own: &Listener| matches!(own, Listener::Tcp(_, own) if *own == address);
        if bound.iter().any(is_own) {
            outcome = Some(Ok(()));
            continue;
        }
        match bind(address).and_then(into_listener) {
            Ok(listener) => {
                bound.push(listener);
                outcome = Some(Ok(()));
            }
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => return Err(error),
            Err(error) => _ = outcome.get_or_insert(Err(error)),
        }
    }
    let none = io::Error::new(io::ErrorKind::AddrNotAvailable, "the name has no address");
    outcome.unwrap_or(Err(none))
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
    /// Accepts a connection.
    pub(super) async fn accept(&self) -> ClientStream {
        loop {
            let accepted = match self {
                Self::Tcp(listener) => {
                    let accepted = listener.accept().await;
                    accepted.map(|(stream, _)| ClientStream::Tcp(stream))
                }
                #[cfg(unix)]
                Self::Unix { listener, .. } => {
                    let accepted = listener.accept().await;
                    accepted.map(|(stream, _)| ClientStream::Unix(stream))
                }
            };
            match accepted {
                Ok(stream) => return stream,
                // The process may be out of file descriptors. Retrying without a pause would make
                // that worse.
                Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
            }
        }
    }
}

/// Returns the error of an address on which the service cannot listen.
pub(super) fn cannot_listen(address: &str, cause: io::Error) -> Error {
    // A Unix socket's path has a slash.
    let is_name = cause.kind() == io::ErrorKind::InvalidInput && !address.contains('/');
    let form = "; an address has a host and a port, such as `127.0.0.1:9464`";
    let hint = if is_name { form } else { "" };
    let address = address.escape_debug();
    error::ErrorKind::Io(cause.kind())
        .error(format_args!("cannot listen on `{address}`: {cause}{hint}"))
}
