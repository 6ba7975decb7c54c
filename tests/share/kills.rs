//! Processes that are killed, stopped or hang. An update that returned counts, whatever happens
//! next.

use std::time::{Duration, Instant};

use tallies::snapshot::Snapshot;

use crate::child::Role;
use crate::directory::{Reader, TestDirectory};

/// A number that is different each time.
pub fn random(below: u64) -> u64 {
    use std::hash::{BuildHasher, RandomState};
    RandomState::new().hash_one(0) % below
}

#[test]
fn what_an_update_returned_from_survives_a_kill() {
    let directory = TestDirectory::new();
    let mut reader = directory.reader();
    let mut before = 0.0;
    for round in 0..20 {
        let mut role = Role::start("count-until-killed", directory.path());
        role.wait_for("ready");
        let mut counted = 0.0;
        for _ in 0..round * 7 {
            counted = role.answer("counted").parse().unwrap();
        }
        role.kill();
        // What it said last is still in the pipe.
        while let Some(said) = role.last_answer("counted") {
            counted = said.parse().unwrap();
        }
        // It may have counted one more before it was killed.
        let total = reader.total();
        let range = before + counted..=before + counted + 1.0;
        assert!(range.contains(&total), "{total} not in {range:?}");
        before = total;
    }
}

/// Also while they start, and while they grow their files. Readers fold the dead ones meanwhile.
#[test]
fn a_thousand_short_lived_processes_are_killed_at_random_points() {
    const PROCESSES: usize = 1000;
    const TOGETHER: usize = 8;
    let directory = TestDirectory::new();
    let mut reader = directory.reader();
    let (mut least, mut most) = (0.0, 0.0);
    for batch in 0..PROCESSES / TOGETHER {
        let mut roles =
            [(); TOGETHER].map(|()| Role::start("count-until-killed", directory.path()));
        // The start of a process takes some milliseconds.
        let end = Instant::now() + Duration::from_micros(random(12_000));
        while Instant::now() < end {
            reader.total();
        }
        for role in &mut roles {
            role.kill();
            let mut counted = 0.0;
            while let Some(said) = role.last_answer("counted") {
                counted = said.parse().unwrap();
            }
            least += counted;
            most += counted + 1.0;
        }
        if batch % 10 == 0 {
            reader.dir.fold().unwrap();
        }
        let total = reader.total();
        assert!(
            (least..=most).contains(&total),
            "{least} <= {total} <= {most}"
        );
    }
    reader.dir.fold().unwrap();
    let total = reader.total();
    assert!(
        (least..=most).contains(&total),
        "{least} <= {total} <= {most}"
    );
    assert!(least > 1000.0, "they were killed before they counted");
    assert!(reader.dir.overview().unwrap().skipped.is_empty());
    assert!(directory.files(".pm").is_empty());
}

/// Checks what all kinds say of the work of some processes.
pub fn check_work(page: &Snapshot, before: &mut Vec<(String, f64)>) {
    let get = |name: &str| page.get(name, &[]).unwrap_or(0.0);
    let by = |name: &str| {
        let family = page.family(name).map(|family| family.series());
        let values = family.into_iter().flatten().map(|(_, value)| match value {
            tallies::snapshot::Value::Counter(n) => n.as_f64(),
            _ => 0.0,
        });
        values.sum::<f64>()
    };
    let names = [
        "all_total",
        "all_done_total",
        "all_seconds_total",
        "all_latency_count",
        "all_latency_sum",
        "all_native_count",
        "all_native_sum",
        "all_sizes_count",
        "all_sizes_sum",
    ];
    let mut now: Vec<_> = names
        .iter()
        .map(|name| ((*name).to_owned(), get(name)))
        .collect();
    for name in ["all_by_total", "all_many_total"] {
        now.push((name.to_owned(), by(name)));
    }
    for ((name, now), (_, before)) in now.iter().zip(&*before) {
        assert!(now >= before, "{name} went from {before} to {now}");
    }
    // A histogram's values are those of its observations: 0 to 5, in turn.
    let (count, sum) = (get("all_latency_count"), get("all_latency_sum"));
    let most = |count: f64| count * 5.0;
    assert!(sum <= most(count), "{sum} of {count}");
    *before = now;
}

