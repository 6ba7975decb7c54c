//! Patterns of names, in which `*` stands for any number of characters.

/// Returns the text that the first `*` of a pattern matched, or `None` if the name does not match.
/// Of several ways, it is the one in which the first `*` matches the least.
///
/// ```
/// use tallies_names::capture;
///
/// assert_eq!(capture("http_*_total", "http_requests_total"), Some("requests"));
/// assert_eq!(capture("http_*", "jobs_total"), None);
/// ```
///
/// Takes time proportional to the lengths of both.
#[must_use]
pub fn capture<'a>(pattern: &str, name: &'a str) -> Option<&'a str> {
    let Some((before, after)) = pattern.split_once('*') else {
        return (pattern == name).then_some("");
    };
    let rest = name.strip_prefix(before)?;
    let mut parts = after.split('*');
    let last = parts.next_back()?;
    let (mut star, mut end) = (None, 0);
    // The first place of each part leaves the most for the parts after it.
    for part in parts {
        let at = end + rest[end..].find(part)?;
        star = star.or(Some(at));
        end = at + part.len();
    }
    let at = end + rest[end..].strip_suffix(last)?.len();
    Some(&rest[..star.unwrap_or(at)])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns() {
        for (pattern, name, star) in [
            ("a", "a", Some("")),
            ("a", "ab", None),
            ("a*", "ab", Some("b")),
            ("*", "", Some("")),
            ("*_total", "a_total_total", Some("a_total")),
            ("a*b*c", "axxbyc", Some("xx")),
            ("a*b*c", "axxbyd", None),
            ("*b", "ab", Some("a")),
            ("a*a", "a", None),
        ] {
            assert_eq!(capture(pattern, name), star, "{pattern} {name}");
        }
    }

    /// The plain twin tries every place, for the first `*` and for those after it.
    #[test]
    fn the_first_place_of_a_part_is_the_only_one_that_matters() {
        fn matches(pattern: &str, name: &str) -> bool {
            match pattern.split_once('*') {
                None => pattern == name,
                Some((start, rest)) => name
                    .strip_prefix(start)
                    .is_some_and(|name| (0..=name.len()).any(|at| matches(rest, &name[at..]))),
            }
        }
        let texts = |letters: &[char]| {
            let mut all = vec![String::new()];
            for begin in 0..5 {
                let more = all.iter().filter(|text| text.len() == begin);
                let more = more.flat_map(|text| letters.iter().map(move |c| format!("{text}{c}")));
                all.extend(more.collect::<Vec<_>>());
            }
            all
        };
        let (patterns, names) = (texts(&['a', 'b', '*']), texts(&['a', 'b']));
        for pattern in &patterns {
            for name in &names {
                let plain = pattern.split_once('*').map_or_else(
                    || (pattern == name).then_some(""),
                    |(before, after)| {
                        let rest = name.strip_prefix(before)?;
                        let end = (0..=rest.len()).find(|end| matches(after, &rest[*end..]))?;
                        Some(&rest[..end])
                    },
                );
                assert_eq!(capture(pattern, name), plain, "{pattern} {name}");
            }
        }
    }

    /// Three such patterns once took 27 s.
    #[test]
    fn a_pattern_of_thousands_of_stars_is_no_work() {
        let name = "a".repeat(60_000);
        assert_eq!(capture(&"*a".repeat(3_000), &name), Some(""));
        assert_eq!(capture(&format!("{}b", "*a".repeat(3_000)), &name), None);
    }
}
