//! Binding: checks the settings of a server, binds its addresses, and builds the service.

use std::fmt::Debug;
use std::net::ToSocketAddrs;
use std::sync::Arc;

use http::uri::PathAndQuery;

use crate::error::Error;
use crate::serve::answer::Pages;
use crate::serve::live;
use crate::serve::places::ClientPlaces;
use crate::serve::report::CARDINALITY;
use crate::serve::turns::Turns;

use super::Server;
use super::connection::Host;
use super::listen::{Listener, cannot_listen, tcp};
use super::routes::{Checks, Routes};
use super::seats::Seats;
use super::serving::{BoundServer, Serving};

/// Paths that the service uses itself, so the metrics page cannot have them.
const RESERVED_PATHS: [&str; 5] = ["/", "/robots.txt", "/-/healthy", "/-/ready", CARDINALITY];

/// The most requests for the extension's pages at once. They take at most a quarter of the
/// connections.
const PROBES: usize = 64;

impl Server {
    /// Binds this address and those that were added before, and serves on a thread of its own.
    ///
    /// ```
    /// let serving = tallies::serve::Server::new().listen("127.0.0.1:0")?;
    /// println!("Serving metrics at {}", serving.metrics_url());
    /// # serving.stop();
    /// # Ok::<(), tallies::Error>(())
    /// ```
    ///
    /// The service runs until [`Serving::stop`], or until the program ends.
    ///
    /// # Errors
    ///
    /// Returns the errors of [`bind`](Self::bind). The program continues either way and may try
    /// again.
    pub fn listen(&self, address: impl ToSocketAddrs + Debug) -> Result<Serving, Error> {
        let name = format!("{address:?}");
        let name = name.trim_matches('"');
        let first = tcp(address, name).map_err(|e| cannot_listen(name, e));
        self.bind_all(Some(first))?.start()
    }

    /// Binds the added addresses and serves on a thread of its own, as [`listen`](Self::listen)
    /// does.
    ///
    /// ```
    /// let serving = tallies::serve::Server::new().address("127.0.0.1:0").start()?;
    /// # serving.stop();
    /// # Ok::<(), tallies::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Returns the errors of [`bind`](Self::bind).
    pub fn start(&self) -> Result<Serving, Error> {
        self.bind()?.start()
    }

    /// Binds all added addresses, or none of them. Clients that connect from now on wait until
    /// [`BoundServer::start`] or [`BoundServer::run`].
    ///
    /// ```
    /// let bound = tallies::serve::Server::new().address("127.0.0.1:0").bind()?;
    /// println!("Metrics will be at {}", bound.metrics_url());
    /// let serving = bound.start()?;
    /// # serving.stop();
    /// # Ok::<(), tallies::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Returns an error, and leaves nothing bound, in these cases:
    ///
    /// - An address cannot be bound. The message names it.
    /// - No address was added.
    /// - The path does not begin with `/`, has a query, belongs to another page of the server, or
    ///   has characters that a request cannot have.
    /// - A password or token is empty, or a client could not send it in a header.
    /// - TLS has a certificate without a key or the reverse, or its files are unusable. The message
    ///   names the file.
    pub fn bind(&self) -> Result<BoundServer, Error> {
        self.bind_all(None)
    }

    /// Checks the settings, as [`bind`](Self::bind) does, without binding an address.
    ///
    /// ```
    /// let error = tallies::serve::Server::new().path("metrics").check().unwrap_err();
    /// assert!(error.to_string().contains("has to begin with `/`"), "{error}");
    /// ```
    ///
    /// # Errors
    ///
    /// Those of [`bind`](Self::bind) that are not about addresses.
    pub fn check(&self) -> Result<(), Error> {
        self.check_texts()?;
        #[cfg(feature = "tls")]
        self.tls.load()?;
        Ok(())
    }

    fn check_texts(&self) -> Result<(), Error> {
        check_path(&self.path, self.live)?;
        self.credentials.check()
    }

