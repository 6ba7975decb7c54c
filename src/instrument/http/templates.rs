//! Path templates, for servers and clients that have no router to ask: `{name}` stands for one segment, `{*name}` at the
//! end for all that follow.

use crate::error::Error;

use super::routes::Route;

/// Templates, and the routes that they are.
#[derive(Clone, Debug, Default)]
pub(super) struct Templates(Vec<(Template, &'static Route)>);

impl Templates {
    /// Adds one, behind those of before.
    pub(super) fn add(&mut self, template: Template, route: &'static Route) {
        self.0.push((template, route));
    }

    /// The route of the first that `path` matches.
    #[inline]
    pub(super) fn find(&self, path: &str) -> Option<&'static Route> {
        let matching = |(template, _): &&(Template, _)| template.matches(path);
        self.0.iter().find(matching).map(|(_, route)| *route)
    }
}

#[derive(Clone, Debug)]
pub(super) struct Template(Box<[Piece]>);

#[derive(Clone, Debug)]
enum Piece {
    Text(Box<str>),
    /// What is left of a segment.
    Segment,
    /// What is left.
    Rest,
}

impl Template {
    pub(super) fn new(template: &str) -> Result<Self, Error> {
        Self::parse(template).map_err(|why| Error::template(template, why))
    }

    /// `Err` says why nothing, or more than it says, would match.
    fn parse(template: &str) -> Result<Self, &'static str> {
        // The one path that is none: that of `OPTIONS *`.
        if !template.starts_with('/') && template != "*" {
            return Err("has to begin with `/`, as paths do");
        }
        if template.contains(['?', '#']) {
            return Err("is more than a path: queries and fragments are not looked at");
        }
        let mut pieces = Vec::new();
        let mut left = template;
        while let Some((text, behind)) = left.split_once('{') {
            let (name, behind) = behind
                .split_once('}')
                .filter(|(name, _)| !name.contains(['/', '{']))
                .ok_or("has a `{` without its `}` in the same segment")?;
            if !text.is_empty() {
                pieces.push(Piece::Text(text.into()));
            }
            pieces.push(if name.starts_with('*') {
                if !behind.is_empty() {
                    return Err("has more behind its `{*name}`, which stands for all that follows");
                }
                Piece::Rest
            } else if behind.is_empty() || behind.starts_with('/') {
                Piece::Segment
            } else {
                return Err("has more behind a `}`, which has to end its segment");
            });
            left = behind;
        }
        if !left.is_empty() {
            pieces.push(Piece::Text(left.into()));
        }
        Ok(Self(pieces.into()))
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
            let parsed = Template::parse(template).unwrap();
            assert_eq!(parsed.matches(path), expected, "{template} {path}");
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
            ("/files/{*path}/x", "all that follows"),
            ("/users?page={n}", "queries"),
        ] {
            let error = Template::parse(template).unwrap_err();
            assert!(error.contains(why), "{template}: {error}");
        }
    }
}
