//! Merging sketches: the tuples of all parts in order, each as uncertain as all parts together make
//! it.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::{Sketch, Tuple};

impl Sketch {
    /// Merges `parts` into one sketch of all their values. It satisfies a bound if all parts do.
    ///
    /// ```
    /// use tallies::snapshot::sketch::{Sketch, key_of};
    ///
    /// let low = Sketch::from_sorted(&[1.0, 2.0].map(key_of));
    /// let high = Sketch::from_sorted(&[3.0, 4.0].map(key_of));
    /// let both = Sketch::merge(&[&low, &high]);
    /// assert_eq!((both.n(), both.quantile(1.0)), (4, Some((4.0, 0))));
    /// ```
    ///
    /// The result holds every tuple of every part, so a result that is stored should be
    /// [compressed](Sketch::compress); one that is only queried need not be. Takes `log(parts)`
    /// steps per tuple.
    pub fn merge(parts: &[&Sketch]) -> Self {
        let mut merged = Self::new();
        let tuples = parts.iter().map(|part| part.tuples.len()).sum();
        merged.tuples.reserve(tuples);
        let mut rests: Vec<&[Tuple]> = parts.iter().map(|part| part.tuples()).collect();
        // The number of values that may be hidden below the next tuple of each part. The ranks of
        // the other parts depend on these values.
        let hidden = |rest: &[Tuple]| rest.first().map_or(0, |tuple| u64::from(tuple.hidden()));
        let mut all_hidden: u64 = rests.iter().map(|rest| hidden(rest)).sum();
        // Among equal keys, all tuples of the first part come first. The next tuple of a part is
        // then never inside a run.
        let mut heap: BinaryHeap<_> = rests.iter().enumerate().filter_map(next).collect();
        while let Some(mut least) = heap.peek_mut() {
            let Reverse((_, part)) = *least;
            let Some((tuple, rest)) = rests[part].split_first() else {
                break;
            };
            all_hidden -= u64::from(tuple.hidden());
            let delta = u64::from(tuple.delta) + all_hidden;
            merged.tuples.push(Tuple {
                delta: u32::try_from(delta).unwrap_or(u32::MAX),
                ..*tuple
            });
            all_hidden += hidden(rest);
            rests[part] = rest;
            match next((part, &rest)) {
                Some(following) => *least = following,
                None => drop(std::collections::binary_heap::PeekMut::pop(least)),
            }
        }
        merged.n = parts.iter().map(|part| part.n).sum();
        merged.degraded = parts.iter().any(|part| part.degraded);
        merged
    }
}

/// Returns the key by which the merge orders the next tuple of a part.
fn next((part, rest): (usize, &&[Tuple])) -> Option<Reverse<(u64, usize)>> {
    rest.first().map(|tuple| Reverse((tuple.key, part)))
}
