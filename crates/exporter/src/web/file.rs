//! The file of the web configuration. Unknown keys are errors, and every error has its place.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use http::{HeaderName, HeaderValue};
use tallies::Error;
use tallies::serve::tls::{self, ClientAuth, Pem, Version};
use tallies_config::document::{self, Key, Node, Value};

/// The settings of the file.
#[derive(Default)]
pub(super) struct Settings {
    pub(super) tls: Option<tls::Settings>,
    pub(super) users: HashMap<String, String>,
    pub(super) headers: Vec<(HeaderName, HeaderValue)>,
    pub(super) rate: Option<(Duration, f64)>,
    /// Whether the file sets nothing at all.
    pub(super) is_empty: bool,
}

/// The headers that the file may set. Those with a list take only its values.
const HEADERS: [(&str, &[&str]); 5] = [
    ("Content-Security-Policy", &[]),
    ("Strict-Transport-Security", &[]),
    ("X-Content-Type-Options", &["nosniff", ""]),
    ("X-Frame-Options", &["deny", "sameorigin", ""]),
    ("X-XSS-Protection", &[]),
];

/// Reads the file of settings, node by node.
struct Reader<'a> {
    file: &'a Path,
    /// Relative paths begin here.
    directory: PathBuf,
}

impl Settings {
    pub(super) fn read(path: &Path) -> Result<Self, Error> {
        let tree = document::read(path)?;
        let reader = Reader {
            file: path,
            directory: path.parent().unwrap_or(Path::new("")).to_owned(),
        };
        reader.settings(&tree)
    }
}

