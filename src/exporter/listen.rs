//! The sockets of an exporter: those of hosts and a port, or those that systemd passes.

use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr, TcpListener, ToSocketAddrs};

use crate::error::Error;
use crate::serve::Server;

use super::BoxError;
use super::args::Common;

/// Adds the listeners to a server. If one cannot be bound, none is.
pub(super) fn add_listeners(server: Server, args: &Common) -> Result<Server, BoxError> {
    if args.systemd_socket {
        return from_systemd(server);
    }
    let addresses: Vec<String> = if args.listen.is_empty() {
        let with_port = |host: &String| with_port(host, args.port);
        args.host.iter().map(with_port).collect()
    } else {
        args.listen.clone()
    };
    let mut listeners = Vec::new();
    for address in &addresses {
        bind(address, &mut listeners).map_err(|error| Error::bind(address, error))?;
    }
    Ok(listeners.into_iter().fold(server, Server::listener))
}

/// Returns an address with a port. An IPv6 address may have brackets already.
fn with_port(host: &str, port: u16) -> String {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    match bare.parse::<IpAddr>() {
        Ok(address) => SocketAddr::new(address, port).to_string(),
        Err(_) => format!("{host}:{port}"),
    }
}

/// Binds all addresses that a name stands for. `localhost` is often both 127.0.0.1 and `[::1]`, of
/// which a machine may have only one.
fn bind(address: &str, listeners: &mut Vec<TcpListener>) -> io::Result<()> {
    // `:9100` means all addresses of the machine. A socket for IPv6 usually takes IPv4, too.
    if let Some(port) = address.strip_prefix(':') {
        let listener = TcpListener::bind(format!("[::]:{port}"))
            .or_else(|_| TcpListener::bind(format!("0.0.0.0:{port}")))?;
        listeners.push(listener);
        return Ok(());
    }
    let mut first_error = None;
    let mut bound = false;
    let mut addresses: Vec<SocketAddr> = address.to_socket_addrs()?.collect();
    // A resolver may return an address once per protocol.
    addresses.sort_by_key(|address| (address.is_ipv6(), *address));
    addresses.dedup();
    for address in addresses {
        // Two names may stand for one address.
        let is_own = |own: &TcpListener| own.local_addr().is_ok_and(|own| own == address);
        if listeners.iter().any(is_own) {
            bound = true;
            continue;
        }
        match TcpListener::bind(address) {
            Ok(listener) => {
                listeners.push(listener);
                bound = true;
            }
            Err(error) if error.kind() == ErrorKind::AddrInUse => return Err(error),
            Err(error) => {
                first_error.get_or_insert(error);
            }
        }
    }
    match first_error {
        Some(error) if !bound => Err(error),
        None if !bound => Err(io::Error::new(
            ErrorKind::AddrNotAvailable,
            "the name has no address",
        )),
        _ => Ok(()),
    }
}

/// Takes all sockets that systemd passes.
#[cfg(unix)]
fn from_systemd(mut server: Server) -> Result<Server, BoxError> {
    let mut passed = listenfd::ListenFd::from_env();
    let count = passed.len();
    if count == 0 {
        return Err("systemd passed no socket; `--web.systemd-socket` needs a socket unit".into());
    }
    for index in 0..count {
        // A socket of another family is an error here, and stays where it is.
        if let Ok(Some(listener)) = passed.take_unix_listener(index) {
            server = server.unix_listener(listener);
        } else if let Some(listener) = passed.take_tcp_listener(index)? {
            server = server.listener(listener);
        }
    }
    Ok(server)
}

#[cfg(not(unix))]
fn from_systemd(_: Server) -> Result<Server, BoxError> {
    Err("`--web.systemd-socket` needs systemd".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_of_ipv6_gets_brackets() {
        for (host, address) in [
            ("localhost", "localhost:9090"),
            ("127.0.0.1", "127.0.0.1:9090"),
            ("::1", "[::1]:9090"),
            ("[::1]", "[::1]:9090"),
            ("example.org", "example.org:9090"),
        ] {
            assert_eq!(with_port(host, 9090), address);
        }
    }
}
