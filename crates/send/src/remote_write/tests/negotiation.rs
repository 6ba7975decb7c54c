//! The choice between the versions.

use super::*;

fn started(settings: &RemoteWrite) -> Exchange {
    let mut exchange = exchange(settings);
    exchange.most_samples = 1;
    exchange.take(&snapshot([gauges("g", &["1", "2", "3"])], NOW));
    exchange
}

/// Sends the next request and returns its version and the verdict.
fn step(exchange: &mut Exchange, answer: Option<Answer>) -> (bool, Verdict) {
    let request = next(exchange).unwrap();
    let written = all_written(&request);
    let verdict = exchange.answered(Some(&answer.unwrap_or(written)));
    (request.is_v2, verdict)
}

fn accepted() -> Verdict {
    let why = String::new();
    Verdict::Accepted { rejected: 0, why }
}

#[test]
fn a_receiver_of_version_2_gets_version_2() {
    for settings in [RemoteWrite::new(), v2()] {
        let mut exchange = started(&settings);
        for _ in 0..3 {
            assert_eq!(step(&mut exchange, None), (true, accepted()));
        }
        assert!(next(&mut exchange).is_none());
    }
}

#[test]
fn a_receiver_of_version_1_gets_the_same_samples_in_version_1() {
    for refusal in [
        answer(415, &[]),
        answer(400, &[]),
        answer(204, &[]),
        answer(200, &[]),
    ] {
        let mut exchange = started(&RemoteWrite::new());
        let refused = next(&mut exchange).unwrap();
        assert_eq!(exchange.answered(Some(&refusal)), Verdict::Again);
        let again = next(&mut exchange).unwrap();
        assert_eq!((refused.is_v2, again.is_v2), (true, false));
        assert_eq!(refused.texts(), again.texts());
        assert_eq!(exchange.answered(Some(&all_written(&again))), accepted());
        // The choice stays, also for the next snapshot.
        assert_eq!(step(&mut exchange, None), (false, accepted()));
        exchange.take(&snapshot([gauges("g", &["1"])], NOW + 1_000));
        assert_eq!(step(&mut exchange, None), (false, accepted()));
    }
}

#[test]
fn a_fixed_version_stays() {
    for (settings, is_v2) in both().iter().zip([false, true]) {
        let mut exchange = started(settings);
        for status in [415, 400, 415] {
            let refused = (is_v2, Verdict::Refused);
            assert_eq!(step(&mut exchange, Some(answer(status, &[]))), refused);
        }
        assert!(next(&mut exchange).is_none());
    }
    // A receiver that decoded nothing.
    let mut exchange = started(&v2());
    assert_eq!(
        step(&mut exchange, Some(answer(204, &[]))),
        (true, Verdict::Refused)
    );
}

#[test]
fn a_version_that_was_accepted_is_not_given_up_for_a_bad_request() {
    let mut exchange = started(&RemoteWrite::new());
    assert_eq!(step(&mut exchange, None), (true, accepted()));
    assert_eq!(
        step(&mut exchange, Some(answer(400, &[]))),
        (true, Verdict::Refused)
    );
    assert_eq!(step(&mut exchange, None), (true, accepted()));
}

/// A receiver that only knows version 2 may have answered 400 for another reason.
#[test]
fn a_fallback_that_does_not_help_is_taken_back() {
    for status in [400, 415, 404] {
        let mut exchange = started(&RemoteWrite::new());
        assert_eq!(
            step(&mut exchange, Some(answer(400, &[]))),
            (true, Verdict::Again)
        );
        let refused = (false, Verdict::Refused);
        assert_eq!(step(&mut exchange, Some(answer(status, &[]))), refused);
        assert_eq!(step(&mut exchange, None), (true, accepted()));
    }
}

