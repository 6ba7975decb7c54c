//! The states of a state set in a scrape: one series for each label set and state.

use crate::snapshot::{self, LabelTexts, LastSet, Page, Text, Values, labels};

use super::desc::Desc;

/// The label texts of the last scrape. Read and written by scrapes.
#[derive(Debug, Default)]
pub(super) struct Expanded {
    /// The label of the states, which has the name of the family with the prefix.
    label: Text,
    /// The label texts without the states.
    texts: LabelTexts,
    page: std::sync::Arc<Page>,
}

impl Expanded {
    /// Turns each series of a family, whose value has the index of a state as its bits, into one
    /// series for each state. The value of the current state is 1, that of others is 0.
    pub(super) fn expand(&mut self, states: &[&str], out: &mut snapshot::Family) {
        if let Values::Gauge(all) = &mut out.values {
            let len = all.values.len();
            all.values.resize(len * states.len(), 0.0);
            all.at.resize(len * states.len(), LastSet::NEVER);
            // From the last one on: no value is overwritten before it is read.
            for i in (0..len).rev() {
                let LastSet { value, at } = all.get(i);
                let current = value.to_bits() as usize;
                for state in 0..states.len() {
                    let value = f64::from(u8::from(state == current));
                    all.set(i * states.len() + state, LastSet { value, at });
                }
            }
        }
        if self.label != out.meta.name || !self.texts.has_same_pages(&out.texts) {
            let mut page = Page::default();
            for text in out.texts.iter() {
                each(&out.meta.name, states, text, &mut |text| page.push(text, 0));
            }
            self.page = page.seal();
            self.label = out.meta.name.clone();
            self.texts = out.texts.clone();
        }
        let mut texts = out.texts.rewrite();
        texts.put(&self.page);
        texts.finish();
    }
}

/// Calls a function with the label text of every state of a series.
pub(super) fn each(label: &str, states: &[&str], text: &str, f: &mut dyn FnMut(&str)) {
    for state in states {
        let mut whole = labels::text(&[(label, state)]);
        if !text.is_empty() {
            whole.push(',');
            whole.push_str(text);
        }
        f(&whole);
    }
}

impl Desc {
    /// Calls a function with the label texts that a series with this one has in a scrape.
    pub(super) fn each_text(&self, text: &str, f: &mut dyn FnMut(&str)) {
        if self.states.is_empty() {
            f(text);
        } else {
            each(&self.name, self.states, text, f);
        }
    }
}
