//! Metrics of the process, its allocator and its runtimes, compared with the system's figures.

#![cfg(feature = "process")]

mod support;

use std::collections::BTreeSet;
use std::hint::black_box;
use std::sync::Mutex;

use tallies::process::Allocator;
use tallies::{Counter, Registry};

#[global_allocator]
static ALLOCATOR: Allocator = Allocator::new();

/// Serializes the tests, since allocations are counted for the whole process.
static ALONE: Mutex<()> = Mutex::new(());

#[cfg(target_os = "linux")]
#[test]
fn process_metrics_agree_with_proc() {
    let _alone = ALONE.lock();
    let registry = Registry::new();
    tallies::process::register(&registry).unwrap();
    let error = tallies::process::register(&registry).unwrap_err();
    assert!(error.to_string().contains("`process`"), "{error}");

    let (_, families) = support::page(&registry);
    let names: BTreeSet<_> = families.iter().map(|family| &*family.name).collect();
    for name in [
        "process_cpu_seconds_total",
        "process_max_fds",
        "process_open_fds",
        "process_resident_memory_bytes",
        "process_start_time_seconds",
        "process_threads",
        "process_virtual_memory_bytes",
        "process_page_faults_total",
        "process_context_switches_total",
    ] {
        assert!(names.contains(name), "{name} of {names:?}");
    }
    let get = |name: &str| registry.snapshot().get(name, &[]).unwrap();

    let limit = std::process::Command::new("sh")
        .args(["-c", "ulimit -Sn"])
        .output()
        .unwrap();
    let limit = String::from_utf8(limit.stdout).unwrap();
    assert_eq!(get("process_max_fds"), limit.trim().parse::<f64>().unwrap());

    let files: Vec<_> = (0..50)
        .map(|_| std::fs::File::open("/proc/self/stat").unwrap())
        .collect();
    let open = get("process_open_fds");
    drop(files);
    let after = get("process_open_fds");
    assert!(open - after > 40.0, "{open} {after}");

    // The memory has to be written, not only reserved.
    let before = get("process_resident_memory_bytes");
    let large = black_box(vec![1_u8; 64 << 20]);
    let now = get("process_resident_memory_bytes");
    assert!(now - before > 60e6, "{before} {now}");
    drop(large);

    let busy = get("process_cpu_seconds_total");
    while get("process_cpu_seconds_total") < busy + 0.05 {
        black_box((0..1_000_000_u64).sum::<u64>());
    }
    let started = get("process_start_time_seconds");
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap();
    assert!(
        (0.0..86400.0).contains(&(now.as_secs_f64() - started)),
        "{started}"
    );
}

