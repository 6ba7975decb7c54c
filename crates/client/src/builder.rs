//! The settings of a client: credentials, headers, the timeout and root certificates.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use tallies_names::setters;
use ureq::Agent;
use ureq::http::Uri;
use ureq::http::header::{self, HeaderMap, HeaderName, HeaderValue};

use crate::url::{is_local, shown_url};
use crate::{Client, ClientError, MAX_DURATION};

/// The default timeout of a request, from the name look-up to the last byte of the response.
const TIMEOUT: Duration = Duration::from_secs(10);

/// The part of the timeout that the body of a response may take. The status is known by then, and
/// the body only adds details.
const BODY_PART: u32 = 4;

/// Headers that describe a request and its body, which the client therefore sets itself.
const OWN_HEADERS: [&str; 5] = [
    "content-encoding",
    "content-length",
    "content-type",
    "host",
    "transfer-encoding",
];

/// Settings of a [`Client`].
///
/// ```
/// use std::time::Duration;
/// use tallies_client::{ClientBuilder, base_url};
///
/// let client = ClientBuilder::new("receiver", "example/1.0")
///     .bearer_token("a long secret")
///     .header("X-Scope-OrgID", "team-a")
///     .timeout(Duration::from_secs(3))
///     .build(&base_url("receiver", "http://127.0.0.1:9009/api/v1/push")?)?;
/// assert_eq!(client.url(), "http://127.0.0.1:9009/api/v1/push");
/// # Ok::<(), tallies_client::ClientError>(())
/// ```
///
/// [`build`](Self::build) checks the settings. Its output of `Debug` shows no credentials.
#[derive(Clone)]
#[must_use = "settings are for `build`"]
pub struct ClientBuilder {
    receiver: String,
    user_agent: String,
    authorization: Authorization,
    headers: Vec<(String, String)>,
    timeout: Duration,
    #[cfg(feature = "tls")]
    roots: Vec<u8>,
}

#[derive(Clone)]
enum Authorization {
    None,
    Basic(String, String),
    Bearer(String),
}

impl ClientBuilder {
    /// Returns settings without credentials, with a timeout of 10 s.
    ///
    /// `receiver` is the word for the receiver in errors, such as `gateway`. `user_agent` is the
    /// header of that name.
    ///
    /// ```
    /// let client = tallies_client::ClientBuilder::new("gateway", "example/1.0");
    /// assert!(client.build("http://127.0.0.1:9091").is_ok());
    /// ```
    pub fn new(receiver: &str, user_agent: &str) -> Self {
        Self {
            receiver: receiver.to_owned(),
            user_agent: user_agent.to_owned(),
            authorization: Authorization::None,
            headers: Vec::new(),
            timeout: TIMEOUT,
            #[cfg(feature = "tls")]
            roots: Vec::new(),
        }
    }

