//! The threads and tasks that make requests.

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Poll;
use std::thread::{self, JoinHandle};

use tokio::runtime::Handle;
use tokio::task::AbortHandle;

use crate::Error;

use super::arrivals::{Pacer, Schedule};
use super::run::{Answer, Flight, LoadRun, Request};

/// Starts `workers` threads that make the requests of a closed load until the run ends.
pub(super) fn closed<A: Answer>(
    run: &Arc<LoadRun>,
    workers: usize,
    work: &Arc<impl Fn(Request) -> A + Send + Sync + 'static>,
) -> Result<Vec<JoinHandle<()>>, Error> {
    let start = |_| {
        let (run, work) = (Arc::clone(run), Arc::clone(work));
        thread_named("load-worker").spawn(move || {
            while let Some(request) = run.next_closed() {
                make(&run, request, &*work);
            }
        })
    };
    Ok((0..workers).map(start).collect::<Result<_, _>>()?)
}

/// Starts `workers` threads that make the requests of an open load, of which each runs one request
/// at a time; and the pacer, which waits for none of them. They end once the pacer has ended.
pub(super) fn open<A: Answer>(
    run: &Arc<LoadRun>,
    schedule: Schedule,
    workers: usize,
    work: &Arc<impl Fn(Request) -> A + Send + Sync + 'static>,
) -> Result<(Vec<JoinHandle<()>>, JoinHandle<()>), Error> {
    // There are never more requests in the channel than idle workers: `pace` skips the others.
    let (send, receive) = crossbeam_channel::bounded(workers);
    let start = |_| {
        let (run, work, receive) = (Arc::clone(run), Arc::clone(work), receive.clone());
        thread_named("load-worker").spawn(move || {
            receive
                .iter()
                .for_each(|request| make(&run, request, &*work));
        })
    };
    let threads = (0..workers).map(start).collect::<Result<_, _>>()?;
    let run = Arc::clone(run);
    let pacer = thread_named("load-pacer").spawn(move || {
        pace(&run, schedule, workers, |request| {
            // Fails only if all workers are gone, and they outlive the sender.
            let _ = send.send(request);
        });
    })?;
    Ok((threads, pacer))
}

/// Returns a builder of a thread with this name.
pub(super) fn thread_named(name: &str) -> thread::Builder {
    thread::Builder::new().name(name.to_owned())
}

/// Makes one request, which is in flight.
fn make<A: Answer>(run: &LoadRun, request: Request, work: &impl Fn(Request) -> A) {
    // The work is not used after a panic except by further calls, which the documentation says.
    let made = catch_unwind(AssertUnwindSafe(|| {
        let flight = Flight::begin(run, request);
        let answer = work(request);
        flight.end(&answer);
    }));
    if let Err(panic) = made {
        run.panicked(request.phase, &*panic);
    }
}

/// Passes each planned request on at its time, or skips it if too many are in flight.
fn pace(run: &LoadRun, schedule: Schedule, most: usize, mut start: impl FnMut(Request)) {
    let mut pacer = Pacer::new();
    for at in schedule {
        let Some(request) = run.request(at, true) else {
            return;
        };
        if !pacer.wait_until(run.start + at, &run.stop) {
            return;
        }
        // Acquire: pairs with the Release of a request that ended. Nobody else adds.
        if run.in_flight.load(Ordering::Acquire) >= most {
            run.records(request.phase).skipped.inc();
            continue;
        }
        run.in_flight.fetch_add(1, Ordering::Relaxed);
        start(request);
    }
}

/// Starts the tasks of a closed load, and returns what aborts them.
pub(super) fn closed_tasks<A, F>(
    run: &Arc<LoadRun>,
    workers: usize,
    work: &Arc<impl Fn(Request) -> F + Send + Sync + 'static>,
    runtime: &Handle,
) -> Vec<AbortHandle>
where
    A: Answer,
    F: Future<Output = A> + Send + 'static,
{
    let spawn = |_| {
        let (run, work) = (Arc::clone(run), Arc::clone(work));
        let worker = async move {
            while let Some(request) = run.next_closed() {
                make_async(Arc::clone(&run), request, &*work).await;
                // A future that never waits must not keep the others from running.
                tokio::task::yield_now().await;
            }
        };
        runtime.spawn(worker).abort_handle()
    };
    (0..workers).map(spawn).collect()
}

/// Starts a task for each request of an open load, and returns what aborts those that run.
pub(super) fn open_tasks<A, F>(
    run: &Arc<LoadRun>,
    schedule: Schedule,
    most: usize,
    work: &Arc<impl Fn(Request) -> F + Send + Sync + 'static>,
    runtime: &Handle,
) -> Vec<AbortHandle>
where
    A: Answer,
    F: Future<Output = A> + Send + 'static,
{
    let mut tasks: Vec<AbortHandle> = Vec::new();
    let mut clean = 1024;
    pace(run, schedule, most, |request| {
        let (run, work) = (Arc::clone(run), Arc::clone(work));
        let task = runtime.spawn(async move { make_async(run, request, &*work).await });
        tasks.push(task.abort_handle());
        if tasks.len() >= clean {
            tasks.retain(|task| !task.is_finished());
            clean = 1024 + 2 * tasks.len();
        }
    });
    tasks
}

/// Makes one request, which is in flight. A panic ends the request, not the task.
async fn make_async<A, F>(run: Arc<LoadRun>, request: Request, work: &impl Fn(Request) -> F)
where
    A: Answer,
    F: Future<Output = A>,
{
    let mut future = pin!(async {
        let flight = Flight::begin(&*run, request);
        let answer = work(request).await;
        flight.end(&answer);
    });
    // A future that panicked is dropped without another poll. Its `Flight` was dropped by the
    // panic.
    std::future::poll_fn(|context| {
        let polled = catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(context)));
        polled.unwrap_or_else(|panic| {
            run.panicked(request.phase, &*panic);
            Poll::Ready(())
        })
    })
    .await;
}
