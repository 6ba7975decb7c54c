//! Tests of pages that the reader rejects, and of its error messages.

mod open_metrics;
mod open_metrics_2;
mod text;

use super::*;

#[track_caller]
fn refused(read: Result<Snapshot, Error>, page: &str, error: &str) {
    match read {
        Ok(read) => panic!("{page:?} is {read:?}"),
        Err(e) => assert_eq!(e.to_string(), error, "{page:?}"),
    }
}

#[test]
fn bytes_that_are_no_text() {
    let error = read(b"a 1\nb{c=\"\xc3\xa4\xff\"} 1\n").unwrap_err();
    assert_eq!(
        error.to_string(),
        "line 2, column 7: found the byte 0xff, which is not valid UTF-8 here"
    );
}

#[test]
fn errors_show_the_beginning_only() {
    let page = format!("a {}\n", "ä".repeat(1000));
    let error = read(page).unwrap_err().to_string();
    assert!(error.len() < 250 && error.contains('…'), "{error}");
}
