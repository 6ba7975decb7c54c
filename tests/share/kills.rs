//! Processes that are killed. An update that returned counts, whatever happens next.

use crate::child::Role;
use crate::directory::TestDirectory;

#[test]
fn what_an_update_returned_from_survives_a_kill() {
    let directory = TestDirectory::new();
    let mut reader = directory.reader();
    let (mut least, mut most) = (0.0, 0.0);
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
        least += counted;
        // It may have counted one more before it was killed.
        most += counted + 1.0;
        let total = reader.total();
        assert!(
            (least..=most).contains(&total),
            "{least} <= {total} <= {most}"
        );
        (least, most) = (total, total);
    }
}
