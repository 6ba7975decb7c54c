//! Interning: names and bounds that live as long as the program.

use std::collections::{HashMap, HashSet};
use std::hash::Hash;
use std::sync::{LazyLock, Mutex};

use crate::sync::{leaf, lock};

type Interned<T> = LazyLock<Mutex<HashSet<&'static T>>>;

/// Returns a label name that lives as long as the program. Equal names share one allocation, so
/// registries that are created and dropped do not leak more and more.
fn intern(text: &str) -> &'static str {
    static TEXTS: Interned<str> = LazyLock::new(Mutex::default);
    interned(&TEXTS, text)
}

/// Returns a list of names that lives as long as the program. See [`intern`].
pub(super) fn intern_texts(texts: &[&str]) -> &'static [&'static str] {
    static LISTS: Interned<[&'static str]> = LazyLock::new(Mutex::default);
    let texts: Vec<_> = texts.iter().map(|text| intern(text)).collect();
    interned(&LISTS, &texts)
}

fn interned<T: Eq + Hash + ?Sized + 'static>(all: &Interned<T>, new: &T) -> &'static T
where
    Box<T>: for<'a> From<&'a T>,
{
    let _leaf = leaf();
    let mut all = lock(all);
    if let Some(known) = all.get(new) {
        return known;
    }
    let new: &'static T = Box::leak(Box::<T>::from(new));
    all.insert(new);
    new
}

/// Returns bounds that live as long as the program, for the hot path. See [`intern`].
pub(super) fn intern_bounds(bounds: &[f64]) -> &'static [f64] {
    static INTERNED: LazyLock<Mutex<HashMap<Vec<u64>, &'static [f64]>>> =
        LazyLock::new(Mutex::default);
    let _leaf = leaf();
    let mut interned = lock(&INTERNED);
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
