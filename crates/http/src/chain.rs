//! An append-only linked list that readers walk without locks.

use std::sync::OnceLock;

/// Values in the order of insertion. Meant to be short: a few status codes, or the few routes in
/// one hash bucket.
pub(super) struct Chain<V>(OnceLock<Box<Node<V>>>);

struct Node<V> {
    value: V,
    next: Chain<V>,
}

impl<V> Default for Chain<V> {
    fn default() -> Self {
        Self(OnceLock::new())
    }
}

impl<V> Chain<V> {
    /// Returns the first value that `is` accepts.
    #[inline]
    pub(super) fn find(&self, is: impl Fn(&V) -> bool) -> Option<&V> {
        let mut link = &self.0;
        while let Some(node) = link.get() {
            if is(&node.value) {
                return Some(&node.value);
            }
            link = &node.next.0;
        }
        None
    }

    /// Returns the first value that `is` accepts, or appends the value that `make` returns.
    ///
    /// Two threads may append at the same time:
    ///
    /// - If this thread initializes the last link, its own value is the next one.
    /// - If another thread initializes the link first, this thread checks that value and, if it is
    ///   not the right one, continues at the link behind it.
    #[cold]
    pub(super) fn find_or_make(&self, is: impl Fn(&V) -> bool, mut make: impl FnMut() -> V) -> &V {
        let mut link = &self.0;
        loop {
            let node = link.get_or_init(|| {
                Box::new(Node {
                    value: make(),
                    next: Self::default(),
                })
            });
            if is(&node.value) {
                return &node.value;
            }
            link = &node.next.0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_once_whoever_comes_first() {
        let chain = Chain::<(u16, String)>::default();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for key in 0..50 {
                        let made = chain.find_or_make(|v| v.0 == key, || (key, key.to_string()));
                        assert_eq!(made.1, key.to_string());
                        assert!(std::ptr::eq(made, chain.find(|v| v.0 == key).unwrap()));
                    }
                });
            }
        });
        assert!(chain.find(|v| v.0 == 50).is_none());
    }
}
