//! The sockets of an exporter: those of hosts and a port, or those that systemd passes.

use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr, TcpListener, ToSocketAddrs};

use crate::error::Error;
use crate::serve::{self, Server, any_port, bind_any};

use super::BoxError;
use super::args::Common;

/// Adds the listeners to a server. If one cannot be bound, none is.
pub(super) fn add_listeners(server: Server, args: &Common) -> Result<Server, BoxError> {
    if args.systemd_socket {
        return from_systemd(server, args);
    }
    let mut listeners = Vec::new();
    for address in &addresses(args) {
        bind(address, &mut listeners).map_err(|error| Error::bind(address, error))?;
    }
    let server = with_hosts(server, args, &listeners);
    Ok(listeners.into_iter().fold(server, Server::listener))
}

/// Checks that each address can be resolved, without binding it.
pub(super) fn check(args: &Common) -> Result<(), Error> {
    for address in addresses(args) {
        if any_port(&address).is_none() {
            let resolved = address.to_socket_addrs();
            resolved.map_err(|error| Error::bind(&address, error))?;
        }
    }
    Ok(())
}

fn addresses(args: &Common) -> Vec<String> {
    if args.listen.is_empty() {
        let with_port = |host: &String| with_port(host, args.port);
        args.host.iter().map(with_port).collect()
    } else {
        args.listen.clone()
    }
}

/// Names the hosts that the server admits. If only this machine reaches it, these are its names, so
/// that a web site which points its own name here cannot have a browser read the page.
fn with_hosts(server: Server, args: &Common, listeners: &[TcpListener]) -> Server {
    let mut hosts = args.allowed_hosts.clone();
    if hosts.iter().any(|host| host == "*") {
        return server;
    }
    let mut sockets = listeners.iter().map(TcpListener::local_addr);
    let is_loopback = |address: io::Result<SocketAddr>| {
        address.is_ok_and(|address| address.ip().to_canonical().is_loopback())
    };
    if !listeners.is_empty() && sockets.all(is_loopback) {
        hosts.extend(["localhost", "127.0.0.1", "[::1]"].map(str::to_owned));
        let given = addresses(args).into_iter();
        hosts.extend(given.filter_map(|address| Some(address.rsplit_once(':')?.0.to_owned())));
    }
    server.hosts(hosts)
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
    if let Some(port) = any_port(address) {
        listeners.push(bind_any(port)?);
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
        match serve::bind(address) {
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
fn from_systemd(mut server: Server, args: &Common) -> Result<Server, BoxError> {
    let mut passed = listenfd::ListenFd::from_env();
    let mut listeners = Vec::new();
    let count = passed.len();
    if count == 0 {
        return Err("systemd passed no socket; `--web.systemd-socket` needs a socket unit".into());
    }
    for index in 0..count {
        // A socket of another family is an error here, and stays where it is.
        if let Ok(Some(listener)) = passed.take_unix_listener(index) {
            server = server.unix_listener(listener);
        } else if let Some(listener) = passed.take_tcp_listener(index)? {
            listeners.push(listener);
        }
    }
    let server = with_hosts(server, args, &listeners);
    Ok(listeners.into_iter().fold(server, Server::listener))
}

#[cfg(not(unix))]
fn from_systemd(_: Server, _: &Common) -> Result<Server, BoxError> {
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
