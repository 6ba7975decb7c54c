//! Reads the query of a request, as browsers write it.

use percent_encoding::percent_decode_str;

/// Iterates over the names and values of a query. Bytes that are no UTF-8 become `U+FFFD`.
pub(super) fn pairs(query: &str) -> impl Iterator<Item = (String, String)> + '_ {
    let pairs = query.split('&').filter(|pair| !pair.is_empty());
    pairs.map(|pair| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        (decoded(name), decoded(value))
    })
}

/// Returns the text with `+` and `%20` as a space. A `%` without two digits stays.
fn decoded(text: &str) -> String {
    let text = text.replace('+', " ");
    percent_decode_str(&text).decode_utf8_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn queries_are_read_as_form_urlencoded_reads_them(query in "([a-c=&+%é\\[\\]]|%[0-9a-fA-Fg]{2}){0,40}") {
            let theirs: Vec<_> = form_urlencoded::parse(query.as_bytes()).into_owned().collect();
            prop_assert_eq!(pairs(&query).collect::<Vec<_>>(), theirs);
        }
    }

    #[test]
    fn what_a_browser_escapes_is_read() {
        let pairs: Vec<_> = pairs("name[]=a&name%5B%5D=b+c%2B&&x&%ff=%").collect();
        let of = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let expected = [
            of("name[]", "a"),
            of("name[]", "b c+"),
            of("x", ""),
            of("\u{fffd}", "%"),
        ];
        assert_eq!(pairs, expected);
    }
}