#[test]
fn a_receiver_that_stops_to_know_a_version_gets_the_other() {
    let mut exchange = started(&RemoteWrite::new());
    assert_eq!(
        step(&mut exchange, Some(answer(415, &[]))),
        (true, Verdict::Again)
    );
    assert_eq!(step(&mut exchange, None), (false, accepted()));
    // It is replaced by one that only knows version 2, and later that one by an old one.
    assert_eq!(
        step(&mut exchange, Some(answer(415, &[]))),
        (false, Verdict::Again)
    );
    assert_eq!(step(&mut exchange, None), (true, accepted()));
    assert_eq!(
        step(&mut exchange, Some(answer(204, &[]))),
        (true, Verdict::Again)
    );
    assert_eq!(step(&mut exchange, None), (false, accepted()));
}

/// A receiver that came back to an earlier version has not accepted it yet.
#[test]
fn a_version_has_to_be_accepted_after_each_change() {
    let mut exchange = started(&RemoteWrite::new());
    let again = |is_v2| (is_v2, Verdict::Again);
    assert_eq!(step(&mut exchange, Some(answer(415, &[]))), again(true));
    assert_eq!(step(&mut exchange, None), (false, accepted()));
    assert_eq!(step(&mut exchange, Some(answer(415, &[]))), again(false));
    // It is away, and the next snapshot finds one that knows version 1 only.
    let away = (true, Verdict::Retry);
    assert_eq!(step(&mut exchange, Some(answer(503, &[]))), away);
    exchange.take(&snapshot([gauges("g", &["1"])], NOW + 1_000));
    assert_eq!(step(&mut exchange, Some(answer(400, &[]))), again(true));
    assert_eq!(step(&mut exchange, None), (false, accepted()));
}

/// A request is sent at most twice without a pause, whatever the receiver answers.
#[test]
fn no_answer_makes_the_versions_alternate_without_end() {
    for status in [200, 204, 400, 415] {
        let mut exchange = started(&RemoteWrite::new());
        let mut requests = 0;
        while next(&mut exchange).is_some() {
            requests += 1;
            exchange.answered(Some(&answer(status, &[])));
        }
        assert!(
            requests <= 6,
            "{status}: {requests} requests for three series"
        );
    }
}

#[test]
fn a_retry_is_in_the_same_version() {
    let mut exchange = started(&RemoteWrite::new());
    assert_eq!(
        step(&mut exchange, Some(answer(503, &[]))),
        (true, Verdict::Retry)
    );
    assert_eq!(
        step(&mut exchange, Some(answer(415, &[]))),
        (true, Verdict::Again)
    );
    let busy = answer(429, &[("retry-after", "7")]);
    let later = Verdict::Retry;
    assert_eq!(step(&mut exchange, Some(busy)), (false, later));
    assert_eq!(step(&mut exchange, None), (false, accepted()));
}

/// Version 1 has no custom buckets, so histograms are other series there.
#[test]
fn histograms_change_their_form_with_the_version() {
    let histogram = |millis| {
        let series: [(&[(&str, &str)], _); 1] = [(&[], fixed(&[1.0], &[1, 2], 9.0))];
        snapshot([family("h", Kind::Histogram, &series)], NOW + millis)
    };
    let mut exchange = exchange(&RemoteWrite::new().histograms(HistogramForm::Native));
    exchange.take(&histogram(0));
    assert_eq!(next(&mut exchange).unwrap().texts(), ["h"]);
    assert_eq!(exchange.answered(Some(&answer(415, &[]))), Verdict::Again);
    let classic = [
        r#"h_bucket{le="1.0"}"#,
        r#"h_bucket{le="+Inf"}"#,
        "h_sum",
        "h_count",
    ];
    assert_eq!(next(&mut exchange).unwrap().texts(), classic);
    exchange.answered(Some(&answer(204, &[])));
    exchange.take(&histogram(1_000));
    assert_eq!(flush(&mut exchange)[0].texts(), classic);
    exchange.end();
    let ended = flush(&mut exchange);
    assert_eq!(ended[0].texts(), classic);
    assert!(ended[0].samples.iter().all(Seen::is_stale));
}
