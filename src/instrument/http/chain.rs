//! A list that only grows: found by walking, appended to without a lock that a reader could meet.

use std::sync::OnceLock;

/// Pairs in the order in which they came. Meant to be short: a few status codes, the few routes of one hash.
#[derive(Debug)]
pub(super) struct Chain<K, V>(OnceLock<Box<Node<K, V>>>);

#[derive(Debug)]
struct Node<K, V> {
    key: K,
    value: V,
    next: Chain<K, V>,
}

impl<K, V> Default for Chain<K, V> {
    fn default() -> Self {
        Self(OnceLock::new())
    }
}

impl<K, V> Chain<K, V> {
    /// The value whose key is right, if there is one.
    #[inline]
    pub(super) fn find(&self, is: impl Fn(&K) -> bool) -> Option<&V> {
        let mut link = &self.0;
        while let Some(node) = link.get() {
            if is(&node.key) {
                return Some(&node.value);
            }
            link = &node.next.0;
        }
        None
    }

    /// The value of `key`, made if nobody was first.
    #[cold]
    pub(super) fn find_or_make(&self, key: K, mut make: impl FnMut() -> V) -> &V
    where
        K: PartialEq + Clone,
    {
        let mut link = &self.0;
        loop {
            let node = link.get_or_init(|| {
                Box::new(Node {
                    key: key.clone(),
                    value: make(),
                    next: Self::default(),
                })
            });
            if node.key == key {
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
    fn every_key_once_whoever_comes_first() {
        let chain = Chain::<u16, String>::default();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for key in 0..50 {
                        let made = chain.find_or_make(key, || key.to_string());
                        assert_eq!(*made, key.to_string());
                        assert!(std::ptr::eq(made, chain.find(|k| *k == key).unwrap()));
                    }
                });
            }
        });
        assert!(chain.find(|key| *key == 50).is_none());
    }
}
