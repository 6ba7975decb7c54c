//! URLs of pushes, by the rules of the Pushgateway's README.

use std::fmt::Write;
use std::net::IpAddr;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use ureq::http::Uri;

use crate::error::Error;

/// Characters to percent-encode: all but the unreserved ones of RFC 3986 and the colon, which a
/// path and a query may contain. A space becomes `%20`, because a plus sign is not a space in a
/// path.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~')
    .remove(b':');

/// Returns the URL of the group of `job` and `grouping`, at the Pushgateway with the address
/// `base`, which may have a path prefix.
///
/// The job comes first, then the labels in the order of their names. The gateway ignores their
/// order, so this gives each group a single URL.
pub(super) fn group(base: &str, job: &str, grouping: &[(String, String)]) -> Result<String, Error> {
    let mut url = base_url(base)?;
    url.push_str("/metrics");
    for (name, value) in labels(job, grouping)? {
        push_segments(&mut url, name, value);
    }
    Ok(url)
}

/// Returns the URL of an import endpoint at `path`, such as that of VictoriaMetrics. Such an
/// endpoint has no groups and takes the same labels as `extra_label`.
pub(super) fn import(
    base: &str,
    path: &str,
    job: &str,
    grouping: &[(String, String)],
) -> Result<String, Error> {
    let is_plain = path.bytes().all(|b| b.is_ascii_graphic()) && !path.contains(['?', '#']);
    if !path.starts_with('/') || !is_plain {
        let why = "has to begin with `/`, must not have a query, and has all but printable ASCII \
                   percent-encoded";
        return Err(Error::setting("push path", path, why));
    }
    let mut url = base_url(base)?;
    url.push_str(path);
    let mut separator = '?';
    for (name, value) in labels(job, grouping)? {
        // A label with an empty value equals a missing label.
        if !value.is_empty() {
            let value = utf8_percent_encode(value, ENCODED);
            // Writing to a string does not fail.
            let _ = write!(url, "{separator}extra_label={name}%3D{value}");
            separator = '&';
        }
    }
    Ok(url)
}

/// Returns the job and the grouping labels, in the order of a URL.
fn labels<'a>(
    job: &'a str,
    grouping: &'a [(String, String)],
) -> Result<Vec<(&'a str, &'a str)>, Error> {
    if job.is_empty() {
        let why = "is empty; each group needs a job name";
        return Err(Error::setting("job", job, why));
    }
    let labels = grouping.iter();
    let mut labels: Vec<_> = labels.map(|(name, value)| (&**name, &**value)).collect();
    labels.sort_unstable();
    for (name, _) in &labels {
        check_name(name).map_err(|why| Error::setting("grouping label", name, why))?;
    }
    if let Some(pair) = labels.windows(2).find(|pair| pair[0].0 == pair[1].0) {
        let (name, _) = pair[0];
        return Err(Error::setting("grouping label", name, "is given twice"));
    }
    labels.insert(0, ("job", job));
    Ok(labels)
}

fn check_name(name: &str) -> Result<(), &'static str> {
    let mut bytes = name.bytes();
    let first = bytes
        .next()
        .is_some_and(|b| b.is_ascii_alphabetic() || b == b'_');
    if !first || !bytes.all(|b| b.is_ascii_alphanumeric() || b == b'_') {
        return Err("has to match [a-zA-Z_][a-zA-Z0-9_]*");
    }
    match name {
        "job" => Err("is reserved for the name of the job, which `Pusher::new` takes"),
        "le" | "quantile" => {
            Err("is reserved: it would replace this label of every histogram or summary")
        }
        _ if name.starts_with("__") => Err("is reserved, because it begins with `__`"),
        _ => Ok(()),
    }
}

/// Appends `/name/value`, or `/name@base64/value` for values that a path cannot carry:
///
/// - a slash, because the gateway's router splits at slashes even if they are escaped
/// - an empty value, `.` and `..`, because the router cleans them away
fn push_segments(url: &mut String, name: &str, value: &str) {
    let base64 = match value {
        // Padding only, because an empty segment would be cleaned away, too.
        "" => Some("=".to_owned()),
        _ if value.contains('/') || value == "." || value == ".." => {
            Some(BASE64_URL_SAFE.encode(value))
        }
        _ => None,
    };
    // Writing to a string does not fail.
    let _ = match base64 {
        Some(value) => write!(url, "/{name}@base64/{value}"),
        None => write!(url, "/{name}/{}", utf8_percent_encode(value, ENCODED)),
    };
}