impl Reader<'_> {
    /// Returns the pairs of a map, which may be empty and then reads as nothing.
    fn map<'n>(&self, node: &'n Node, name: &str) -> Result<&'n [(Key, Node)], Error> {
        match &node.value {
            Value::Null => Ok(&[]),
            _ => node.map(name),
        }
    }

    fn text(&self, node: &Node, name: &str) -> Result<String, Error> {
        node.text(name).map(str::to_owned)
    }

    fn texts<'n>(&self, node: &'n Node, name: &str) -> Result<Vec<(&'n Node, &'n str)>, Error> {
        let list = node.list(name)?;
        list.iter()
            .map(|item| Ok((item, item.text(name)?)))
            .collect()
    }

    fn flag(&self, node: &Node, name: &str) -> Result<bool, Error> {
        match node.value {
            Value::Flag(flag) => Ok(flag),
            _ => Err(node.wrong(name, "true or false")),
        }
    }

    fn settings(&self, tree: &Node) -> Result<Settings, Error> {
        let pairs = self.map(tree, "the file")?;
        let mut settings = Settings {
            is_empty: pairs.is_empty(),
            ..Settings::default()
        };
        for (key, node) in pairs {
            match &*key.text {
                "tls_server_config" => settings.tls = self.tls(node)?,
                "http_server_config" => settings.headers = self.http(node)?,
                "basic_auth_users" => settings.users = self.users(node)?,
                "rate_limit" => settings.rate = self.rate(node)?,
                _ => {
                    let known = [
                        "tls_server_config",
                        "http_server_config",
                        "basic_auth_users",
                        "rate_limit",
                    ];
                    return Err(key.unknown(&known));
                }
            }
        }
        Ok(settings)
    }

    fn users(&self, node: &Node) -> Result<HashMap<String, String>, Error> {
        let mut users = HashMap::new();
        for (user, node) in self.map(node, "basic_auth_users")? {
            let hash = self.text(node, "basic_auth_users")?;
            // The hash is a secret, too, so the error does not show it.
            if bcrypt::HashParts::from_str(&hash).is_err() {
                let what = format!(
                    "the password of user `{}` is not a bcrypt hash; `htpasswd -nBC 10 user` makes one",
                    user.text.escape_debug()
                );
                return Err(node.error(what));
            }
            users.insert(user.text.clone(), hash);
        }
        Ok(users)
    }

    fn http(&self, node: &Node) -> Result<Vec<(HeaderName, HeaderValue)>, Error> {
        let mut headers = Vec::new();
        for (key, node) in self.map(node, "http_server_config")? {
            match &*key.text {
                // HTTP/1.1 is what the service speaks, and clients without HTTP/2 are served by
                // either value.
                "http2" => _ = self.flag(node, "http2")?,
                "headers" => headers = self.headers(node)?,
                _ => return Err(key.unknown(&["http2", "headers"])),
            }
        }
        Ok(headers)
    }

    fn headers(&self, node: &Node) -> Result<Vec<(HeaderName, HeaderValue)>, Error> {
        let mut headers = Vec::new();
        for (key, node) in self.map(node, "headers")? {
            let known = HEADERS
                .iter()
                .find(|(name, _)| name.eq_ignore_ascii_case(&key.text));
            let Some((name, values)) = known else {
                return Err(key.unknown(&HEADERS.map(|(name, _)| name)));
            };
            let text = self.text(node, name)?;
            if !values.is_empty() && !values.contains(&&*text) {
                let what = format!(
                    "`{name}` has to be one of {values:?}, got `{}`",
                    text.escape_debug()
                );
                return Err(node.error(what));
            }
            if text.is_empty() {
                continue;
            }
            let value = HeaderValue::from_str(&text);
            let value = value.map_err(|_| node.error("a header cannot have this value"))?;
            let name = HeaderName::from_bytes(name.as_bytes());
            headers.push((name.map_err(|e| node.error(e.to_string()))?, value));
        }
        Ok(headers)
    }

    fn rate(&self, node: &Node) -> Result<Option<(Duration, f64)>, Error> {
        let (mut interval, mut burst) = (None, 1.0);
        for (key, node) in self.map(node, "rate_limit")? {
            match &*key.text {
                "interval" => {
                    let text = self.text(node, "interval")?;
                    let parsed = humantime::parse_duration(&text);
                    let what = "`interval` has to be a duration, such as `1s`";
                    interval = Some(parsed.map_err(|_| node.error(what))?);
                }
                "burst" => match node.value {
                    Value::Number(number) if number >= 0.0 && number.fract() == 0.0 => {
                        // A burst of 0 would answer no request.
                        burst = number.max(1.0);
                    }
                    _ => return Err(node.error("`burst` has to be a whole number")),
                },
                _ => return Err(key.unknown(&["interval", "burst"])),
            }
        }
        Ok(interval
            .filter(|interval| !interval.is_zero())
            .map(|interval| (interval, burst)))
    }

    /// Reads the settings of TLS. A map without keys means no TLS.
    fn tls(&self, node: &Node) -> Result<Option<tls::Settings>, Error> {
        let mut certificate = None;
        let mut key_pem = None;
        let mut client_ca = None;
        let mut auth = ClientAuth::None;
        let mut tls = tls::Settings::default();
        let pairs = self.map(node, "tls_server_config")?;
        for (key, node) in pairs {
            let path = || -> Result<Pem, Error> {
                let path = self.text(node, &key.text)?;
                Ok(Pem::File(self.directory.join(path)))
            };
            let inline = || -> Result<Pem, Error> {
                let (text, place) = (self.text(node, &key.text)?, "the web configuration".into());
                Ok(Pem::Inline { text, place })
            };
            match &*key.text {
                "cert_file" => certificate = Some(path()?),
                "cert" => certificate = Some(inline()?),
                "key_file" => key_pem = Some(path()?),
                "key" => key_pem = Some(inline()?),
                "client_ca_file" => client_ca = Some(path()?),
                "client_ca" => client_ca = Some(inline()?),
                "client_auth_type" => auth = self.client_auth(node)?,
                "client_allowed_sans" => {
                    for (node, name) in self.texts(node, "client_allowed_sans")? {
                        if !tls.allow_name(name) {
                            let what = "this is neither a host name nor an IP address";
                            return Err(node.error(what));
                        }
                    }
                }
                "min_version" => tls.min = self.version(node, "min_version")?,
                "max_version" => tls.max = self.version(node, "max_version")?,
                "cipher_suites" => {
                    for (node, name) in self.texts(node, "cipher_suites")? {
                        if !tls.allow_suite(name) {
                            return Err(self.unsupported(node, "cipher suite", name));
                        }
                    }
                }
                "curve_preferences" => {
                    for (node, name) in self.texts(node, "curve_preferences")? {
                        if !tls.prefer_curve(name) {
                            return Err(self.unsupported(node, "curve", name));
                        }
                    }
                }
                // The server's order has no effect here, as in Go since 1.17.
                "prefer_server_cipher_suites" => _ = self.flag(node, &key.text)?,
                _ => {
                    let known = [
                        "cert_file",
                        "key_file",
                        "cert",
                        "key",
                        "client_auth_type",
                        "client_ca_file",
                        "client_ca",
                        "client_allowed_sans",
                        "min_version",
                        "max_version",
                        "cipher_suites",
                        "prefer_server_cipher_suites",
                        "curve_preferences",
                    ];
                    return Err(key.unknown(&known));
                }
            }
        }
        let has_any = certificate.is_some() || key_pem.is_some() || client_ca.is_some();
        if !has_any && auth == ClientAuth::None {
            return Ok(None);
        }
        let (Some(certificate), Some(key)) = (certificate, key_pem) else {
            return Err(node.error("TLS needs both `cert_file` and `key_file`"));
        };
        match (&client_ca, auth) {
            (Some(_), ClientAuth::None) => {
                let what = "`client_ca_file` needs a `client_auth_type`, such as \
                            `RequireAndVerifyClientCert`";
                return Err(node.error(what));
            }
            (None, ClientAuth::Verify | ClientAuth::VerifyIfGiven) => {
                let what = "this `client_auth_type` needs a `client_ca_file`";
                return Err(node.error(what));
            }
            _ => {}
        }
        if auth == ClientAuth::None && tls.has_names() {
            let what = "`client_allowed_sans` needs a `client_auth_type`, such as \
                        `RequireAndVerifyClientCert`";
            return Err(node.error(what));
        }
        if tls.min > tls.max {
            return Err(node.error("`min_version` is above `max_version`"));
        }
        tls.certificate = certificate;
        tls.key = key;
        tls.client_ca = client_ca;
        tls.auth = auth;
        Ok(Some(tls))
    }

    fn unsupported(&self, node: &Node, what: &str, name: &str) -> Error {
        let what = format!("the {what} `{}` is not supported", name.escape_debug());
        node.error(what)
    }

    fn client_auth(&self, node: &Node) -> Result<ClientAuth, Error> {
        Ok(match &*self.text(node, "client_auth_type")? {
            // A certificate that is asked for and not checked changes nothing.
            "" | "NoClientCert" | "RequestClientCert" => ClientAuth::None,
            "RequireAnyClientCert" | "RequireClientCert" => ClientAuth::Any,
            "VerifyClientCertIfGiven" => ClientAuth::VerifyIfGiven,
            "RequireAndVerifyClientCert" => ClientAuth::Verify,
            other => return Err(self.unsupported(node, "client_auth_type", other)),
        })
    }

    fn version(&self, node: &Node, name: &str) -> Result<Version, Error> {
        match (&*self.text(node, name)?, name) {
            ("TLS13", _) => Ok(Version::Tls13),
            ("TLS12", _) => Ok(Version::Tls12),
            // 1.2 is the oldest that is spoken, which is at least what is asked for.
            ("TLS11" | "TLS10", "min_version") => {
                let oldest = "`min_version` is TLS12, the oldest that is supported";
                Error::new(oldest).at(self.file.display()).log_once();
                Ok(Version::Tls12)
            }
            (other, _) => Err(self.unsupported(node, name, other)),
        }
    }
}
