//! The roles of child processes.

use std::path::Path;

use tallies::snapshot::GaugeMode;
use tallies::{
    Counter, Gauge, Histogram, Info, LabelValue, StateSet, Summary, UpDownCounter, registry,
};

use crate::child::{DIRECTORY, hear, say};

/// Jobs done.
pub static JOBS: Counter = Counter::new("jobs_total").help("Jobs done.");

/// The states of a state set.
#[derive(LabelValue, Clone, Copy)]
enum Pump {
    Off,
    On,
}

/// Forks, and waits for the child, which counts once.
#[allow(unsafe_code, reason = "fork is")]
fn fork_and_count() {
    // SAFETY: this process has one thread that uses metrics.
    let child = unsafe { libc::fork() };
    if child == 0 {
        JOBS.inc();
        // SAFETY: ends the process.
        unsafe { libc::_exit(0) };
    }
    let mut status = 0;
    // SAFETY: a child of this process.
    assert_eq!(unsafe { libc::waitpid(child, &mut status, 0) }, child);
    assert_eq!(status, 0);
}

/// Plays a role: its name, and words that follow.
pub fn play(role: &str, directory: &Path) {
    registry().set_lint(false);
    let mut words = role.split(' ');
    let name = words.next().unwrap();
    let mut number = || words.next().map_or(0, |word| word.parse::<u64>().unwrap());
    match name {
        // Counts so often in each of so many threads, and ends.
        "count" => {
            let (times, threads) = (number(), number().max(1));
            let _dir = tallies::share::dir(directory).unwrap();
            std::thread::scope(|scope| {
                for _ in 0..threads {
                    scope.spawn(|| (0..times).for_each(|_| JOBS.inc()));
                }
            });
            say("done");
        }
        // Forks so often; each child counts once, and ends.
        "fork" => {
            let _dir = tallies::share::dir(directory).unwrap();
            for _ in 0..number() {
                fork_and_count();
            }
        }
        // Counts one by one, and says the number after each, until it is killed.
        "count-until-killed" => {
            let _dir = tallies::share::dir(directory).unwrap();
            say("ready");
            for i in 1_u64.. {
                JOBS.inc();
                say(format_args!("counted {i}"));
            }
        }
        // Counts all kinds in two threads, until it is killed. Says the number of jobs that are
        // counted in all kinds.
        "work-until-killed" => {
            let _dir = tallies::share::dir(directory).unwrap();
            std::thread::scope(|scope| {
                scope.spawn(|| (0..u64::MAX).for_each(|i| job("b", i)));
                for i in 0..u64::MAX {
                    job("a", i);
                    if i % 64 == 0 {
                        say(format_args!("counted {}", i + 1));
                    }
                }
            });
        }
        // Counts in threads that end at once, while passes fold their counts, retire and remove
        // series.
        "churn-until-killed" => {
            let _dir = tallies::share::dir(directory).unwrap();
            std::thread::scope(|scope| {
                scope.spawn(|| (0..u64::MAX).for_each(|_| drop(registry().snapshot())));
                scope.spawn(|| {
                    for i in 0..u64::MAX {
                        let number = i % 7;
                        obey(&["retire", "churn_by_total", &number.to_string()]);
                        std::thread::yield_now();
                    }
                });
                for i in 0..u64::MAX {
                    std::thread::scope(|scope| {
                        for thread in 0..3 {
                            scope.spawn(move || (0..50).for_each(|j| churn(i + thread + j)));
                        }
                    });
                    say(format_args!("counted {}", (i + 1) * 150));
                }
            });
        }
        // Does what its parent tells it, line by line.
        "script" => {
            let mut shared = None;
            loop {
                let line = hear();
                let words: Vec<_> = line.split(' ').collect();
                let answer = match &*words {
                    ["share"] => {
                        shared = Some(tallies::share::dir(directory).unwrap());
                        String::new()
                    }
                    ["share-or-error"] => match tallies::share::dir(directory) {
                        Ok(dir) => {
                            shared = Some(dir);
                            "shared".to_owned()
                        }
                        Err(error) => error.to_string(),
                    },
                    ["total", name] => match &shared {
                        Some(dir) => match dir.snapshot() {
                            Ok(page) => page.get(name, &[]).unwrap_or(0.0).to_string(),
                            Err(error) => error.to_string(),
                        },
                        None => "not shared".to_owned(),
                    },
                    ["serve"] => {
                        let dir = shared.clone().unwrap();
                        let server = tallies::serve::Server::new().registry(&dir);
                        let serving = server.listen("127.0.0.1:0").unwrap();
                        let address = serving.address().to_string();
                        std::mem::forget(serving);
                        address
                    }
                    ["end"] => {
                        say("did end");
                        return;
                    }
                    words => obey(words),
                };
                say(format_args!("did {answer}"));
            }
        }
        other => panic!("no role {other}"),
    }
}

