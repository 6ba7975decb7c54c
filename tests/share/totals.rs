//! Totals are exact.

use crate::child::Role;
use crate::directory::TestDirectory;
use crate::support::later_tick;

#[test]
fn three_processes_count_a_thousand_each() {
    let directory = TestDirectory::new();
    let mut reader = directory.reader();
    let mut roles = [(); 3].map(|()| Role::script(directory.path()));
    for role in &mut roles {
        role.run("count jobs_total 1000");
        reader.total();
    }
    assert_eq!(reader.total(), 3000.0);
    assert_eq!(reader.get("tallies_share_writers", &[]), 3.0);
    for mut role in roles {
        role.run("end");
        role.join();
        assert_eq!(reader.total(), 3000.0);
    }
    assert_eq!(reader.get("tallies_share_writers", &[]), 0.0);
    assert_eq!(reader.dir.fold().unwrap(), 3);
    assert_eq!(reader.total(), 3000.0);
    assert!(directory.files(".pm").is_empty());
}

#[test]
fn eight_processes_count_a_hundred_thousand_each() {
    let directory = TestDirectory::new();
    let mut reader = directory.reader();
    let roles = [(); 8].map(|()| Role::start("count 25000 4", directory.path()));
    reader.wait_for_total(800_000.0);
    roles.into_iter().for_each(Role::join);
    assert_eq!(reader.total(), 800_000.0);
}

/// Two processes count as one process would have counted, in every kind.
#[test]
fn two_processes_have_the_page_of_one() {
    let directory = TestDirectory::new();
    let reader = directory.reader();
    let halves = [
        &[
            "count plain_total 3000",
            "float busy_seconds_total 0.1",
            "labelled jobs_by_total x 5",
            "labelled jobs_by_total y 7",
            "histogram latency_seconds 1,2,4 1.5 2000",
            "native native_seconds 3 2000",
            "summary sizes_bytes 10 1500",
            "up in_flight 5",
            "gauge peak max 3",
            "gauge sum sum 3",
            "gauge least min 3",
            "info build_info 1",
            "gauge level live_sum 1",
        ][..],
        &[
            "count plain_total 4",
            "float busy_seconds_total 0.2",
            "thread labelled jobs_by_total z 1",
            "labelled jobs_by_total x 1",
            "thread histogram latency_seconds 1,2,4 9 3",
            "native native_seconds 3000 5",
            "thread summary sizes_bytes 20 3000",
            "up in_flight -2",
            "gauge peak max 8",
            "gauge sum sum 4",
            "gauge least min 8",
            "info build_info 1",
            "gauge level live_sum 2",
        ][..],
    ];
    let mut roles = [(); 2].map(|()| Role::script(directory.path()));
    for (role, half) in roles.iter_mut().zip(halves) {
        half.iter().for_each(|command| _ = role.run(command));
    }
    let shown = |page: &tallies::snapshot::Snapshot| {
        let text = tallies::encode::text(page);
        let lines = text.lines().filter(|line| !line.contains("tallies_"));
        lines.map(str::to_owned).collect::<Vec<_>>().join("\n")
    };
    let page = reader.snapshot();
    let both = shown(&page);
    for line in [
        "plain_total 3004",
        "busy_seconds_total 0.30000000000000004",
        r#"jobs_by_total{a="x"} 6"#,
        r#"jobs_by_total{a="y"} 7"#,
        r#"jobs_by_total{a="z"} 1"#,
        r#"latency_seconds_bucket{le="2.0"} 2000"#,
        r#"latency_seconds_bucket{le="+Inf"} 2003"#,
        "latency_seconds_sum 3027",
        "native_seconds_count 2005",
        "sizes_bytes_count 4500",
        r#"sizes_bytes{quantile="0.5"} 20"#,
        "in_flight 3",
        "peak 8",
        "sum 7",
        "least 3",
        "level 3",
        r#"build_info{version="1"} 1"#,
    ] {
        assert!(
            both.lines().any(|have| have == line),
            "no {line} in\n{both}"
        );
    }
    let (median, error) = match page
        .family("sizes_bytes")
        .unwrap()
        .series()
        .next()
        .unwrap()
        .1
    {
        tallies::snapshot::Value::Summary(summary) => summary.quantile(0.5).unwrap().unwrap(),
        other => panic!("{other:?}"),
    };
    assert!(median == 20.0 && error <= 0.05);
    // What outlives its process is the same after both have ended, and after they were folded.
    roles.iter_mut().for_each(Role::kill);
    let live = ["in_flight", "level", "build_info"];
    let lasting: Vec<_> = both
        .lines()
        .filter(|line| !live.iter().any(|name| line.contains(name)))
        .collect();
    assert_eq!(shown(&reader.snapshot()), lasting.join("\n"));
    assert_eq!(reader.dir.fold().unwrap(), 2);
    assert_eq!(shown(&reader.snapshot()), lasting.join("\n"));
}

