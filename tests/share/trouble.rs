//! Directories, programs and pages in trouble.

use std::os::unix::fs::PermissionsExt;

use tallies::share::Dir;

use crate::child::Role;
use crate::directory::TestDirectory;
use crate::support::http::get;
use crate::support::{eventually, later_tick, not_tested};

#[test]
fn a_directory_that_is_deleted_makes_no_page_instead_of_a_wrong_one() {
    let directory = TestDirectory::new();
    let mut role = Role::script(directory.path());
    role.run("count jobs_total 5");
    assert_eq!(role.run("total jobs_total"), "5");
    let reader = directory.reader();
    std::fs::remove_dir_all(directory.path()).unwrap();
    let answer = role.run("total jobs_total");
    assert!(
        answer.contains("cannot read the shared directory"),
        "{answer}"
    );
    let address = role.run("serve");
    assert_eq!(get(&*address, "/metrics", &[]).status(), 503);
    assert!(reader.dir.snapshot().is_err());
    // Updates go on.
    role.run("count jobs_total 5");
    assert_eq!(role.run("own jobs_total"), "10");
    // A new process makes the directory again, and does not confuse the first one.
    let mut other = Role::script(directory.path());
    other.run("count jobs_total 1");
    assert_eq!(other.run("total jobs_total"), "1");
    assert!(role.run("total jobs_total").contains("cannot read"));
}

#[test]
fn the_own_file_that_is_removed_makes_no_page_instead_of_a_lower_one() {
    let directory = TestDirectory::new();
    let mut role = Role::script(directory.path());
    role.run("count jobs_total 5");
    std::fs::remove_file(&directory.files(".pm")[0]).unwrap();
    let answer = role.run("total jobs_total");
    assert!(answer.contains("was removed"), "{answer}");
}

/// Without the counts of the process that is asked, the page would be a lower one.
#[test]
fn the_own_file_that_is_damaged_makes_no_page_instead_of_a_lower_one() {
    use std::os::unix::fs::FileExt;
    let directory = TestDirectory::new();
    let mut role = Role::script(directory.path());
    role.run("count jobs_total 5");
    let mut options = std::fs::OpenOptions::new();
    let file = options.write(true).open(&directory.files(".pm")[0]);
    let file = file.unwrap();
    file.write_all_at(b"another ", 0).unwrap();
    let answer = role.run("total jobs_total");
    assert!(
        answer.contains("the file of this process cannot be read"),
        "{answer}"
    );
}

/// A file system that compresses stores no zeros: the own file looked as if it had holes.
#[test]
#[allow(unsafe_code, reason = "holes are made by a call to libc")]
fn the_own_file_may_have_holes() {
    use std::os::fd::AsRawFd;
    let directory = TestDirectory::new();
    let reader = directory.reader();
    let mut role = Role::script(directory.path());
    role.run("counter jobs_total 5");
    let mut options = std::fs::OpenOptions::new();
    let file = options.write(true).open(&directory.files(".pm")[0]);
    let file = file.unwrap();
    let mode = libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE;
    // SAFETY: an open file.
    let punched = unsafe { libc::fallocate(file.as_raw_fd(), mode, 240 << 10, 16 << 10) };
    assert_eq!(punched, 0);
    assert_eq!(role.run("total jobs_total"), "5");
    // Others do not read it: that might take memory without end.
    assert_eq!(reader.dir.overview().unwrap().skipped.len(), 1);
}

#[test]
fn a_server_in_any_process_has_the_page_of_all() {
    let directory = TestDirectory::new();
    let mut roles = [(); 3].map(|()| Role::script(directory.path()));
    for (i, role) in roles.iter_mut().enumerate() {
        role.run(&format!("counter jobs_total {}", 10_u32.pow(i as u32)));
    }
    for role in &mut roles {
        let address = role.run("serve");
        let answer = get(&*address, "/metrics", &[]);
        let page = answer.text();
        assert_eq!(answer.status(), 200);
        assert!(page.lines().any(|line| line == "jobs_total 111"), "{page}");
        assert!(
            page.lines().any(|line| line == "tallies_share_writers 3"),
            "{page}"
        );
    }
}

