//! Serves metrics from actix-web with one handler.
//!
//!     cargo run -p tallies-tests --example actix_metrics
//!
//! Ctrl-C ends the program. With `--once` the first greeting ends it as well.

use actix_web::{App, HttpRequest, HttpResponse, HttpServer, web};
use tallies::Counter;
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

async fn metrics(request: HttpRequest) -> actix_web::Result<HttpResponse> {
    // A request may carry several Accept headers; together they mean one comma-separated list.
    let accept: Vec<_> = request
        .headers()
        .get_all("accept")
        .filter_map(|accept| accept.to_str().ok())
        .collect();
    let accept = accept.join(",");
    // Renders on a thread that may block, since a scrape of many series takes time.
    let (content_type, page) = web::block(move || tallies::render(&accept)).await?;
    Ok(HttpResponse::Ok()
        .content_type(content_type)
        .insert_header(("vary", "accept"))
        .body(page))
}

#[actix_web::main]
async fn main() -> std::io::Result<()> {
    let app = || {
        App::new()
            .route("/", web::get().to(greet))
            .route("/metrics", web::get().to(metrics))
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