/// Returns the address of a gateway without trailing slashes. An error message does not repeat any
/// part that may be a password.
fn base_url(base: &str) -> Result<String, Error> {
    let (scheme, rest) = base.split_once("://").unwrap_or(("", base));
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let is_url = base.parse::<Uri>().is_ok_and(|uri| {
        // A port that is not a number makes the URL invalid.
        let port = uri.port_u16().is_some() || !authority_has_port(&uri);
        uri.host().is_some_and(|host| !host.is_empty()) && port
    });
    // Searches the whole URL, because a slash in a password makes its rest a part of the path.
    let why = if base.contains('@') {
        "contains an `@`: pass credentials to `basic_auth` or `bearer_token`, and write an `@` in \
         the path as `%40`"
    } else if scheme != "http" && scheme != "https" {
        "has to begin with `http://` or `https://`"
    } else if cfg!(not(feature = "tls")) && scheme == "https" {
        "needs the feature `tls`"
    } else if base.contains(['?', '#']) {
        "must not have a query or a fragment"
    } else if !is_url {
        "is not a URL such as `http://host:9091/prefix`"
    } else {
        return Ok(base.trim_end_matches('/').to_owned());
    };
    let shown = redacted(base, scheme, authority);
    Err(Error::setting("gateway URL", &shown, why))
}

/// Returns a URL as an error may show it: only its scheme if any part could be a user and a
/// password.
fn redacted(base: &str, scheme: &str, authority: &str) -> String {
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, port),
        _ => (authority, ""),
    };
    let is_port = port.bytes().all(|byte| byte.is_ascii_digit());
    let is_host = !host.contains([':', '%']) || host.starts_with('[');
    let query = base.contains(['?', '#']);
    if base.contains(['@', '\\']) || !is_port || !is_host || query {
        return match scheme {
            "http" | "https" => format!("{scheme}://…"),
            _ => "…".to_owned(),
        };
    }
    base.to_owned()
}

fn authority_has_port(uri: &Uri) -> bool {
    let authority = uri.authority().map_or("", |authority| authority.as_str());
    // In the address, the port comes after the brackets of an IPv6 host.
    let port = authority.rsplit(']').next();
    port.is_some_and(|port| port.contains(':'))
}

/// Returns whether the host is this machine, so that a push uses no proxy. Recognizes loopback and
/// unspecified addresses in all notations that systems accept.
pub(super) fn is_local(url: &str) -> bool {
    url.parse::<Uri>().is_ok_and(|uri| {
        let host = uri.host().unwrap_or_default().trim_matches(['[', ']']);
        let host = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
        let local = |ip: IpAddr| {
            let ip = ip.to_canonical();
            ip.is_loopback() || ip.is_unspecified()
        };
        // Short notations: `127.1` is 127.0.0.1, and `0` is 0.0.0.0.
        let short = host.bytes().all(|b| b.is_ascii_digit() || b == b'.')
            && (host == "0" || host.starts_with("127."));
        host == "localhost"
            || host.ends_with(".localhost")
            || short
            || host.parse().is_ok_and(local)
    })
}

#[cfg(test)]
mod tests {
    use base64::prelude::BASE64_URL_SAFE_NO_PAD;
    use percent_encoding::percent_decode_str;
    use proptest::prelude::*;

    use super::*;

    fn pairs(grouping: &[(&str, &str)]) -> Vec<(String, String)> {
        grouping
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect()
    }

    const HOST: &str = "http://gw:9091";

