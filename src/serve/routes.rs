//! Routing: the service answers each path, for the hosts and clients that it admits.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

#[cfg(feature = "exporter")]
use http::header::CONTENT_LENGTH;
use http::header::{CONNECTION, CONTENT_SECURITY_POLICY, HOST, SERVER, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderValue, Request, StatusCode, Version};

#[cfg(feature = "exporter")]
use super::answer::unavailable;
use super::answer::{Answer, PageRequest, Pages, content, head, plain, timed_out};
use super::auth::Credentials;
use super::body::Body;
#[cfg(feature = "exporter")]
use super::extension::{Admission, Extension, PageTime, Record};
use super::page::Style;
use super::peer::Peer;
#[cfg(feature = "exporter")]
use super::places::Places;
use super::report::{CARDINALITY, ReportRequest};
use super::seats::{Seat, State};
#[cfg(feature = "exporter")]
use super::turns::Turns;

/// The request header with Prometheus' scrape timeout in seconds.
const SCRAPE_TIMEOUT: &str = "x-prometheus-scrape-timeout-seconds";

/// The pages of a service, and the checks before them.
pub(super) struct Routes {
    pub(super) pages: Pages,
    pub(super) path: String,
    pub(super) credentials: Credentials,
    /// Maximum time to render the first block of a page.
    pub(super) timeout: Duration,
    pub(super) hosts: Hosts,
    #[cfg(feature = "exporter")]
    pub(super) extension: Option<Arc<dyn Extension>>,
    /// The places of requests for the extension's pages.
    #[cfg(feature = "exporter")]
    pub(super) probes: Arc<Places>,
    /// Their turns: one for each of the extension's pages that may be rendered at once. They wait for no
    /// other pages, and no other pages for them.
    #[cfg(feature = "exporter")]
    pub(super) probe_turns: Turns,
    /// The style of pages.
    pub(super) style: Style,
    #[cfg(feature = "live")]
    pub(super) live: Option<super::live::Live>,
}

/// The client of a request.
pub(super) struct Client {
    /// Its address, unless it is at a Unix socket.
    pub(super) remote: Option<SocketAddr>,
    /// The seat of its connection.
    pub(super) seat: Arc<Seat>,
}

impl Client {
    fn peer(&self) -> Option<Peer> {
        Some(self.remote.map_or(Peer::Unix, Peer::of))
    }

    /// Records that its page is being rendered.
    fn begin(&self) {
        self.seat.set(State::Making);
    }
}

/// The hosts that requests may name. If it is empty, all hosts are admitted.
#[derive(Clone, Debug, Default)]
pub(super) struct Hosts(pub(super) Vec<String>);

impl Hosts {
    /// Returns whether the request names an admitted host, in its target or in its only `Host`
    /// header. Without this check, a web site whose name resolves to this address could read the
    /// page (DNS rebinding).
    fn admit<B>(&self, request: &Request<B>) -> bool {
        if self.0.is_empty() {
            return true;
        }
        let mut hosts = request.headers().get_all(HOST).iter();
        let named = match (request.uri().host(), hosts.next(), hosts.next()) {
            (Some(host), _, _) => Some(host),
            (None, Some(host), None) => host.to_str().ok().map(without_port),
            _ => None,
        };
        named.is_some_and(|named| self.0.iter().any(|host| host.eq_ignore_ascii_case(named)))
    }
}

/// Strips the port: `a:1` becomes `a`, and `[::1]:1` becomes `[::1]`.
fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    }
}

fn is_probe(path: &str) -> bool {
    path == "/-/healthy" || path == "/-/ready"
}

/// The least time for a page, even if the client's timeout is shorter. A shorter time would waste
/// the work, because each attempt renders a whole page.
const MIN_TIMEOUT: Duration = Duration::from_millis(100);

/// The result of routing a request that was not rejected.
enum Route {
    /// The metrics page, which has yet to be rendered.
    Page(PageRequest),
    /// The cardinality report, which has yet to be made.
    Report(ReportRequest),
    /// The response to a request for any other path.
    Answer(Answer),
}

