//! Interning: names and bounds that live as long as the program.

use std::collections::{HashMap, HashSet};
use std::hash::Hash;
use std::sync::{LazyLock, Mutex, PoisonError};

/// Returns a label name that lives as long as the program. Equal names share one allocation, so
/// registries that are created and dropped do not leak more and more.
pub(crate) fn intern(text: &str) -> &'static str {
    static TEXTS: LazyLock<Mutex<HashSet<&'static str>>> = LazyLock::new(Mutex::default);
    if text.is_empty() {
        return "";
    }
    let mut texts = TEXTS.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(text) = texts.get(text) {
        return text;
    }
    let text: &'static str = Box::leak(text.into());
    texts.insert(text);
    text
}

pub(super) type Interned<T> = LazyLock<Mutex<HashSet<&'static [T]>>>;

/// Returns a list that lives as long as the program. See [`intern`].
pub(super) fn intern_list<T: Eq + Hash + Copy + Send + 'static>(
    interned: &Interned<T>,
    list: &[T],
) -> &'static [T] {
    let mut interned = interned.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(list) = interned.get(list) {
        return list;
    }
    let list: &'static [T] = Box::leak(list.into());
    interned.insert(list);
    list
}

/// Returns bounds that live as long as the program, for the hot path. See [`intern`].
pub(super) fn intern_bounds(bounds: &[f64]) -> &'static [f64] {
    static INTERNED: LazyLock<Mutex<HashMap<Vec<u64>, &'static [f64]>>> =
        LazyLock::new(Mutex::default);
    let mut interned = INTERNED.lock().unwrap_or_else(PoisonError::into_inner);
    let bits = bounds.iter().map(|bound| bound.to_bits()).collect();
    interned
        .entry(bits)
        .or_insert_with(|| Box::leak(bounds.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interned_once() {
        assert!(std::ptr::eq(
            intern("some name"),
            intern(&String::from("some name"))
        ));
    }
}
