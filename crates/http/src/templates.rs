//! Path templates, for servers and clients without a router. `{name}` matches one segment;
//! `{*name}`, at the end, matches the rest of the path.

use tallies::Error;

use super::routes::Route;

/// Templates and their routes, in order of precedence.
#[derive(Clone, Debug, Default)]
pub(super) struct Templates(pub(super) Vec<(PathTemplate, &'static Route)>);

impl Templates {
    /// Returns the route of the first template that `path` matches.
    #[inline]
    pub(super) fn find(&self, path: &str) -> Option<&'static Route> {
        let matching = |(template, _): &&(PathTemplate, _)| template.matches(path);
        self.0.iter().find(matching).map(|(_, route)| *route)
    }
}

/// A parsed path template.
#[derive(Clone, Debug)]
pub(super) struct PathTemplate(Box<[Piece]>);

#[derive(Clone, Debug)]
enum Piece {
    /// This text.
    Text(Box<str>),
    /// Everything up to the next `/` or the end, at least one byte.
    Segment,
    /// The rest of the path, at least one byte.
    Rest,
}

impl PathTemplate {
    pub(super) fn new(template: &str) -> Result<Self, Error> {
        let error = |why| Error::new(format!("path template `{}` {why}", template.escape_debug()));
        Self::parse(template).map_err(error)
    }

    /// Parses a template. Returns the reason for rejection if the template can match no path, or if
    /// it would match more than its text suggests.
    fn parse(template: &str) -> Result<Self, &'static str> {
        // The request target of `OPTIONS *` is the only one that is not a path.
        if !template.starts_with('/') && template != "*" {
            return Err("has to begin with `/`");
        }
        if template.contains(['?', '#']) {
            return Err("must not have a query or a fragment");
        }
        let mut pieces = Vec::new();
        let mut left = template;
        while let Some((text, behind)) = left.split_once('{') {
            let closed = behind.split_once('}');
            let closed = closed.filter(|(name, _)| !name.contains(['/', '{']));
            let (name, behind) = closed.ok_or("has a `{` without a `}` in the same segment")?;
            if !text.is_empty() {
                pieces.push(Piece::Text(text.into()));
            }
            pieces.push(if name.starts_with('*') {
                if !behind.is_empty() {
                    return Err("has text after `{*name}`, which matches the rest of the path");
                }
                Piece::Rest
            } else if behind.is_empty() || behind.starts_with('/') {
                Piece::Segment
            } else {
                return Err("has text after a `}`, which has to end its segment");
            });
            left = behind;
        }
        if !left.is_empty() {
            pieces.push(Piece::Text(left.into()));
        }
        Ok(Self(pieces.into()))
    }

    /// Returns whether this template matches every path that another one matches.
    pub(super) fn covers(&self, other: &Self) -> bool {
        // Texts of no template stand for what the other one leaves open: one segment, or several.
        let example = |rest: &str| -> String {
            let text = |piece: &Piece| match piece {
                Piece::Text(text) => text.to_string(),
                Piece::Segment => "\0".to_owned(),
                Piece::Rest => rest.to_owned(),
            };
            other.0.iter().map(text).collect()
        };
        self.matches(&example("\0")) && self.matches(&example("\0/\0"))
    }

    #[inline]
    fn matches(&self, mut path: &str) -> bool {
        for piece in &self.0 {
            let left = match piece {
                Piece::Text(text) => path.strip_prefix(&**text),
                Piece::Segment => {
                    let end = path.bytes().position(|byte| byte == b'/');
                    let end = end.unwrap_or(path.len());
                    (end > 0).then(|| &path[end..])
                }
                Piece::Rest => return !path.is_empty(),
            };
            let Some(left) = left else { return false };
            path = left;
        }
        path.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_templates_match() {
        for (template, path, expected) in [
            ("/", "/", true),
            ("/", "", false),
            ("*", "*", true),
            ("/a", "/a", true),
            ("/a", "/a/", false),
            ("/a", "/ab", false),
            ("/users/{id}", "/users/7", true),
            ("/users/{id}", "/users/", false),
            ("/users/{id}", "/users/7/x", false),
            ("/users/{id}/x", "/users/7/x", true),
            ("/users/{id}/x", "/users//x", false),
            ("/users/{id}/x", "/users/7", false),
            ("/{a}/{b}", "/x/y", true),
            ("/~{user}", "/~x", true),
            ("/~{user}", "/~", false),
            ("/files/{*path}", "/files/a/b/c", true),
            ("/files/{*path}", "/files/", false),
            ("/files/{*path}", "/files", false),
        ] {
            let parsed = PathTemplate::parse(template).unwrap();
            assert_eq!(parsed.matches(path), expected, "{template} {path}");
        }
    }

    #[test]
    fn a_template_covers_what_it_hides() {
        for (template, other, expected) in [
            ("/users/{id}", "/users/me", true),
            ("/users/me", "/users/{id}", false),
            ("/users/{id}", "/users/{name}", true),
            ("/users/{id}", "/users/{id}/x", false),
            ("/{*path}", "/users/{id}/x", true),
            ("/{*path}", "/users/{*rest}", true),
            ("/users/{id}", "/users/{*rest}", false),
            ("/users/{*rest}", "/users/{id}", true),
            ("/{name}", "/~{user}", true),
            ("/~{user}", "/{name}", false),
            ("/{*path}", "/", false),
            ("*", "/", false),
        ] {
            let parse = |text| PathTemplate::parse(text).unwrap();
            assert_eq!(
                parse(template).covers(&parse(other)),
                expected,
                "{template} {other}"
            );
        }
    }

    #[test]
    fn templates_that_cannot_be_meant() {
        for (template, why) in [
            ("", "begin"),
            ("users", "begin"),
            ("{id}", "begin"),
            ("/users/{id", "without"),
            ("/users/{id/x}", "without"),
            ("/users/{i{d}", "without"),
            ("/users/{id}.json", "end its segment"),
            ("/files/{*path}/x", "matches the rest"),
            ("/users?page={n}", "query"),
        ] {
            let error = PathTemplate::parse(template).unwrap_err();
            assert!(error.contains(why), "{template}: {error}");
        }
    }
}
