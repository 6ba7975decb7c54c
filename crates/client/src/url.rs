//! Rules about URLs that users give.

use std::net::IpAddr;

use ureq::http::Uri;

use crate::ClientError;

/// Checks the address of a receiver and returns it without trailing slashes. It may have a path.
///
/// `receiver` is the word for the receiver in an error, such as `gateway`.
///
/// ```
/// use tallies_client::base_url;
///
/// assert_eq!(base_url("gateway", "http://gw:9091/prefix/")?, "http://gw:9091/prefix");
/// let error = base_url("gateway", "http://ann:secret@gw:9091").unwrap_err().to_string();
/// assert!(error.starts_with("gateway URL `http://…` contains an `@`"));
/// # Ok::<(), tallies_client::ClientError>(())
/// ```
///
/// # Errors
///
/// Returns an error in these cases. The message does not repeat any part that may be a password.
///
/// - The URL begins with neither `http://` nor `https://`, or is not a URL.
/// - It begins with `https://`, and the feature `tls` is off.
/// - It contains an `@`, and so perhaps credentials.
/// - It has a query or a fragment.
pub fn base_url(receiver: &str, url: &str) -> Result<String, ClientError> {
    Ok(full_url(receiver, url)?.trim_end_matches('/').to_owned())
}

/// Checks the address that requests go to, by the same rules as [`base_url`]. Returns it as it is,
/// but for its scheme, which is in lower case.
///
/// ```
/// use tallies_client::full_url;
///
/// assert_eq!(full_url("receiver", "HTTP://gw/v1/metrics/")?, "http://gw/v1/metrics/");
/// # Ok::<(), tallies_client::ClientError>(())
/// ```
///
/// # Errors
///
/// Returns the errors of [`base_url`].
pub fn full_url(receiver: &str, url: &str) -> Result<String, ClientError> {
    let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
    let scheme = &*scheme.to_ascii_lowercase();
    let is_url = url.parse::<Uri>().is_ok_and(|uri| {
        // A port that is not a number makes the URL invalid.
        let port = uri.port_u16().is_some() || !authority_has_port(&uri);
        uri.host().is_some_and(|host| !host.is_empty()) && port
    });
    // Searches the whole URL, because a slash in a password makes its rest a part of the path.
    let why = if url.contains('@') {
        "contains an `@`: pass credentials to `basic_auth` or `bearer_token`, and write an `@` in \
         the path as `%40`"
    } else if scheme != "http" && scheme != "https" {
        "has to begin with `http://` or `https://`"
    } else if cfg!(not(feature = "tls")) && scheme == "https" {
        "needs the feature `tls`"
    } else if url.contains(['?', '#']) {
        "must not have a query or a fragment"
    } else if !is_url {
        "is not a URL such as `http://host:9091/prefix`"
    } else {
        return Ok(format!("{scheme}://{rest}"));
    };
    let (setting, shown) = (format!("{receiver} URL"), shown_url(url));
    Err(ClientError::setting(&setting, &shown, why))
}

/// Returns a URL as an error may show it: only its scheme if any part could be a user and a
/// password, or a token in a query.
///
/// ```
/// use tallies_client::shown_url;
///
/// assert_eq!(shown_url("http://gw:9091/prefix"), "http://gw:9091/prefix");
/// assert_eq!(shown_url("http://ann:secret@gw:9091"), "http://…");
/// assert_eq!(shown_url("gw:9091/?token=secret"), "…");
/// assert_eq!(shown_url("http:/me:secret%40gw"), "…");
/// ```
#[must_use]
pub fn shown_url(url: &str) -> String {
    let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, port),
        _ => (authority, ""),
    };
    let is_port = port.bytes().all(|byte| byte.is_ascii_digit());
    let is_part = |c: char| c.is_alphanumeric() || matches!(c, '.' | '-' | '_');
    let is_host = host.chars().all(is_part) || host.starts_with('[');
    let query = url.contains(['?', '#']);
    // With a mistake before it, a login looks like a scheme or a path.
    let is_scheme = scheme.chars().all(|c| c.is_ascii_alphanumeric());
    let has_login = rest[authority.len()..].contains(':');
    let is_plain = is_port && is_host && is_scheme && !has_login && !query;
    if url.contains(['@', '\\']) || !is_plain {
        return match &*scheme.to_ascii_lowercase() {
            "http" | "https" => format!("{scheme}://…"),
            _ => "…".to_owned(),
        };
    }
    url.to_owned()
}