    setters! {
        /// Authenticates with a user name and a password (RFC 7617).
        ///
        /// ```
        /// # use tallies_client::ClientBuilder;
        /// let client = ClientBuilder::new("gateway", "example/1.0");
        /// let client = client.basic_auth("ann", "a long password");
        /// assert!(client.build("http://127.0.0.1:9091").is_ok());
        /// ```
        fn basic_auth(self, user: &str, password: &str) =
            self.authorization = Authorization::Basic(user.to_owned(), password.to_owned());

        /// Authenticates with a bearer token (RFC 6750).
        ///
        /// ```
        /// # use tallies_client::ClientBuilder;
        /// let client = ClientBuilder::new("gateway", "example/1.0").bearer_token("a long secret");
        /// assert!(client.build("http://127.0.0.1:9091").is_ok());
        /// ```
        fn bearer_token(self, token: &str) =
            self.authorization = Authorization::Bearer(token.to_owned());

        /// Adds a header to every request, such as a tenant or an API key. It replaces an earlier
        /// one of the same name, `Authorization` and `User-Agent` included. Its value may be a
        /// secret, so no error and no log shows it.
        ///
        /// The client sets `content-encoding`, `content-length`, `content-type`, `host` and
        /// `transfer-encoding` itself.
        ///
        /// ```
        /// # use tallies_client::ClientBuilder;
        /// let client = ClientBuilder::new("receiver", "example/1.0");
        /// let tenant = client.clone().header("X-Scope-OrgID", "team-a");
        /// assert!(tenant.build("http://127.0.0.1").is_ok());
        /// let error = client.header("Host", "example.org").build("http://127.0.0.1").unwrap_err();
        /// assert!(error.to_string().starts_with("header `host` is set by the client itself"));
        /// ```
        fn header(self, name: &str, value: &str) =
            self.headers.push((name.to_owned(), value.to_owned()));

        /// Limits the time of a request, from the name look-up to the last byte of the response.
        /// The body may take a quarter of it. Default: 10 s. More than a year is a year.
        ///
        /// ```
        /// # use std::time::Duration;
        /// # use tallies_client::ClientBuilder;
        /// let client = ClientBuilder::new("gateway", "example/1.0");
        /// let client = client.timeout(Duration::from_secs(3));
        /// assert_eq!(client.build("http://127.0.0.1:9091")?.timeout(), Duration::from_secs(3));
        /// # Ok::<(), tallies_client::ClientError>(())
        /// ```
        fn timeout(self, timeout: Duration) = self.timeout = timeout.min(MAX_DURATION);

        /// Trusts only the certificates in this PEM text, such as those of a private CA. Default,
        /// also with an empty text: Mozilla's root certificates.
        ///
        /// ```
        /// # use tallies_client::ClientBuilder;
        /// let client = ClientBuilder::new("gateway", "example/1.0");
        /// let client = client.root_certificates(b"nonsense");
        /// assert!(client.build("https://gateway.example.org").is_err());
        /// ```
        #[cfg(feature = "tls")]
        fn root_certificates(self, pem: &[u8]) = self.roots = pem.to_owned();
    }

    /// Checks the settings and returns a client for the receiver at `url`, which begins with what
    /// [`base_url`](crate::base_url) has returned. Nothing is sent yet.
    ///
    /// Connections use the proxy of the environment (`HTTP_PROXY` and similar variables), except to
    /// this machine and in CGI programs. Redirects are not followed.
    ///
    /// ```
    /// # use tallies_client::ClientBuilder;
    /// let client = ClientBuilder::new("gateway", "example/1.0").basic_auth("a:b", "a password");
    /// let error = client.build("http://127.0.0.1:9091").unwrap_err();
    /// assert!(error.to_string().starts_with("user `a:…` must not contain a colon"));
    /// ```
    ///
    /// # Errors
    ///
    /// Returns an error in these cases. The message shows no password, no token, no certificate and
    /// no value of a header.
    ///
    /// - The user contains a colon.
    /// - The password, the token or the user agent contains characters that a header cannot have.
    /// - An extra header is not valid, or is one that the client sets itself.
    /// - The root certificates are not certificates in PEM format.
    /// - The URL is not valid.
    pub fn build(&self, url: &str) -> Result<Client, ClientError> {
        let uri = url.parse::<Uri>();
        let uri = uri.map_err(|_| {
            let (setting, shown) = (format!("{} URL", self.receiver), shown_url(url));
            ClientError::setting(
                &setting,
                &shown,
                "is not a URL such as `http://host:9091/prefix`",
            )
        })?;
        Ok(Client {
            headers: self.headers()?,
            agent: self.agent(&uri)?,
            receiver: self.receiver.clone(),
            url: url.to_owned(),
            uri,
            timeout: self.timeout,
            under_way: Arc::default(),
        })
    }

    /// Returns the headers of every request. Values are marked as sensitive.
    fn headers(&self) -> Result<HeaderMap, ClientError> {
        let mut headers = HeaderMap::new();
        if let Some(text) = self.authorization.text()? {
            headers.insert(header::AUTHORIZATION, sensitive("token", &text)?);
        }
        for (name, value) in &self.headers {
            let (name, value) = header(name, value)?;
            headers.insert(name, value);
        }
        Ok(headers)
    }