impl Routes {
    /// Returns the number of threads for reports, the live page, and the passwords and pages of an
    /// extension, so that these take none from the `scrapes`.
    pub(super) fn other_threads(&self, scrapes: usize) -> usize {
        #[cfg(feature = "live")]
        let live = usize::from(self.live.is_some());
        #[cfg(not(feature = "live"))]
        let live = 0;
        #[cfg(feature = "exporter")]
        let extension = self.extension.as_ref().map_or(0, |_| 1 + scrapes);
        #[cfg(not(feature = "exporter"))]
        let (extension, _) = (0, scrapes);
        1 + live + extension
    }

    /// Answers a request within the time that it allows.
    pub(super) async fn answer<B>(&self, request: Request<B>, client: &Client) -> Answer {
        #[cfg(feature = "exporter")]
        if let Some(extension) = &self.extension {
            let (parts, _) = request.into_parts();
            return self.extended(extension, parts, client).await;
        }
        let request = request.map(|_| ());
        let page = |page, (limit, _)| async move {
            let page = tokio::time::timeout(limit, self.page(page, client)).await;
            page.unwrap_or_else(|_| timed_out())
        };
        self.plain_answer(request, client, page).await
    }

    /// Returns the metrics page. Until the turn of the request comes, the connection is queued.
    async fn page(&self, page: PageRequest, client: &Client) -> Answer {
        let mut pages = self.pages.clone();
        pages.turns = pages.turns.of(client.peer());
        pages.answer(page, || client.begin()).await
    }

