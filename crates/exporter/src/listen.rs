//! The sockets of an exporter: those of hosts and a port, or those that systemd passes.

use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener, ToSocketAddrs};

use tallies::serve::BoundServer;
use tallies::{Error, serve::Server};

use super::BoxError;
use super::args::Common;

/// Binds the addresses. If one cannot be bound, none is.
pub(super) fn bind(server: Server, args: &Common) -> Result<BoundServer, BoxError> {
    let server = if args.web_systemd_socket {
        from_systemd(server)?
    } else {
        let addresses = addresses(args).into_iter();
        addresses.fold(server, |server, address| server.every_address(&address))
    };
    Ok(with_hosts(server.bind()?, args))
}

/// Checks that this machine has each address, by binding it at a port of the system's choice. So a
/// running exporter is not disturbed.
pub(super) fn check(args: &Common) -> Result<(), Error> {
    for address in addresses(args) {
        // Without a host, all addresses of this machine are meant.
        if address.starts_with(':') {
            continue;
        }
        // A name may stand for several addresses, of which a machine may have only one.
        let resolved: io::Result<Vec<_>> = address
            .to_socket_addrs()
            .map(|all| all.map(|own| SocketAddr::new(own.ip(), 0)).collect());
        let what = format!("cannot listen on `{address}`");
        resolved
            .and_then(|all| TcpListener::bind(&all[..]))
            .map_err(|error| Error::with_cause(what, error))?;
    }
    Ok(())
}

fn addresses(args: &Common) -> Vec<String> {
    if !args.web_listen_address.is_empty() {
        return args.web_listen_address.clone();
    }
    let with_port = |host: &String| with_port(host, args.port);
    args.host.iter().map(with_port).collect()
}

/// Names the hosts that the server admits. If only this machine reaches it, these are its names, so
/// that a web site which points its own name here cannot have a browser read the page.
fn with_hosts(server: BoundServer, args: &Common) -> BoundServer {
    let mut hosts = args.web_allowed_host.clone();
    if hosts.iter().any(|host| host == "*") {
        return server;
    }
    let mut bound = server.addresses().iter();
    if !server.addresses().is_empty() && bound.all(|own| own.ip().to_canonical().is_loopback()) {
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