    fn agent(&self, uri: &Uri) -> Result<Agent, ClientError> {
        // Not secret, but checked by the same rule: ureq panics if it breaks it.
        sensitive("user agent", &self.user_agent)?;
        let config = Agent::config_builder()
            .user_agent(&self.user_agent)
            // Another crate of the program may enable decompression.
            .accept_encoding("")
            .timeout_global(Some(self.timeout))
            .timeout_recv_body(Some(self.timeout / BODY_PART))
            // The caller interprets the status, and following a redirect would lose the method.
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false);
        // A CGI program has its request's `Proxy` header as `HTTP_PROXY` (httpoxy), so the
        // environment's proxy cannot be trusted.
        let is_cgi = std::env::var_os("REQUEST_METHOD").is_some();
        let config = if is_local(uri) || is_cgi {
            config.proxy(None)
        } else {
            config
        };
        #[cfg(feature = "tls")]
        let config = match &*self.roots {
            [] => config,
            pem => {
                let tls = ureq::tls::TlsConfig::builder().root_certs(roots(pem)?);
                config.tls_config(tls.build())
            }
        };
        Ok(config.build().new_agent())
    }
}

/// Parses a PEM text with at least one certificate and nothing else.
#[cfg(feature = "tls")]
fn roots(pem: &[u8]) -> Result<ureq::tls::RootCerts, ClientError> {
    use ureq::tls::{PemItem, RootCerts, parse_pem};
    let certificates = parse_pem(pem).map(|item| match item {
        Ok(PemItem::Certificate(certificate)) => Some(certificate),
        _ => None,
    });
    let certificates = certificates.collect::<Option<Vec<_>>>();
    match certificates.filter(|all| !all.is_empty()) {
        Some(certificates) => Ok(RootCerts::new_with_certs(&certificates)),
        None => {
            let why = "have to be certificates in PEM format, and at least one";
            Err(ClientError::setting("root certificates", "…", why))
        }
    }
}

/// Checks a header as [`ClientBuilder::build`] does, for callers that know where it comes from.
///
/// ```
/// let error = tallies_client::check_header("Authorization: Bearer x", "").unwrap_err();
/// assert_eq!(error.to_string(), "header `…` has to have a name such as `X-Scope-OrgID`");
/// ```
///
/// # Errors
///
/// Returns an error if the name or the value is not valid, or if the client sets this header
/// itself. The message shows no value, and no name that is not valid.
pub fn check_header(name: &str, value: &str) -> Result<(), ClientError> {
    header(name, value).map(drop)
}

/// Returns a header of the user. Its value is marked as sensitive.
fn header(name: &str, value: &str) -> Result<(HeaderName, HeaderValue), ClientError> {
    // A whole line that was passed as the name may have a secret.
    let why = "has to have a name such as `X-Scope-OrgID`";
    let name = HeaderName::try_from(name);
    let name = name.map_err(|_| ClientError::setting("header", "…", why))?;
    if OWN_HEADERS.contains(&name.as_str()) {
        let why = "is set by the client itself";
        return Err(ClientError::setting("header", name.as_str(), why));
    }
    let value = sensitive(&format!("value of header `{name}`"), value)?;
    Ok((name, value))
}

/// Returns the value of a header, marked as sensitive. An error does not show it.
fn sensitive(what: &str, text: &str) -> Result<HeaderValue, ClientError> {
    let why = "contains characters that are not allowed in a header";
    let mut value =
        HeaderValue::from_str(text).map_err(|_| ClientError::setting(what, "…", why))?;
    value.set_sensitive(true);
    Ok(value)
}