    /// Answers a request. `page` makes the metrics page within a time, which the client told or not.
    async fn plain_answer<F: Future<Output = Answer>>(
        &self,
        request: Request<()>,
        client: &Client,
        page: impl FnOnce(PageRequest, (Duration, bool)) -> F,
    ) -> Answer {
        let probe = is_probe(request.uri().path());
        let mut answer = match self.route(&request, client).unwrap_or_else(Route::Answer) {
            Route::Page(asked) => {
                let timeout = scrape_timeout(request.headers(), self.timeout);
                let by_client = client_timeout(request.headers()).is_some();
                drop(request);
                page(asked, (timeout, by_client)).await
            }
            Route::Report(report) => {
                drop(request);
                tokio::time::timeout(self.timeout, self.pages.clone().report(report))
                    .await
                    .unwrap_or_else(|_| timed_out())
            }
            Route::Answer(mut answer) => {
                if matches!(head(request.method()), Ok(true)) {
                    *answer.body_mut() = Body::default();
                }
                answer
            }
        };
        let close = self.closes(&answer, probe);
        let headers = answer.headers_mut();
        headers.insert(SERVER, HeaderValue::from_static("tallies"));
        if close {
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        answer
    }

    /// Answers a request with what an extension adds.
    #[cfg(feature = "exporter")]
    async fn extended(
        &self,
        extension: &Arc<dyn Extension>,
        parts: http::request::Parts,
        client: &Client,
    ) -> Answer {
        let start = std::time::Instant::now();
        let method = parts.method.clone();
        let path = parts.uri.path().to_owned();
        let mut answer = self.extended_answer(extension, parts, client).await;
        #[cfg(feature = "live")]
        let has_policy = self.live.is_some() && super::live::is_part(&path);
        #[cfg(not(feature = "live"))]
        let has_policy = false;
        for (name, value) in extension.headers() {
            // The policy of the live page is as strict as it can be without breaking the page.
            if has_policy && name == CONTENT_SECURITY_POLICY && answer.headers().contains_key(&name)
            {
                continue;
            }
            answer.headers_mut().insert(name, value);
        }
        answer.headers_mut().insert(SERVER, extension.server_name());
        extension.record(&Record {
            method: method.as_str(),
            path: &path,
            remote: client.remote,
            status: answer.status().as_u16(),
            size: answer.body().len(),
            duration: start.elapsed(),
        });
        answer
    }

    #[cfg(feature = "exporter")]
    async fn extended_answer(
        &self,
        extension: &Arc<dyn Extension>,
        parts: http::request::Parts,
        client: &Client,
    ) -> Answer {
        let request = Request::from_parts(parts, ());
        let path = request.uri().path();
        if !is_probe(path) {
            let refused = match extension.admit(request.headers(), client.peer()).await {
                Admission::Admitted => None,
                Admission::Unauthorized => {
                    let mut answer = plain(StatusCode::UNAUTHORIZED, "unauthorized\n");
                    let challenge = HeaderValue::from_static("Basic realm=\"metrics\"");
                    answer.headers_mut().append(WWW_AUTHENTICATE, challenge);
                    Some(answer)
                }
                Admission::TooMany => {
                    Some(plain(StatusCode::TOO_MANY_REQUESTS, "too many requests\n"))
                }
            };
            if let Some(mut answer) = refused {
                let close = HeaderValue::from_static("close");
                answer.headers_mut().insert(CONNECTION, close);
                return answer;
            }
        }
        let time = PageTime {
            limit: scrape_timeout(request.headers(), self.timeout),
            by_client: client_timeout(request.headers()).is_some(),
        };
        let query = request.uri().query().unwrap_or_default();
        if let Some(page) = extension.page(path, query, time) {
            // The checks of host and credentials, whose answers are those of an unknown path.
            if let Err(answer) = self.route(&request, client) {
                if answer.status() != StatusCode::NOT_FOUND {
                    return answer;
                }
            }
            let asked = match PageRequest::read(&request, self.style) {
                Ok(asked) => asked,
                Err(answer) => return answer,
            };
            let Some(_place) = self.probes.take(client.peer()) else {
                return unavailable("too many probes are running\n");
            };
            // For the probe and its page together.
            let end = tokio::time::Instant::now() + time.limit;
            return match page.await {
                Ok(source) => {
                    let mut pages = Pages::new(vec![source], self.style, (1, usize::MAX), None);
                    pages.turns = self.probe_turns.of(client.peer());
                    let page = pages.answer(asked, || client.begin());
                    let page = tokio::time::timeout_at(end, page).await;
                    page.unwrap_or_else(|_| timed_out())
                }
                Err((status, text)) => content(
                    status,
                    "text/plain; charset=utf-8",
                    Body::whole(text.into()),
                ),
            };
        }
        let is_home = path == "/";
        let mut answer = self
            .plain_answer(request, client, |asked, (limit, by_client)| async move {
                let page = async {
                    extension.before_page(PageTime { limit, by_client }).await;
                    self.page(asked, client).await
                };
                let page = tokio::time::timeout(limit, page).await;
                page.unwrap_or_else(|_| timed_out())
            })
            .await;
        if is_home && answer.status() == StatusCode::OK {
            let home = Body::whole(extension.home(&escaped(&self.path)).into());
            let length = home.len().unwrap_or_default();
            let headers = answer.headers_mut();
            headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
            if answer.body().len() != Some(0) {
                *answer.body_mut() = home;
            }
        }
        answer
    }

    /// Returns whether to close the connection. Only clients that read pages keep theirs: it closes
    /// after a rejected request, and after a probe, because probes are rare.
    fn closes(&self, answer: &Answer, probe: bool) -> bool {
        let status = answer.status();
        probe || status.is_client_error() || status == StatusCode::INTERNAL_SERVER_ERROR
    }

    /// Returns the text for a request that names another host.
    fn unknown_host(&self) -> &'static str {
        #[cfg(feature = "exporter")]
        if self.extension.is_some() {
            return "unknown host; `--web.allowed-host HOST` admits further ones\n";
        }
        "unknown host\n"
    }

