//! The server layer around a real tonic server, whose responses end with trailers.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Buf, BufMut};
use futures_util::stream::{self, BoxStream, StreamExt};
use http::uri::PathAndQuery;
use http::{Request, Response};
use tallies::Registry;
use tallies_http::{ServerLayer, ServerMetrics};
use tonic::body::Body;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Channel, Endpoint, Server};
use tonic::{Code, Status};
use tower::{Service, service_fn};

/// A codec of raw bytes, so that no code has to be generated.
#[derive(Clone, Copy)]
struct Raw;

impl Codec for Raw {
    type Encode = Vec<u8>;
    type Decode = Vec<u8>;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Raw {
    type Item = Vec<u8>;
    type Error = Status;

    fn encode(&mut self, item: Vec<u8>, to: &mut EncodeBuf<'_>) -> Result<(), Status> {
        to.put_slice(&item);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Vec<u8>;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<Vec<u8>>, Status> {
        let len = from.remaining();
        Ok(Some(from.copy_to_bytes(len).to_vec()))
    }
}

#[derive(Clone)]
struct Greeter;

impl tonic::server::NamedService for Greeter {
    const NAME: &'static str = "hello.Greeter";
}

type Answer = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

impl Service<Request<Body>> for Greeter {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Answer;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Answer {
        Box::pin(async move {
            let mut grpc = tonic::server::Grpc::new(Raw);
            Ok(match request.uri().path() {
                "/hello.Greeter/Say" => grpc.unary(service_fn(say), request).await,
                "/hello.Greeter/Count" => grpc.server_streaming(service_fn(count), request).await,
                _ => Status::unimplemented("no such method").into_http(),
            })
        })
    }
}

async fn say(request: tonic::Request<Vec<u8>>) -> Result<tonic::Response<Vec<u8>>, Status> {
    match request.into_inner() {
        name if name.is_empty() => Err(Status::invalid_argument("nobody")),
        name => Ok(tonic::Response::new([b"hello ", &*name].concat())),
    }
}

/// Sends three messages, then an error, or stays pending forever.
async fn count(
    request: tonic::Request<Vec<u8>>,
) -> Result<tonic::Response<BoxStream<'static, Result<Vec<u8>, Status>>>, Status> {
    let three = stream::iter((0..3).map(|i| Ok(vec![i])));
    Ok(tonic::Response::new(match &*request.into_inner() {
        b"waits" => three.chain(stream::pending()).boxed(),
        b"fails" => three
            .chain(stream::iter([Err(Status::data_loss("lost"))]))
            .boxed(),
        _ => three.boxed(),
    }))
}

fn layer(registry: &Registry) -> ServerLayer {
    ServerMetrics::new()
        .templates(["/hello.Greeter/Say", "/hello.Greeter/Count"])
        .register(registry)
        .unwrap()
}

/// Starts a server and connects to it. `counting` selects the layer that counts request bodies.
async fn client(registry: &Registry, counting: bool) -> tonic::client::Grpc<Channel> {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let incoming = TcpIncoming::from(listener);
    if counting {
        let layer = layer(registry).count_request_bodies();
        let server = Server::builder().layer(layer).add_service(Greeter);
        tokio::spawn(server.serve_with_incoming(incoming));
    } else {
        let server = Server::builder()
            .layer(layer(registry))
            .add_service(Greeter);
        tokio::spawn(server.serve_with_incoming(incoming));
    }
    let channel = Endpoint::from_shared(url).unwrap().connect().await.unwrap();
    tonic::client::Grpc::new(channel)
}

async fn ask(
    client: &mut tonic::client::Grpc<Channel>,
    method: &'static str,
    message: &[u8],
) -> Result<Vec<u8>, Code> {
    client.ready().await.unwrap();
    let request = tonic::Request::new(message.to_vec());
    let path = PathAndQuery::from_static(method);
    let answer = client.unary(request, path, Raw).await;
    answer
        .map(tonic::Response::into_inner)
        .map_err(|status| status.code())
}

async fn stream(
    client: &mut tonic::client::Grpc<Channel>,
    message: &[u8],
) -> tonic::Streaming<Vec<u8>> {
    client.ready().await.unwrap();
    let request = tonic::Request::new(message.to_vec());
    let path = PathAndQuery::from_static("/hello.Greeter/Count");
    let answer = client.server_streaming(request, path, Raw).await;
    answer.unwrap().into_inner()
}

/// Returns a family's sample lines, sorted and without its name.
fn lines(registry: &Registry, name: &str) -> Vec<String> {
    let page = tallies::encode::text(&registry.snapshot());
    let of = |line: &str| Some(line.strip_prefix(name)?.strip_prefix('{')?.to_owned());
    let mut lines: Vec<_> = page.lines().filter_map(of).collect();
    lines.sort();
    lines
}

/// Waits for what the server does asynchronously.
fn eventually_has(registry: &Registry, name: &str, expected: &[&str]) {
    crate::support::eventually(name, || {
        let now = lines(registry, name);
        (now == expected).then_some(()).ok_or(format!("{now:?}"))
    });
}

/// Each call counts once, under its method; a gRPC status other than OK has HTTP status 200.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_by_method() {
    for counting in [false, true] {
        calls_by_method_with(counting).await;
    }
}

