//! Which route a request is for, and where a route's series are.
//!
//! Routes live as long as the process: a count of who uses one would be a line that every request of every thread writes.
//! There is a set of them for each layer that is registered and each client that is named, and each set has a limit.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use ahash::RandomState;

use super::chain::Chain;
use super::families::{Endpoint, Families};

/// The route of what no route matches.
const UNMATCHED: &str = "unmatched";
/// The route of what comes after [`Routes::limit`].
const OVERFLOW: &str = "__overflow__";

/// The methods of RFC 9110 and PATCH (RFC 5789); whatever else a client says is the last.
pub(super) const METHODS: [&str; 10] = [
    "GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH", "other",
];
const OTHER: usize = METHODS.len() - 1;

#[inline]
fn method_index(method: &str) -> usize {
    match method {
        "GET" => 0,
        "HEAD" => 1,
        "POST" => 2,
        "PUT" => 3,
        "DELETE" => 4,
        "CONNECT" => 5,
        "OPTIONS" => 6,
        "TRACE" => 7,
        "PATCH" => 8,
        _ => OTHER,
    }
}

/// A route, and its series by method.
#[derive(Debug)]
pub(super) struct Route {
    pub(super) name: Box<str>,
    pub(super) excluded: bool,
    methods: [OnceLock<Box<Endpoint>>; METHODS.len()],
}

/// Every route that was seen; only grows, up to a limit.
#[derive(Debug)]
pub(super) struct Routes {
    families: &'static Families,
    pub(super) client: Box<str>,
    exclude: Box<[Box<str>]>,
    hasher: RandomState,
    buckets: [Chain<Route>; 256],
    pub(super) unmatched: Route,
    overflow: Route,
    seen: AtomicUsize,
    limit: usize,
}

impl Routes {
    /// Of a client, or of the server: then that has no name. Those in `exclude` are not measured.
    pub(super) fn leaked(
        families: &'static Families,
        client: &str,
        exclude: Box<[Box<str>]>,
        limit: usize,
    ) -> &'static Self {
        Box::leak(Box::new(Self {
            families,
            client: client.into(),
            hasher: RandomState::new(),
            buckets: std::array::from_fn(|_| Chain::default()),
            unmatched: Route::new(UNMATCHED, is_in(&exclude, UNMATCHED)),
            overflow: Route::new(OVERFLOW, is_in(&exclude, OVERFLOW)),
            seen: AtomicUsize::new(0),
            limit,
            exclude,
        }))
    }

    /// The route of this name; that of all others where there are too many.
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
        // What is excluded has no series, but a route to say so: of these there are no more than were named.
        let excluded = self.excludes(name);
        // Relaxed: a bound, not a count; racing threads may pass it by one each.
        if !excluded && self.seen.load(Relaxed) >= self.limit {
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

    /// Whether this path, or the route of this name, is not measured.
    #[inline]
    pub(super) fn excludes(&self, path: &str) -> bool {
        is_in(&self.exclude, path)
    }

    /// Where requests of this method to one of these routes count.
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
                OTHER => self.families.other,
                _ => METHODS[index],
            };
            Box::new(Endpoint::new(
                self.families,
                &self.client,
                method,
                &route.name,
            ))
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
