//! Files of settings, in YAML or TOML, as a tree whose nodes have their line and column. An error
//! can so name the place of any value, not only of those that a parser rejects.

mod toml;
mod yaml;

use std::path::Path;

use crate::error::Error;

/// A value in a document, and where it begins. Lines and columns count from 1.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Node {
    pub(crate) place: (usize, usize),
    pub(crate) value: Value,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Value {
    Null,
    Flag(bool),
    Number(f64),
    Text(String),
    List(Vec<Node>),
    /// Keys and values, in the order of the document. TOML tables are in the order of their keys.
    Map(Vec<(Key, Node)>),
}

/// A key of a map.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Key {
    pub(crate) place: (usize, usize),
    pub(crate) text: String,
}

/// The languages of documents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Language {
    Yaml,
    Toml,
}

/// The largest file that is read.
const MAX_MIB: u64 = 4;

impl Language {
    /// Returns the language that the name of a file stands for. Only `.toml` stands for TOML.
    pub(crate) fn of(path: &Path) -> Self {
        match path.extension() {
            Some(extension) if extension.eq_ignore_ascii_case("toml") => Self::Toml,
            _ => Self::Yaml,
        }
    }
}

/// Parses a document. `file` is the name that errors show.
///
/// # Errors
///
/// Text that is not of this language, or a key that is given twice in a map.
pub(crate) fn parse(text: &str, language: Language, file: Option<&str>) -> Result<Node, Error> {
    match language {
        Language::Yaml => yaml::parse(text),
        Language::Toml => toml::parse(text),
    }
    .map_err(|(place, why)| Error::at(file, place, Error::document(why)))
}

/// Reads a file as text.
///
/// # Errors
///
/// A file that cannot be read, is not a regular one, is larger than 4 MiB, or is not UTF-8.
pub(crate) fn read(path: &Path) -> Result<String, Error> {
    crate::file::read_text(path, MAX_MIB).map_err(|cause| Error::unreadable(path, cause))
}

impl Node {
    /// Returns an error at this node.
    pub(crate) fn error(&self, file: Option<&str>, what: impl Into<Box<str>>) -> Error {
        Error::at(file, self.place, Error::document(what))
    }

    /// Returns the words for the kind of value that this is.
    pub(crate) fn what(&self) -> &'static str {
        match self.value {
            Value::Null => "nothing",
            Value::Flag(_) => "a flag",
            Value::Number(_) => "a number",
            Value::Text(_) => "a text",
            Value::List(_) => "a list",
            Value::Map(_) => "a map",
        }
    }

    pub(crate) fn text(&self, file: Option<&str>, name: &str) -> Result<String, Error> {
        match &self.value {
            Value::Text(text) => Ok(text.clone()),
            _ => Err(self.wrong(file, name, "a text")),
        }
    }

    pub(crate) fn list(&self, file: Option<&str>, name: &str) -> Result<&[Self], Error> {
        match &self.value {
            Value::List(list) => Ok(list),
            _ => Err(self.wrong(file, name, "a list")),
        }
    }

    pub(crate) fn map(&self, file: Option<&str>, name: &str) -> Result<&[(Key, Self)], Error> {
        match &self.value {
            Value::Map(map) => Ok(map),
            _ => Err(self.wrong(file, name, "a map")),
        }
    }

    /// Returns the error of a value of the wrong kind.
    pub(crate) fn wrong(&self, file: Option<&str>, name: &str, right: &str) -> Error {
        self.error(
            file,
            format!("`{name}` has to be {right}, got {}", self.what()),
        )
    }
}

impl Key {
    /// Returns the error of a key that means nothing here.
    pub(crate) fn unknown(&self, file: Option<&str>, known: &[&str]) -> Error {
        let known: Vec<_> = known.iter().map(|key| format!("`{key}`")).collect();
        let what = format!(
            "unknown key `{}`; the keys here are {}",
            self.text.escape_debug(),
            known.join(", ")
        );
        Error::at(file, self.place, Error::document(what))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Both languages give the same tree, apart from places.
    #[test]
    fn a_tree_has_the_places_of_its_values() {
        let yaml = "a: 1\nb:\n  - x\n  - {c: true, d: 2.5}\n";
        let toml = "a = 1\nb = [\n  \"x\",\n  {c = true, d = 2.5},\n]\n";
        for (text, language, places) in [
            (yaml, Language::Yaml, [(1, 4), (3, 5), (4, 9)]),
            (toml, Language::Toml, [(1, 5), (3, 3), (4, 8)]),
        ] {
            let tree = parse(text, language, None).unwrap();
            let map = tree.map(None, "").unwrap();
            assert_eq!(map[0].0.text, "a");
            assert_eq!(map[0].0.place, (1, 1));
            assert_eq!(map[0].1.place, places[0]);
            assert_eq!(map[0].1.value, Value::Number(1.0));
            let list = map[1].1.list(None, "b").unwrap();
            assert_eq!(list[0].place, places[1]);
            assert_eq!(list[0].text(None, "x").unwrap(), "x");
            let inner = list[1].map(None, "").unwrap();
            assert_eq!(inner[0].1.place, places[2]);
            assert_eq!(inner[0].1.value, Value::Flag(true));
            assert_eq!(inner[1].1.value, Value::Number(2.5));
        }
    }

    #[test]
    fn a_document_that_cannot_be_parsed_is_an_error_with_a_place() {
        for (text, language, place) in [
            ("a: 1\na: 2\n", Language::Yaml, "m, line 2, column 1: "),
            ("a: [1\n", Language::Yaml, "m, line "),
            ("a = 1\na = 2\n", Language::Toml, "m, line 2, column 1: "),
            ("a = = 1\n", Language::Toml, "m, line 1, column "),
        ] {
            let error = parse(text, language, Some("m")).unwrap_err().to_string();
            assert!(error.starts_with(place), "{error}");
            assert!(!error.contains('\n'), "{error}");
        }
    }
}
