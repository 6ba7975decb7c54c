//! Models of what another process reads in a mapped file: moves between cells, and lists of
//! records.

use std::collections::BTreeSet;
use std::sync::Arc;

use loom::thread;

use crate::mapped::Move;
use crate::mapped::journal::Journal;
use crate::mapped::record::{exchange, publish, push};
use crate::sync::{Acquire, AtomicU64, Relaxed};

use super::super::Generation;
use super::super::slot::SlotWord;
use super::reached;

/// The bits of a slot in its word; all ones for none.
const SLOT: u32 = (1 << 30) - 1;

/// Two cells, and the journal of moves between them.
struct Cells {
    journal: Journal,
    cells: [AtomicU64; 2],
}

impl Cells {
    fn new(a: u64, b: u64) -> Arc<Self> {
        Arc::new(Self {
            journal: Journal::new(),
            cells: [AtomicU64::new(a), AtomicU64::new(b)],
        })
    }

    /// Returns a move after which the cells have these values.
    fn list(&self, a: u64, b: u64) -> Move<'_> {
        let mut list = Move::new();
        list.set(&self.cells[0], a);
        list.set(&self.cells[1], b);
        list
    }

    /// The reader in another process: reads both cells once. Returns `None` if it has to try again.
    fn read(&self) -> Option<[u64; 2]> {
        Some(self.read_with(|| ())?.0)
    }

    /// Reads both cells, and something else before them.
    fn read_with<T>(&self, before: impl FnOnce() -> T) -> Option<([u64; 2], T)> {
        let (sequence, stores) = self.journal.read()?;
        let before = before();
        let value = |cell: &AtomicU64| {
            let here = std::ptr::from_ref(cell).addr() as u64;
            let store = stores.iter().find(|[address, ..]| *address == here);
            store.map_or_else(|| cell.load(Relaxed), |[_, _, value]| *value)
        };
        let values = [value(&self.cells[0]), value(&self.cells[1])];
        self.journal.is_still(sequence).then_some((values, before))
    }
}

/// A pass makes two moves beside a reader of another process.
#[test]
fn a_move_is_one_step() {
    let seen = reached(3, || {
        let cells = Cells::new(3, 0);
        let pass = {
            let cells = Arc::clone(&cells);
            thread::spawn(move || {
                cells.list(0, 3).commit_to(&cells.journal);
                cells.list(2, 1).commit_to(&cells.journal);
            })
        };
        let seen = cells.read();
        pass.join().unwrap();
        assert_eq!(cells.read(), Some([2, 1]));
        seen
    });
    let expected = [None, Some([0, 3]), Some([2, 1]), Some([3, 0])];
    assert_eq!(seen, BTreeSet::from(expected));
}

/// A process is killed in the middle of a move.
#[test]
fn a_move_that_was_cut_is_done() {
    let seen = reached(4, || {
        let cells = Cells::new(3, 0);
        let pass = {
            let cells = Arc::clone(&cells);
            thread::spawn(move || {
                cells.journal.open(&cells.list(0, 3));
                cells.cells[0].store(0, Relaxed);
            })
        };
        let seen = cells.read();
        pass.join().unwrap();
        assert_eq!(cells.read(), Some([0, 3]));
        seen
    });
    let expected = [None, Some([0, 3]), Some([3, 0])];
    assert_eq!(seen, BTreeSet::from(expected));
}

/// A series ends, or becomes cold: its count moves to the cold cell, beside a reader of another
/// process that reads the cell of a slot only if the word has one.
#[test]
fn a_word_without_a_slot_comes_after_the_move() {
    let close: fn(&SlotWord) = |word| assert!(word.close().is_some());
    let retire: fn(&SlotWord) = |word| assert!(word.retire(false).is_some());
    let ways: [(fn(&SlotWord), fn(&SlotWord)); 2] =
        [(close, SlotWord::make_cold), (retire, SlotWord::make_cold)];
    for (begin, end) in ways {
        let seen = reached(0, move || {
            let word = Arc::new(SlotWord::new());
            assert!(word.promote(Generation::FIRST, 7));
            let cells = Cells::new(3, 0);
            // Returns the count, and whether the word has a slot.
            let read = {
                let (word, cells) = (Arc::clone(&word), Arc::clone(&cells));
                move || {
                    // Acquire: pairs with the fence of the move.
                    let has_slot = || word.last(Generation::FIRST) as u32 & SLOT != SLOT;
                    let ([own, cold], has_slot) = cells.read_with(has_slot)?;
                    Some((if has_slot { own } else { 0 } + cold, has_slot))
                }
            };
            let reader = thread::spawn(read.clone());
            begin(&word);
            cells.list(0, 3).commit_to(&cells.journal);
            end(&word);
            let seen = reader.join().unwrap();
            assert_eq!(read(), Some((3, false)));
            seen
        });
        let expected = [None, Some((3, false)), Some((3, true))];
        assert_eq!(seen, BTreeSet::from(expected));
    }
}