/// Shares the metrics of this process.
fn share() -> tallies::share::Dir {
    tallies::share::dir(std::env::var(DIRECTORY).unwrap()).unwrap()
}

/// Counts a job in all kinds.
fn job(worker: &str, i: u64) {
    obey(&["up", "all_in_flight", "1"]);
    obey(&["counter", "all_total", "1"]);
    obey(&["float", "all_seconds_total", "0.25"]);
    obey(&["labelled", "all_by_total", worker, "1"]);
    // A new series now and then, and one that is retired.
    obey(&[
        "labelled",
        "all_many_total",
        &(i / 50 % 300).to_string(),
        "1",
    ]);
    obey(&[
        "histogram",
        "all_latency",
        "1,2,4",
        &(i % 6).to_string(),
        "1",
    ]);
    obey(&["native", "all_native", &(i % 60).to_string(), "1"]);
    obey(&["summary", "all_sizes", &(i % 100).to_string(), "1"]);
    obey(&["up", "all_in_flight", "-1"]);
    obey(&["counter", "all_done_total", "1"]);
}

/// Counts once in each kind that can be moved.
fn churn(i: u64) {
    obey(&["counter", "churn_total", "1"]);
    obey(&["labelled", "churn_by_total", &(i % 7).to_string(), "1"]);
    obey(&["histogram", "churn_latency", "1,2,4", "3", "1"]);
    obey(&["native", "churn_native", "3", "1"]);
    obey(&["summary", "churn_sizes", "3", "1"]);
}