#[test]
fn every_kind_survives_kills_of_busy_processes() {
    let directory = TestDirectory::new();
    let reader = directory.reader();
    let mut before = Vec::new();
    let mut least = 0.0;
    let mut writers = 0.0;
    for _ in 0..6 {
        let mut roles = [(); 4].map(|()| Role::start("work-until-killed", directory.path()));
        let wanted = random(40) as usize;
        for _ in 0..wanted {
            roles[0].wait_for("counted");
            check_work(&reader.snapshot(), &mut before);
        }
        for role in &mut roles {
            role.kill();
            let mut counted = 0.0;
            while let Some(said) = role.last_answer("counted") {
                counted = said.parse().unwrap();
            }
            least += counted;
            writers += 2.0;
        }
        check_work(&reader.snapshot(), &mut before);
        reader.dir.fold().unwrap();
        check_work(&reader.snapshot(), &mut before);
    }
    let page = reader.snapshot();
    let get = |name: &str| page.get(name, &[]).unwrap();
    let jobs = get("all_total");
    assert!(jobs >= least, "{jobs} of {least}");
    // Each thread was cut in one job at most.
    for name in [
        "all_done_total",
        "all_latency_count",
        "all_native_count",
        "all_sizes_count",
    ] {
        let count = get(name);
        assert!(
            count <= jobs && count >= jobs - writers,
            "{name} {count} of {jobs}"
        );
    }
    let seconds = get("all_seconds_total") / 0.25;
    assert!(
        seconds <= jobs && seconds >= jobs - writers,
        "{seconds} of {jobs}"
    );
    assert_eq!(page.get("all_in_flight", &[]), None, "all are dead");
}

#[test]
fn a_stopped_process_is_read_and_not_folded() {
    let directory = TestDirectory::new();
    let mut reader = directory.reader();
    let mut role = Role::script(directory.path());
    role.run("count jobs_total 500");
    role.run("up in_flight 3");
    role.signal(libc::SIGSTOP);
    for _ in 0..3 {
        assert_eq!(reader.total(), 500.0);
        assert_eq!(reader.dir.fold().unwrap(), 0);
        assert_eq!(reader.get("in_flight", &[]), 3.0);
    }
    assert!(reader.dir.overview().unwrap().processes[0].is_alive);
    role.signal(libc::SIGCONT);
    role.run("count jobs_total 500");
    assert_eq!(reader.total(), 1000.0);
    role.signal(libc::SIGSTOP);
    role.kill();
    assert_eq!(reader.total(), 1000.0);
    assert_eq!(reader.get("in_flight", &[]), 0.0);
    assert_eq!(reader.dir.fold().unwrap(), 1);
    assert_eq!(reader.total(), 1000.0);
}

/// Runs the commands one by one, each time in a fresh process that is killed after one of them.
/// What is read afterwards is what the process had counted.
#[test]
fn a_small_program_is_killed_after_each_of_its_steps() {
    let program = [
        "count jobs_total 3",
        "count jobs_total 2000",
        "scrape",
        "thread count jobs_total 1500",
        "scrape",
        "thread count jobs_total 10",
        "labelled by_total x 1",
        "labelled by_total y 2000",
        "retire by_total x",
        "scrape",
        "labelled by_total x 2",
        "remove by_total y",
        "scrape",
        "labels many_total 0 3000",
        "histogram latency 1,2,4 1.5 3",
        "thread histogram latency 1,2,4 9 2000",
        "scrape",
        "native native 3 5",
        "thread native native 3000 2000",
        "scrape",
        "summary sizes 3 5",
        "thread summary sizes 5 2000",
        "scrape",
        "float seconds_total 0.5",
        "gauge peak max 7",
        "state pump on",
    ];
    for steps in 0..=program.len() {
        let directory = TestDirectory::new();
        let reader = directory.reader();
        let mut role = Role::script(directory.path());
        for step in &program[..steps] {
            role.run(step);
        }
        let own = role.run("page").replace('\\', "\n");
        role.kill();
        for _ in 0..2 {
            let page = reader.snapshot();
            assert_eq!(
                lasting(&own),
                lasting(&tallies::encode::text(&page)),
                "{steps} steps"
            );
            reader.dir.fold().unwrap();
        }
    }
}