/// Everything that takes a registry takes a directory.
#[test]
fn a_directory_takes_the_place_of_a_registry() {
    let directory = TestDirectory::new();
    let reader = directory.reader();
    let mut role = Role::script(directory.path());
    role.run("counter jobs_total 5");
    let (_, page) = tallies::encode::render(&reader.snapshot(), "text/plain");
    assert!(
        String::from_utf8(page)
            .unwrap()
            .contains("\njobs_total 5\n")
    );
    let mut snapshot = tallies::snapshot::Snapshot::default();
    tallies::snapshot::Source::snapshot_into(&reader.dir, &mut snapshot);
    assert_eq!(snapshot.get("jobs_total", &[]), Some(5.0));
    let serving = tallies::serve::Server::new()
        .registry(&reader.dir)
        .listen("127.0.0.1:0")
        .unwrap();
    let answer = get(&serving, "/metrics", &[]);
    assert!(answer.text().contains("\njobs_total 5\n"), "{answer:?}");
    serving.stop();
}

#[cfg(feature = "push")]
#[test]
fn a_pusher_takes_a_directory_that_can_be_read_and_no_other() {
    use std::io::{Read, Write};
    let directory = TestDirectory::new();
    let reader = directory.reader();
    let mut role = Role::script(directory.path());
    role.run("counter jobs_total 5");
    // A gateway that accepts one push.
    let gateway = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", gateway.local_addr().unwrap());
    let pushed = std::thread::spawn(move || {
        let (mut stream, _) = gateway.accept().unwrap();
        let mut request = Vec::new();
        let mut part = [0; 4096];
        while !request.windows(12).any(|part| part == b"jobs_total 5") {
            let read = stream.read(&mut part).unwrap();
            assert!(read > 0, "{}", String::from_utf8_lossy(&request));
            request.extend(&part[..read]);
        }
        stream
            .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            .unwrap();
    });
    tallies::push::Pusher::new(&url, "batch")
        .registry(&reader.dir)
        .add()
        .unwrap();
    pushed.join().unwrap();
    // If there is no page, nothing is pushed.
    std::fs::remove_dir_all(directory.path()).unwrap();
    assert!(
        tallies::push::Pusher::new(&url, "batch")
            .registry(&reader.dir)
            .add()
            .is_err()
    );
}

#[test]
fn directories_of_others_are_refused() {
    let directory = TestDirectory::new();
    drop(directory.reader());
    let mode = |mode| {
        let permissions = std::fs::Permissions::from_mode(mode);
        std::fs::set_permissions(directory.path(), permissions).unwrap();
    };
    for open in [0o770, 0o707, 0o722, 0o755] {
        mode(open);
        let error = Dir::open(directory.path()).unwrap_err();
        assert!(
            error.to_string().contains("it is open to other users"),
            "{error}"
        );
        assert_eq!(error.io_kind(), Some(std::io::ErrorKind::PermissionDenied));
        let mut role = Role::start("script", directory.path());
        let answer = role.run("share-or-error");
        assert!(answer.contains("other users"), "{answer}");
    }
    mode(0o700);
    let link = directory.path().with_extension("link");
    std::os::unix::fs::symlink(directory.path(), &link).unwrap();
    for link in [link.clone(), link.join(""), link.join(".")] {
        assert!(Dir::open(&link).is_err(), "a link was followed");
        let mut role = Role::start("script", &link);
        let answer = role.run("share-or-error");
        assert!(answer.contains("cannot share metrics"), "{answer}");
    }
    std::fs::remove_file(&link).unwrap();
    assert!(Dir::open(directory.path().join("none")).is_err());
    assert!(Dir::open("/proc/version").is_err());
}

#[test]
fn two_programs_with_one_name_and_different_kinds_do_not_mix() {
    let directory = TestDirectory::new();
    let reader = directory.reader();
    let mut first = Role::script(directory.path());
    first.run("counter jobs_total 5");
    later_tick();
    let mut second = Role::script(directory.path());
    first.run("counter other_total 5");
    second.run("gauge jobs_total max 100");
    second.run("counter other_total 2");
    let check = |conflicts| {
        assert_eq!(reader.get("jobs_total", &[]), 5.0);
        assert_eq!(reader.get("other_total", &[]), 7.0);
        assert_eq!(reader.get("tallies_share_conflicts", &[]), conflicts);
    };
    check(1.0);
    // The one that is left out does not take the place of the other, dead or alive.
    second.kill();
    check(1.0);
    first.kill();
    check(1.0);
    reader.dir.fold().unwrap();
    check(0.0);
    let mut third = Role::script(directory.path());
    third.run("gauge jobs_total max 100");
    check(1.0);
}

/// Totals count as older than all processes, so the dead one took the place of the live one.
#[test]
fn a_dead_program_does_not_displace_the_kind_of_a_live_one() {
    let directory = TestDirectory::new();
    let reader = directory.reader();
    let mut first = Role::script(directory.path());
    first.run("counter jobs_total 5");
    later_tick();
    let mut second = Role::script(directory.path());
    second.run("gauge jobs_total max 100");
    second.run("counter other_total 2");
    second.kill();
    assert_eq!(reader.get("jobs_total", &[]), 5.0);
    assert_eq!(reader.dir.fold().unwrap(), 1);
    assert_eq!(reader.get("jobs_total", &[]), 5.0);
    assert_eq!(reader.get("other_total", &[]), 2.0);
    first.kill();
    assert_eq!(reader.dir.fold().unwrap(), 1);
    assert_eq!(reader.get("jobs_total", &[]), 5.0);
}