async fn calls_by_method_with(counting: bool) {
    let registry = Registry::new();
    let mut client = client(&registry, counting).await;
    for _ in 0..20 {
        let answer = ask(&mut client, "/hello.Greeter/Say", b"you").await;
        assert_eq!(answer.unwrap(), b"hello you");
        let answer = ask(&mut client, "/hello.Greeter/Say", b"").await;
        assert_eq!(answer, Err(Code::InvalidArgument));
    }
    for method in ["/hello.Greeter/Shout", "/other.Service/Say", "/x/y/z"] {
        let answer = ask(&mut client, method, b"you").await;
        assert_eq!(answer, Err(Code::Unimplemented));
    }
    for (message, end) in [(&b"good"[..], None), (b"fails", Some(Code::DataLoss))] {
        let mut stream = stream(&mut client, message).await;
        for i in 0..3 {
            assert_eq!(stream.message().await.unwrap(), Some(vec![i]));
        }
        let last = stream.message().await;
        assert_eq!(
            last.map_err(|status| status.code()),
            end.map_or(Ok(None), Err)
        );
    }
    let counts = [
        r#"method="POST",route="/hello.Greeter/Count",status="200"} 2"#,
        r#"method="POST",route="/hello.Greeter/Say",status="200"} 40"#,
        r#"method="POST",route="unmatched",status="200"} 3"#,
    ];
    eventually_has(&registry, "http_requests_total", &counts);
    eventually_has(&registry, "http_request_duration_seconds_count", &counts);
    let in_flight = [
        r#"method="POST",route="/hello.Greeter/Count"} 0"#,
        r#"method="POST",route="/hello.Greeter/Say"} 0"#,
        r#"method="POST",route="unmatched"} 0"#,
    ];
    eventually_has(&registry, "http_requests_in_flight", &in_flight);
    assert!(lines(&registry, "http_requests_failed_total").is_empty());
    // A message has a prefix of five bytes. No call announces a length.
    let read = [
        r#"method="POST",route="/hello.Greeter/Count"} 19"#,
        r#"method="POST",route="/hello.Greeter/Say"} 260"#,
        r#"method="POST",route="unmatched"} 0"#,
    ];
    let read: &[&str] = if counting { &read } else { &[] };
    eventually_has(&registry, "http_request_size_bytes_sum", read);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_leaves_a_stream() {
    let registry = Registry::new();
    let mut client = client(&registry, false).await;
    let mut streams = Vec::new();
    for _ in 0..10 {
        let mut stream = stream(&mut client, b"waits").await;
        assert_eq!(stream.message().await.unwrap(), Some(vec![0]));
        streams.push(stream);
    }
    let route = r#"method="POST",route="/hello.Greeter/Count""#;
    let in_flight = |n| format!("{route}}} {n}");
    eventually_has(&registry, "http_requests_in_flight", &[&in_flight(10)]);
    drop(streams);
    eventually_has(&registry, "http_requests_in_flight", &[&in_flight(0)]);
    let cancelled = r#"kind="cancelled",method="POST",route="/hello.Greeter/Count"} 10"#;
    eventually_has(&registry, "http_requests_failed_total", &[cancelled]);
    let counted = format!(r#"{route},status="200"}} 10"#);
    eventually_has(&registry, "http_requests_total", &[&counted]);
}