/// A system that hides `/proc/stat` (`ProcSubset=pid` of systemd) used to lose all `process_*`
/// metrics.
#[cfg(target_os = "linux")]
#[test]
fn hidden_system_files_cost_only_their_own_metrics() {
    const HIDDEN: &str = "TALLIES_TEST_HIDDEN";
    if std::env::var_os(HIDDEN).is_some() {
        let registry = Registry::new();
        tallies::process::register(&registry).unwrap();
        let seen = registry.snapshot();
        let has = |name| seen.family(name).is_some();
        assert!(has("process_cpu_seconds_total") && has("process_threads"));
        assert!(has("process_open_fds") && has("process_context_switches_total"));
        assert!(!has("process_start_time_seconds") && !has("process_max_fds"));
        return;
    }
    // Runs this test again in a namespace where both files are empty. `exec` keeps the process id.
    let hidden = |command: &str| {
        let script = format!(
            "mount --bind /dev/null /proc/stat && mount --bind /dev/null /proc/$$/limits && {command}"
        );
        std::process::Command::new("unshare")
            .args(["--user", "--map-root-user", "--mount", "sh", "-c", &script])
            .arg(std::env::current_exe().unwrap())
            .arg("hidden_system_files_cost_only_their_own_metrics")
            .env(HIDDEN, "1")
            .output()
    };
    if !hidden("true").is_ok_and(|output| output.status.success()) {
        support::not_tested("this user cannot make a namespace");
        return;
    }
    let output = hidden("exec \"$0\" --exact \"$1\"").unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && said.contains("1 passed"),
        "{said}{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

#[test]
fn build_info_shows_version_and_compiler() {
    let registry = Registry::new();
    tallies::build_info!(&registry, "revision" => "abc").unwrap();
    let (page, _) = support::page(&registry);
    let version = concat!("version=\"", env!("CARGO_PKG_VERSION"), "\"");
    for label in [
        "tallies_build_info{",
        version,
        "revision=\"abc\"",
        "rustc=\"1.",
        "target=\"",
        "profile=\"",
    ] {
        assert!(page.contains(label), "{label} in {page}");
    }
}

/// Bytes in use are exact, whichever thread frees them, and before, while and after threads have
/// cells of their own.
#[test]
fn the_allocator_counts_what_is_in_use() {
    const THREADS: usize = 8;
    const EACH: usize = 20_000;
    let _alone = ALONE.lock();
    let registry = Registry::new();
    ALLOCATOR.register(&registry).unwrap();
    let counter = Counter::builder("work_total", "")
        .hot()
        .register(&registry)
        .unwrap();
    let work = |counter: &Counter| {
        let mut kept = Vec::new();
        for i in 0..EACH {
            kept.push(Box::new([i; 4]));
            counter.inc();
            if i % 3 == 0 {
                kept.swap_remove(i / 7 % kept.len());
            }
        }
        kept
    };
    work(&counter);
    let rounds = |n| {
        for _ in 0..n {
            std::thread::scope(|scope| {
                let threads: Vec<_> = (0..THREADS)
                    .map(|_| scope.spawn(|| work(&counter)))
                    .collect();
                // Freed on this thread.
                threads
                    .into_iter()
                    .for_each(|thread| drop(thread.join().unwrap()));
            });
        }
    };
    rounds(2);
    let before = ALLOCATOR.total();
    rounds(3);
    let after = ALLOCATOR.total();
    let allocations = (after.allocations - before.allocations) as usize;
    assert!(
        (3 * THREADS * EACH..4 * THREADS * EACH).contains(&allocations),
        "{allocations}"
    );
    let grown = after.bytes.abs_diff(before.bytes);
    assert!(
        grown < 64 << 10,
        "{before:?} {after:?}: what was allocated is freed"
    );
}

/// Registers thousands of families, so that slabs grow while the allocator counts in them.
#[test]
fn the_allocator_counts_while_cells_grow() {
    let _alone = ALONE.lock();
    let registry = Registry::new();
    ALLOCATOR.register(&registry).unwrap();
    let before = ALLOCATOR.total();
    std::thread::scope(|scope| {
        for t in 0..4 {
            let registry = &registry;
            scope.spawn(move || {
                for i in 0..500 {
                    let name = format!("grow_{t}_{i}_total");
                    let counter = Counter::builder(&name, "")
                        .hot()
                        .register(registry)
                        .unwrap();
                    counter.inc();
                    assert_eq!(counter.get(), 1);
                }
            });
        }
        for _ in 0..20 {
            let seen = registry.snapshot();
            let bytes = seen.get("process_allocated_bytes", &[]).unwrap();
            assert!(bytes > 0.0 && bytes < 1e9, "{bytes}");
        }
    });
    assert!(ALLOCATOR.total().allocations > before.allocations + 2000);
}

/// Threads whose first and last updates are allocations.
#[test]
fn threads_that_count_nothing_else() {
    let _alone = ALONE.lock();
    struct Last;
    impl Drop for Last {
        fn drop(&mut self) {
            black_box(vec![0_u8; 1000]);
        }
    }
    thread_local! {
        static LAST: Last = const { Last };
    }
    let before = ALLOCATOR.total().allocations;
    for _ in 0..10 {
        std::thread::spawn(|| {
            LAST.with(|_| ());
            black_box(vec![0_u8; 1000]);
        })
        .join()
        .unwrap();
    }
    assert!(ALLOCATOR.total().allocations >= before + 20);
}

#[cfg(feature = "page")]
#[test]
fn runtimes_have_totals_for_any_number_of_readers() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .build()
        .unwrap();
    let registry = Registry::new();
    let other = Registry::new();
    tallies::process::register_runtime(&registry, runtime.handle()).unwrap();
    tallies::process::register_runtime(&other, runtime.handle()).unwrap();
    for name in ["second", "third_"] {
        tallies::process::register_runtime_as(&registry, name, runtime.handle()).unwrap();
    }
    let busy = |registry: &Registry| {
        let seen = registry.snapshot();
        (0..2)
            .map(|worker| {
                let worker = worker.to_string();
                seen.get("tokio_worker_busy_seconds_total", &[("worker", &worker)])
                    .unwrap()
            })
            .sum::<f64>()
    };
    let mut before = busy(&registry);
    for _ in 0..3 {
        runtime.block_on(async {
            for _ in 0..20 {
                tokio::spawn(async { black_box((0..100_000_u64).map(black_box).sum::<u64>()) })
                    .await
                    .unwrap();
            }
        });
        // A second reader takes nothing away from the first.
        let between = busy(&other);
        let now = busy(&registry);
        assert!(
            before <= between && between <= now,
            "{before} {between} {now}"
        );
        before = now;
    }
    let seen = registry.snapshot();
    assert!(before > 0.0);
    assert_eq!(seen.get("tokio_workers", &[]), Some(2.0));
    assert_eq!(seen.get("second_tokio_workers", &[]), Some(2.0));
    assert_eq!(seen.get("third_tokio_workers", &[]), Some(2.0));
    support::page(&registry);
}
