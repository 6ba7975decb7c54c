//! Routing: the service answers each path, for the hosts and clients that it admits.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::header::{CONNECTION, CONTENT_SECURITY_POLICY, HOST, SERVER, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderValue, Request, StatusCode, Version};

use crate::serve::answer::{
    Answer, Answered, Pages, check_method, content, drop_body, plain, selection, set, timed_out,
    unavailable,
};
use crate::serve::body::Body;
use crate::serve::live;
use crate::serve::page::Style;
use crate::serve::peer::Peer;
use crate::serve::places::ClientPlaces;
use crate::serve::report::{CARDINALITY, ReportRequest};
use crate::serve::scrape::Selection;
use crate::serve::turns::Turns;
use crate::snapshot::Merged;

use super::auth::Credentials;
use super::extension::{Admission, Extension, Later, PageSource, PageTime, Record};
use super::seats::{Activity, Seat};

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
    pub(super) extension: Arc<dyn Extension>,
    /// The places of requests for the extension's pages.
    pub(super) probes: Arc<ClientPlaces>,
    /// Their turns: one for each of the extension's pages that may be rendered at once. They wait
    /// for no other pages, and no other pages for them.
    pub(super) probe_turns: Turns,
    pub(super) checks: Checks,
    /// The style of pages.
    pub(super) style: Style,
    pub(super) live: Option<live::Live>,
}

/// The most requests whose checks run or wait: as many as a server has connections by default.
/// Others are rejected at once.
const CHECKS: usize = 256;

/// Those of one peer, if half of them are taken.
const CHECKS_OF_ONE: usize = 8;

/// A check of an extension, such as that of a password.
type Check = Box<dyn FnOnce() -> bool + Send>;

/// Bounds the [checks](Admission::Check) of an extension.
pub(super) struct Checks {
    /// One for each request that waits.
    places: Arc<ClientPlaces>,
    /// Held while a check runs, even if the client has gone, so that wrong passwords keep only one
    /// processor busy. The peers take turns.
    turns: Turns,
}

impl Checks {
    pub(super) fn new() -> Self {
        Self {
            places: ClientPlaces::new(CHECKS, CHECKS_OF_ONE),
            turns: Turns::new(1),
        }
    }

