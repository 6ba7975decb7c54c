//! Files of settings, in YAML or TOML, as a tree whose nodes have their line and column. An error
//! can so name the place of any value, not only of those that a parser rejects.
//!
//! ```
//! use tallies_config::document::{Language, parse};
//!
//! let tree = parse("host: localhost\nport: many\n", Language::Yaml, Some("my.yml"))?;
//! for (key, value) in tree.map("the file")? {
//!     match &*key.text {
//!         "host" => assert_eq!(value.text("host")?, "localhost"),
//!         "port" => {
//!             let error = value.wrong("port", "a number").to_string();
//!             assert_eq!(error, "my.yml, line 2, column 7: `port` has to be a number, got a text");
//!         }
//!         _ => return Err(key.unknown(&["host", "port"])),
//!     }
//! }
//! # Ok::<(), tallies::Error>(())
//! ```

mod toml;
mod yaml;

use std::fmt;
use std::io;
use std::path::Path;
use std::sync::Arc;

use tallies::Error;

/// A place in a document. Lines and columns count from 1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The name of the file, unless the text is from code.
    pub file: Option<Arc<str>>,
    /// The line.
    pub line: usize,
    /// The column.
    pub column: usize,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(file) = &self.file {
            write!(f, "{file}, ")?;
        }
        write!(f, "line {}, column {}", self.line, self.column)
    }
}

/// A value in a document, and where it begins.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// Where the value begins.
    pub place: Place,
    /// The value.
    pub value: Value,
}

/// The value of a [`Node`].
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// Nothing, such as the value of a key that only has a colon.
    Null,
    /// `true` or `false`.
    Flag(bool),
    /// A number.
    Number(f64),
    /// A text.
    Text(String),
    /// A list.
    List(Vec<Node>),
    /// Keys and values, in the order of the document. TOML tables are in the order of their keys.
    Map(Vec<(Key, Node)>),
}

/// A key of a map.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key {
    /// Where the key begins.
    pub place: Place,
    /// The key.
    pub text: String,
}

/// The languages of documents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Language {
    /// YAML.
    Yaml,
    /// TOML.
    Toml,
}

/// The largest file that is read.
const MAX_MIB: u64 = 4;

impl Language {
    /// Returns the language that the name of a file stands for. Only `.toml` stands for TOML.
    #[must_use]
    pub fn of(path: &Path) -> Self {
        match path.extension() {
            Some(extension) if extension.eq_ignore_ascii_case("toml") => Self::Toml,
            _ => Self::Yaml,
        }
    }
}

/// Where a parser has found something, and what.
type Placed = ((usize, usize), String);

/// Returns a place in a document whose name [`parse`] adds.
fn at((line, column): (usize, usize)) -> Place {
    Place {
        file: None,
        line,
        column,
    }
}

/// Parses a document. `file` is the name that errors show.
///
/// # Errors
///
/// Text that is not of this language, or a key that is given twice in a map.
pub fn parse(text: &str, language: Language, file: Option<&str>) -> Result<Node, Error> {
    let file: Option<Arc<str>> = file.map(Into::into);
    let tree = match language {
        Language::Yaml => yaml::parse(text),
        Language::Toml => toml::parse(text),
    };
    match tree {
        Ok(mut tree) => {
            tree.name(file.as_ref());
            Ok(tree)
        }
        Err((place, why)) => Err(Error::new(why).at(Place { file, ..at(place) })),
    }
}

/// Reads a regular file of at most so many MiB, as text.
///
/// # Errors
///
/// A file that cannot be read, is not a regular one, or is larger, and text that is not UTF-8.
pub fn read_text(path: &Path, mib: u64) -> io::Result<String> {
    let bytes = tallies_names::read_file(path, mib)?;
    String::from_utf8(bytes).map_err(|_| io::Error::other("it is not UTF-8"))
}

/// Reads and parses a file: TOML if its name ends in `.toml`, else YAML.
///
/// # Errors
///
/// A file that cannot be read, is not a regular one, is larger than 4 MiB, or is not UTF-8; and the
/// errors of [`parse`].
pub fn read(path: &Path) -> Result<Node, Error> {
    let name = path.display().to_string();
    let text = read_text(path, MAX_MIB).map_err(|cause| {
        let what = format!("cannot read `{}`", name.escape_debug());
        Error::with_cause(what, cause)
    })?;
    parse(&text, Language::of(path), Some(&name))
}

impl Node {
    /// Adds the name of the file to all places.
    fn name(&mut self, file: Option<&Arc<str>>) {
        self.place.file = file.cloned();
        match &mut self.value {
            Value::List(list) => list.iter_mut().for_each(|node| node.name(file)),
            Value::Map(map) => {
                for (key, node) in map {
                    key.place.file = file.cloned();
                    node.name(file);
                }
            }
            Value::Null | Value::Flag(_) | Value::Number(_) | Value::Text(_) => {}
        }
    }

    /// Returns an error at this node.
    #[must_use]
    pub fn error(&self, what: impl AsRef<str>) -> Error {
        Error::new(what).at(&self.place)
    }

    /// Returns the words for the kind of value that this is.
    #[must_use]
    pub fn what(&self) -> &'static str {
        match self.value {
            Value::Null => "nothing",
            Value::Flag(_) => "a flag",
            Value::Number(_) => "a number",
            Value::Text(_) => "a text",
            Value::List(_) => "a list",
            Value::Map(_) => "a map",
        }
    }

    /// Returns the text of the setting `name`.
    ///
    /// # Errors
    ///
    /// Another kind of value.
    pub fn text(&self, name: &str) -> Result<&str, Error> {
        match &self.value {
            Value::Text(text) => Ok(text),
            _ => Err(self.wrong(name, "a text")),
        }
    }

    /// Returns the list of the setting `name`.
    ///
    /// # Errors
    ///
    /// Another kind of value.
    pub fn list(&self, name: &str) -> Result<&[Self], Error> {
        match &self.value {
            Value::List(list) => Ok(list),
            _ => Err(self.wrong(name, "a list")),
        }
    }

    /// Returns the map of the setting `name`.
    ///
    /// # Errors
    ///
    /// Another kind of value.
    pub fn map(&self, name: &str) -> Result<&[(Key, Self)], Error> {
        match &self.value {
            Value::Map(map) => Ok(map),
            _ => Err(self.wrong(name, "a map")),
        }
    }

    /// Returns the error of a setting with a value of the wrong kind.
    #[must_use]
    pub fn wrong(&self, name: &str, right: &str) -> Error {
        self.error(format!("`{name}` has to be {right}, got {}", self.what()))
    }
}

impl Key {
    /// Returns the error of a key that means nothing here.
    #[must_use]
    pub fn unknown(&self, known: &[&str]) -> Error {
        let known: Vec<_> = known.iter().map(|key| format!("`{key}`")).collect();
        let (key, known) = (self.text.escape_debug(), known.join(", "));
        Error::new(format!("unknown key `{key}`; the keys here are {known}")).at(&self.place)
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
            let map = tree.map("").unwrap();
            assert_eq!(map[0].0.text, "a");
            let at = |place: &Place| (place.line, place.column);
            assert_eq!(at(&map[0].0.place), (1, 1));
            assert_eq!(at(&map[0].1.place), places[0]);
            assert_eq!(map[0].1.value, Value::Number(1.0));
            let list = map[1].1.list("b").unwrap();
            assert_eq!(at(&list[0].place), places[1]);
            assert_eq!(list[0].text("x").unwrap(), "x");
            let inner = list[1].map("").unwrap();
            assert_eq!(at(&inner[0].1.place), places[2]);
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
