//! The meaning of answers.

use super::super::answer::{Meaning, drops_histograms, to_v1, to_v2};
use super::super::batch::SampleCounts;
use super::*;

const SAMPLES: &str = "x-prometheus-remote-write-samples-written";
const HISTOGRAMS: &str = "x-prometheus-remote-write-histograms-written";
const EXEMPLARS: &str = "x-prometheus-remote-write-exemplars-written";

const SENT: SampleCounts = SampleCounts {
    floats: 5,
    histograms: 2,
};

fn written(rejected: u64, why: &str) -> Meaning {
    let why = why.to_owned();
    Meaning::Written { rejected, why }
}

#[test]
fn a_status_has_one_meaning_in_each_version() {
    let retry = || Meaning::Retry;
    for (status, v1, v2) in [
        (200, written(0, ""), Meaning::Unsupported),
        (204, written(0, ""), Meaning::Unsupported),
        (299, written(0, ""), Meaning::Unsupported),
        (301, Meaning::Refused, Meaning::Refused),
        (308, Meaning::Refused, Meaning::Refused),
        (400, Meaning::Refused, Meaning::Refused),
        (401, Meaning::Refused, Meaning::Refused),
        (404, Meaning::Refused, Meaning::Refused),
        (408, Meaning::Refused, Meaning::Refused),
        (413, Meaning::Refused, Meaning::Refused),
        (415, Meaning::Unsupported, Meaning::Unsupported),
        (429, retry(), retry()),
        (499, Meaning::Refused, Meaning::Refused),
        (500, retry(), retry()),
        (502, retry(), retry()),
        (503, retry(), retry()),
        (504, retry(), retry()),
        (599, retry(), retry()),
        (600, Meaning::Refused, Meaning::Refused),
        (999, Meaning::Refused, Meaning::Refused),
        (0, Meaning::Refused, Meaning::Refused),
        (100, Meaning::Refused, Meaning::Refused),
    ] {
        let answer = answer(status, &[]);
        assert_eq!(to_v1(&answer), v1, "{status}");
        assert_eq!(to_v2(&answer, SENT, true), v2, "{status}");
    }
}

#[test]
fn a_400_before_any_success_can_mean_that_the_version_is_unknown() {
    assert_eq!(to_v2(&answer(400, &[]), SENT, false), Meaning::Unsupported);
    // A receiver that counts knows the version.
    assert_eq!(
        to_v2(&answer(400, &[(SAMPLES, "0")]), SENT, false),
        Meaning::Refused
    );
    assert_eq!(to_v2(&answer(401, &[]), SENT, false), Meaning::Refused);
}

#[test]
fn headers_say_how_much_was_written() {
    for (headers, meaning) in [
        (
            &[(SAMPLES, "5"), (HISTOGRAMS, "2"), (EXEMPLARS, "0")][..],
            written(0, ""),
        ),
        (&[(SAMPLES, " 5 "), (HISTOGRAMS, "2")], written(0, "")),
        (
            &[(SAMPLES, "3"), (HISTOGRAMS, "2")],
            written(2, "the receiver wrote 5 of 7 samples"),
        ),
        (
            &[(SAMPLES, "5")],
            written(2, "the receiver wrote 5 of 7 samples"),
        ),
        (
            &[(HISTOGRAMS, "2")],
            written(5, "the receiver wrote 2 of 7 samples"),
        ),
        (
            &[(EXEMPLARS, "1")],
            written(7, "the receiver wrote 0 of 7 samples"),
        ),
        // More than was sent, and no numbers.
        (
            &[(SAMPLES, "50"), (HISTOGRAMS, "0")],
            written(2, "the receiver wrote 5 of 7 samples"),
        ),
        (&[(SAMPLES, "many"), (HISTOGRAMS, "-1")], written(0, "")),
    ] {
        assert_eq!(
            to_v2(&answer(204, headers), SENT, true),
            meaning,
            "{headers:?}"
        );
    }
}

#[test]
fn a_partial_write_is_no_loss_of_the_rest() {
    let mut partial = answer(400, &[(SAMPLES, "4"), (HISTOGRAMS, "2")]);
    partial.body = b"out of order sample for series {\xff}".to_vec();
    let why = "out of order sample for series {\u{fffd}}";
    assert_eq!(to_v2(&partial, SENT, true), written(1, why));
    assert_eq!(to_v1(&partial), Meaning::Refused);
    // A receiver that wants it again says so by its status.
    partial.status = 503;
    assert_eq!(to_v2(&partial, SENT, true), Meaning::Retry);
}

#[test]
fn headers_mean_nothing_in_version_1() {
    assert_eq!(to_v1(&answer(204, &[(SAMPLES, "0")])), written(0, ""));
}

/// The headers are those that VictoriaMetrics 1.79.5 and 1.145 answered, and those of Prometheus.
#[test]
fn an_old_victoria_metrics_is_recognized_by_its_headers() {
    let host = ("x-server-hostname", "vm");
    let vary = ("vary", "Accept-Encoding");
    for (headers, drops) in [
        (&[host][..], true),
        (&[vary, host], false),
        (&[vary], false),
        (&[], false),
    ] {
        assert_eq!(
            drops_histograms(&answer(204, headers)),
            drops,
            "{headers:?}"
        );
    }
}
