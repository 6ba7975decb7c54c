//! A client for pages of metrics, over http and https.

use std::io::Read;
use std::path::Path;
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use percent_encoding::percent_decode_str;
use ureq::Agent;
use ureq::http::Uri;
use ureq::tls::{PemItem, RootCerts, TlsConfig, parse_pem};

/// The longest page that is read, in MiB, after it was decompressed.
const MAX_MIB: u64 = 64;

/// An endpoint: its URL without the password, and the header that has it.
#[derive(Clone, Debug)]
pub struct Target {
    pub url: String,
    authorization: Option<String>,
}

impl Target {
    /// Parses a URL. `127.0.0.1:9464` is short for `http://127.0.0.1:9464/metrics`.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (scheme, rest) = text.split_once("://").unwrap_or(("http", text));
        if !["http", "https"].contains(&scheme) {
            return Err("the scheme has to be http or https".to_owned());
        }
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(end);
        let (login, host) = match authority.rsplit_once('@') {
            Some((login, host)) => (Some(login), host),
            None => (None, authority),
        };
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
        let authorization = login.map(|login| {
            let (user, password) = login.split_once(':').unwrap_or((login, ""));
            let mut plain: Vec<u8> = percent_decode_str(user).collect();
            plain.push(b':');
            plain.extend(percent_decode_str(password));
            format!("Basic {}", BASE64_STANDARD.encode(plain))
        });
        Ok(Self { url, authorization })
    }

    /// Returns whether the endpoint is on this machine.
    fn is_local(&self) -> bool {
        let uri: Option<Uri> = self.url.parse().ok();
        let host = uri.as_ref().and_then(Uri::host).unwrap_or_default();
        let host = host.trim_matches(['[', ']']);
        let address: Option<std::net::IpAddr> = host.parse().ok();
        host == "localhost" || address.is_some_and(|address| address.is_loopback())
    }
}

/// A page, with its type.
#[derive(Debug)]
pub struct Page {
    pub content_type: String,
    pub body: Vec<u8>,
}

impl Page {
    pub fn is_open_metrics(&self) -> bool {
        self.content_type
            .starts_with("application/openmetrics-text")
    }
}

/// A client of one endpoint, which keeps its connection.
#[derive(Debug)]
pub struct Client {
    agent: Agent,
    target: Target,
}

impl Client {
    /// Creates a client. `ca` has certificates that are trusted instead of the public ones.
    pub fn new(target: Target, timeout: Duration, ca: Option<&Path>) -> Result<Self, String> {
        let mut tls = TlsConfig::builder();
        if let Some(path) = ca {
            let shown = path.display();
            let pem = std::fs::read(path).map_err(|e| format!("{shown}: {e}"))?;
            let certificates: Vec<_> = parse_pem(&pem)
                .filter_map(|item| match item {
                    Ok(PemItem::Certificate(certificate)) => Some(certificate),
                    _ => None,
                })
                .collect();
            if certificates.is_empty() {
                return Err(format!("{shown}: no certificate in PEM"));
            }
            tls = tls.root_certs(RootCerts::new_with_certs(&certificates));
        }
        let mut config = Agent::config_builder()
            .timeout_global(Some(timeout))
            .http_status_as_error(false)
            .tls_config(tls.build());
        if target.is_local() {
            config = config.proxy(None);
        }
        let agent = config.build().new_agent();
        Ok(Self { agent, target })
    }

    /// Reads the page, in a format that `accept` names.
    pub fn get(&self, accept: &str) -> Result<Page, String> {
        let mut request = self.agent.get(&self.target.url).header("accept", accept);
        if let Some(authorization) = &self.target.authorization {
            request = request.header("authorization", authorization);
        }
        let mut response = request.call().map_err(explain)?;
        if response.status() != 200 {
            return Err(format!("the endpoint answers {}", response.status()));
        }
        let content_type = response.headers().get("content-type");
        let content_type = content_type.and_then(|value| value.to_str().ok());
        let content_type = content_type.unwrap_or_default().to_owned();
        // The client's own limit counts bytes before they are decompressed.
        let reader = response.body_mut().with_config().limit(u64::MAX).reader();
        let mut body = Vec::new();
        let read = reader.take((MAX_MIB << 20) + 1).read_to_end(&mut body);
        read.map_err(|e| explain(e.into()))?;
        if body.len() as u64 > MAX_MIB << 20 {
            return Err(format!("the page is larger than {MAX_MIB} MiB"));
        }
        Ok(Page { content_type, body })
    }
}

fn explain(error: ureq::Error) -> String {
    match error {
        ureq::Error::Timeout(_) => "no answer in time".to_owned(),
        other => {
            let text = other.to_string();
            let text = text.trim_start_matches("io: ");
            // The number of an error says no more than its text.
            let end = text.find(" (os error").unwrap_or(text.len());
            text[..end].to_owned()
        }
    }
}
