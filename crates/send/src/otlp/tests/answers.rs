//! The answers of receivers, right and wrong.

use opentelemetry_proto::tonic::collector::metrics::v1::{
    ExportMetricsPartialSuccess, ExportMetricsServiceResponse,
};
use proptest::prelude::*;

use crate::otlp::answer::verdict;
use crate::otlp::protocol::Encoding;
use crate::otlp::response::{PartialSuccess, from_json, from_protobuf};

use super::*;

fn response(rejected: i64, message: &str) -> ExportMetricsServiceResponse {
    ExportMetricsServiceResponse {
        partial_success: Some(ExportMetricsPartialSuccess {
            rejected_data_points: rejected,
            error_message: message.to_owned(),
        }),
    }
}

fn accepted(rejected: u64, why: &str) -> Verdict {
    Verdict::Accepted {
        rejected,
        why: why.to_owned(),
    }
}

fn answer(headers: &[(&str, &str)], body: &[u8]) -> Answer {
    let headers = headers.iter();
    Answer {
        status: 200,
        headers: headers
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect(),
        body: body.to_owned(),
    }
}

#[test]
fn rejected_points_are_counted_in_either_encoding() {
    let response = response(3, "too \"old\"\n");
    let bytes = response.encode_to_vec();
    let json = serde_json::to_vec(&response).unwrap();
    for (content_type, body) in [
        (Some("application/x-protobuf"), &bytes),
        (None, &bytes),
        (Some("application/json"), &json),
        (Some("Application/JSON; charset=utf-8"), &json),
    ] {
        let headers: Vec<_> = content_type
            .map(|kind| ("content-type", kind))
            .into_iter()
            .collect();
        let answer = answer(&headers, body);
        let found = verdict(Some(&answer), Encoding::Binary, 10);
        assert_eq!(found, accepted(3, "too \"old\"\n"));
        // A receiver cannot reject more than it got.
        let found = verdict(Some(&answer), Encoding::Binary, 2);
        assert_eq!(found, accepted(2, "too \"old\"\n"));
    }
    // Without a content type, the answer is in the encoding of the request.
    let found = verdict(Some(&answer(&[], &json)), Encoding::Json, 10);
    assert_eq!(found, accepted(3, "too \"old\"\n"));
}

#[test]
fn an_answer_that_cannot_be_read_is_an_acceptance() {
    let long = "ä".repeat(1000);
    let bodies: [(&[u8], _); 8] = [
        (b"", accepted(0, "")),
        (b"<html>", accepted(0, "")),
        (b"{}", accepted(0, "")),
        (b"{\"partialSuccess\":null}", accepted(0, "")),
        (
            b"{\"partialSuccess\":{\"rejectedDataPoints\":-1}}",
            accepted(0, ""),
        ),
        (
            b"{\"partialSuccess\":{\"rejectedDataPoints\":2",
            accepted(0, ""),
        ),
        (
            b" { \"x\" : [ {\"a\":[1.5e-3,true]} , \"}\" ] , \
              \"partialSuccess\":{\"rejectedDataPoints\": 2 ,\"y\":{}}}",
            accepted(2, ""),
        ),
        (
            b"{\"partialSuccess\":{\"errorMessage\":\"\\u00e4\\ud83d\\ude00\\n\\/\"}}",
            accepted(0, "ä😀\n/"),
        ),
    ];
    for (body, expected) in bodies {
        let answer = answer(&[("content-type", "application/json")], body);
        assert_eq!(verdict(Some(&answer), Encoding::Json, 10), expected);
    }
    let body = response(0, &long).encode_to_vec();
    let found = verdict(Some(&answer(&[], &body)), Encoding::Binary, 10);
    assert_eq!(found, accepted(0, &long[..1000]));
}