#[test]
fn gauges_are_told_apart_by_small_numbers() {
    let directory = TestDirectory::new();
    let reader = directory.reader();
    let mut roles: Vec<_> = (0..12).map(|_| Role::script(directory.path())).collect();
    for (i, role) in roles.iter_mut().enumerate() {
        role.run(&format!("gauge level live_all {i}"));
    }
    let numbers = || {
        let page = reader.snapshot();
        let family = page.family("level").unwrap();
        let labels = family
            .series()
            .map(|(labels, _)| labels.get("gauge_index").unwrap().into());
        let mut numbers: Vec<String> = labels.collect();
        numbers.sort_by_key(|number| number.parse::<u32>().unwrap());
        numbers
    };
    let all: Vec<_> = (0..12).map(|i| i.to_string()).collect();
    assert_eq!(numbers(), all);
    roles[3].kill();
    roles[7].kill();
    assert_eq!(numbers().len(), 10);
    for i in [3, 7] {
        roles[i] = Role::script(directory.path());
        roles[i].run("gauge level live_all 1");
    }
    assert_eq!(numbers(), all);
}

#[test]
fn the_gauge_that_was_set_last_is_recent() {
    let directory = TestDirectory::new();
    let reader = directory.reader();
    let [mut one, mut two] = [(); 2].map(|()| Role::script(directory.path()));
    for name in ["recent", "live_recent"] {
        let set = |role: &mut Role, value: u32| {
            // Of two gauges that are set in the same tick, either is recent, and this can change
            // when a process ends.
            later_tick();
            role.run(&format!("gauge {name} {name} {value}"));
            assert_eq!(reader.get(name, &[]), f64::from(value), "{name}");
        };
        set(&mut one, 1);
        set(&mut two, 2);
        set(&mut one, 3);
    }
    one.kill();
    assert_eq!(reader.get("recent", &[]), 3.0);
    assert_eq!(reader.get("live_recent", &[]), 2.0);
    reader.dir.fold().unwrap();
    assert_eq!(reader.get("recent", &[]), 3.0);
}

#[test]
fn exemplars_are_shared() {
    let directory = TestDirectory::new();
    let reader = directory.reader();
    let mut role = Role::script(directory.path());
    role.run("exemplar latency_seconds 1.5 5ca1ab1e");
    let check = || {
        let page = reader.snapshot();
        let family = page.family("latency_seconds").unwrap();
        let (bucket, exemplar) = family.exemplars(0).next().expect("no exemplar");
        assert_eq!((bucket, exemplar.value()), (1, 1.5));
        assert_eq!(
            exemplar.labels().next(),
            Some(("trace_id", "5ca1ab1e".into()))
        );
        assert!(exemplar.time().is_some());
    };
    check();
    role.kill();
    check();
    reader.dir.fold().unwrap();
    check();
}

/// The counts of a cleared family in retired series stayed on the pages of other processes.
#[test]
fn a_family_that_is_cleared_has_no_retired_counts_elsewhere() {
    let directory = TestDirectory::new();
    let reader = directory.reader();
    let mut role = Role::script(directory.path());
    role.run("stay label by_total x 3000");
    role.run("retire by_total x");
    assert_eq!(reader.get("by_total", &[("a", "__overflow__")]), 3000.0);
    role.run("clear by_total");
    assert_eq!(reader.get("by_total", &[("a", "__overflow__")]), 0.0);
    role.run("labelled by_total x 2");
    assert_eq!(reader.get("by_total", &[("a", "x")]), 2.0);
    assert_eq!(reader.get("by_total", &[("a", "__overflow__")]), 0.0);
}

/// The number at 128 tells readers that memory they have found is used again.
#[test]
fn memory_that_is_freed_is_announced_in_the_header() {
    use std::os::unix::fs::FileExt;
    let directory = TestDirectory::new();
    let mut role = Role::script(directory.path());
    role.run("labelled by_total x 5");
    let file = std::fs::File::open(&directory.files(".pm")[0]).unwrap();
    let replaced = || {
        let mut word = [0; 8];
        file.read_exact_at(&mut word, 128).unwrap();
        u64::from_ne_bytes(word)
    };
    let before = replaced();
    role.run("remove by_total x");
    // The label text is freed once no thread can read it.
    let freed = (0..100).any(|_| {
        role.run("scrape");
        replaced() > before
    });
    assert!(freed);
}
