//! The floors of what removal takes. Registering: a text of its own that can be freed, a cell that
//! stays where it is, a creation time, a lock for reading beside updates of other label sets, and a
//! second look under the lock for writing. A late update: the series' generation in a lock beside
//! the cell, so that nobody counts for a series that is gone.

use std::sync::RwLock;
use std::sync::atomic::{
    AtomicU64,
    Ordering::{Acquire, Relaxed, Release},
};
use std::time::Duration;

use super::{HASHER, grow, hash, push_escaped};
use crate::Row;
use crate::form::{Form, handles, keep};
use crate::workload::*;

const CHUNK: usize = 64;

struct Series {
    text: Box<[u8]>,
    created: Duration,
    cell: AtomicU64,
}

/// The series in chunks that do not move, and a hash table of indices.
#[derive(Default)]
struct Removable {
    chunks: Vec<Vec<Series>>,
    len: usize,
    /// Half a hash, and an index plus one; 0 is a free entry.
    table: Vec<(u32, u32)>,
}

impl Removable {
    fn series(&self, n: usize) -> &Series {
        &self.chunks[n / CHUNK][n % CHUNK]
    }

    /// Returns the series, or else the place of the free entry.
    fn find(&self, hash: u32, text: &[u8]) -> Result<&Series, usize> {
        let mask = self.table.len().wrapping_sub(1);
        let mut at = hash as usize & mask;
        loop {
            match self.table.get(at) {
                None | Some((_, 0)) => return Err(at),
                Some((same, n)) if *same == hash => {
                    let series = self.series(*n as usize - 1);
                    if *series.text == *text {
                        return Ok(series);
                    }
                }
                _ => {}
            }
            at = (at + 1) & mask;
        }
    }

    fn insert(&mut self, hash: u32, text: &[u8]) -> &Series {
        if self.len * 8 >= self.table.len() * 7 {
            grow(&mut self.table);
        }
        if let Err(at) = self.find(hash, text) {
            if self.len.is_multiple_of(CHUNK) {
                self.chunks.push(Vec::with_capacity(CHUNK));
            }
            self.chunks[self.len / CHUNK].push(Series {
                text: text.into(),
                created: now(),
                cell: AtomicU64::new(0),
            });
            self.len += 1;
            self.table[at] = (hash, self.len as u32);
        }
        self.find(hash, text).ok().expect("it is there")
    }
}

/// The time of the kernel's last tick.
fn now() -> Duration {
    let mut now = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: `now` is valid for writes.
    unsafe { libc::clock_gettime(libc::CLOCK_REALTIME_COARSE, &mut now) };
    Duration::new(now.tv_sec as u64, now.tv_nsec as u32)
}

fn count(family: &RwLock<Removable>, labels: Request, text: &mut Vec<u8>) {
    let hash = hash(&HASHER, labels) as u32;
    text.clear();
    text.extend_from_slice(b"method=\"");
    push_escaped(text, labels.0);
    text.extend_from_slice(b"\",path=\"");
    push_escaped(text, labels.1);
    text.push(b'"');
    if let Ok(series) = family.read().unwrap().find(hash, text) {
        series.cell.fetch_add(1, Relaxed);
        return;
    }
    let mut family = family.write().unwrap();
    family.insert(hash, text).cell.fetch_add(1, Relaxed);
}

pub fn register() -> Form {
    let family = keep(RwLock::new(Removable::default()));
    Form::register(
        "removable: own texts, fixed cells, a time; a lock to read, then to write",
        REGISTERED,
        || *family.write().unwrap() = Removable::default(),
        |thread| {
            let mut text = Vec::new();
            for labels in labels_of(thread) {
                count(family, *labels, &mut text);
            }
        },
        |done| {
            let family = family.read().unwrap();
            let all = (0..family.len).map(|n| family.series(n));
            assert!(all.clone().all(|series| series.created > Duration::ZERO));
            let count = all.map(|series| series.cell.load(Relaxed)).sum::<u64>();
            assert_eq!((family.len, count), (done.last as usize, done.last));
        },
    )
}

/// The word of a lock that a thread holds. Otherwise it is a generation.
const LOCKED: u64 = u64::MAX;

#[derive(Default)]
struct Cold {
    lock: AtomicU64,
    cell: AtomicU64,
}

pub fn walk() -> Vec<Form> {
    let all: &Vec<_> = keep((0..SERIES).map(|_| (Box::<Cold>::default(), 0)).collect());
    let inc = |(cold, generation): &(Box<Cold>, u64)| {
        loop {
            match cold.lock.swap(LOCKED, Acquire) {
                LOCKED => std::hint::spin_loop(),
                word => {
                    if word == *generation {
                        cold.cell.store(cold.cell.load(Relaxed) + 1, Relaxed);
                    }
                    return cold.lock.store(word, Release);
                }
            }
        }
    };
    let mut forms = handles(Row::Walk, all, inc, |all| {
        all.iter().map(|(cold, _)| cold.cell.load(Relaxed)).sum()
    });
    forms
        .iter_mut()
        .for_each(|form| form.how = "removable: a lock with the generation beside the cell");
    forms
}
