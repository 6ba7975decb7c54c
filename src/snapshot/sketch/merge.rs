//! The merge of several sketches: their tuples in order, each as uncertain as all of them make it.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::{Sketch, Tuple};

impl Sketch {
    /// One sketch of all the values of `parts`, as true to a bound as they are; `log(parts)` steps a tuple.
    ///
    /// It holds every tuple of every part: [`compress`](Sketch::compress) what is kept, query what is not.
    pub fn merge(parts: &[&Sketch]) -> Self {
        let mut merged = Self::new();
        merged
            .tuples
            .reserve(parts.iter().map(|part| part.tuples.len()).sum());
        let mut rests: Vec<&[Tuple]> = parts.iter().map(|part| part.tuples()).collect();
        // What may hide below the next tuple of each part: values on which the others' ranks depend.
        let hidden = |rest: &[Tuple]| rest.first().map_or(0, |tuple| u64::from(tuple.hidden()));
        let mut all_hidden: u64 = rests.iter().map(|rest| hidden(rest)).sum();
        // Of equal keys the first part's all come first: no part's next tuple is then inside a run.
        let mut heap: BinaryHeap<_> = rests.iter().enumerate().filter_map(next).collect();
        while let Some(mut least) = heap.peek_mut() {
            let Reverse((_, part)) = *least;
            let Some((tuple, rest)) = rests[part].split_first() else {
                break;
            };
            all_hidden -= u64::from(tuple.hidden());
            let delta = u64::from(tuple.delta) + all_hidden; // mutation: naive-merge
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

/// The next tuple's place in the order of the merge.
fn next((part, rest): (usize, &&[Tuple])) -> Option<Reverse<(u64, usize)>> {
    rest.first().map(|tuple| Reverse((tuple.key, part)))
}
