//! Totals are exact.

use crate::child::Role;
use crate::directory::TestDirectory;

#[test]
fn three_processes_count_a_thousand_each() {
    let directory = TestDirectory::new();
    let mut reader = directory.reader();
    let mut roles: Vec<_> = (0..3)
        .map(|_| Role::start("count-and-wait 1000", directory.path()))
        .collect();
    for role in &mut roles {
        role.wait_for("done");
        reader.total();
    }
    assert_eq!(reader.total(), 3000.0);
    assert_eq!(
        reader.get("tallies_share_writers", &[]),
        3.0
    );
    for mut role in roles {
        role.tell("end");
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
    let roles: Vec<_> = (0..8)
        .map(|_| Role::start("count 25000 4", directory.path()))
        .collect();
    while reader.total() < 800_000.0 {
        std::thread::yield_now();
    }
    roles.into_iter().for_each(Role::join);
    assert_eq!(reader.total(), 800_000.0);
}
