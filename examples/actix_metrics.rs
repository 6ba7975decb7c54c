//! Serves metrics from actix-web with one handler. The same steps work in any framework whose
//! requests are not those of the crate `http` in version 1.
//!
//!     cargo run -p tallies-tests --example actix_metrics
//!
//! Ctrl-C ends the program. With `--once` the first greeting ends it as well.

use actix_web::error::{ErrorBadRequest, ErrorInternalServerError};
use actix_web::http::StatusCode;
use actix_web::{App, HttpRequest, HttpResponse, HttpServer, web};
use http_body_util::BodyExt;
use tallies::{Counter, serve::MetricsService};
use tokio::sync::Notify;

/// Greetings sent.
#[tallies::metric]
static GREETINGS: Counter = Counter::new("greetings_total");

static GREETED: Notify = Notify::const_new();

async fn greet() -> &'static str {
    GREETINGS.inc();
    GREETED.notify_one();
    "hello\n"
}

async fn metrics(
    request: HttpRequest,
    service: web::Data<MetricsService>,
) -> actix_web::Result<HttpResponse> {
    // Copies the head of the request, since actix-web uses another version of the crate `http`.
    // For HEAD, actix-web sends the length of the page without the page.
    let mut copy = http::Request::get(request.uri().to_string());
    for (name, value) in request.headers() {
        copy = copy.header(name.as_str(), value.as_bytes());
    }
    let copy = copy.body(()).map_err(ErrorBadRequest)?;
    let page = service.answer(&copy).await;
    let (head, body) = page.into_parts();
    let status = StatusCode::from_u16(head.status.as_u16()).map_err(ErrorInternalServerError)?;
    let mut response = HttpResponse::build(status);
    for (name, value) in &head.headers {
        response.append_header((name.as_str(), value.as_bytes()));
    }
    let body = body.collect().await.map_err(ErrorInternalServerError)?;
    Ok(response.body(body.to_bytes()))
}

#[actix_web::main]
async fn main() -> std::io::Result<()> {
    let service = web::Data::new(MetricsService::new());
    let app = move || {
        App::new()
            .app_data(service.clone())
            .route("/", web::get().to(greet))
            .service(web::resource("/metrics").get(metrics).head(metrics))
    };
    let server = HttpServer::new(app).workers(1).bind("127.0.0.1:0")?;
    for address in server.addrs() {
        println!("Serving metrics on http://{address}/metrics");
    }
    // actix-web handles Ctrl-C itself.
    let running = server.run();
    if std::env::args().any(|argument| argument == "--once") {
        let handle = running.handle();
        actix_web::rt::spawn(async move {
            GREETED.notified().await;
            handle.stop(true).await;
        });
    }
    running.await
}