    fn bind_all(&self, first: Option<Result<Listener, Error>>) -> Result<BoundServer, Error> {
        self.check_texts()?;
        #[cfg(feature = "tls")]
        let tls = self.tls.load()?;
        let mut listeners: Vec<_> = first.into_iter().collect::<Result<_, _>>()?;
        for address in &self.addresses {
            address.bind(self.socket_mode, &mut listeners)?;
        }
        if listeners.is_empty() {
            let why = "the metrics service has no address; add one, for example \
                       `.address(\"127.0.0.1:9464\")`";
            return Err(Error::new(why));
        }
        #[cfg(feature = "tls")]
        let secure = tls.is_some();
        #[cfg(not(feature = "tls"))]
        let secure = false;
        let most = max_descriptors() / 4;
        let limit = self.limits.connections.min(most).max(1);
        let seats = Seats::new(limit, most);
        let occupied = Arc::clone(&seats);
        let evict_reader = Box::new(move || occupied.evict_slow_reader());
        let sources = self.sources.clone().or(Arc::clone(&self.default));
        let limits = (self.limits.scrapes, self.limits.pages);
        let pages = Pages::new(sources, limits, Some(evict_reader));
        #[cfg(feature = "live")]
        let live = self.live.then(|| {
            let has_work = self.extension.before_moment().is_some();
            let extension = has_work.then(|| Arc::clone(&self.extension));
            live::Live::new(&pages.scraper, extension, self.limits.age)
        });
        #[cfg(not(feature = "live"))]
        let live = None;
        let probes = PROBES.min(limit / 4).max(1);
        let host = Host {
            routes: Routes {
                pages,
                path: self.path.clone(),
                credentials: self.credentials.clone(),
                timeout: self.limits.answer,
                hosts: self.hosts.clone(),
                extension: Arc::clone(&self.extension),
                probes: ClientPlaces::new(probes, probes - probes / 4),
                probe_turns: Turns::new(self.limits.scrapes),
                checks: Checks::new(),
                style: self.style,
                live,
            },
            limits: self.limits,
            seats,
            #[cfg(feature = "tls")]
            tls,
            open: Arc::default(),
        };
        Ok(BoundServer::new(listeners, host, secure))
    }
}

/// Checks the path of a metrics page, beside a live page or not.
fn check_path(path: &str, is_live: bool) -> Result<(), Error> {
    let why = if !path.starts_with('/') {
        "has to begin with `/`"
    } else if path.contains(['?', '#']) {
        "must not have a query"
    } else if RESERVED_PATHS.contains(&path) {
        "is the path of another page of the service"
    } else if is_live && live::is_part(path) {
        "must not be `/live` or below it, where the live page is"
    } else if !path.is_ascii() || path.parse::<PathAndQuery>().is_err() {
        "has to be percent-encoded, as in a request"
    } else {
        return Ok(());
    };
    Err(Error::setting("metrics path", path, why))
}

/// Returns the number of file descriptors that this process may open. Connections with a seat take
/// at most a quarter of them, those that wait for one a quarter, too.
fn max_descriptors() -> usize {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    return limit_in(&std::fs::read_to_string("/proc/self/limits").unwrap_or_default());
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    return usize::MAX;
}

/// Returns the limit in the text of `/proc/self/limits`, or the kernel's first value if the text
/// has none.
#[cfg(any(target_os = "linux", target_os = "android"))]
fn limit_in(limits: &str) -> usize {
    let line = (limits.lines()).find_map(|line| line.strip_prefix("Max open files"));
    match line.and_then(|line| line.split_whitespace().next()) {
        Some("unlimited") => usize::MAX,
        soft => soft.and_then(|soft| soft.parse().ok()).unwrap_or(1024),
    }
}

#[cfg(all(test, any(target_os = "linux", target_os = "android")))]
mod tests {
    use super::*;

    #[test]
    fn the_soft_limit_of_files_is_read() {
        let text =
            |limit| format!("Max processes 7 9 processes\nMax open files   {limit}  files \n");
        assert_eq!(limit_in(&text("20000   524288")), 20_000);
        assert_eq!(limit_in(&text("unlimited   unlimited")), usize::MAX);
        assert_eq!(limit_in(""), 1024);
        assert_ne!(max_descriptors(), 0);
    }
}