/// Returns the lines of a page that outlive a process, sorted.
fn lasting(page: &str) -> Vec<String> {
    let is_lasting = |line: &&str| {
        !line.starts_with('#') && !line.starts_with("tallies_") && !line.starts_with("pump")
    };
    let mut lines: Vec<_> = page.lines().filter(is_lasting).map(str::to_owned).collect();
    lines.sort();
    lines
}

#[test]
fn two_readers_fold_at_the_same_time() {
    let directory = TestDirectory::new();
    let mut readers: [Reader; 3] = [(); 3].map(|()| directory.reader());
    for round in 1..=5 {
        let roles = [(); 4].map(|()| Role::start("count 100 1", directory.path()));
        roles.into_iter().for_each(Role::join);
        std::thread::scope(|scope| {
            for reader in &mut readers {
                scope.spawn(move || {
                    reader.dir.fold().unwrap();
                    assert_eq!(reader.total(), f64::from(round) * 400.0);
                });
            }
        });
    }
}

/// Counts move between the words of a file while it is read: threads end, series are retired. No
/// count is missing meanwhile, and none is there twice.
#[test]
fn counts_that_move_are_read_once() {
    const READS: usize = 500;
    let directory = TestDirectory::new();
    let reader = directory.reader();
    for _ in 0..3 {
        let before = churned(&reader.snapshot());
        let mut role = Role::start("churn-until-killed", directory.path());
        let mut last = [0.0; 5];
        for _ in 0..READS {
            let now = churned(&reader.snapshot());
            for (now, last) in now.iter().zip(last) {
                assert!(*now >= last, "{now} after {last}");
            }
            last = now;
            let page = reader.snapshot();
            // All values are 3, so a histogram that is torn shows it.
            for name in ["churn_latency", "churn_native", "churn_sizes"] {
                let get = |part: &str| page.get(&format!("{name}_{part}"), &[]).unwrap_or(0.0);
                assert_eq!(get("sum"), 3.0 * get("count"), "{name}");
            }
        }
        role.kill();
        let mut counted = 0.0;
        while let Some(said) = role.last_answer("counted") {
            counted = said.parse().unwrap();
        }
        let now = churned(&reader.snapshot());
        for (now, before) in now.iter().zip(before) {
            let range = before + counted..=before + counted + 150.0;
            assert!(range.contains(now), "{now} not in {range:?}");
        }
        reader.dir.fold().unwrap();
        assert_eq!(churned(&reader.snapshot()), now);
    }
}

/// Returns the counts of the role above.
fn churned(page: &Snapshot) -> [f64; 5] {
    let get = |name: &str| page.get(name, &[]).unwrap_or(0.0);
    let by = page.family("churn_by_total").map(|family| family.series());
    let by = by.into_iter().flatten().map(|(_, value)| match value {
        tallies::snapshot::Value::Counter(n) => n.as_f64(),
        _ => 0.0,
    });
    [
        get("churn_total"),
        by.sum(),
        get("churn_latency_count"),
        get("churn_native_count"),
        get("churn_sizes_count"),
    ]
}

/// Only scrapes folded: while Prometheus was away, each process that ended left a file of 256 KiB.
#[test]
fn processes_that_join_fold_ended_ones_although_nobody_is_scraped() {
    let directory = TestDirectory::new();
    for _ in 0..150 {
        Role::start("count 1 1", directory.path()).join();
        assert!(directory.files(".pm").len() < 100);
    }
    let mut reader = directory.reader();
    assert_eq!(reader.total(), 150.0);
    reader.dir.fold().unwrap();
    assert_eq!(reader.total(), 150.0);
    assert_eq!(directory.files(".pm").len(), 0);
}

/// The children of a process that forks join, too.
#[test]
fn children_of_a_fork_fold_ended_ones() {
    let directory = TestDirectory::new();
    Role::start("fork 150", directory.path()).join();
    assert!(directory.files(".pm").len() < 100);
    assert_eq!(directory.reader().total(), 150.0);
}