    /// Routes a request by its path. If the request is rejected, returns the response as an error.
    fn route<B>(&self, request: &Request<B>, _client: &Client) -> Result<Route, Answer> {
        let path = request.uri().path();
        // RFC 9112, section 3.2: a request without a host, or with several, is answered with 400.
        let hosts = request.headers().get_all(HOST).iter().count();
        let is_named = hosts == 1 || hosts == 0 && request.uri().host().is_some();
        if request.version() == Version::HTTP_11 && !is_named {
            let answer = "a request has one Host header: send `Host: name`\n";
            return Err(plain(StatusCode::BAD_REQUEST, answer));
        }
        if !self.hosts.admit(request) {
            return Err(plain(StatusCode::FORBIDDEN, self.unknown_host()));
        }
        if is_probe(path) {
            // Probes have no credentials, and this response tells them nothing else.
            head(request.method())?;
            return Ok(Route::Answer(plain(StatusCode::OK, "ok\n")));
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
            return PageRequest::read(request, self.style).map(Route::Page);
        }
        if path == CARDINALITY {
            return ReportRequest::read(request).map(Route::Report);
        }
        #[cfg(feature = "live")]
        if let (Some(live), Some(rest)) = (&self.live, path.strip_prefix(super::live::PATH)) {
            if let Some(answer) = live.answer(rest, request, _client.peer()) {
                return Ok(Route::Answer(answer));
            }
        }
        if path != "/" && path != "/robots.txt" {
            return Err(plain(StatusCode::NOT_FOUND, "not found\n"));
        }
        head(request.method())?;
        if path == "/robots.txt" {
            let robots = plain(StatusCode::OK, "User-agent: *\nDisallow: /\n");
            return Ok(Route::Answer(robots));
        }
        #[cfg(feature = "live")]
        let live = self
            .live
            .as_ref()
            .map_or("", |_| " <a href='live'>live</a>");
        #[cfg(not(feature = "live"))]
        let live = "";
        let home = format!(
            "<html><body><a href='{}'>metrics</a>{live}</body></html>",
            escaped(&self.path)
        );
        let home = Body::whole(home.into());
        let mut answer = content(StatusCode::OK, "text/html; charset=utf-8", home);
        let nothing = HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'");
        answer
            .headers_mut()
            .insert(CONTENT_SECURITY_POLICY, nothing);
        Ok(Route::Answer(answer))
    }
}

/// Returns the time for a page: nine tenths of the client's timeout, which leaves time for sending,
/// and at most `limit`.
fn scrape_timeout(headers: &HeaderMap, limit: Duration) -> Duration {
    client_timeout(headers)
        .and_then(|seconds| Duration::try_from_secs_f64(seconds * 0.9).ok())
        .map_or(limit, |client| client.max(MIN_TIMEOUT).min(limit))
}

/// Returns the client's timeout in seconds.
fn client_timeout(headers: &HeaderMap) -> Option<f64> {
    let value = headers.get(SCRAPE_TIMEOUT)?;
    let seconds = value.to_str().ok()?.trim().parse::<f64>().ok()?;
    (seconds > 0.0).then_some(seconds)
}

/// Escapes a path for an HTML attribute in single quotes.
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
    fn only_the_hosts_that_were_named() {
        let hosts = Hosts(vec!["metrics.local".into(), "[::1]".into()]);
        let admits = |uri: &str, headers: &[&str]| {
            let mut request = Request::builder().uri(uri);
            for header in headers {
                request = request.header(HOST, *header);
            }
            let request = request.body(()).unwrap();
            assert!(Hosts::default().admit(&request));
            hosts.admit(&request)
        };
        assert!(admits("/metrics", &["metrics.local"]));
        assert!(admits("/metrics", &["Metrics.Local:9464"]));
        assert!(admits("/metrics", &["[::1]:9464"]));
        assert!(admits("http://metrics.local/metrics", &["evil"]));
        assert!(!admits("http://evil/metrics", &["metrics.local"]));
        assert!(!admits("/metrics", &["evil"]));
        assert!(!admits("/metrics", &["metrics.local", "evil"]));
        assert!(!admits("/metrics", &[]));
    }

    #[test]
    fn the_clients_time_counts_where_it_is_shorter() {
        let limit = Duration::from_secs(30);
        for (header, seconds) in [
            ("10", 9.0),
            (" 0.5 ", 0.45),
            ("0.000000001", 0.1),
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
                scrape_timeout(&headers, limit),
                Duration::from_secs_f64(seconds),
                "{header}"
            );
        }
        assert_eq!(scrape_timeout(&HeaderMap::new(), limit), limit);
    }
}
