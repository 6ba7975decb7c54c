//! The check that a document is the catalogue.

use std::io::ErrorKind;
use std::path::Path;

use tallies::Error;

use crate::{Check, to_markdown};

/// The environment variable that makes the check write the document.
const UPDATE: &str = "TALLIES_UPDATE";

/// The lines around the catalogue in a document that has other text, too.
const BEGIN: &str = "<!-- tallies: begin -->";
const END: &str = "<!-- tallies: end -->";

impl Check {
    /// Checks that a Markdown file has this catalogue. A test of two lines keeps the file up to
    /// date:
    ///
    /// ```no_run
    /// # fn metrics_md_is_up_to_date() {
    /// tallies_check::Check::new(tallies::catalogue()).document("METRICS.md").unwrap();
    /// # }
    /// ```
    ///
    /// If the file has the lines `<!-- tallies: begin -->` and `<!-- tallies: end -->`, the
    /// catalogue is between them, and the rest of the file is yours. Otherwise the file is
    /// [`to_markdown`].
    ///
    /// With `TALLIES_UPDATE=1` in the environment, it writes the file instead: `TALLIES_UPDATE=1
    /// cargo test`. Cargo runs tests in the directory of the package, where the path begins.
    ///
    /// # Errors
    ///
    /// A file that is missing or stale. The message has the first line that differs.
    pub fn document(&self, path: impl AsRef<Path>) -> Result<(), Error> {
        let path = path.as_ref();
        let updates = std::env::var_os(UPDATE).is_some_and(|on| !on.is_empty() && on != "0");
        self.check_or_update(path, updates)
    }

    fn check_or_update(&self, path: &Path, updates: bool) -> Result<(), Error> {
        let stale = |why: &str| {
            Error::new(format!(
                "`{}` is not the catalogue: {why}; with {UPDATE}=1 in the environment, this check \
                 writes it",
                path.display()
            ))
        };
        let current = std::fs::read_to_string(path).map(|text| text.replace("\r\n", "\n"));
        let wanted = self.wanted(current.as_deref().unwrap_or_default());
        match current {
            Ok(current) if current == wanted => Ok(()),
            Err(error) if error.kind() != ErrorKind::NotFound => Err(stale(&error.to_string())),
            _ if updates => std::fs::write(path, wanted).map_err(|error| stale(&error.to_string())),
            Ok(current) => Err(stale(&first_difference(&current, &wanted))),
            Err(_) => Err(stale("there is no such file")),
        }
    }

    /// Returns what a document should be that now is `current`.
    fn wanted(&self, current: &str) -> String {
        let markdown = to_markdown(&self.catalogue);
        if let Some((before, rest)) = current.split_once(BEGIN)
            && let Some((_, after)) = rest.split_once(END)
        {
            return format!("{before}{BEGIN}\n{markdown}{END}{after}");
        }
        markdown
    }
}

fn first_difference(current: &str, wanted: &str) -> String {
    let both = current.lines().zip(wanted.lines());
    let same = both.take_while(|(is, should)| is == should).count();
    let line = same + 1;
    match (current.lines().nth(same), wanted.lines().nth(same)) {
        (Some(is), Some(should)) => format!("line {line} is `{is}`, and should be `{should}`"),
        (Some(is), None) => format!("line {line} is `{is}`, and should not be there"),
        (None, Some(should)) => format!("line {line} should be `{should}`"),
        (None, None) => "its line ends differ".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use tallies::snapshot::catalogue::Catalogue;

    use super::*;

    #[test]
    fn the_first_line_that_differs_is_named() {
        assert!(first_difference("a\nb\n", "a\nc\n").contains("line 2 is `b`, and should be `c`"));
        assert!(first_difference("a\n", "a\nc\n").contains("line 2 should be `c`"));
        assert!(first_difference("a\nc\n", "a\n").contains("line 2 is `c`, and should not"));
        assert!(first_difference("a", "a\n").contains("line ends"));
    }

    #[test]
    fn a_document_keeps_the_text_around_the_catalogue() {
        let check = Check::new(Catalogue::default());
        assert_eq!(check.wanted("old"), "# Metrics\n");
        let around = format!("# Us\n{BEGIN}\nold\n{END}\nmore\n");
        let expected = format!("# Us\n{BEGIN}\n# Metrics\n{END}\nmore\n");
        assert_eq!(check.wanted(&around), expected);
        assert_eq!(check.wanted(&expected), expected);
    }

    #[test]
    fn a_stale_file_is_an_error_until_it_is_updated() {
        let name = format!("tallies-catalogue-{}.md", std::process::id());
        let path = std::env::temp_dir().join(name);
        let _ = std::fs::remove_file(&path);
        let check = Check::new(Catalogue::default());
        let error = check.check_or_update(&path, false).unwrap_err().to_string();
        assert!(
            error.contains("no such file") && error.contains("TALLIES_UPDATE"),
            "{error}"
        );
        check.check_or_update(&path, true).unwrap();
        check.check_or_update(&path, false).unwrap();
        std::fs::write(&path, "# Metrics\nmore\n").unwrap();
        let error = check.check_or_update(&path, false).unwrap_err().to_string();
        assert!(error.contains("line 2 is `more`"), "{error}");
        std::fs::remove_file(&path).unwrap();
    }
}
