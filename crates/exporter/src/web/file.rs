//! The file of the web configuration. Unknown keys are errors, and every error has its place.

use std::collections::HashMap;
use std::path::Path;
use std::str::FromStr;

use http::{HeaderName, HeaderValue};
use tallies::Error;
use tallies::serve::tls::{self, ClientAuth, Pem, Version};
use tallies_config::document::{self, Key, Node, Value};

use super::Rate;
use super::users::Users;

/// The settings of the file.
#[derive(Default)]
pub(super) struct Settings {
    pub(super) tls: Option<tls::Settings>,
    pub(super) users: Users,
    pub(super) headers: Vec<(HeaderName, HeaderValue)>,
    pub(super) rate: Option<Rate>,
    /// Whether the file sets nothing at all.
    pub(super) is_empty: bool,
}

/// The keys of the file.
const KEYS: [&str; 4] = [
    "tls_server_config",
    "http_server_config",
    "basic_auth_users",
    "rate_limit",
];

/// The keys of `tls_server_config`.
const TLS_KEYS: [&str; 13] = [
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

/// The headers that the file may set. Those with a list take only its values.
const HEADERS: [(&str, &[&str]); 5] = [
    ("Content-Security-Policy", &[]),
    ("Strict-Transport-Security", &[]),
    ("X-Content-Type-Options", &["nosniff", ""]),
    ("X-Frame-Options", &["deny", "sameorigin", ""]),
    ("X-XSS-Protection", &[]),
];

/// Returns the pairs of a map, which may be empty and then reads as nothing.
fn map<'a>(node: &'a Node, name: &str) -> Result<&'a [(Key, Node)], Error> {
    match &node.value {
        Value::Null => Ok(&[]),
        _ => node.map(name),
    }
}

/// Checks a flag that has no effect.
fn check_flag(node: &Node, name: &str) -> Result<(), Error> {
    match node.value {
        Value::Flag(_) => Ok(()),
        _ => Err(node.wrong(name, "true or false")),
    }
}

fn unsupported(node: &Node, what: &str, name: &str) -> Error {
    let name = name.escape_debug();
    node.error(format!("the {what} `{name}` is not supported"))
}

impl Settings {
    /// Reads the file.
    pub(super) fn read(path: &Path) -> Result<Self, Error> {
        let tree = document::read(path)?;
        let directory = path.parent().unwrap_or(Path::new(""));
        let pairs = map(&tree, "the file")?;
        let mut settings = Self {
            is_empty: pairs.is_empty(),
            ..Self::default()
        };
        for (key, node) in pairs {
            match &*key.text {
                "tls_server_config" => settings.tls = tls(node, directory)?,
                "http_server_config" => settings.headers = http(node)?,
                "basic_auth_users" => settings.users = Users::new(users(node)?),
                "rate_limit" => settings.rate = rate(node)?,
                _ => return Err(key.unknown(&KEYS)),
            }
        }
        Ok(settings)
    }
}

fn users(node: &Node) -> Result<HashMap<String, String>, Error> {
    let mut users = HashMap::new();
    for (user, node) in map(node, "basic_auth_users")? {
        let hash = node.text("basic_auth_users")?;
        // The hash is a secret, too, so the error does not show it.
        if bcrypt::HashParts::from_str(hash).is_err() {
            let user = user.text.escape_debug();
            let why = "is not a bcrypt hash; `htpasswd -nBC 10 user` makes one";
            return Err(node.error(format!("the password of user `{user}` {why}")));
        }
        users.insert(user.text.clone(), hash.to_owned());
    }
    Ok(users)
}

fn http(node: &Node) -> Result<Vec<(HeaderName, HeaderValue)>, Error> {
    let mut all = Vec::new();
    for (key, node) in map(node, "http_server_config")? {
        match &*key.text {
            // HTTP/1.1 is what the service speaks, and clients without HTTP/2 are served by either
            // value.
            "http2" => check_flag(node, "http2")?,
            "headers" => all = headers(node)?,
            _ => return Err(key.unknown(&["http2", "headers"])),
        }
    }
    Ok(all)
}

fn headers(node: &Node) -> Result<Vec<(HeaderName, HeaderValue)>, Error> {
    let mut headers = Vec::new();
    for (key, node) in map(node, "headers")? {
        let mut known = HEADERS.iter();
        let known = known.find(|(name, _)| name.eq_ignore_ascii_case(&key.text));
        let Some((name, values)) = known else {
            return Err(key.unknown(&HEADERS.map(|(name, _)| name)));
        };
        let text = node.text(name)?;
        if !values.is_empty() && !values.contains(&text) {
            let text = text.escape_debug();
            let what = format!("`{name}` has to be one of {values:?}, got `{text}`");
            return Err(node.error(what));
        }
        if !text.is_empty() {
            let value = HeaderValue::from_str(text);
            let value = value.map_err(|_| node.error("a header cannot have this value"))?;
            let name = HeaderName::from_bytes(name.as_bytes());
            headers.push((name.map_err(|e| node.error(e.to_string()))?, value));
        }
    }
    Ok(headers)
}