fn authority_has_port(uri: &Uri) -> bool {
    let authority = uri.authority().map_or("", |authority| authority.as_str());
    // In the address, the port comes after the brackets of an IPv6 host.
    let port = authority.rsplit(']').next();
    port.is_some_and(|port| port.contains(':'))
}

/// Returns whether the host is this machine, so that a request uses no proxy. Recognizes loopback
/// and unspecified addresses in all notations that systems accept.
pub(crate) fn is_local(uri: &Uri) -> bool {
    let host = uri.host().unwrap_or_default().trim_matches(['[', ']']);
    let host = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
    let local = |ip: IpAddr| {
        let ip = ip.to_canonical();
        ip.is_loopback() || ip.is_unspecified()
    };
    // Short notations: `127.1` is 127.0.0.1, and `0` is 0.0.0.0.
    let short = host.bytes().all(|b| b.is_ascii_digit() || b == b'.')
        && (host == "0" || host.starts_with("127."));
    host == "localhost" || host.ends_with(".localhost") || short || host.parse().is_ok_and(local)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_in_a_mistyped_url_is_never_shown() {
        for url in [
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
            "HTTP://me:SECRET@h",
            "x-api-key=SECRET",
            "Bearer SECRET",
            "http://Bearer SECRET",
        ] {
            let error = base_url("gateway", url).unwrap_err().to_string();
            assert!(!error.contains("SECRET"), "{error}");
        }
        let error = base_url("gateway", "http://[::1]:x").unwrap_err();
        assert!(error.to_string().contains('…'), "{error}");
    }

    #[test]
    fn urls_without_trailing_slashes() {
        for url in [
            "http://gw",
            "http://h/p%40th",
            "http://[::1]",
            "http://[::1]:9091",
            "http://127.0.0.1:9091/",
            "http://gw:9091/a/b//",
        ] {
            let expected = url.trim_end_matches('/');
            assert_eq!(base_url("gateway", url).unwrap(), expected);
            assert_eq!(full_url("gateway", url).unwrap(), url);
        }
        // Schemes have no case (RFC 3986, 3.1).
        assert_eq!(base_url("gateway", "HTTP://Gw/P/").unwrap(), "http://Gw/P");
        assert_eq!(full_url("gateway", "Http://Gw/P/").unwrap(), "http://Gw/P/");
    }

    #[test]
    fn errors_say_what_and_why() {
        for (url, message) in [
            (
                "gw:9091",
                "receiver URL `gw:9091` has to begin with `http://` or `https://`",
            ),
            ("ftp://gw", "has to begin with"),
            ("", "receiver URL `` has to begin with"),
            ("http://", "is not a URL"),
            ("http:///metrics", "is not a URL"),
            ("http://g w", "is not a URL"),
            ("http://gw:port", "is not a URL"),
            ("http://gw:99999", "is not a URL"),
            ("http://gw?x=y", "must not have a query"),
            ("http://gw/#x", "must not have a query"),
            (
                "http://me:secret@gw",
                "receiver URL `http://…` contains an `@`: pass credentials to",
            ),
        ] {
            let error = base_url("receiver", url).unwrap_err().to_string();
            assert!(error.contains(message), "{error}");
        }
        let https = base_url("receiver", "https://gw");
        assert_eq!(https.is_ok(), cfg!(feature = "tls"), "{https:?}");
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
            assert!(is_local(&url.parse().unwrap()), "{url}");
        }
        for url in [
            "http://gw",
            "http://127.0.0.1.example.org/",
            "http://[::2]/",
            "http://10.0.0.1/",
        ] {
            assert!(!is_local(&url.parse().unwrap()), "{url}");
        }
    }
}
