//! Streams, tunnels and upgrades, whose ends no client waits for.

use std::future::pending;

use axum::Router;
use axum::extract::ws::WebSocketUpgrade;
use axum::routing::any;
use http::StatusCode;
use http_body_util::BodyExt;
use tallies::Registry;
use tallies_http::ServerMetrics;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tower::Layer;

use super::{Chunks, answer, answering, get_of, layer, request, serve, sum};

#[tokio::test]
async fn streams_and_tunnels_are_told_apart() {
    let (registry, layer) = layer();
    let events = &[("content-type", "text/event-stream; charset=utf-8")];
    let mut service = layer.layer(answering(
        StatusCode::OK,
        events,
        Chunks {
            left: 3,
            fails: false,
        },
    ));
    let body = answer(&mut service, request("GET", "/")).await.into_body();
    assert_eq!(
        sum(&registry, "http_requests_total"),
        1.0,
        "counted at its head"
    );
    assert_eq!(sum(&registry, "http_requests_in_flight"), 1.0);
    body.collect().await.unwrap();
    // A listener that disconnects is the ordinary end of a stream.
    drop(answer(&mut service, request("GET", "/")).await);
    let mut service = layer.layer(answering(
        StatusCode::OK,
        &[],
        Chunks {
            left: 3,
            fails: false,
        },
    ));
    drop(answer(&mut service, request("CONNECT", "/")).await);
    assert_eq!(sum(&registry, "http_stream_duration_seconds_count"), 2.0);
    assert_eq!(sum(&registry, "http_request_duration_seconds_count"), 0.0);
    assert_eq!(sum(&registry, "http_requests_failed_total"), 0.0);
    assert_eq!(sum(&registry, "http_requests_in_flight"), 0.0);
}

/// Media types are case-insensitive, and types with the same beginning differ.
#[tokio::test]
async fn types_of_streams() {
    let (registry, layer) = layer();
    for (headers, streams) in [
        (&[("content-type", "Text/Event-Stream")], 1.0),
        (&[("content-type", "application/x-ndjson ; x=y")], 2.0),
        (&[("content-type", "text/event-streams")], 2.0),
    ] {
        let chunks = Chunks {
            left: 1,
            fails: false,
        };
        let mut service = layer.layer(answering(StatusCode::OK, headers, chunks));
        let body = answer(&mut service, request("GET", "/")).await.into_body();
        body.collect().await.unwrap();
        let counted = sum(&registry, "http_stream_duration_seconds_count");
        assert_eq!(counted, streams, "{headers:?}");
    }
    assert_eq!(sum(&registry, "http_request_duration_seconds_count"), 1.0);
}

/// With these names, requests are counted by their durations only, so every request has one,
/// however it ends.
#[tokio::test]
async fn opentelemetry_counts_streams_and_tunnels() {
    let registry = Registry::new();
    let layer = ServerMetrics::opentelemetry().register(&registry).unwrap();
    let chunks = Chunks {
        left: 1,
        fails: false,
    };
    let events = &[("content-type", "text/event-stream")];
    let mut streams = layer.layer(answering(StatusCode::OK, events, chunks.clone()));
    let body = answer(&mut streams, request("GET", "/")).await.into_body();
    body.collect().await.unwrap();
    drop(answer(&mut streams, request("GET", "/")).await);
    let mut tunnel = layer.layer(answering(StatusCode::OK, &[], chunks.clone()));
    drop(answer(&mut tunnel, request("CONNECT", "/")).await);
    let switching = StatusCode::SWITCHING_PROTOCOLS;
    let mut upgrade = layer.layer(answering(switching, &[], chunks));
    drop(answer(&mut upgrade, request("GET", "/")).await);
    let durations = "http_server_request_duration_seconds_count";
    assert_eq!(sum(&registry, durations), 4.0);
    let streams = "http_server_stream_duration_seconds_count";
    assert_eq!(sum(&registry, streams), 2.0);
    assert_eq!(sum(&registry, "http_server_active_requests"), 0.0);
}

#[tokio::test]
async fn a_websocket_is_a_request_with_status_101() {
    let registry = Registry::new();
    let app = Router::new()
        .route(
            "/socket",
            any(async |upgrade: WebSocketUpgrade| {
                upgrade.on_upgrade(async |_| pending::<()>().await)
            }),
        )
        .layer(ServerMetrics::new().register(&registry).unwrap());
    let address = serve(app).await;
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream
        .write_all(
            b"GET /socket HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
              Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
        )
        .await
        .unwrap();
    let mut head = [0; 12];
    stream.read_exact(&mut head).await.unwrap();
    assert_eq!(&head, b"HTTP/1.1 101");
    let labels = [("method", "GET"), ("route", "/socket"), ("status", "101")];
    assert_eq!(get_of(&registry, "http_requests_total", &labels), 1.0);
    assert_eq!(sum(&registry, "http_requests_in_flight"), 0.0);
    assert_eq!(sum(&registry, "http_request_duration_seconds_count"), 0.0);
    assert_eq!(sum(&registry, "http_requests_failed_total"), 0.0);
}
