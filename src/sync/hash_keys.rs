//! The keys of hash maps: random, so that nobody can choose label values that collide.

use std::hash::BuildHasher;
use std::sync::OnceLock;

/// Builds the hashers of a map, with keys of its own.
///
/// The keys come from std, which asks the system once for each thread. With the feature that makes
/// `ahash` ask by itself, every program would build a crate for it.
#[derive(Clone, Debug)]
pub(crate) struct RandomState(ahash::RandomState);

impl Default for RandomState {
    fn default() -> Self {
        static KEYS: OnceLock<[u64; 4]> = OnceLock::new();
        let [a, b, c, d] = *KEYS.get_or_init(|| {
            let random = std::hash::RandomState::new();
            [0, 1, 2, 3].map(|i| random.hash_one(i))
        });
        // Mixes a counter in, so that no two maps have the same keys.
        Self(ahash::RandomState::generate_with(a, b, c, d))
    }
}

impl BuildHasher for RandomState {
    type Hasher = ahash::AHasher;

    #[inline(always)]
    fn build_hasher(&self) -> ahash::AHasher {
        self.0.build_hasher()
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn every_map_has_keys_of_its_own() {
        let (one, other) = (RandomState::default(), RandomState::default());
        assert_ne!(one.hash_one("a"), other.hash_one("a"));
        assert_eq!(one.hash_one("a"), one.clone().hash_one("a"));
    }
}
