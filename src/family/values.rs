//! The label values of one series: their reduction by a view, their check, and the label text that
//! they render. Nothing here depends on the cells of a family.
//!
//! Two similar names mean different things everywhere in this module:
//!
//! - `texts` are the label values that the caller gave, unescaped, in the order of the family's
//!   label names. In a family without fixed label names ([`Names::Any`]) they are names and values
//!   in turn.
//! - `text` is the rendered label text of one series, escaped, such as `method="GET",code="200"`.
//!
//! Label values are *given* if they are those of the declaration, and *own* if they are those of a
//! series. They differ only if a [view](super::view) changes labels: [`Desc::own`] makes the one of
//! the other, and everything else takes own label values.

use std::borrow::Cow;

use crate::error::{Error, NameRule};
use crate::snapshot::labels;

use super::desc::{Desc, Names, label_count};
use super::view::Reduced;

impl Desc {
    /// Returns whether the family has no labels, and so a single series.
    pub(crate) fn is_unlabelled(&self) -> bool {
        self.labels == Names::Fixed(&[])
    }

    /// Returns the label values of the series in which a given label set counts. `makes`: new
    /// values count towards the caps of a view, because the caller makes a series with them.
    ///
    /// Returns `None` if there are not as many values as the declaration has labels, and if a view
    /// has to know which is which.
    pub(super) fn own<'a>(&self, texts: &'a [&'a str], makes: bool) -> Option<Reduced<'a>> {
        match self.changing_view() {
            Some(view) => view.reduce(texts, makes),
            None => Some(Reduced {
                texts: Cow::Borrowed(texts),
                is_capped: false,
            }),
        }
    }

    /// Returns the label text of the series in which a given label set counts. Makes no series, and
    /// takes no room of a cap.
    pub(crate) fn own_text(&self, texts: &[&str]) -> Result<String, Error> {
        let wrong_count = || self.wrong_count(texts.len());
        let own = self.own(texts, false).ok_or_else(wrong_count)?;
        self.check_values(&own.texts)?;
        Ok(self.text_of(&own.texts))
    }

    /// Returns the error of a label set that has not as many values as the declaration has labels.
    #[cold]
    pub(super) fn wrong_count(&self, got: usize) -> Error {
        let names = self.declared_labels().fixed();
        label_count(&self.name, names, names.len(), got)
    }

    /// Checks the label values of a series: with fixed label names the number of its values,
    /// because the names were checked at registration; otherwise its label names.
    pub(super) fn check_values(&self, texts: &[&str]) -> Result<(), Error> {
        if let Names::Fixed(names) = self.labels {
            return if names.len() == texts.len() {
                Ok(())
            } else {
                let got = texts.len();
                Err(label_count(&self.name, names, names.len(), got))
            };
        }
        let mut before = None;
        for (name, _) in self.pairs(texts) {
            self.check_label(name)
                .map_err(|reason| reason.error(self.label(), name))?;
            if before == Some(name) {
                return Err(NameRule::Twice.error(self.label(), name));
            }
            before = Some(name);
        }
        self.check_escaped(self.pairs(texts).map(|(name, _)| name))
    }

    /// Iterates over the pairs of name and value of a label set.
    pub(super) fn pairs<'a>(
        &self,
        texts: &'a [&'a str],
    ) -> impl Iterator<Item = (&'a str, &'a str)> + Clone {
        self.labels.pairs(texts)
    }

    /// Renders the label text of a label set.
    pub(super) fn text_of(&self, texts: &[&str]) -> String {
        labels::text_of(self.pairs(texts))
    }

    /// Renders the label text of the overflow series.
    pub(super) fn overflow_text(&self) -> String {
        let names = match self.labels {
            Names::Fixed(names) => names,
            Names::Any => &["overflow"],
        };
        let all: Vec<_> = names.iter().map(|name| (*name, "__overflow__")).collect();
        labels::text(&all)
    }

    /// Calls `f` with the `texts` that a label text renders.
    pub(super) fn with_values_of<R>(&self, text: &str, f: impl FnOnce(&[&str]) -> R) -> R {
        let mut texts = Vec::new();
        for (name, value) in labels::pairs(text) {
            texts.extend((self.labels == Names::Any).then_some(Cow::Borrowed(name)));
            texts.push(value);
        }
        f(&texts.iter().map(|text| &**text).collect::<Vec<_>>())
    }

    /// Returns whether `text`, which is that of a series, is [`text_of`](Self::text_of) these
    /// `texts`. In most cases compares only the values.
    pub(super) fn is_text_of(&self, text: &str, texts: &[&str]) -> bool {
        if matches!(self.labels, Names::Fixed(names) if names.len() != texts.len()) {
            return false;
        }
        let is_fixed = self.labels != Names::Any;
        let (mut rest, mut comma) = (text.as_bytes(), 0);
        for (name, value) in self.pairs(texts) {
            // Names may be quoted.
            if self.utf8 || labels::needs_escape(value) {
                return text == self.text_of(texts);
            }
            let Some((head, found)) = rest.split_at_checked(comma + name.len() + 2) else {
                return false;
            };
            let is_named = || head[comma..].starts_with(name.as_bytes()) && head.ends_with(b"=\"");
            match found.strip_prefix(value.as_bytes()) {
                // The value ends here, because no quote in it is escaped.
                Some([b'"', after @ ..]) if is_fixed || is_named() => (rest, comma) = (after, 1),
                _ => return false,
            }
        }
        rest.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use crate::snapshot::Kind;

    use super::*;

    /// All values of up to two of these characters, and some that look like the rest of a text.
    #[test]
    #[cfg_attr(miri, ignore = "thousands of texts in safe code")]
    fn a_text_is_that_of_one_label_set() {
        let mut values: Vec<String> = ["", "a\",y=\"a", "\",y=\"", "a,", "y=", "aaa"]
            .map(Into::into)
            .into();
        let chars = ["a", "\"", "\\", "\n"];
        values.extend(chars.map(Into::into));
        values.extend(chars.iter().flat_map(|a| chars.map(|b| format!("{a}{b}"))));
        let names = || ["x", "y", "xx"].into_iter();
        let fixed = values
            .iter()
            .flat_map(|x| values.iter().map(move |y| vec![&**x, &**y]));
        let named = names().flat_map(|name| values.iter().map(move |value| vec![name, &**value]));
        let both = named.clone().map(|set| [&set[..], &["z", "a"]].concat());
        check(Names::Fixed(&["x", "y"]), &fixed.collect::<Vec<_>>());
        check(Names::Any, &named.chain(both).collect::<Vec<_>>());

        fn check(labels: Names, sets: &[Vec<&str>]) {
            let desc = Desc::new("texts", Kind::Counter, labels);
            for own in sets {
                let text = desc.text_of(own);
                for given in sets {
                    let is_same = own == given;
                    assert_eq!(desc.is_text_of(&text, given), is_same, "{own:?} {given:?}");
                }
            }
        }
    }
}
