//! Gauges of several processes say what was set.

use crate::child::Role;
use crate::directory::{Reader, TestDirectory};

/// Each mode in which one value wins, with a value that 0 would displace.
const SET: [(&str, f64); 6] = [
    ("live_min", 7.0),
    ("live_max", -7.0),
    ("live_recent", 7.0),
    ("min", 7.0),
    ("max", -7.0),
    ("recent", 7.0),
];

/// Runs the same in all these modes: sets the gauge, or declares it only.
fn all(role: &mut Role, is_set: bool) {
    for (mode, value) in SET {
        let value = if is_set {
            value.to_string()
        } else {
            "unset".to_owned()
        };
        role.run(&format!("gauge {mode} {mode} {value}"));
    }
    role.run(if is_set {
        "state pump on"
    } else {
        "state pump unset"
    });
}

fn is_as_set(reader: &Reader) {
    for (mode, value) in SET {
        assert_eq!(reader.get(mode, &[]), value, "{mode}");
    }
    assert_eq!(reader.get("pump", &[("pump", "on")]), 1.0);
    assert_eq!(reader.get("pump", &[("pump", "off")]), 0.0);
}

/// A process that declares a gauge of mode `Min`, and only serves the page, made the page 0. When
/// it had ended, the 0 was in the totals for good. A state set showed its first state.
#[test]
fn a_process_that_sets_no_gauge_does_not_change_it() {
    let directory = TestDirectory::new();
    let reader = directory.reader();
    let mut first = Role::script(directory.path());
    all(&mut first, false);
    let mut setter = Role::script(directory.path());
    all(&mut setter, true);
    is_as_set(&reader);
    let mut last = Role::script(directory.path());
    all(&mut last, false);
    is_as_set(&reader);
    first.kill();
    last.kill();
    reader.dir.fold().unwrap();
    is_as_set(&reader);
    setter.kill();
    for _ in 0..2 {
        for (mode, value) in &SET[3..] {
            assert_eq!(reader.get(mode, &[]), *value, "{mode}");
        }
        reader.dir.fold().unwrap();
    }
}

/// Three children that never touched the gauge made the 1000 of their parent a 0.
#[test]
fn a_child_that_sets_no_gauge_does_not_change_it() {
    let directory = TestDirectory::new();
    let reader = directory.reader();
    let mut role = Role::script(directory.path());
    all(&mut role, true);
    for _ in 0..3 {
        assert_eq!(role.run("fork count jobs_total 1"), "true");
        is_as_set(&reader);
    }
    assert_eq!(role.run("fork gauge max max -9"), "true");
    reader.dir.fold().unwrap();
    is_as_set(&reader);
    assert_eq!(role.run("fork gauge max max -3"), "true");
    assert_eq!(reader.get("max", &[]), -3.0);
}

/// Whichever process started first, and however shortly the sets follow each other.
#[test]
fn the_value_that_was_set_last_is_shown() {
    let directory = TestDirectory::new();
    let reader = directory.reader();
    let mut roles = [(); 2].map(|()| Role::script(directory.path()));
    for (who, value) in [(0, 1), (1, 2), (0, 3), (1, 3), (0, 4), (1, 5), (0, 5)] {
        let state = ["off", "on"][value % 2];
        roles[who].run(&format!("gauge recent recent {value}"));
        roles[who].run(&format!("gauge live_recent live_recent {value}"));
        roles[who].run(&format!("state pump {state}"));
        assert_eq!(reader.get("recent", &[]), value as f64);
        assert_eq!(reader.get("live_recent", &[]), value as f64);
        assert_eq!(reader.get("pump", &[("pump", state)]), 1.0);
    }
    let [mut one, mut two] = roles;
    two.kill();
    one.run("gauge recent recent 6");
    reader.dir.fold().unwrap();
    assert_eq!(reader.get("recent", &[]), 6.0);
    one.kill();
    reader.dir.fold().unwrap();
    assert_eq!(reader.get("recent", &[]), 6.0);
}
