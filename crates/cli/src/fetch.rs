//! A client for pages of metrics, over http and https.

use std::io::Read;
use std::path::PathBuf;
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use clap::Args;
use percent_encoding::percent_decode_str;
use tallies::Error;
use tallies::encode::{Format, Syntax};
use tallies_check::Scraped;
use tallies_names::read_file;
use ureq::Agent;
use ureq::http::Uri;
use ureq::tls::{PemItem, RootCerts, TlsConfig, parse_pem};

/// The longest page that is read, in MiB, after it was decompressed.
const MAX_MIB: u64 = 64;

/// How endpoints are asked.
#[derive(Args, Default)]
pub struct Access {
    /// Give up waiting for a page after so many seconds: 5 for `top`, 10 for `lint`.
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    timeout: Option<Duration>,
    /// Trust the certificates in this PEM file instead of the public ones.
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
}

impl Access {
    /// Creates a client for the endpoint with this URL. It waits for a page up to `timeout`, unless
    /// the user says how long.
    pub fn client(&self, url: &str, timeout: Duration) -> Result<Client, String> {
        let (url, authorization) = parse(url)?;
        let mut tls = TlsConfig::builder();
        if let Some(path) = &self.ca {
            let shown = path.display();
            let pem = read_file(path, 1).map_err(|e| format!("{shown}: {e}"))?;
            let certificates = parse_pem(&pem).filter_map(|item| match item {
                Ok(PemItem::Certificate(certificate)) => Some(certificate),
                _ => None,
            });
            let certificates: Vec<_> = certificates.collect();
            if certificates.is_empty() {
                return Err(format!("{shown}: no certificate in PEM"));
            }
            tls = tls.root_certs(RootCerts::new_with_certs(&certificates));
        }
        let mut config = Agent::config_builder()
            .timeout_global(Some(self.timeout.unwrap_or(timeout)))
            .http_status_as_error(false)
            .tls_config(tls.build());
        if is_local(&url) {
            config = config.proxy(None);
        }
        Ok(Client {
            agent: config.build().new_agent(),
            url,
            authorization,
        })
    }
}

/// Parses a time in seconds, for options.
pub fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|e| format!("`{text}`: {e}"))?;
    match seconds {
        0.05..=3600.0 => Ok(Duration::from_secs_f64(seconds)),
        _ => Err("it has to be from 0.05 to 3600".to_owned()),
    }
}

/// Parses a URL. `127.0.0.1:9464` is short for `http://127.0.0.1:9464/metrics`. Returns it without
/// the password, and the header that has it.
fn parse(text: &str) -> Result<(String, Option<String>), String> {
    let (scheme, rest) = text.split_once("://").unwrap_or(("http", text));
    if !["http", "https"].contains(&scheme) {
        return Err("the scheme has to be http or https".to_owned());
    }
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    let (login, host) = authority.rsplit_once('@').unwrap_or(("", authority));
    // A slash in a password makes its rest a part of the path.
    if path.contains('@') {
        return Err(format!(
            "`{scheme}://…`: write a `/` in a password as `%2F`, and an `@` in the path as `%40`"
        ));
    }
    let path = match path {
        "" if !text.contains("://") => "/metrics",
        path => path,
    };
    let url = format!("{scheme}://{host}{path}");
    // The message shows the URL without the password.
    let uri: Uri = url.parse().map_err(|e| format!("`{url}`: {e}"))?;
    if uri.host().unwrap_or_default().is_empty() {
        return Err(format!("`{url}`: no host"));
    }
    let authorization = (!login.is_empty()).then(|| {
        let end = if login.contains(':') { "" } else { ":" };
        let plain: Vec<u8> = percent_decode_str(login).chain(end.bytes()).collect();
        format!("Basic {}", BASE64_STANDARD.encode(plain))
    });
    Ok((url, authorization))
}

/// Returns whether the endpoint is on this machine.
fn is_local(url: &str) -> bool {
    let uri: Option<Uri> = url.parse().ok();
    let host = uri.as_ref().and_then(Uri::host).unwrap_or_default();
    let host = host.trim_matches(['[', ']']);
    let address: Option<std::net::IpAddr> = host.parse().ok();
    host == "localhost" || address.is_some_and(|address| address.is_loopback())
}

/// A page.
pub struct Page {
    pub body: Vec<u8>,
    /// Its Content-Type, empty if the endpoint sends none. A file has none.
    pub content_type: Option<String>,
    /// The format that its Content-Type names; text if it names none.
    pub syntax: Syntax,
}

impl Page {
    /// Returns whether its Content-Type names OpenMetrics.
    pub fn is_open_metrics(&self) -> bool {
        matches!(self.syntax, Syntax::OpenMetrics | Syntax::OpenMetrics2)
    }

    /// Parses the page as Prometheus does, and remarks on what is wrong with it.
    pub fn read(&self) -> Result<Scraped, Error> {
        tallies_check::read_as_scraped(&self.body, self.content_type.as_deref())
    }
}

/// A client of one endpoint, which keeps its connection.
pub struct Client {
    /// Without the password.
    pub url: String,
    agent: Agent,
    authorization: Option<String>,
}

impl Client {
    /// Reads the page, in a format that `accept` names.
    pub fn get(&self, accept: &str) -> Result<Page, String> {
        let mut request = self.agent.get(&self.url).header("accept", accept);
        if let Some(authorization) = &self.authorization {
            request = request.header("authorization", authorization);
        }
        let mut response = request.call().map_err(explain)?;
        if response.status() != 200 {
            return Err(format!("the endpoint answers {}", response.status()));
        }
        let content_type = response.headers().get("content-type");
        let content_type = content_type.and_then(|value| value.to_str().ok());
        let content_type = content_type.unwrap_or_default().to_owned();
        // A Content-Type is an Accept header that names one format. Older clients for Python write
        // OpenMetrics 1.0 as version 0.0.1.
        let syntax = match Format::negotiate(&content_type).syntax() {
            Syntax::Text if content_type.starts_with("application/openmetrics-text") => {
                Syntax::OpenMetrics
            }
            syntax => syntax,
        };
        // The client's own limit counts bytes before they are decompressed.
        let reader = response.body_mut().with_config().limit(u64::MAX).reader();
        let mut body = Vec::new();
        let read = reader.take((MAX_MIB << 20) + 1).read_to_end(&mut body);
        read.map_err(|e| explain(e.into()))?;
        if body.len() as u64 > MAX_MIB << 20 {
            return Err(format!("the page is larger than {MAX_MIB} MiB"));
        }
        Ok(Page {
            body,
            content_type: Some(content_type),
            syntax,
        })
    }
}

fn explain(error: ureq::Error) -> String {
    if let ureq::Error::Timeout(_) = error {
        return "no answer in time".to_owned();
    }
    let text = error.to_string();
    let text = text.trim_start_matches("io: ");
    // The number of an error says no more than its text.
    text.split(" (os error").next().unwrap_or(text).to_owned()
}