    #[test]
    fn urls_of_groups() {
        for (base, job, grouping, path) in [
            (HOST, "backup", &[][..], "/metrics/job/backup"),
            (
                "http://gw:9091/",
                "backup",
                &[("instance", "db1")],
                "/metrics/job/backup/instance/db1",
            ),
            // A path prefix stays.
            ("http://gw:9091/a/b//", "j", &[], "/a/b/metrics/job/j"),
            // The labels are sorted by name.
            (
                HOST,
                "j",
                &[("b", "1"), ("a", "2"), ("c", "3")],
                "/metrics/job/j/a/2/b/1/c/3",
            ),
            // Test vectors of aioprometheus.
            (
                HOST,
                "my-job",
                &[("instance", "127.0.0.1:1234")],
                "/metrics/job/my-job/instance/127.0.0.1:1234",
            ),
            (
                HOST,
                "example",
                &[("first", ""), ("second", "foo")],
                "/metrics/job/example/first@base64/=/second/foo",
            ),
            (
                HOST,
                "directory_cleaner",
                &[("path", "/var/tmp")],
                "/metrics/job/directory_cleaner/path@base64/L3Zhci90bXA=",
            ),
            // The example in the Pushgateway's README.
            (
                HOST,
                "titan",
                &[("name", "Προμηθεύς")],
                "/metrics/job/titan/name/%CE%A0%CF%81%CE%BF%CE%BC%CE%B7%CE%B8%CE%B5%CF%8D%CF%82",
            ),
            // A slash in the job, and the URL alphabet of base64, with `-` and `_`.
            (HOST, "a/b", &[], "/metrics/job@base64/YS9i"),
            (HOST, "/~~?>>", &[], "/metrics/job@base64/L35-Pz4-"),
            (HOST, "/ÿÿ", &[], "/metrics/job@base64/L8O_w78="),
            // A space is not a plus sign.
            (
                HOST,
                "a b+c",
                &[("x", " + ")],
                "/metrics/job/a%20b%2Bc/x/%20%2B%20",
            ),
            // Segments that a router would clean away, and similar ones that it keeps.
            (
                HOST,
                ".",
                &[("x", "..")],
                "/metrics/job@base64/Lg==/x@base64/Li4=",
            ),
            (HOST, "...", &[("x", ".a")], "/metrics/job/.../x/.a"),
            // Characters with a meaning in a URL.
            (
                HOST,
                "%2F",
                &[("x", "?a=b&c#d;e@base64\"\n\\")],
                "/metrics/job/%252F/x/%3Fa%3Db%26c%23d%3Be%40base64%22%0A%5C",
            ),
        ] {
            let host = "http://gw:9091";
            assert_eq!(
                group(base, job, &pairs(grouping)).unwrap(),
                format!("{host}{path}")
            );
        }
    }

    #[test]
    fn urls_of_an_import_endpoint() {
        const PATH: &str = "/api/v1/import/prometheus";
        let url = |base, grouping| import(base, PATH, "a b", &pairs(grouping)).unwrap();
        assert_eq!(
            url("http://vm:8428", &[]),
            format!("http://vm:8428{PATH}?extra_label=job%3Da%20b")
        );
        assert_eq!(
            url(
                "http://vm:8428/pre/",
                &[("z", "/&="), ("empty", ""), ("a", "1")]
            ),
            format!(
                "http://vm:8428/pre{PATH}?extra_label=job%3Da%20b&extra_label=a%3D1&extra_label=z%3D%2F%26%3D"
            )
        );
        for path in ["api", "/a?b", "/a#b", "/a b", "", "/ä"] {
            let error = import(HOST, path, "j", &[]).unwrap_err().to_string();
            assert!(
                error.contains(&format!("push path `{path}` has to begin")),
                "{error}"
            );
        }
    }

    #[test]
    fn a_password_in_a_mistyped_url_is_never_shown() {
        for base in [
            "http:/me:SECRET@h",
            "http://me:s/SECRET@h",
            "http://me:s?SECRET@h",
            "http://me:s#SECRET@h",
            "https//me:SECRET@h",
            "http://me:12/SECRET@h",
            "//me:SECRET@h",
            "http:///me:SECRET@h",
            "http://h/me:SECRET@x?y",
            "http://h:80/?token=SECRET@x",
            "http://h:80/?token=SECRET",
            "http://me@SECRET/@h",
            "http://me:SECRET%40h:9",
            "http://me:SECRET",
            "me:SECRET@h://",
            "me:SECRET",
        ] {
            let error = base_url(base).unwrap_err().to_string();
            assert!(!error.contains("SECRET"), "{error}");
        }
        assert!(
            base_url("http://[::1]:x")
                .unwrap_err()
                .to_string()
                .contains('…')
        );
        for base in [
            "http://h/p%40th",
            "http://[::1]:9091",
            "http://127.0.0.1:9091/",
        ] {
            assert!(base_url(base).is_ok(), "{base}");
        }
    }

