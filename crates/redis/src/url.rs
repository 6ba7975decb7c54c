//! Errors in the URL of a store, in words that never show it: it can have a password.

/// Returns what is wrong with a URL that the client does not take.
pub(super) fn problem(url: &str) -> &'static str {
    let Some((scheme, rest)) = url.split_once("://") else {
        return "it has no scheme; write it like `redis://127.0.0.1:6379/`";
    };
    match scheme {
        "rediss" | "valkeys" if !cfg!(feature = "tls") => {
            return "TLS needs the feature `tls` of tallies-redis";
        }
        "redis" | "rediss" | "valkey" | "valkeys" => {}
        "unix" | "redis+unix" | "valkey+unix" => {
            return "a Unix socket needs a path and a database that is a number, as in \
                    `unix:///run/redis.sock?db=0`";
        }
        _ => return "its scheme has to be `redis`, `rediss` (with TLS) or `unix`",
    }
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    if path.contains('@') {
        return "names and passwords in it have to be percent-encoded: `%2F` for `/`";
    }
    let host = authority.rsplit('@').next().unwrap_or_default();
    // The colons of an IPv6 address are in brackets.
    let port = host.rsplit(']').next().unwrap_or_default();
    let port = port.split_once(':').map(|(_, port)| port);
    if host.is_empty() || host.starts_with(':') {
        return "it has no host; write it like `redis://127.0.0.1:6379/`";
    }
    if port.is_some_and(|port| !port.is_empty() && port.parse::<u16>().is_err()) {
        return "its port has to be a number up to 65535";
    }
    let database = path.split(['?', '#']).next().unwrap_or_default();
    let database = database.trim_matches('/');
    if !database.is_empty() && database.parse::<i64>().is_err() {
        return "its database has to be a number, as in `redis://127.0.0.1:6379/2`";
    }
    "it has to be `redis://[user[:password]@]host[:port][/database]`, with names and passwords \
     percent-encoded"
}

#[cfg(test)]
mod tests {
    #[test]
    fn urls_say_what_would_be_right_and_show_no_password() {
        for (url, words) in [
            ("localhost:6379", "no scheme"),
            ("", "no scheme"),
            ("http://localhost/", "its scheme"),
            ("redis://localhost:99999/", "up to 65535"),
            ("redis://:sesame/street@localhost/", "percent-encoded"),
            ("redis://user:sesame@/", "no host"),
            ("redis://[::1]:port/", "up to 65535"),
            ("redis://user:sesame@localhost/jobs", "a number"),
            ("unix:///run/redis.sock?db=jobs", "a number"),
        ] {
            let error = crate::Redis::builder(url).unwrap_err().to_string();
            assert!(error.contains(words), "{url}: {error}");
            assert!(!error.contains("sesame"), "{error}");
        }
        if cfg!(not(feature = "tls")) {
            let error = crate::Redis::builder("rediss://localhost/").unwrap_err();
            assert!(error.to_string().contains("`tls`"), "{error}");
        }
    }
}