/// A rolling deployment: the new version of the program has other buckets, and more labels.
#[test]
fn two_versions_of_a_program_share_what_they_can() {
    let directory = TestDirectory::new();
    let reader = directory.reader();
    let mut old = [(); 2].map(|()| Role::script(directory.path()));
    for role in &mut old {
        role.run("histogram latency 1,2 1.5 10");
        role.run("labelled jobs_by_total x 5");
        role.run("counter jobs_total 5");
    }
    assert_eq!(reader.get("latency_count", &[]), 20.0);
    // Processes are told apart by milliseconds, and the newest one decides the buckets.
    later_tick();
    let mut new = Role::script(directory.path());
    new.run("histogram latency 1,2,4 3 7");
    new.run("other-label jobs_by_total b y 3");
    new.run("counter jobs_total 5");
    let check = || {
        assert_eq!(reader.get("jobs_total", &[]), 15.0);
        assert_eq!(reader.get("jobs_by_total", &[("a", "x")]), 10.0);
        assert_eq!(reader.get("jobs_by_total", &[("b", "y")]), 3.0);
        // The newest buckets count from their first process on.
        assert_eq!(reader.get("latency_count", &[]), 7.0);
        assert_eq!(reader.get("latency_bucket", &[("le", "4")]), 7.0);
    };
    check();
    for mut role in old {
        role.kill();
        check();
        reader.dir.fold().unwrap();
        check();
    }
    new.kill();
    reader.dir.fold().unwrap();
    check();
}

#[test]
fn names_longer_than_a_page_are_shared() {
    let directory = TestDirectory::new();
    let reader = directory.reader();
    let mut role = Role::script(directory.path());
    let name = format!("long_{}_total", "x".repeat(10_000));
    let value = "v".repeat(300_000);
    role.run(&format!("counter {name} 5"));
    role.run(&format!("labelled by_total {value} 7"));
    for _ in 0..2 {
        assert_eq!(reader.get(&name, &[]), 5.0);
        assert_eq!(reader.get("by_total", &[("a", &value)]), 7.0);
        role.kill();
        reader.dir.fold().unwrap();
    }
}

#[test]
fn a_million_series_are_shared() {
    let series = if cfg!(debug_assertions) {
        100_000
    } else {
        1_000_000
    };
    let directory = TestDirectory::new();
    let reader = directory.reader();
    let mut role = Role::script(directory.path());
    role.run(&format!("labels many_total 0 {series}"));
    let check = || {
        let page = reader.snapshot();
        assert_eq!(page.family("many_total").unwrap().len(), series);
        assert_eq!(page.get("many_total", &[("a", "77777")]), Some(1.0));
    };
    check();
    role.kill();
    check();
    reader.dir.fold().unwrap();
    check();
    assert!(reader.dir.overview().unwrap().skipped.is_empty());
}

/// No process can run the code of another one, so what code computes at scrape time is not shared.
#[test]
fn collectors_are_not_on_the_shared_page() {
    let directory = TestDirectory::new();
    let mut role = Role::script(directory.path());
    role.run("counter jobs_total 5");
    role.run("collect value");
    assert_eq!(role.run("total collected"), "0");
    assert_eq!(role.run("own collected"), "7");
    role.run("collect panic");
    role.run("collect hang");
    // With a collector that runs, these would never end.
    assert_eq!(role.run("total jobs_total"), "5");
    let address = role.run("serve");
    assert_eq!(get(&*address, "/metrics", &[]).status(), 200);
}

#[test]
fn a_full_disk_costs_sharing_and_nothing_else() {
    let directory = TestDirectory::new();
    let reader = directory.reader();
    let mut role = Role::script(directory.path());
    role.run("counter jobs_total 5");
    let size = std::fs::metadata(&directory.files(".pm")[0]).unwrap().len();
    role.run(&format!("file-limit {size}"));
    role.run("labels many_total 0 50000");
    role.run("counter jobs_total 5");
    assert_eq!(reader.get("jobs_total", &[]), 10.0);
    let page = reader.snapshot();
    let shared = page.family("many_total").map_or(0, |family| family.len());
    assert!(shared < 50_000, "the limit had no effect");
    assert!(reader.get("tallies_share_words_not_shared", &[]) > 0.0);
    assert_eq!(reader.dir.overview().unwrap().skipped.len(), 0);
    // The disk has room again.
    role.run(&format!("file-limit {}", 64 * size));
    let mut families = 0..;
    eventually("another try of the disk", || {
        let name = format!("later_{}_total", families.next().unwrap());
        role.run(&format!("labels {name} 0 5000"));
        let page = reader.snapshot();
        page.family(&name)
            .is_some_and(|family| family.len() == 5000)
    });
    role.kill();
    assert_eq!(reader.dir.fold().unwrap(), 1);
    assert_eq!(reader.get("jobs_total", &[]), 10.0);
}

