//! Authentication with passwords and tokens, compared in constant time.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::HeaderMap;
use http::header::AUTHORIZATION;
use subtle::{Choice, ConstantTimeEq};

use crate::error::Error;

/// The credentials that the service accepts. A client must send one of them, unless there are none.
#[derive(Clone, Default)]
pub(super) struct Credentials {
    all: Vec<Credential>,
    /// The first error in a credential that any client, or no client, could send.
    invalid: Option<&'static str>,
}

/// A scheme, and what the client presents: `user:password`, or a token.
type Credential = (Scheme, Vec<u8>);

#[derive(Clone, Copy, PartialEq, Eq)]
enum Scheme {
    Basic,
    Bearer,
}

impl Credentials {
    pub(super) fn basic(&mut self, user: &str, password: &str) {
        let colon = "the user name for basic authentication must not contain a colon, which separates \
                     it from the password";
        self.reject_if(user.contains(':'), colon);
        let empty = "the password for basic authentication is empty; set one, or do not call \
                     `basic_auth`";
        self.reject_if(password.is_empty(), empty);
        let both = format!("{user}:{password}").into_bytes();
        self.all.push((Scheme::Basic, both));
    }

    pub(super) fn bearer(&mut self, token: &str) {
        let empty = "the bearer token is empty; set one, or do not call `bearer`";
        self.reject_if(token.is_empty(), empty);
        let blank = "the bearer token begins or ends with white space, which a header cannot carry; \
                     trim it, for example after reading it from a file";
        self.reject_if(token.trim_ascii() != token, blank);
        let control = "the bearer token contains a control character, which a header cannot carry";
        self.reject_if(token.contains(|c: char| c.is_ascii_control()), control);
        self.all.push((Scheme::Bearer, token.as_bytes().to_vec()));
    }

    fn reject_if(&mut self, is_wrong: bool, why: &'static str) {
        if is_wrong {
            self.invalid.get_or_insert(why);
        }
    }

    /// Rejects unusable credentials. An empty secret, for example from an unset variable, would
    /// admit anyone who guesses that it is empty. A secret that does not fit in a header would
    /// admit no client.
    pub(super) fn check(&self) -> Result<(), Error> {
        self.invalid.map_or(Ok(()), |why| Err(Error::new(why)))
    }

    /// Returns whether the request carries valid credentials, or none are required.
    pub(super) fn admit(&self, headers: &HeaderMap) -> bool {
        if self.all.is_empty() {
            return true;
        }
        let header = headers.get(AUTHORIZATION);
        let Some((scheme, presented)) = header.and_then(|value| parse(value.as_bytes())) else {
            return false;
        };
        // Compares with every credential of the scheme, even after a match, so that the time does
        // not depend on which one matches.
        let accepted = self.all.iter().filter(|(own, _)| *own == scheme);
        let admitted = accepted.fold(Choice::from(0), |admitted, (_, secret)| {
            admitted | equal(secret, &presented)
        });
        admitted.into()
    }

    /// Returns the `WWW-Authenticate` challenges, one for each accepted scheme.
    pub(super) fn challenges(&self) -> impl Iterator<Item = &'static str> {
        let is_basic = |own: &Credential| own.0 == Scheme::Basic;
        let basic = self.all.iter().any(is_basic);
        let bearer = !self.all.iter().all(is_basic);
        let basic = basic.then_some("Basic realm=\"metrics\", charset=\"UTF-8\"");
        let bearer = bearer.then_some("Bearer realm=\"metrics\"");
        basic.into_iter().chain(bearer)
    }
}

/// Parses the credentials in an `Authorization` header.
fn parse(header: &[u8]) -> Option<Credential> {
    let blank = header.iter().position(|b| *b == b' ')?;
    let (scheme, presented) = (&header[..blank], header[blank..].trim_ascii());
    if scheme.eq_ignore_ascii_case(b"basic") {
        Some((Scheme::Basic, STANDARD.decode(presented).ok()?))
    } else if scheme.eq_ignore_ascii_case(b"bearer") {
        Some((Scheme::Bearer, presented.to_vec()))
    } else {
        None
    }
}

/// Compares in a time that depends only on the length of `presented`, not on the secret or its
/// length.
fn equal(secret: &[u8], presented: &[u8]) -> Choice {
    let mut secret_bytes = secret.iter().cycle();
    let is_as_long = secret.len().ct_eq(&presented.len());
    presented.iter().fold(is_as_long, |same, presented| {
        same & secret_bytes.next().unwrap_or(&0).ct_eq(presented)
    })
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn admitted(credentials: &Credentials, header: &str) -> bool {
        let mut headers = HeaderMap::new();
        headers.insert(AUTHORIZATION, HeaderValue::from_str(header).unwrap());
        credentials.admit(&headers)
    }

    #[test]
    fn who_may_ask() {
        let mut credentials = Credentials::default();
        assert!(credentials.admit(&HeaderMap::new()), "nothing is asked for");
        credentials.basic("ann", "pass:word");
        credentials.bearer("tok");
        assert!(!credentials.admit(&HeaderMap::new()));
        let basic = |both: &str| format!("Basic {}", STANDARD.encode(both));
        for (header, may) in [
            (basic("ann:pass:word"), true),
            (basic("ann:pass:word").replace("Basic", "bASIC  "), true),
            (basic("ann:pass:wor"), false),
            (basic("ann:pass:wordann:pass:word"), false),
            (basic("ann:"), false),
            (basic(""), false),
            (basic("tok"), false),
            ("Bearer tok".to_owned(), true),
            ("Bearer toktok".to_owned(), false),
            ("Bearer to".to_owned(), false),
            ("Bearer ".to_owned(), false),
            ("Bearer ann:pass:word".to_owned(), false),
            ("Basic !!!".to_owned(), false),
            ("tok".to_owned(), false),
            ("Digest tok".to_owned(), false),
        ] {
            assert_eq!(admitted(&credentials, &header), may, "{header}");
        }
        assert_eq!(credentials.challenges().count(), 2);
    }

    #[test]
    fn a_secret_that_anybody_or_nobody_could_show_is_an_error() {
        let invalid = |credentials: &Credentials| {
            let checked = credentials.check();
            checked.map_or_else(|error| error.to_string(), |()| String::new())
        };
        for (user, password, why) in [
            ("a", "b", ""),
            ("", "b", ""),
            ("a", "b:c", ""),
            ("a", "", "password for basic authentication is empty"),
            ("a:b", "c", "colon"),
            (":", "c", "colon"),
        ] {
            let mut credentials = Credentials::default();
            credentials.basic(user, password);
            let said = invalid(&credentials);
            assert_eq!(said.is_empty(), why.is_empty(), "{user}:{password}: {said}");
            assert!(said.contains(why), "{user}:{password}: {said}");
        }
        for (token, why) in [
            ("a b", ""),
            ("", "bearer token is empty"),
            (" a", "begins or ends"),
            ("a ", "begins or ends"),
            ("a\n", "begins or ends"),
            ("\r\na", "begins or ends"),
            ("a\nb", "control character"),
            ("a\0", "control character"),
            ("\u{7f}a", "control character"),
        ] {
            let mut credentials = Credentials::default();
            credentials.bearer(token);
            let said = invalid(&credentials);
            assert_eq!(said.is_empty(), why.is_empty(), "{token:?}: {said}");
            assert!(said.contains(why), "{token:?}: {said}");
            // A later valid credential does not clear the error.
            credentials.basic("a", "b");
            assert_eq!(invalid(&credentials), said, "{token:?}");
        }
    }
}
