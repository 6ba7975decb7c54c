//! URLs of pushes, by the rules of the Pushgateway's README.

use std::fmt::Write;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use tallies_client::base_url;

use crate::error::Error;
use crate::snapshot::is_label_name;

use super::{GATEWAY, client_error};

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
    let mut url = base_url(GATEWAY, base).map_err(client_error)?;
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
    let mut url = base_url(GATEWAY, base).map_err(client_error)?;
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
    if !is_label_name(name.as_bytes()) {
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

#[cfg(test)]
mod tests {
    use base64::prelude::BASE64_URL_SAFE_NO_PAD;
    use percent_encoding::percent_decode_str;
    use proptest::prelude::*;
    use tallies_client::ClientBuilder;

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
    fn errors_say_what_and_why() {
        for (base, job, grouping, message) in [
            (
                "gw:9091",
                "j",
                &[][..],
                "gateway URL `gw:9091` has to begin with `http://` or `https://`",
            ),
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
            prop_assert!(ClientBuilder::new(GATEWAY, "").build(&url).is_ok(), "{}", url);
            prop_assert!(!url.contains('+'), "{}", url);
            let mut labels = vec![("job".to_owned(), job)];
            labels.extend(grouping);
            prop_assert_eq!(read(url.strip_prefix(HOST).unwrap()), labels);
        }
    }
}