    #[test]
    fn errors_say_what_and_why() {
        for (base, job, grouping, message) in [
            (
                "gw:9091",
                "j",
                &[][..],
                "gateway URL `gw:9091` has to begin with `http://` or `https://`",
            ),
            ("ftp://gw", "j", &[], "has to begin with"),
            ("", "j", &[], "gateway URL `` has to begin with"),
            ("http://", "j", &[], "is not a URL"),
            ("http:///metrics", "j", &[], "is not a URL"),
            ("http://g w", "j", &[], "is not a URL"),
            ("http://gw:port", "j", &[], "is not a URL"),
            ("http://gw:99999", "j", &[], "is not a URL"),
            ("http://gw?x=y", "j", &[], "must not have a query"),
            ("http://gw/#x", "j", &[], "must not have a query"),
            (
                "http://me:secret@gw",
                "j",
                &[],
                "gateway URL `http://…` contains an `@`: pass credentials to",
            ),
            (HOST, "", &[], "job `` is empty"),
            (
                HOST,
                "j",
                &[("k/x", "v")],
                "grouping label `k/x` has to match",
            ),
            (HOST, "j", &[("", "v")], "grouping label `` has to match"),
            (HOST, "j", &[("ä", "v")], "has to match"),
            (HOST, "j", &[("a@base64", "v")], "has to match"),
            (HOST, "j", &[("1a", "v")], "has to match"),
            (
                HOST,
                "j",
                &[("ok\n", "v")],
                "grouping label `ok\\n` has to match",
            ),
            (
                HOST,
                "j",
                &[("job", "v")],
                "grouping label `job` is reserved for the name of the job",
            ),
            (HOST, "j", &[("__x", "v")], "is reserved"),
            (HOST, "j", &[("le", "v")], "would replace"),
            (
                HOST,
                "j",
                &[("a", "1"), ("b", "2"), ("a", "3")],
                "grouping label `a` is given twice",
            ),
        ] {
            let error = group(base, job, &pairs(grouping)).unwrap_err().to_string();
            assert!(error.contains(message), "{error}");
            assert!(!error.contains("secret"), "{error}");
        }
    }

    #[test]
    fn addresses_with_an_ipv6_host() {
        for base in ["http://[::1]:9091", "http://[::1]", "http://gw"] {
            assert_eq!(
                group(base, "j", &[]).unwrap(),
                format!("{base}/metrics/job/j")
            );
        }
    }

    #[test]
    fn hosts_of_this_machine() {
        for url in [
            "http://localhost:1/x",
            "http://127.0.0.1/",
            "https://[::1]:9091/",
            "http://LOCALHOST",
            "http://localhost./",
            "http://127.1:9091",
            "http://0.0.0.0:9091",
            "http://0:9091",
            "http://[::]:9091",
            "http://[::ffff:127.0.0.1]:9091",
        ] {
            assert!(is_local(url), "{url}");
        }
        for url in [
            "http://gw",
            "http://127.0.0.1.example.org/",
            "http://[::2]/",
            "http://10.0.0.1/",
        ] {
            assert!(!is_local(url), "{url}");
        }
    }

    /// Reads a path as the Pushgateway's router does: splits the cleaned path and unescapes each
    /// part.
    fn read(path: &str) -> Vec<(String, String)> {
        let parts: Vec<_> = path.strip_prefix("/metrics/").unwrap().split('/').collect();
        assert!(
            !parts.iter().any(|part| ["", ".", ".."].contains(part)),
            "{path}"
        );
        parts
            .chunks(2)
            .map(|pair| {
                let plain = percent_decode_str(pair[1]).decode_utf8().unwrap();
                assert!(!plain.contains('/'), "{path}");
                match pair[0].strip_suffix("@base64") {
                    Some(name) => {
                        let bytes = BASE64_URL_SAFE_NO_PAD.decode(plain.trim_end_matches('='));
                        (name.to_owned(), String::from_utf8(bytes.unwrap()).unwrap())
                    }
                    None => (pair[0].to_owned(), plain.into_owned()),
                }
            })
            .collect()
    }

    proptest! {
        #[test]
        fn a_path_reads_back(
            job in "(?s).{1,12}|\\.{1,3}|[/+ ]{1,3}",
            grouping in proptest::collection::btree_map(
                "[a-z][a-zA-Z0-9_]{0,8}",
                "(?s).{0,12}|\\.{1,3}|[/+ =%]{1,3}",
                0..4,
            ),
        ) {
            let mut grouping: Vec<_> = grouping.into_iter().collect();
            grouping.retain(|(name, _)| !["job", "le", "quantile"].contains(&&**name));
            let url = group(HOST, &job, &grouping).unwrap();
            prop_assert!(url.parse::<Uri>().is_ok(), "{}", url);
            prop_assert!(!url.contains('+'), "{}", url);
            let mut labels = vec![("job".to_owned(), job)];
            labels.extend(grouping);
            prop_assert_eq!(read(url.strip_prefix(HOST).unwrap()), labels);
        }
    }
}
