//! Random trees of spans, on one and several threads, against a calculation from the definition:
//! the instants of a span's life, minus those of any child's.
//!
//! The model knows nothing of the layer: it writes down who began and ended when, and counts
//! instants. The registry's rules are in it: a span closes with its last handle, or with its last
//! child if that comes later.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, mpsc};
use std::thread;

use proptest::prelude::*;
use tallies::Registry;
use tracing::level_filters::LevelFilter;
use tracing::{Dispatch, Level, Span, span};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::SubscriberExt;

use super::{Hands, all_times, sum};
use crate::settings::SpanTime;

/// The parent of a new span.
#[derive(Clone, Copy, Debug)]
enum Parent {
    /// The span that the thread is in.
    Current,
    None,
    /// One of the open spans, by its number modulo theirs.
    Given(usize),
}

#[derive(Clone, Copy, Debug)]
enum Step {
    /// Creates a span; it is measured or not.
    Create(Parent, bool),
    Enter(usize),
    Exit(usize),
    Drop(usize),
    Advance(u64),
}

/// A step, and the thread that takes it.
type Program = Vec<(usize, Step)>;

const THREADS: usize = 3;

fn program(threads: usize) -> impl Strategy<Value = Program> {
    let parent = prop_oneof![
        3 => Just(Parent::Current),
        1 => Just(Parent::None),
        3 => (0..9_usize).prop_map(Parent::Given),
    ];
    let step = prop_oneof![
        4 => (parent, prop::bool::weighted(0.8)).prop_map(|(p, m)| Step::Create(p, m)),
        4 => (0..9_usize).prop_map(Step::Enter),
        3 => (0..9_usize).prop_map(Step::Exit),
        3 => (0..9_usize).prop_map(Step::Drop),
        4 => (1..50_u64).prop_map(Step::Advance),
    ];
    prop::collection::vec((0..threads, step), 0..60)
}

/// A span of the model.
#[derive(Debug, Default)]
struct ModelSpan {
    parent: Option<usize>,
    is_measured: bool,
    created: u64,
    closed: Option<u64>,
    has_handle: bool,
    open_children: usize,
    /// Intervals in which a thread was inside.
    inside: Vec<(u64, u64)>,
}

/// An entry of a thread's stack: the span, when it was entered, whether it was on the stack before.
struct Entered {
    span: usize,
    at: u64,
    is_again: bool,
}

#[derive(Default)]
struct Model {
    spans: Vec<ModelSpan>,
    stacks: [Vec<Entered>; THREADS],
    now: u64,
}

impl Model {
    fn current(&self, thread: usize) -> Option<usize> {
        let mut stack = self.stacks[thread].iter().rev();
        stack
            .find(|entered| !entered.is_again)
            .map(|entered| entered.span)
    }

    /// The open spans that have a handle. Only they are used.
    fn usable(&self, number: usize) -> Option<usize> {
        let mut open = (0..self.spans.len()).filter(|i| self.spans[*i].has_handle);
        let len = open.clone().count();
        (len > 0).then(|| open.nth(number % len)).flatten()
    }

    fn is_entered(&self, span: usize) -> bool {
        self.stacks
            .iter()
            .flatten()
            .any(|entered| entered.span == span)
    }

    fn close_if_unused(&mut self, span: usize) {
        let state = &mut self.spans[span];
        if !state.has_handle && state.open_children == 0 {
            state.closed = Some(self.now);
            if let Some(parent) = state.parent {
                self.spans[parent].open_children -= 1;
                self.close_if_unused(parent);
            }
        }
    }

    fn measured_parent(&self, span: usize) -> Option<usize> {
        let parent = self.spans[span].parent?;
        match self.spans[parent].is_measured {
            true => Some(parent),
            false => self.measured_parent(parent),
        }
    }

    /// Returns the times of a span that was closed, by counting instants.
    fn times(&self, span: usize) -> Option<[u64; 4]> {
        let state = &self.spans[span];
        let life = state.created..state.closed?;
        let children: Vec<_> = (0..self.spans.len())
            .filter(|child| self.spans[*child].is_measured)
            .filter(|child| self.measured_parent(*child) == Some(span))
            .map(|child| &self.spans[child])
            .map(|child| child.created..child.closed.unwrap_or(u64::MAX))
            .collect();
        let alone = |t: &u64| !children.iter().any(|child| child.contains(t));
        let inside = |t: &u64| state.inside.iter().any(|(a, b)| (*a..*b).contains(t));
        let count = |is: &dyn Fn(&u64) -> bool| life.clone().filter(|t| is(t)).count() as u64;
        Some([
            count(&|_| true),
            count(&alone),
            count(&inside),
            count(&|t| !inside(t)),
        ])
    }
}

/// A layer for which spans exist that are not measured.
struct Other;

impl<S: tracing::Subscriber> Layer<S> for Other {}

type Job = Box<dyn FnOnce() + Send>;

/// Threads that take jobs in turn: one runs at a time.
struct Team(
    Vec<mpsc::Sender<(Job, mpsc::Sender<()>)>>,
    Vec<thread::JoinHandle<()>>,
);

impl Team {
    fn new(dispatch: &Dispatch) -> Self {
        let (mut senders, mut threads) = (Vec::new(), Vec::new());
        for _ in 0..THREADS {
            let (sender, jobs) = mpsc::channel::<(Job, mpsc::Sender<()>)>();
            let dispatch = dispatch.clone();
            threads.push(thread::spawn(move || {
                let _default = tracing::dispatcher::set_default(&dispatch);
                for (job, done) in jobs {
                    job();
                    done.send(()).unwrap();
                }
            }));
            senders.push(sender);
        }
        Self(senders, threads)
    }

