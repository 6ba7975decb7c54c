//! A model of folds: every order, up to some switches, in which processes that fold and one that
//! reads make their system calls, with the code that ships and real files.

use std::cell::RefCell;
use std::panic::resume_unwind;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use super::fold::{dead, totals};
use super::kinds::TestDirectory;

/// The number of jobs that the two dead writers counted.
const JOBS: f64 = 5.0;

thread_local! {
    /// The schedule of this thread, and its number there.
    static ME: RefCell<Option<(Arc<Schedule>, usize)>> = const { RefCell::new(None) };
}

/// A point between two system calls.
pub(super) fn step() {
    let me = ME.with_borrow(Clone::clone);
    if let Some((schedule, me)) = me {
        schedule.step(me);
    }
}

/// The payload of a thread that ends as if it were killed.
struct Killed;

/// An order of threads, of which one runs at a time.
struct Schedule {
    state: Mutex<State>,
    wake: Condvar,
    /// The most switches from a thread that could go on.
    most_switches: usize,
}

#[derive(Default)]
struct State {
    /// The choices to make; then always the first.
    script: Vec<usize>,
    /// The choices that were made, each with the number of those that there were.
    made: Vec<(usize, usize)>,
    /// The thread that runs.
    turn: Option<usize>,
    /// The threads that have not ended.
    live: Vec<usize>,
    switches: usize,
    /// The thread that can be killed, once.
    mortal: Option<usize>,
}

impl Schedule {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Chooses among the threads that may run now: first `me`, if it can go on. Returns `false` if
    /// `me` is killed.
    fn choose(&self, me: Option<usize>) -> bool {
        let mut state = self.state();
        let mut options: Vec<usize> = me.into_iter().collect();
        if me.is_none() || state.switches < self.most_switches {
            let others = state.live.iter().filter(|other| Some(**other) != me);
            options.extend(others);
        }
        let can_be_killed = me.is_some() && state.mortal == me;
        let count = options.len() + usize::from(can_be_killed);
        if count == 0 {
            return true;
        }
        let choice = state.script.get(state.made.len()).copied().unwrap_or(0);
        state.made.push((choice, count));
        let Some(next) = options.get(choice).copied() else {
            state.mortal = None;
            return false;
        };
        state.switches += usize::from(me.is_some_and(|me| me != next));
        state.turn = Some(next);
        self.wake.notify_all();
        true
    }

    fn step(&self, me: usize) {
        if !self.choose(Some(me)) {
            resume_unwind(Box::new(Killed));
        }
        self.wait(me);
    }

    /// Blocks until it is this thread's turn.
    fn wait(&self, me: usize) {
        let mut state = self.state();
        while state.turn != Some(me) {
            state = self
                .wake
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn run(self: &Arc<Self>, me: usize, process: impl FnOnce()) {
        struct End<'a>(&'a Schedule, usize);
        impl Drop for End<'_> {
            fn drop(&mut self) {
                ME.with_borrow_mut(|me| *me = None);
                self.0.state().live.retain(|live| *live != self.1);
                self.0.choose(None);
            }
        }
        self.wait(me);
        let _end = End(self, me);
        ME.with_borrow_mut(|of_thread| *of_thread = Some((Arc::clone(self), me)));
        process();
    }
}

/// Runs two processes that fold and one that reads, in every order with so many switches. Returns
/// the number of orders. Those that begin with the second fold mirror those that begin with the
/// first.
fn check(name: &str, most_switches: usize, mortal: Option<usize>) -> usize {
    let firsts: &[usize] = if mortal.is_some() {
        &[0, 1, 2]
    } else {
        &[0, 2]
    };
    std::thread::scope(|scope| {
        let begin = |&first| scope.spawn(move || check_from(first, name, most_switches, mortal));
        let threads: Vec<_> = firsts.iter().map(begin).collect();
        threads
            .into_iter()
            .map(|orders| orders.join().unwrap())
            .sum()
    })
}

/// The orders that begin with the process `first`.
fn check_from(first: usize, name: &str, most_switches: usize, mortal: Option<usize>) -> usize {
    let mut script = vec![first];
    for orders in 1.. {
        let directory = TestDirectory::new(&format!("{name}-{first}"));
        dead(&directory.0, 1, 2);
        dead(&directory.0, 2, 3);
        let schedule = Arc::new(Schedule {
            state: Mutex::new(State {
                script: std::mem::take(&mut script),
                live: vec![0, 1, 2],
                mortal,
                ..State::default()
            }),
            wake: Condvar::new(),
            most_switches,
        });
        schedule.choose(None);
        std::thread::scope(|scope| {
            let fold = |me| {
                let (schedule, directory) = (&schedule, &directory);
                scope.spawn(move || {
                    schedule.run(me, || _ = directory.reader().fold().unwrap());
                })
            };
            let folds = [fold(0), fold(1)];
            schedule.run(2, || {
                let dir = directory.reader();
                for _ in 0..2 {
                    assert_eq!(totals(&dir), [Some(JOBS); 2]);
                }
            });
            for fold in folds {
                if let Err(cause) = fold.join() {
                    assert!(cause.is::<Killed>(), "a fold panicked");
                }
            }
        });
        let dir = directory.reader();
        assert_eq!(totals(&dir), [Some(JOBS); 2]);
        dir.fold().unwrap();
        assert_eq!(totals(&dir), [Some(JOBS); 2]);
        assert_eq!(std::fs::read_dir(&directory.0).unwrap().count(), 1);
        let made = &schedule.state().made;
        let Some(last) = made[1..]
            .iter()
            .rposition(|(choice, count)| choice + 1 < *count)
        else {
            return orders;
        };
        let last = last + 1;
        script.extend(made[..last].iter().map(|(choice, _)| choice));
        script.push(made[last].0 + 1);
    }
    unreachable!("the last order returns")
}

#[test]
fn folds_and_a_reader_in_every_order_have_the_same_total() {
    let orders = check("orders", 2, None);
    assert!(orders > 1000, "{orders}");
}

#[test]
fn a_fold_that_is_killed_beside_another_and_a_reader_changes_no_total() {
    let orders = check("kills", 1, Some(0));
    assert!(orders > 1000, "{orders}");
}
