//! Which route a request is for, and where a route's series are.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};

use ahash::RandomState;

use super::chain::Chain;
use super::families::{Endpoint, Families};

/// The route of what no route matches.
pub(super) const UNMATCHED: &str = "unmatched";
/// The route of what comes after [`Routes::limit`].
const OVERFLOW: &str = "__overflow__";

/// The methods of RFC 9110 and PATCH (RFC 5789); whatever else a client says is the last.
const METHODS: [&str; 10] = [
    "GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH", "OTHER",
];
const OTHER: usize = METHODS.len() - 1;

#[inline]
fn method_index(method: &str) -> usize {
    METHODS[..OTHER]
        .iter()
        .position(|known| *known == method)
        .unwrap_or(OTHER)
}

type Methods = [OnceLock<Arc<Endpoint>>; METHODS.len()];

/// Every route that was seen, by method; only grows, up to a limit.
#[derive(Debug)]
pub(super) struct Routes {
    families: Arc<Families>,
    client: Box<str>,
    hasher: RandomState,
    buckets: Box<[Chain<Box<str>, Methods>]>,
    overflow: Methods,
    seen: AtomicUsize,
    limit: usize,
}

impl Routes {
    pub(super) fn new(families: Arc<Families>, client: &str, limit: usize) -> Self {
        Self {
            families,
            client: client.into(),
            hasher: RandomState::new(),
            buckets: (0..256).map(|_| Chain::default()).collect(),
            overflow: Methods::default(),
            seen: AtomicUsize::new(0),
            limit,
        }
    }

    /// Where requests of this method to this route count.
    #[inline]
    pub(super) fn endpoint(&self, method: &str, route: &str) -> &Arc<Endpoint> {
        let hash = self.hasher.hash_one(route.as_bytes()) as usize;
        let bucket = &self.buckets[hash % self.buckets.len()];
        let methods = match bucket.find(|known| **known == *route) {
            Some(methods) => methods,
            None => self.make(bucket, route),
        };
        let route = if std::ptr::eq(methods, &self.overflow) {
            OVERFLOW
        } else {
            route
        };
        let index = method_index(method);
        methods[index].get_or_init(|| {
            let method = match index {
                OTHER => self.families.other,
                _ => METHODS[index],
            };
            let families = Arc::clone(&self.families);
            Arc::new(Endpoint::new(families, &self.client, method, route))
        })
    }

    #[cold]
    fn make<'a>(&'a self, bucket: &'a Chain<Box<str>, Methods>, route: &str) -> &'a Methods {
        // Relaxed: a bound, not a count; racing threads may pass it by one each.
        if self.seen.load(Relaxed) >= self.limit {
            return &self.overflow;
        }
        bucket.find_or_make(route.into(), || {
            self.seen.fetch_add(1, Relaxed);
            Methods::default()
        })
    }
}

/// Path templates, for servers and clients that have no router to ask: `{name}` stands for one segment, `{*name}` at the
/// end for all that follow.
#[derive(Debug, Default)]
pub(super) struct Templates(Vec<Box<str>>);

impl Templates {
    pub(super) fn add<T: AsRef<str>>(&mut self, templates: impl IntoIterator<Item = T>) {
        self.0
            .extend(templates.into_iter().map(|t| t.as_ref().into()));
    }

    /// The first template that `path` matches.
    pub(super) fn find(&self, path: &str) -> Option<&str> {
        self.0
            .iter()
            .find(|template| matches(template, path))
            .map(|template| &**template)
    }
}

fn matches(template: &str, path: &str) -> bool {
    let (mut template, mut path) = (template.as_bytes(), path.as_bytes());
    loop {
        match (template, path) {
            ([], []) => return true,
            ([b'{', b'*', ..], [_, ..]) => return true,
            ([b'{', ..], [first, ..]) if *first != b'/' => {
                template = behind(template, b'}').get(1..).unwrap_or_default();
                path = behind(path, b'/');
            }
            ([expected, rest @ ..], [byte, others @ ..]) if expected == byte => {
                (template, path) = (rest, others);
            }
            _ => return false,
        }
    }
}

/// What begins with the first `byte`.
fn behind(text: &[u8], byte: u8) -> &[u8] {
    let at = text.iter().position(|b| *b == byte);
    at.map_or(&[], |at| &text[at..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn templates() {
        for (template, path, expected) in [
            ("/", "/", true),
            ("/", "", false),
            ("/a", "/a", true),
            ("/a", "/a/", false),
            ("/a", "/ab", false),
            ("/users/{id}", "/users/7", true),
            ("/users/{id}", "/users/", false),
            ("/users/{id}", "/users/7/x", false),
            ("/users/{id}/x", "/users/7/x", true),
            ("/users/{id}/x", "/users//x", false),
            ("/users/{id}/x", "/users/7", false),
            ("/users/{id", "/users/7/x", false),
            ("/files/{*path}", "/files/a/b/c", true),
            ("/files/{*path}", "/files/", false),
            ("/files/{*path}", "/files", false),
        ] {
            assert_eq!(matches(template, path), expected, "{template} {path}");
        }
    }

    #[test]
    fn methods_are_a_closed_set() {
        assert_eq!(METHODS[method_index("PATCH")], "PATCH");
        for odd in ["get", "", "BREW", "OTHER", "M-SEARCH"] {
            assert_eq!(METHODS[method_index(odd)], "OTHER", "{odd}");
        }
    }
}
