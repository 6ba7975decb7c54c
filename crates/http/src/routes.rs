//! Routes: finds the route of a request, and the series of that route.
//!
//! Routes live as long as the process. A reference count per route would be a cache line that every
//! request of every thread writes. Each registered server layer and each named client has its own
//! set of routes, with a limit.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use ahash::RandomState;

use super::chain::Chain;
use super::families::{Endpoint, Families};

/// The name of the route of requests that match no route.
const UNMATCHED: &str = "unmatched";
/// The name of the route of requests whose own route is beyond [`Families::limit`].
const OVERFLOW: &str = "__overflow__";

/// The methods of RFC 9110, then PATCH (RFC 5789). The last entry stands for every other method.
pub(super) const METHODS: [&str; 10] = [
    "GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH", "other",
];
const OTHER: usize = METHODS.len() - 1;

/// Returns the index in [`METHODS`].
#[inline]
fn method_index(method: &str) -> usize {
    let mut known = METHODS.iter();
    known.position(|known| *known == method).unwrap_or(OTHER)
}

/// A route, and its series by method.
#[derive(Debug)]
pub(super) struct Route {
    pub(super) name: Box<str>,
    /// Whether requests to this route are not measured.
    pub(super) excluded: bool,
    /// Indexed like [`METHODS`]. Set by the first request with a method; read by all threads.
    methods: [OnceLock<Box<Endpoint>>; METHODS.len()],
}

/// The routes that requests have used so far. Grows up to a limit, and never shrinks.
pub(super) struct Routes {
    pub(super) families: &'static Families,
    /// The value of the label `client_name`; empty for a server.
    pub(super) client: Box<str>,
    /// Paths and route names that are not measured.
    exclude: Box<[Box<str>]>,
    /// The hash function of `buckets`.
    hasher: RandomState,
    /// A hash table of routes by name. All threads read it and append to it.
    buckets: [Chain<Route>; 256],
    pub(super) unmatched: Route,
    overflow: Route,
    /// The number of routes that count towards the limit. Written by threads that add
    /// a route; read before adding one.
    seen: AtomicUsize,
}

impl std::fmt::Debug for Routes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Routes")
            .field("client", &self.client)
            .field("exclude", &self.exclude)
            .finish_non_exhaustive()
    }
}

impl Routes {
    /// Allocates an empty set of routes that is never freed. `client` is empty for a server. Routes
    /// and paths in `exclude` are not measured.
    pub(super) fn leak(
        families: &'static Families,
        client: &str,
        exclude: Box<[Box<str>]>,
    ) -> &'static Self {
        Box::leak(Box::new(Self {
            families,
            client: client.into(),
            hasher: RandomState::new(),
            buckets: std::array::from_fn(|_| Chain::default()),
            unmatched: Route::new(UNMATCHED, is_in(&exclude, UNMATCHED)),
            overflow: Route::new(OVERFLOW, is_in(&exclude, OVERFLOW)),
            seen: AtomicUsize::new(0),
            exclude,
        }))
    }

    /// Returns the route called `name`, or the overflow route if the limit is reached.
    #[inline]
    pub(super) fn named(&self, name: &str) -> &Route {
        let hash = self.hasher.hash_one(name.as_bytes()) as usize;
        let bucket = &self.buckets[hash % self.buckets.len()];
        match bucket.find(|known| *known.name == *name) {
            Some(route) => route,
            None => self.make(bucket, name),
        }
    }

    #[cold]
    fn make<'a>(&'a self, bucket: &'a Chain<Route>, name: &str) -> &'a Route {
        // An excluded route does not count towards the limit: it has no series, and there are only
        // as many as the user named.
        let excluded = self.excludes(name);
        // Relaxed: the limit is approximate. Each racing thread may exceed it by one.
        if !excluded && self.seen.load(Relaxed) >= self.families.limit {
            return &self.overflow;
        }
        let make = || {
            if !excluded {
                self.seen.fetch_add(1, Relaxed);
            }
            Route::new(name, excluded)
        };
        bucket.find_or_make(|known| *known.name == *name, make)
    }

    /// Returns whether this path, or the route of this name, is excluded.
    #[inline]
    pub(super) fn excludes(&self, path: &str) -> bool {
        is_in(&self.exclude, path)
    }

    /// Returns the series for requests with `method` to `route`, which must be in this set.
    #[inline]
    pub(super) fn endpoint(
        &'static self,
        method: &str,
        route: &'static Route,
    ) -> &'static Endpoint {
        let index = method_index(method);
        match route.methods[index].get() {
            Some(endpoint) => endpoint,
            None => self.bind(index, route),
        }
    }

    #[cold]
    fn bind(&'static self, index: usize, route: &'static Route) -> &'static Endpoint {
        route.methods[index].get_or_init(|| {
            let method = match index {
                OTHER => self.families.scheme.other,
                _ => METHODS[index],
            };
            Box::new(Endpoint::new(self, route, method))
        })
    }
}

impl Route {
    fn new(name: &str, excluded: bool) -> Self {
        Self {
            name: name.into(),
            excluded,
            methods: Default::default(),
        }
    }
}

#[inline]
fn is_in(all: &[Box<str>], name: &str) -> bool {
    all.iter().any(|one| **one == *name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn methods_are_a_closed_set() {
        for (index, method) in METHODS.iter().enumerate() {
            assert_eq!(method_index(method), index, "{method}");
        }
        for odd in ["get", "", "BREW", "M-SEARCH"] {
            assert_eq!(METHODS[method_index(odd)], "other", "{odd}");
        }
    }
}
