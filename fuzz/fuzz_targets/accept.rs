//! Any request headers and any query: the response is a page, and its Content-Type as an Accept
//! header selects the same format.

#![cfg_attr(fuzzing, no_main)]

use std::pin::pin;
use std::sync::LazyLock;
use std::task::{Context, Poll, Waker};

use arbitrary::Arbitrary;
use http::HeaderValue;
use libfuzzer_sys::fuzz_target;
use tallies::encode::Format;
use tallies::{Registry, serve::MetricsService};

#[derive(Arbitrary, Debug)]
struct Input<'a> {
    accept: &'a str,
    accept_encoding: &'a [u8],
    query: &'a str,
    head: bool,
}

static SERVICE: LazyLock<MetricsService> = LazyLock::new(|| {
    let registry = Registry::new();
    let jobs = registry.counter("jobs_total", "Jobs.").unwrap();
    jobs.inc();
    registry.histogram("latency_seconds", "Time.").unwrap();
    MetricsService::of([&registry])
});

fuzz_target!(|input: Input| {
    let format = Format::negotiate(input.accept);
    let again = Format::negotiate(format.content_type());
    assert_eq!(again.content_type(), format.content_type());
    let behind = format!("no/format;q=1,{}", input.accept);
    assert_eq!(Format::negotiate(&behind), format);

    let mut request = http::Request::builder().method(if input.head { "HEAD" } else { "GET" });
    if let Ok(uri) = format!("/metrics?{}", input.query).parse::<http::Uri>() {
        request = request.uri(uri);
    }
    let header = HeaderValue::from_bytes(input.accept.as_bytes());
    let plain = header.is_err();
    if let Ok(header) = header {
        request = request.header("accept", header);
    }
    if let Ok(header) = HeaderValue::from_bytes(input.accept_encoding) {
        request = request.header("accept-encoding", header);
    }
    let answer = SERVICE.answer(&request.body(()).unwrap());
    let Poll::Ready(answer) = pin!(answer).poll(&mut Context::from_waker(Waker::noop())) else {
        panic!("there is no runtime to wait for");
    };
    assert_eq!(answer.status(), 200);
    if !plain {
        assert_eq!(answer.headers()["content-type"], format.content_type());
    }
    let coding = answer.headers().get("content-encoding");
    assert!(coding.is_none_or(|coding| coding == "gzip" || coding == "zstd"));
});
