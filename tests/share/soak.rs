//! Processes that count all kinds, and are killed, stopped and started at random, for as long as
//! `TALLIES_SOAK_SECONDS` says. `tests/share.sh` runs it.

use std::time::{Duration, Instant};

use crate::child::Role;
use crate::directory::TestDirectory;
use crate::kills::{check_work, random};

/// The number of processes at a time.
const PROCESSES: usize = 8;

/// The work of all processes that were started: what they said, and what they can have counted
/// more.
#[derive(Default)]
struct Work {
    /// Jobs that were counted in all kinds.
    said: f64,
    /// Threads that were killed in the middle of a job.
    cut: f64,
}

impl Work {
    fn end(&mut self, mut role: Role) {
        role.kill();
        let mut counted = 0.0;
        while let Some(said) = role.last_answer("counted") {
            counted = said.parse().unwrap();
        }
        self.said += counted;
        self.cut += 2.0;
    }
}

#[test]
#[ignore = "takes as long as TALLIES_SOAK_SECONDS says; tests/share.sh runs it"]
fn totals_stay_exact_while_processes_come_and_go() {
    let seconds = std::env::var("TALLIES_SOAK_SECONDS").map_or(10, |text| text.parse().unwrap());
    let directory = TestDirectory::new();
    let readers = [directory.reader(), directory.reader()];
    let start = || Role::start("work-until-killed", directory.path());
    let mut roles: Vec<_> = (0..PROCESSES).map(|_| start()).collect();
    let (begin, mut before, mut work) = (Instant::now(), Vec::new(), Work::default());
    let (mut kills, mut stops, mut reads, mut report) = (0, 0, 0, 0);
    while begin.elapsed() < Duration::from_secs(seconds) {
        let i = random(PROCESSES as u64) as usize;
        match random(20) {
            0..3 => {
                let role = std::mem::replace(&mut roles[i], start());
                work.end(role);
                kills += 1;
            }
            3 => {
                roles[i].signal(libc::SIGSTOP);
                check_work(&readers[0].snapshot(), &mut before);
                roles[i].signal(libc::SIGCONT);
                stops += 1;
            }
            4 => _ = readers[reads % 2].dir.fold().unwrap(),
            _ => {}
        }
        // Either reader: what one has read, the other does not undercut.
        check_work(&readers[reads % 2].snapshot(), &mut before);
        reads += 1;
        // A full pipe would stop a process.
        roles.iter_mut().for_each(|role| role.wait_for("counted"));
        if begin.elapsed().as_secs() / 10 > report {
            report = begin.elapsed().as_secs() / 10;
            let files = directory.files(".pm").len();
            println!(
                "{:5} s: {kills} kills, {stops} stops, {reads} reads, {files} files, {} jobs",
                begin.elapsed().as_secs(),
                before[0].1,
            );
        }
    }
    roles.into_iter().for_each(|role| work.end(role));
    readers[0].dir.fold().unwrap();
    let page = readers[1].snapshot();
    check_work(&page, &mut before);
    let get = |name: &str| page.get(name, &[]).unwrap();
    let jobs = get("all_total");
    assert!(jobs >= work.said, "{jobs} of {}", work.said);
    for name in [
        "all_done_total",
        "all_latency_count",
        "all_native_count",
        "all_sizes_count",
    ] {
        let count = get(name);
        assert!(
            count <= jobs && count >= jobs - work.cut,
            "{name} {count} of {jobs}"
        );
    }
    assert!(readers[1].dir.overview().unwrap().skipped.is_empty());
    assert!(directory.files(".pm").is_empty());
    println!("{jobs} jobs of {kills} killed processes, none lost");
}