/// Updates a metric, which is declared at its first update. Returns an answer.
fn obey(words: &[&str]) -> String {
    let number = |word: &str| word.parse::<f64>().unwrap();
    let times = |word: &str| word.parse::<u64>().unwrap();
    let registry = registry();
    match words {
        ["counter", name, n] => Counter::builder(name, "Counts.")
            .get_or_register(registry)
            .unwrap()
            .add(times(n)),
        // One by one, so that the series is promoted.
        ["count", name, n] => {
            let counter = Counter::builder(name, "Counts.");
            let counter = counter.get_or_register(registry).unwrap();
            (0..times(n)).for_each(|_| counter.inc());
        }
        ["float", name, x] => Counter::builder(name, "Counts.")
            .float()
            .get_or_register(registry)
            .unwrap()
            .add(number(x)),
        ["labelled", name, value, n] => {
            let counter = Counter::builder(name, "Counts.").labels(["a"]).limit(100);
            let counter = counter.get_or_register(registry).unwrap();
            counter.with([*value]).add(times(n));
        }
        ["labels", name, from, to] => {
            let counter = Counter::builder(name, "Counts.").labels(["a"]);
            let counter = counter.limit(2_000_000).get_or_register(registry).unwrap();
            (times(from)..times(to)).for_each(|i| counter.with([&*i.to_string()]).inc());
        }
        ["other-label", name, label, value, n] => {
            let counter = Counter::builder(name, "Counts.").labels([*label]);
            let counter = counter.get_or_register(registry).unwrap();
            counter.with([*value]).add(times(n));
        }
        ["remove", name, value] => {
            let counter = Counter::builder(name, "Counts.").labels(["a"]).limit(100);
            let counter = counter.get_or_register(registry).unwrap();
            counter.remove([*value]);
        }
        ["retire", name, value] => {
            let counter = Counter::builder(name, "Counts.").labels(["a"]).limit(100);
            let counter = counter.get_or_register(registry).unwrap();
            counter.retire([*value]);
        }
        // One by one, so that the series is promoted.
        ["label", name, value, n] => {
            let counter = Counter::builder(name, "Counts.").labels(["a"]).limit(100);
            let counter = counter.get_or_register(registry).unwrap();
            (0..times(n)).for_each(|_| counter.with([*value]).inc());
        }
        // In a thread that stays, and does nothing more.
        ["stay", rest @ ..] => {
            let rest: Vec<_> = rest.iter().map(|word| (*word).to_owned()).collect();
            let (sender, receiver) = std::sync::mpsc::channel();
            std::thread::spawn(move || {
                let rest: Vec<_> = rest.iter().map(|word| &**word).collect();
                sender.send(obey(&rest)).unwrap();
                loop {
                    std::thread::park();
                }
            });
            return receiver.recv().unwrap();
        }
        ["clear", name] => {
            let counter = Counter::builder(name, "Counts.").labels(["a"]).limit(100);
            counter.get_or_register(registry).unwrap().clear();
        }
        ["up", name, n] => {
            let n: i64 = n.parse().unwrap();
            let counter = UpDownCounter::builder(name, "In flight.");
            let counter = counter.get_or_register(registry).unwrap();
            if n < 0 {
                counter.sub(n.unsigned_abs());
            } else {
                counter.add(n.unsigned_abs());
            }
        }
        ["gauge", name, mode, x] => {
            let mode = GaugeMode::from_name(mode).unwrap();
            let gauge = Gauge::builder(name, "A value.").mode(mode);
            let gauge = gauge.get_or_register(registry).unwrap();
            if *x != "unset" {
                gauge.set(number(x));
            }
        }
        ["histogram", name, bounds, x, n] => {
            let bounds: Vec<_> = bounds.split(',').map(number).collect();
            let histogram = Histogram::builder(name, "Times.").buckets(&bounds);
            let histogram = histogram.get_or_register(registry).unwrap();
            (0..times(n)).for_each(|_| histogram.observe(number(x)));
        }
        ["native", name, x, n] => {
            let histogram = Histogram::builder(name, "Times.").native(3);
            let histogram = histogram.get_or_register(registry).unwrap();
            (0..times(n)).for_each(|_| histogram.observe(number(x)));
        }
        ["exemplar", name, x, id] => {
            let histogram = Histogram::builder(name, "Times.").buckets(&[1.0, 2.0, 4.0]);
            let histogram = histogram.get_or_register(registry).unwrap();
            histogram.observe_exemplar(number(x), &[("trace_id", id)]);
        }
        ["summary", name, x, n] => {
            let summary = Summary::builder(name, "Sizes.");
            let summary = summary.get_or_register(registry).unwrap();
            (0..times(n)).for_each(|_| summary.observe(number(x)));
        }
        ["info", name, version] => Info::builder(name, "The program.")
            .labels(["version"])
            .get_or_register(registry)
            .unwrap()
            .set([*version]),
        ["state", name, on] => {
            let states = StateSet::<Pump>::builder(name, "The pump.");
            let states = states.get_or_register(registry).unwrap();
            if *on != "unset" {
                states.set(if *on == "on" { Pump::On } else { Pump::Off });
            }
        }
        // Runs the rest in a thread of its own, which ends.
        ["thread", rest @ ..] => {
            let rest: Vec<_> = rest.iter().map(|word| (*word).to_owned()).collect();
            let run = move || {
                let rest: Vec<_> = rest.iter().map(|word| &**word).collect();
                obey(&rest)
            };
            return std::thread::spawn(run).join().unwrap();
        }
        // Passes fold, reclaim and close.
        ["scrape"] => drop(registry.snapshot()),
        ["own", name] => {
            return registry
                .snapshot()
                .get(name, &[])
                .unwrap_or(0.0)
                .to_string();
        }
        ["page"] => {
            registry.set_self_metrics(false);
            return tallies::encode::text(&registry.snapshot()).replace('\n', "\\");
        }
        ["collect", "panic"] => registry
            .add_collector("panic", |_: &mut tallies::collect::Collected| {
                panic!("a collector")
            })
            .unwrap(),
        ["collect", "hang"] => registry
            .add_collector("hang", |_: &mut tallies::collect::Collected| {
                loop {
                    std::thread::park();
                }
            })
            .unwrap(),
        ["collect", "value"] => registry.gauge_fn("collected", "A value.", || 7.0).unwrap(),
        // A limit on the length of files, which growth of the file of this process exceeds.
        ["file-limit", bytes] => limit_files(times(bytes)),
        ["fork", rest @ ..] => return fork(rest),
        // What a worker of a server does that forks first.
        ["share-and", rest @ ..] => {
            std::mem::forget(share());
            return obey(rest);
        }
        ["start-over-and", rest @ ..] => {
            registry.start_over();
            let answer = obey(rest);
            std::mem::forget(share());
            return answer;
        }
        other => panic!("no command {other:?}"),
    }
    String::new()
}

#[allow(unsafe_code, reason = "limits are set by calls to libc")]
fn limit_files(bytes: u64) {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: `limit` is a valid pointer.
    let result = unsafe { libc::getrlimit(libc::RLIMIT_FSIZE, &mut limit) };
    assert_eq!(result, 0);
    limit.rlim_cur = bytes;
    // SAFETY: as above.
    assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_FSIZE, &limit) }, 0);
}

/// Forks. The child runs a command, and ends. Returns once it has ended.
#[allow(unsafe_code, reason = "fork is a call to libc")]
fn fork(words: &[&str]) -> String {
    // SAFETY: the child has the code below, and no lock is taken by other threads.
    let child = unsafe { libc::fork() };
    if child == 0 {
        obey(words);
        // SAFETY: ends this process without further effects.
        unsafe { libc::_exit(7) };
    }
    let mut status = 0;
    // SAFETY: `child` is our own child, and `status` is a valid pointer.
    assert_eq!(unsafe { libc::waitpid(child, &mut status, 0) }, child);
    format!(
        "{}",
        libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 7
    )
}