impl Authorization {
    /// Returns the value of the `Authorization` header.
    fn text(&self) -> Result<Option<String>, ClientError> {
        Ok(match self {
            Self::None => None,
            // The rest after a colon may be a password.
            Self::Basic(user, _) if user.contains(':') => {
                let user = user.split(':').next().unwrap_or_default();
                let why = "must not contain a colon; the password is another argument";
                return Err(ClientError::setting("user", &format!("{user}:…"), why));
            }
            Self::Basic(user, password) => {
                let pair = BASE64_STANDARD.encode(format!("{user}:{password}"));
                Some(format!("Basic {pair}"))
            }
            Self::Bearer(token) => Some(format!("Bearer {token}")),
        })
    }
}

impl fmt::Debug for ClientBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientBuilder")
            .field("receiver", &self.receiver)
            .field("timeout", &self.timeout)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn builder() -> ClientBuilder {
        ClientBuilder::new("receiver", "test")
    }

    const URL: &str = "http://127.0.0.1:9";

    #[test]
    fn errors_show_no_secret() {
        for (bad, message) in [
            (builder().basic_auth("a:b", "SECRET"), "user `a:…` must not"),
            (builder().basic_auth("ann:SECRET", ""), "user `ann:…` must"),
            (builder().header("Authorization", "SECRET\n"), "value of"),
            (builder().bearer_token("SECRET\n"), "token `…` contains"),
            (
                builder().header("X-Key", "SECRET\n"),
                "value of header `x-key` `…` contains",
            ),
            (
                builder().header("X-Key: SECRET", ""),
                "header `…` has to have a name",
            ),
            (builder().header("", "SECRET"), "header `…` has to have"),
            (
                ClientBuilder::new("receiver", "a\nb"),
                "user agent `…` contains",
            ),
        ] {
            let error = bad.build(URL).unwrap_err().to_string();
            assert!(error.starts_with(message), "{error}");
            assert!(!error.contains("SECRET"), "{error}");
            assert!(!format!("{bad:?}").contains("SECRET"), "{bad:?}");
        }
    }

    #[test]
    fn a_header_that_the_client_sets_is_refused() {
        for name in [
            "Host",
            "content-LENGTH",
            "Content-Type",
            "Content-Encoding",
            "Transfer-Encoding",
        ] {
            let error = builder().header(name, "SECRET").build(URL).unwrap_err();
            let expected = format!("header `{}` is set by", name.to_ascii_lowercase());
            assert!(error.to_string().starts_with(&expected), "{error}");
        }
    }

    #[test]
    fn headers_are_sensitive_and_the_last_one_of_a_name_counts() {
        let client = builder()
            .header("X-Scope-OrgID", "first")
            .header("x-scope-orgid", "last")
            .bearer_token("SECRET")
            .build(URL)
            .unwrap();
        let shown: Vec<_> = client.headers.iter().collect();
        assert_eq!(shown.len(), 2, "{shown:?}");
        assert!(shown.iter().all(|(_, value)| value.is_sensitive()));
        assert_eq!(client.headers["x-scope-orgid"], "last");
        assert!(!format!("{client:?}").contains("SECRET"), "{client:?}");
    }

    /// Nothing of the settings hides that a whole header has credentials.
    #[test]
    fn a_header_takes_credentials_of_every_kind() {
        let client = builder()
            .bearer_token("token")
            .header("Authorization", "ApiKey SECRET")
            .build("http://gw:9091")
            .unwrap();
        let values: Vec<_> = client.headers.get_all("authorization").iter().collect();
        assert_eq!(values, ["ApiKey SECRET"]);
        assert!(client.warning("requests").is_some());
    }

    #[test]
    fn a_url_that_cannot_be_requested_is_an_error() {
        for (url, shown) in [
            ("http://gw/a<b", "http://gw/a<b"),
            ("http://me:SECRET@gw/a<b", "http://…"),
            ("http://gw/<?token=SECRET", "http://…"),
        ] {
            let error = builder().build(url).unwrap_err().to_string();
            let expected = format!("receiver URL `{shown}` is not a URL");
            assert!(error.starts_with(&expected), "{error}");
        }
    }
}