    fn run(&self, thread: usize, job: impl FnOnce() + Send + 'static) {
        let (done, finished) = mpsc::channel();
        self.0[thread].send((Box::new(job), done)).unwrap();
        finished.recv().unwrap();
    }

    fn end(self) {
        drop(self.0);
        for thread in self.1 {
            thread.join().unwrap();
        }
    }
}

fn run(program: &Program) -> (Registry, Model) {
    let hands = Hands::default();
    let (registry, settings) = all_times(hands.clock());
    let layer = settings.field("n").register(&registry).unwrap();
    let other = Other.with_filter(LevelFilter::DEBUG);
    let dispatch = Dispatch::new(tracing_subscriber::registry().with(other).with(layer));
    let team = Team::new(&dispatch);
    let mut model = Model::default();
    let handles: Arc<Mutex<BTreeMap<usize, Span>>> = Arc::default();
    let with = |span: usize, f: &'static (dyn Fn(&Dispatch, &tracing::Id) + Sync)| {
        let handles = Arc::clone(&handles);
        move || {
            let handle = handles.lock().unwrap().get(&span).cloned().unwrap();
            handle.with_subscriber(|(id, dispatch)| f(dispatch, id));
        }
    };
    let mut steps = program.clone();
    // In the end all spans are left and dropped.
    steps.extend((0..THREADS).flat_map(|t| (0..60).map(move |_| (t, Step::Exit(0)))));
    steps.extend((0..60).flat_map(|i| [(i % THREADS, Step::Drop(0)), (0, Step::Advance(1))]));
    for (thread, step) in steps {
        match step {
            Step::Advance(nanos) => {
                hands.advance(nanos);
                model.now = hands.now();
            }
            Step::Create(parent, is_measured) => {
                let n = model.spans.len();
                let parent_number = match parent {
                    Parent::Current => model.current(thread),
                    Parent::None => None,
                    Parent::Given(number) => model.usable(number),
                };
                let handles = Arc::clone(&handles);
                let is_current = matches!(parent, Parent::Current);
                team.run(thread, move || {
                    let mut handles = handles.lock().unwrap();
                    let parent = parent_number.and_then(|parent| handles[&parent].id());
                    let span = match (is_current, is_measured) {
                        (true, true) => span!(target: "t", Level::INFO, "s", n),
                        (true, false) => span!(target: "t", Level::DEBUG, "s", n),
                        (false, true) => span!(target: "t", parent: parent, Level::INFO, "s", n),
                        (false, false) => span!(target: "t", parent: parent, Level::DEBUG, "s", n),
                    };
                    handles.insert(n, span);
                });
                model.spans.push(ModelSpan {
                    parent: parent_number,
                    is_measured,
                    created: model.now,
                    has_handle: true,
                    ..ModelSpan::default()
                });
                if let Some(parent) = parent_number {
                    model.spans[parent].open_children += 1;
                }
            }
            Step::Enter(number) => {
                let Some(span) = model.usable(number) else {
                    continue;
                };
                team.run(thread, with(span, &|dispatch, id| dispatch.enter(id)));
                let stack = &model.stacks[thread];
                let is_again = stack.iter().any(|entered| entered.span == span);
                let at = model.now;
                model.stacks[thread].push(Entered { span, at, is_again });
            }
            Step::Exit(number) => {
                let len = model.stacks[thread].len();
                if len == 0 {
                    continue;
                }
                let span = model.stacks[thread][number % len].span;
                team.run(thread, with(span, &|dispatch, id| dispatch.exit(id)));
                let stack = &mut model.stacks[thread];
                // The registry pops the last entry of the span.
                let last = stack
                    .iter()
                    .rposition(|entered| entered.span == span)
                    .unwrap();
                let entered = stack.remove(last);
                model.spans[span].inside.push((entered.at, model.now));
            }
            Step::Drop(number) => {
                let span = model.usable(number).filter(|span| !model.is_entered(*span));
                let Some(span) = span else { continue };
                let handles = Arc::clone(&handles);
                team.run(thread, move || {
                    let span = handles.lock().unwrap().remove(&span);
                    drop(span);
                });
                model.spans[span].has_handle = false;
                model.close_if_unused(span);
            }
        }
    }
    team.end();
    (registry, model)
}

fn agrees(program: &Program) -> Result<(), TestCaseError> {
    let (registry, model) = run(program);
    let now = registry.snapshot();
    for n in 0..model.spans.len() {
        if !model.spans[n].is_measured {
            continue;
        }
        let text = n.to_string();
        let labels = [("n", &*text), ("span", "s"), ("target", "t")];
        let exact = model.times(n);
        prop_assert!(exact.is_some(), "span {} is closed", n);
        for (time, exact) in SpanTime::ALL.into_iter().zip(exact.unwrap_or_default()) {
            prop_assert_eq!(
                sum(&now, time, &labels),
                (1, exact),
                "{:?} of span {}",
                time,
                n
            );
        }
    }
    let measured = model.spans.iter().filter(|span| span.is_measured).count();
    let series = now
        .family("span_self_seconds")
        .map_or(0, |family| family.len());
    prop_assert_eq!(series, measured, "and no others");
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn times_are_those_of_the_definition_on_one_thread(program in program(1)) {
        agrees(&program)?;
    }

    #[test]
    fn times_are_those_of_the_definition_on_many_threads(program in program(THREADS)) {
        agrees(&program)?;
    }
}