    /// Runs a check at its turn. Returns `None` if too many wait.
    async fn run(&self, check: Check, peer: Option<Peer>) -> Option<bool> {
        let place = self.places.take(peer)?;
        let turn = self.turns.of(peer).take().await?;
        let check = move || {
            let _held = (place, turn);
            check()
        };
        Some(tokio::task::spawn_blocking(check).await.unwrap_or(false))
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

/// The page of an admitted request.
enum Route<'a> {
    /// The metrics page, which has yet to be rendered.
    Page(Selection),
    /// The cardinality report, which has yet to be made.
    Report(ReportRequest),
    /// A page of the extension, which has yet to be made.
    Extended(Selection, Later<'a, PageSource>),
}

impl Routes {
    /// Returns the number of threads for scrapes, reports, the live page, and the passwords and
    /// pages of an extension, so that the others take none from the `concurrent_scrapes`.
    pub(super) fn threads(&self, scrapes: usize) -> usize {
        // One for a report, one for a check, and one for each page of the extension.
        2 + usize::from(self.live.is_some()) + 2 * scrapes
    }

    /// Answers a request within the time that it allows.
    pub(super) async fn answer<B>(
        &self,
        request: Request<B>,
        remote: Option<SocketAddr>,
        seat: &Seat,
    ) -> Answer {
        let start = Instant::now();
        let request = request.map(|_| ());
        let (method, path) = (request.method().clone(), request.uri().path().to_owned());
        let answer = self.routed(request, seat).await;
        let mut answer = answer.unwrap_or_else(|answer| answer);
        drop_body(&mut answer, &method);
        let status = answer.status();
        let size = answer.body().len();
        let headers = answer.headers_mut();
        // The policy of the live page is as strict as it can be without breaking the page.
        let has_policy = self.live.is_some()
            && live::is_part(&path)
            && headers.contains_key(CONTENT_SECURITY_POLICY);
        for (name, value) in self.extension.headers() {
            if !has_policy || name != CONTENT_SECURITY_POLICY {
                headers.insert(name, value);
            }
        }
        headers.insert(SERVER, self.extension.server_name());
        // Only clients that read pages keep their connection: it closes after a rejected request,
        // and after a probe, because probes are rare.
        let is_failure = status.is_client_error() || status == StatusCode::INTERNAL_SERVER_ERROR;
        if is_failure || is_probe(&path) {
            set(&mut answer, CONNECTION, "close");
        }
        self.extension.record(&Record {
            method: method.as_str(),
            path: &path,
            remote,
            status: status.as_u16(),
            size,
            duration: start.elapsed(),
        });
        answer
    }

    /// Answers a request, without the headers that all answers have.
    async fn routed(&self, request: Request<()>, seat: &Seat) -> Answered {
        let time = PageTime {
            limit: scrape_timeout(request.headers(), self.timeout),
            by_client: client_timeout(request.headers()).is_some(),
        };
        let route = self.route(&request, seat, time).await?;
        drop(request);
        match route {
            // Until the turn of the request comes, the connection is queued.
            Route::Page(page) => {
                let page = async {
                    self.extension.before_page(time).await;
                    let pages = self.pages.of(Some(seat.peer));
                    pages.answer(page, || seat.set(Activity::Making)).await
                };
                within(time.limit, page).await
            }
            Route::Report(report) => within(self.timeout, self.pages.clone().report(report)).await,
            // The time is for the source and its page together.
            Route::Extended(selection, page) => {
                within(time.limit, self.extended(selection, page, seat)).await
            }
        }
    }

    /// Returns a page of the extension.
    async fn extended(
        &self,
        selection: Selection,
        page: Later<'_, PageSource>,
        seat: &Seat,
    ) -> Answered {
        let place = self.probes.take(Some(seat.peer));
        let _place = place.ok_or_else(|| unavailable("too many probes are running\n"))?;
        let source = page.await.map_err(|(status, text)| plain(status, text))?;
        let mut pages = Pages::new(Merged::from_iter([source]), (1, usize::MAX), None);
        pages.turns = self.probe_turns.of(Some(seat.peer));
        pages.answer(selection, || seat.set(Activity::Making)).await
    }

    /// Asks the extension whether it admits a request. If it does not, returns the response.
    async fn admit(&self, headers: &HeaderMap, seat: &Seat) -> Result<(), Answer> {
        let is_admitted = match self.extension.admit(headers, seat.peer) {
            Admission::Admitted => Some(true),
            Admission::Unauthorized => Some(false),
            Admission::TooMany => None,
            Admission::Check(check) => self.checks.run(check, Some(seat.peer)).await,
        };
        match is_admitted {
            Some(true) => Ok(()),
            Some(false) => Err(unauthorized(["Basic realm=\"metrics\""])),
            None => Err(plain(StatusCode::TOO_MANY_REQUESTS, "too many requests\n")),
        }
    }

    /// Routes a request by its path. Returns the response as an error if the request is rejected,
    /// or if nothing has to be rendered for it.
    async fn route(
        &self,
        request: &Request<()>,
        seat: &Seat,
        time: PageTime,
    ) -> Result<Route<'_>, Answer> {
        let path = request.uri().path();
        // RFC 9112, section 3.2: a request without a host, or with several, is answered with 400.
        let hosts = request.headers().get_all(HOST).iter().count();
        let is_named = hosts == 1 || hosts == 0 && request.uri().host().is_some();
        if request.version() == Version::HTTP_11 && !is_named {
            let answer = "a request has one Host header: send `Host: name`\n";
            return Err(plain(StatusCode::BAD_REQUEST, answer));
        }
        if !self.hosts.admit(request) {
            return Err(plain(StatusCode::FORBIDDEN, self.extension.unknown_host()));
        }
        if is_probe(path) {
            // Probes have no credentials, and this response tells them nothing else.
            check_method(request.method())?;
            return Err(plain(StatusCode::OK, "ok\n"));
        }
        self.admit(request.headers(), seat).await?;
        if !self.credentials.admit(request.headers()) {
            return Err(unauthorized(self.credentials.challenges()));
        }
        let query = request.uri().query().unwrap_or_default();
        if let Some(page) = self.extension.page(path, query, time) {
            return Ok(Route::Extended(selection(request, self.style)?, page));
        }
        if path == self.path {
            return selection(request, self.style).map(Route::Page);
        }
        if path == CARDINALITY {
            return ReportRequest::read(request).map(Route::Report);
        }
        if let (Some(live), Some(rest)) = (&self.live, path.strip_prefix(live::PATH)) {
            if let Some(answer) = live.answer(rest, request, Some(seat.peer)) {
                return Err(answer);
            }
        }
        let answer = match path {
            "/" => self.home(),
            "/robots.txt" => plain(StatusCode::OK, "User-agent: *\nDisallow: /\n"),
            _ => return Err(plain(StatusCode::NOT_FOUND, "not found\n")),
        };
        check_method(request.method())?;
        Err(answer)
    }

    fn home(&self) -> Answer {
        let link = " <a href='live'>live</a>";
        let live = if self.live.is_some() { link } else { "" };
        let metrics = escaped(&self.path);
        let home = self.extension.home(&metrics).unwrap_or_else(|| {
            format!("<html><body><a href='{metrics}'>metrics</a>{live}</body></html>")
        });
        let home = Body::whole(home.into());
        let mut answer = content(StatusCode::OK, "text/html; charset=utf-8", home);
        let nothing = "default-src 'none'; frame-ancestors 'none'";
        set(&mut answer, CONTENT_SECURITY_POLICY, nothing);
        answer
    }
}

/// Returns an answer that is ready within this time, or one that says that it is not.
async fn within(limit: Duration, answer: impl Future<Output = Answered>) -> Answered {
    let answer = tokio::time::timeout(limit, answer).await;
    answer.unwrap_or_else(|_| Err(timed_out()))
}

fn unauthorized(challenges: impl IntoIterator<Item = &'static str>) -> Answer {
    let mut answer = plain(StatusCode::UNAUTHORIZED, "unauthorized\n");
    for challenge in challenges {
        let challenge = HeaderValue::from_static(challenge);
        answer.headers_mut().append(WWW_AUTHENTICATE, challenge);
    }
    answer
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
    use std::task::{Context, Poll, Waker};

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

    /// With 200 guesses before it, an honest request waited until it timed out, and then the next
    /// one did.
    #[test]
    fn guesses_of_one_peer_hold_up_another_for_one_check() {
        let checks = Checks::new();
        let peer = |last: usize| Some(Peer::of(([192, 0, 2, last as u8], 1).into()));
        let check = |result: bool| Box::new(move || result);
        let mut context = Context::from_waker(Waker::noop());
        let runtime = tokio::runtime::Builder::new_current_thread().build();
        runtime.unwrap().block_on(async {
            let turn = checks.turns.of(peer(1)).take().await;
            let mut guesses = Vec::new();
            for _ in 0..200 {
                let mut guess = Box::pin(checks.run(check(false), peer(1)));
                match guess.as_mut().poll(&mut context) {
                    Poll::Pending => guesses.push(guess),
                    Poll::Ready(answer) => assert_eq!(answer, None, "too many"),
                }
            }
            assert_eq!(guesses.len(), CHECKS / 2);
            // 200 guesses of 100 peers took all places, again and again.
            for i in 0..100 {
                let mut guess = Box::pin(checks.run(check(false), peer(3 + i)));
                assert!(guess.as_mut().poll(&mut context).is_pending());
                guesses.push(guess);
            }
            let mut honest = Box::pin(checks.run(check(true), peer(2)));
            assert!(honest.as_mut().poll(&mut context).is_pending());
            drop((turn, guesses.split_off(CHECKS / 2)));
            assert_eq!(honest.await, Some(true), "none of the guesses is polled");
        });
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