/// Two threads publish a record each, beside a reader of another process.
#[test]
fn a_record_that_is_found_is_complete() {
    /// The address of the next record, and the content.
    type Records = ([AtomicU64; 2], [AtomicU64; 2]);
    let seen = reached(3, || {
        let head = Arc::new(AtomicU64::new(0));
        let new = || [AtomicU64::new(0), AtomicU64::new(0)];
        let records: Arc<Records> = Arc::new((new(), new()));
        let writers = [1, 2].map(|i| {
            let (head, records) = (Arc::clone(&head), Arc::clone(&records));
            thread::spawn(move || {
                let record = if i == 1 { &records.0 } else { &records.1 };
                record[1].store(i, Relaxed);
                push(&head, &record[0], i);
            })
        });
        let walk = {
            let (head, records) = (Arc::clone(&head), Arc::clone(&records));
            move || {
                // Acquire: pairs with the Release in `push`.
                let mut next = head.load(Acquire);
                let mut found = Vec::new();
                while next != 0 {
                    let record = if next == 1 { &records.0 } else { &records.1 };
                    assert_eq!(record[1].load(Relaxed), next, "not complete");
                    found.push(next);
                    next = record[0].load(Acquire);
                }
                found
            }
        };
        let reader = thread::spawn(walk.clone());
        writers
            .into_iter()
            .for_each(|writer| writer.join().unwrap());
        let seen = reader.join().unwrap();
        let mut all = walk();
        all.sort_unstable();
        assert_eq!(all, [1, 2]);
        seen
    });
    let expected = [vec![], vec![1], vec![1, 2], vec![2], vec![2, 1]];
    assert_eq!(seen, BTreeSet::from(expected));
}

/// A thread replaces the label text of a series, beside a reader of another process.
#[test]
fn a_label_text_that_is_found_is_complete() {
    replaced(|word, i| assert_eq!(exchange(word, i), i - 1));
}

/// Two threads replace the label text of a series, and each reads the old one before it frees it.
#[test]
fn a_label_text_that_is_replaced_is_complete() {
    let seen = reached(2, || {
        // The address of the text, and the contents of two texts.
        let word = Arc::new(AtomicU64::new(0));
        let texts = Arc::new([AtomicU64::new(0), AtomicU64::new(0)]);
        [1, 2]
            .map(|i| {
                let (word, texts) = (Arc::clone(&word), Arc::clone(&texts));
                thread::spawn(move || {
                    texts[i - 1].store(i as u64, Relaxed);
                    let old = exchange(&word, i as u64);
                    if old != 0 {
                        let text = texts[old as usize - 1].load(Relaxed);
                        assert_eq!(text, old, "not complete");
                    }
                    old
                })
            })
            .map(|thread| thread.join().unwrap())
    });
    assert_eq!(seen, BTreeSet::from([[0, 1], [2, 0]]));
}

/// A thread replaces its slab, beside a reader of another process.
#[test]
fn a_slab_that_is_found_is_complete() {
    replaced(publish);
}

/// A thread puts two things one after the other where a reader finds them, complete.
fn replaced(put: fn(&AtomicU64, u64)) {
    let seen = reached(3, move || {
        // The address of the text, and the contents of two texts.
        let word = Arc::new(AtomicU64::new(0));
        let texts = Arc::new([AtomicU64::new(0), AtomicU64::new(0)]);
        let writer = {
            let (word, texts) = (Arc::clone(&word), Arc::clone(&texts));
            thread::spawn(move || {
                for (i, text) in (1..).zip(&*texts) {
                    text.store(i, Relaxed);
                    put(&word, i);
                }
            })
        };
        // Acquire: pairs with the Release in `exchange` and `publish`.
        let found = word.load(Acquire);
        if found != 0 {
            assert_eq!(
                texts[found as usize - 1].load(Relaxed),
                found,
                "not complete"
            );
        }
        writer.join().unwrap();
        found
    });
    assert_eq!(seen, BTreeSet::from([0, 1, 2]));
}