/// Reads the limit of requests. An interval of nothing means none.
fn rate(node: &Node) -> Result<Option<Rate>, Error> {
    let mut rate = Rate {
        burst: 1.0,
        ..Rate::default()
    };
    for (key, node) in map(node, "rate_limit")? {
        match &*key.text {
            "interval" => {
                let interval = humantime::parse_duration(node.text("interval")?);
                let what = "`interval` has to be a duration, such as `1s`";
                rate.interval = interval.map_err(|_| node.error(what))?;
            }
            "burst" => match node.value {
                // A burst of 0 would answer no request.
                Value::Number(number) if number >= 0.0 && number.fract() == 0.0 => {
                    rate.burst = number.max(1.0);
                }
                _ => return Err(node.error("`burst` has to be a whole number")),
            },
            _ => return Err(key.unknown(&["interval", "burst"])),
        }
    }
    Ok((!rate.interval.is_zero()).then_some(rate))
}

/// Reads the settings of TLS. A map without keys means no TLS. Relative paths begin in `directory`.
fn tls(node: &Node, directory: &Path) -> Result<Option<tls::Settings>, Error> {
    let mut tls = tls::Settings::default();
    for (key, node) in map(node, "tls_server_config")? {
        let name = &*key.text;
        let pem = || -> Result<Option<Pem>, Error> {
            let text = node.text(name)?.to_owned();
            let place = "the web configuration".into();
            Ok(Some(match name.ends_with("_file") {
                true => Pem::File(directory.join(text)),
                false => Pem::Inline { text, place },
            }))
        };
        match name {
            "cert_file" | "cert" => tls.certificate = pem()?,
            "key_file" | "key" => tls.key = pem()?,
            "client_ca_file" | "client_ca" => tls.client_ca = pem()?,
            "client_auth_type" => tls.auth = client_auth(node)?,
            "client_allowed_sans" => {
                for node in node.list(name)? {
                    if !tls.allow_name(node.text(name)?) {
                        return Err(node.error("this is neither a host name nor an IP address"));
                    }
                }
            }
            "min_version" => tls.min = version(node, name)?,
            "max_version" => tls.max = version(node, name)?,
            "cipher_suites" => allow(node, name, "cipher suite", |name| tls.allow_suite(name))?,
            "curve_preferences" => allow(node, name, "curve", |name| tls.prefer_curve(name))?,
            // The server's order has no effect here, as in Go since 1.17.
            "prefer_server_cipher_suites" => check_flag(node, name)?,
            _ => return Err(key.unknown(&TLS_KEYS)),
        }
    }
    let asks = tls.auth != ClientAuth::None;
    let has_any = tls.certificate.is_some() || tls.key.is_some() || tls.client_ca.is_some();
    if !has_any && !asks {
        return Ok(None);
    }
    let verifies = matches!(tls.auth, ClientAuth::Verify | ClientAuth::VerifyIfGiven);
    let why = if tls.certificate.is_none() || tls.key.is_none() {
        "TLS needs both `cert_file` and `key_file`"
    } else if tls.client_ca.is_some() && !asks {
        "`client_ca_file` needs a `client_auth_type`, such as `RequireAndVerifyClientCert`"
    } else if tls.client_ca.is_none() && verifies {
        "this `client_auth_type` needs a `client_ca_file`"
    } else if tls.has_names() && !asks {
        "`client_allowed_sans` needs a `client_auth_type`, such as `RequireAndVerifyClientCert`"
    } else if tls.min > tls.max {
        "`min_version` is above `max_version`"
    } else {
        return Ok(Some(tls));
    };
    Err(node.error(why))
}

fn client_auth(node: &Node) -> Result<ClientAuth, Error> {
    Ok(match node.text("client_auth_type")? {
        // A certificate that is asked for and not checked changes nothing.
        "" | "NoClientCert" | "RequestClientCert" => ClientAuth::None,
        "RequireAnyClientCert" | "RequireClientCert" => ClientAuth::Any,
        "VerifyClientCertIfGiven" => ClientAuth::VerifyIfGiven,
        "RequireAndVerifyClientCert" => ClientAuth::Verify,
        other => return Err(unsupported(node, "client_auth_type", other)),
    })
}

/// Passes the texts of a list to `allow`, which returns `false` if one is not supported.
fn allow(
    node: &Node,
    key: &str,
    what: &str,
    mut allow: impl FnMut(&str) -> bool,
) -> Result<(), Error> {
    for item in node.list(key)? {
        let name = item.text(key)?;
        if !allow(name) {
            return Err(unsupported(item, what, name));
        }
    }
    Ok(())
}

fn version(node: &Node, name: &str) -> Result<Version, Error> {
    match (node.text(name)?, name) {
        ("TLS13", _) => Ok(Version::Tls13),
        ("TLS12", _) => Ok(Version::Tls12),
        // 1.2 is the oldest that is spoken, which is at least what is asked for.
        ("TLS11" | "TLS10", "min_version") => {
            let oldest = "`min_version` is TLS12, the oldest that is supported";
            node.error(oldest).log_once();
            Ok(Version::Tls12)
        }
        (other, _) => Err(unsupported(node, name, other)),
    }
}
