//! What is answered where, and to whom.

use std::time::Duration;

use bytes::Bytes;
use http::header::{SERVER, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderValue, Request, StatusCode};

use super::answer::{Answer, Asked, Pages, busy, content, head, plain};
use super::auth::Credentials;

/// How long Prometheus will wait, in seconds.
const SCRAPE_TIMEOUT: &str = "x-prometheus-scrape-timeout-seconds";

pub(super) struct Routes {
    pub(super) pages: Pages,
    pub(super) path: String,
    pub(super) credentials: Credentials,
    /// How long making a page may take at most.
    pub(super) patience: Duration,
}

impl Routes {
    pub(super) async fn answer<B>(&self, request: Request<B>) -> Answer {
        let mut answer = match self.find(&request) {
            Ok(asked) => {
                let patience = patience(request.headers(), self.patience);
                drop(request);
                tokio::time::timeout(patience, self.pages.clone().answer(asked))
                    .await
                    .unwrap_or_else(|_| busy())
            }
            Err(mut answer) => {
                if matches!(head(request.method()), Ok(true)) {
                    *answer.body_mut() = Default::default();
                }
                answer
            }
        };
        answer
            .headers_mut()
            .insert(SERVER, HeaderValue::from_static("tallies"));
        answer
    }

    /// What is wanted of the page, or the answer to a request for anything else.
    fn find<B>(&self, request: &Request<B>) -> Result<Asked, Answer> {
        let path = request.uri().path();
        if path == "/-/healthy" || path == "/-/ready" {
            // For probes, which have no credentials, and learn nothing else.
            head(request.method())?;
            return Err(plain(StatusCode::OK, "ok\n"));
        }
        if !self.credentials.admit(request.headers()) {
            let mut answer = plain(StatusCode::UNAUTHORIZED, "unauthorized\n");
            for challenge in self.credentials.challenges() {
                let challenge = HeaderValue::from_static(challenge);
                answer.headers_mut().append(WWW_AUTHENTICATE, challenge);
            }
            return Err(answer);
        }
        if path == self.path {
            return Asked::read(request);
        }
        if path != "/" && path != "/robots.txt" {
            return Err(plain(StatusCode::NOT_FOUND, "not found\n"));
        }
        head(request.method())?;
        if path == "/robots.txt" {
            return Err(plain(StatusCode::OK, "User-agent: *\nDisallow: /\n"));
        }
        let home = format!(
            "<html><body><a href='{}'>metrics</a></body></html>",
            escaped(&self.path)
        );
        let home = Bytes::from(home);
        Err(content(StatusCode::OK, "text/html; charset=utf-8", home))
    }
}

/// The time that the client says it has, less what sending takes; at most what it has anyway.
fn patience(headers: &HeaderMap, most: Duration) -> Duration {
    headers
        .get(SCRAPE_TIMEOUT)
        .and_then(|value| value.to_str().ok()?.trim().parse::<f64>().ok())
        .filter(|seconds| *seconds > 0.0)
        .and_then(|seconds| Duration::try_from_secs_f64(seconds * 0.9).ok())
        .map_or(most, |asked| asked.min(most))
}

/// A path inside an HTML attribute in single quotes.
fn escaped(path: &str) -> String {
    path.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('\'', "&#39;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clients_time_counts_where_it_is_shorter() {
        let most = Duration::from_secs(30);
        for (header, seconds) in [
            ("10", 9.0),
            (" 0.5 ", 0.45),
            ("10.000000", 9.0),
            ("1e9", 30.0),
            ("inf", 30.0),
            ("nan", 30.0),
            ("-1", 30.0),
            ("0", 30.0),
            ("soon", 30.0),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(SCRAPE_TIMEOUT, HeaderValue::from_static(header));
            assert_eq!(
                patience(&headers, most),
                Duration::from_secs_f64(seconds),
                "{header}"
            );
        }
        assert_eq!(patience(&HeaderMap::new(), most), most);
    }
}