/// A tmpfs without free space, if the test may mount one.
#[test]
fn a_full_tmpfs_costs_sharing_and_nothing_else() {
    let directory = TestDirectory::new();
    drop(directory.reader());
    let mount = |command: &str, arguments: &[&str]| {
        let status = std::process::Command::new(command)
            .args(arguments)
            .arg(directory.path())
            .stderr(std::process::Stdio::null())
            .status();
        status.is_ok_and(|status| status.success())
    };
    let options = ["-t", "tmpfs", "-o", "size=1m,mode=0700", "tmpfs"];
    if !mount("mount", &options) {
        not_tested("this user cannot mount a tmpfs");
        return;
    }
    let reader = directory.reader();
    let mut role = Role::script(directory.path());
    role.run("counter jobs_total 5");
    role.run("labels many_total 0 50000");
    role.run("count jobs_total 2000");
    role.run("histogram latency 1,2,4 1.5 2000");
    role.run("summary sizes 5 2000");
    role.run("native native 5 2000");
    assert_eq!(reader.get("jobs_total", &[]), 2005.0);
    assert!(reader.get("tallies_share_words_not_shared", &[]) > 0.0);
    // Its own page has everything.
    assert_eq!(role.run("own jobs_total"), "2005");
    assert_eq!(role.run("own latency_count"), "2000");
    // There is no space for ever more processes, and when they have ended there was none for the
    // totals, without which their files stayed.
    let mut roles = vec![role];
    // A file that a reader has open keeps its space until the next read.
    drop(reader);
    for _ in 0..4 {
        let refused = loop {
            let mut other = Role::start("script", directory.path());
            let answer = other.run("share-or-error");
            if answer != "shared" {
                assert!(answer.contains("cannot share metrics"), "{answer}");
                break other;
            }
            assert_eq!(other.run("total jobs_total"), "2005");
            other.run("labels many_total 0 50000");
            roles.push(other);
            assert!(roles.len() < 10, "the disk is never full");
        };
        roles.iter_mut().for_each(Role::kill);
        roles = vec![refused];
        assert_eq!(roles[0].run("share-or-error"), "shared");
        assert_eq!(roles[0].run("total jobs_total"), "2005");
        assert_eq!(directory.files(".pm").len(), 1, "the dead are folded");
    }
    let reader = directory.reader();
    assert_eq!(reader.get("jobs_total", &[]), 2005.0);
    assert!(reader.dir.overview().unwrap().skipped.is_empty());
    drop((reader, roles));
    assert!(mount("umount", &["-l"]));
}

/// The page had what the parent had counted once for each worker: 3 000 300 of 1 000 300.
#[test]
fn what_was_counted_before_a_fork_counts_once() {
    let directory = TestDirectory::new();
    let mut reader = directory.reader();
    let mut role = Role::start("script", directory.path());
    role.run("counter jobs_total 1000000");
    for _ in 0..3 {
        assert_eq!(role.run("fork share-and counter jobs_total 100"), "true");
    }
    assert_eq!(reader.total(), 300.0);
    // A child that has started over itself may count before it shares.
    assert_eq!(role.run("fork start-over-and counter jobs_total 7"), "true");
    assert_eq!(reader.total(), 307.0);
    role.run("share");
    assert_eq!(reader.total(), 1_000_307.0);
    assert_eq!(role.run("fork share-and counter jobs_total 100"), "true");
    assert_eq!(reader.total(), 1_000_407.0);
}

#[test]
fn a_fork_counts_in_a_file_of_its_own() {
    let directory = TestDirectory::new();
    let mut reader = directory.reader();
    let mut role = Role::script(directory.path());
    // Before and after the first use.
    for round in 1..=2 {
        assert_eq!(role.run("fork count jobs_total 3000"), "true");
        role.run("count jobs_total 2000");
        assert_eq!(reader.total(), f64::from(round) * 5000.0);
    }
    role.kill();
    reader.dir.fold().unwrap();
    assert_eq!(reader.total(), 10_000.0);
}
