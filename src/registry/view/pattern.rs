//! Patterns of names, in which `*` stands for any number of characters.

/// Returns the text that the first `*` of a pattern matched, or `None` if the name does not match.
pub(super) fn capture<'a>(pattern: &str, name: &'a str) -> Option<&'a str> {
    let Some((before, after)) = pattern.split_once('*') else {
        return (pattern == name).then_some("");
    };
    let rest = name.strip_prefix(before)?;
    // Of several ways, the one in which the first `*` matches the least.
    let mut ends = rest.char_indices().map(|(at, _)| at).chain([rest.len()]);
    let end = ends.find(|end| is_match(after, &rest[*end..]))?;
    Some(&rest[..end])
}

/// Returns whether a name matches a pattern.
fn is_match(pattern: &str, name: &str) -> bool {
    let Some((start, parts)) = pattern.split_once('*') else {
        return pattern == name;
    };
    let Some(mut rest) = name.strip_prefix(start) else {
        return false;
    };
    // The first place of each part leaves the most for the parts after it.
    let (middle, end) = parts.rsplit_once('*').unwrap_or(("", parts));
    for part in middle.split('*') {
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    rest.ends_with(end)
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
}