#[test]
fn only_four_statuses_are_worth_another_attempt() {
    for code in 100..600 {
        let found = verdict(Some(&status(code)), Encoding::Binary, 10);
        let expected = match code {
            200..=299 => accepted(0, ""),
            429 | 502 | 503 | 504 => Verdict::Retry,
            _ => Verdict::Refused,
        };
        assert_eq!(found, expected, "{code}");
    }
    assert_eq!(verdict(None, Encoding::Json, 10), Verdict::Retry);
}

#[test]
fn fields_of_later_versions_are_skipped() {
    // Field 9: a varint, 8 bytes, 4 bytes, and a string.
    let others = [
        &[0x48, 0xff, 1, 0x49][..],
        &[7; 8],
        &[0x4d],
        &[7; 4],
        &[0x4a, 2, 7, 7],
    ]
    .concat();
    let body = [&others[..], &response(3, "x").encode_to_vec(), &others].concat();
    let expected = PartialSuccess {
        rejected: 3,
        message: "x".to_owned(),
    };
    assert_eq!(from_protobuf(&body), Some(expected));
    for end in 0..body.len() {
        let _ = from_protobuf(&body[..end]);
    }
    // A group, an endless varint, a length beyond the end.
    for body in [
        &[0x4b][..],
        &[
            0x48, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1,
        ],
        &[0x0a, 9],
    ] {
        assert_eq!(from_protobuf(body), None);
    }
}

/// A reader that calls itself for each bracket would need more stack than a thread has.
#[test]
fn a_deep_answer_is_skipped() {
    let deep = [&b"{\"x\":"[..], &[b'['; 60_000][..], &[b']'; 60_000], b"}"].concat();
    assert_eq!(from_json(&deep), Some(PartialSuccess::default()));
    assert_eq!(from_json(&deep[..deep.len() - 2]), None);
}

/// Bytes of the kind that receivers send.
fn bytes() -> impl Strategy<Value = Vec<u8>> {
    let token = prop_oneof![
        Just(b"{".to_vec()),
        Just(b"}".to_vec()),
        Just(b"[".to_vec()),
        Just(b"]".to_vec()),
        Just(b",".to_vec()),
        Just(b":".to_vec()),
        Just(b"\"".to_vec()),
        Just(b"\\u".to_vec()),
        Just(b"\"partialSuccess\":{".to_vec()),
        Just(b"\"rejectedDataPoints\":".to_vec()),
        Just(b"\x0a\x04".to_vec()),
        proptest::collection::vec(any::<u8>(), 0..4),
    ];
    proptest::collection::vec(token, 0..40).prop_map(|tokens| tokens.concat())
}

proptest! {
    #[test]
    fn any_bytes_are_an_answer(body in bytes(), json in any::<bool>(), points in any::<u64>()) {
        let content_type = if json { "application/json" } else { "application/x-protobuf" };
        let answer = answer(&[("content-type", content_type)], &body);
        let found = verdict(Some(&answer), Encoding::Binary, points);
        let Verdict::Accepted { rejected, why } = found else {
            panic!("{found:?}");
        };
        prop_assert!(rejected <= points && why.len() <= 1000);
    }

    #[test]
    fn what_the_official_types_write_is_read(rejected in any::<i64>(), message in ".{0,40}") {
        let response = response(rejected, &message);
        let expected = Some(PartialSuccess { rejected, message });
        prop_assert_eq!(&from_protobuf(&response.encode_to_vec()), &expected);
        prop_assert_eq!(&from_json(&serde_json::to_vec(&response).unwrap()), &expected);
    }

    /// An answer that the official types can read has the same content here.
    #[test]
    fn what_the_official_types_read_is_read(body in bytes()) {
        if let Ok(response) = ExportMetricsServiceResponse::decode(&body[..]) {
            let expected = response.partial_success.unwrap_or_default();
            // They are stricter with repeated messages, groups and UTF-8, and no looser.
            if let Some(found) = from_protobuf(&body) {
                prop_assert_eq!(found.rejected, expected.rejected_data_points);
                prop_assert_eq!(found.message, expected.error_message);
            }
        }
    }
}
