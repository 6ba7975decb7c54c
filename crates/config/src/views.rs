//! Views from a file.

use tallies::snapshot::GaugeMode;
use tallies::{Error, Registry, View};

use super::document::{Key, Node, Place, Value};
use super::file::setting;

const KEYS: [&str; 9] = [
    "family",
    "drop",
    "caps",
    "rename",
    "buckets",
    "native",
    "limit",
    "gauge_mode",
    "off",
];

/// Reads a list of views. An error has the place of the part that it is about.
pub(super) fn views(node: &Node) -> Result<Vec<View>, Error> {
    let Value::List(list) = &node.value else {
        return Err(node.wrong("views", "a list of views"));
    };
    list.iter().map(view).collect()
}

/// Reads and checks one view.
fn view(node: &Node) -> Result<View, Error> {
    let map = node.map("a view")?;
    let Some((_, family)) = map.iter().find(|(key, _)| key.text == "family") else {
        // A wrong key is the likelier mistake.
        let unknown = map.iter().find(|(key, _)| !KEYS.contains(&&*key.text));
        return Err(match unknown {
            Some((key, _)) => key.unknown(&KEYS),
            None => node.error("a view needs `family`, the pattern of names"),
        });
    };
    let pattern = family.text("family")?;
    let at = |place: &Place| View::new(pattern).declared_at(&place.to_string());
    // Each part is also checked in a view of its own, whose errors have the place of the part. The
    // registry is one of its own, too: it checks what does not depend on a family.
    let checked = |view: View, place: &Place, set: &dyn Fn(View) -> View| -> Result<View, Error> {
        Registry::new().add_view(set(at(place)))?;
        Ok(set(view))
    };
    let mut view = checked(at(&family.place), &family.place, &|view| view)?;
    for (key, value) in map {
        view = match &*key.text {
            "family" => view,
            "drop" => {
                for label in value.list("drop")? {
                    let name = label.text("drop")?;
                    view = checked(view, &label.place, &|view| view.drop_label(name))?;
                }
                view
            }
            "caps" => {
                let Value::Map(map) = &value.value else {
                    return Err(value.wrong("caps", "a map from labels to numbers"));
                };
                for (Key { place, text }, number) in map {
                    let values = whole(number, text, 0.0, MOST)? as usize;
                    view = checked(view, place, &|view| view.cap(text, values))?;
                }
                view
            }
            "rename" => {
                let name = value.text("rename")?;
                checked(view, &value.place, &|view| view.rename(name))?
            }
            "buckets" => {
                let bounds = bounds(value)?;
                checked(view, &value.place, &|view| view.buckets(&bounds))?
            }
            "native" => view.native(whole(value, "native", -4.0, 8.0)? as i8),
            "limit" => view.limit(whole(value, "limit", 1.0, MOST)? as usize),
            "gauge_mode" => view.gauge_mode(mode(value)?),
            "off" => match value.value {
                Value::Flag(true) => view.off(),
                Value::Flag(false) => view.on(),
                _ => return Err(value.wrong("off", "true or false")),
            },
            _ => return Err(key.unknown(&KEYS)),
        };
    }
    Ok(view)
}

/// The largest number of series or values that a file may have.
const MOST: f64 = u32::MAX as f64;

fn bounds(node: &Node) -> Result<Vec<f64>, Error> {
    let bound = |node: &Node| {
        let bound = setting(node).ok().and_then(|setting| setting.bound());
        bound.ok_or_else(|| node.wrong("buckets", "a list of numbers"))
    };
    node.list("buckets")?.iter().map(bound).collect()
}

/// Returns a whole number within limits.
fn whole(node: &Node, name: &str, least: f64, most: f64) -> Result<f64, Error> {
    let right = if most == MOST {
        format!("a whole number from {least} on")
    } else {
        format!("a whole number from {least} to {most}")
    };
    match node.value {
        Value::Number(n) if n.fract() == 0.0 && (least..=most).contains(&n) => Ok(n),
        Value::Number(n) => Err(node.error(format!("`{name}` has to be {right}, got {n}"))),
        _ => Err(node.wrong(name, &right)),
    }
}

fn mode(node: &Node) -> Result<GaugeMode, Error> {
    let name = node.text("gauge_mode")?;
    GaugeMode::from_name(name).ok_or_else(|| {
        let names: Vec<_> = GaugeMode::NAMES.iter().map(|(_, name)| *name).collect();
        let (name, names) = (name.escape_debug(), names.join(", "));
        node.error(format!("`{name}` is no gauge mode: the modes are {names}"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::document::{Language, parse};
    use crate::{Config, Configure};

    fn read(text: &str, language: Language) -> Result<Vec<View>, Error> {
        let tree = parse(text, language, None)?;
        let list = tree.map("")?;
        assert_eq!((list.len(), &*list[0].0.text), (1, "views"));
        views(&list[0].1)
    }

    const YAML: &str = "views:
  - {family: 'mail_*', drop: [peer, host], caps: {queue: 20, to: 0}, rename: 'post_*'}
  - {family: '*_seconds', buckets: [0.1, 1, +Inf], native: -4, limit: 100}
  - {family: '*_celsius', gauge_mode: max, drop: [disk]}
  - {family: '*', off: true}
  - {family: 'a*', off: false}
  - {family: nothing}
";

    const TOML: &str = "[[views]]
family = 'mail_*'
drop = ['peer', 'host']
caps = {queue = 20, to = 0}
rename = 'post_*'
[[views]]
family = '*_seconds'
buckets = [0.1, 1, inf]
native = -4
limit = 100
[[views]]
family = '*_celsius'
gauge_mode = 'max'
drop = ['disk']
[[views]]
family = '*'
off = true
[[views]]
family = 'a*'
off = false
[[views]]
family = 'nothing'
";

    #[test]
    fn both_languages_give_the_views_that_the_builder_gives() {
        let views = [
            View::new("mail_*")
                .drop_label("peer")
                .drop_label("host")
                .cap("queue", 20)
                .cap("to", 0)
                .rename("post_*"),
            View::new("*_seconds")
                .buckets(&[0.1, 1.0, f64::INFINITY])
                .native(-4)
                .limit(100),
            View::new("*_celsius")
                .gauge_mode(GaugeMode::Max)
                .drop_label("disk"),
            View::new("*").off(),
            View::new("a*").on(),
            View::new("nothing"),
        ];
        for (text, language) in [(YAML, Language::Yaml), (TOML, Language::Toml)] {
            let read = read(text, language).unwrap();
            // All but the place, which is the last field.
            let fields = |views: &[View]| {
                let fields = |view: &View| {
                    let text = format!("{view:?}");
                    let (fields, _) = text.split_once(", place: ").unwrap();
                    fields.to_owned()
                };
                views.iter().map(fields).collect::<Vec<_>>()
            };
            assert_eq!(fields(&read), fields(&views), "{language:?}");
        }
    }

    #[test]
    fn a_mistake_in_a_view_is_shown_with_its_place() {
        for (view, place, why) in [
            ("3", "2:3", "`a view` has to be a map, got a number"),
            ("{drop: [a]}", "2:3", "a view needs `family`"),
            (
                "{famly: a}",
                "2:4",
                "unknown key `famly`; the keys here are `family`, `drop`",
            ),
            ("{family: a, dorp: [b]}", "2:15", "unknown key `dorp`"),
            (
                "{family: 7}",
                "2:12",
                "`family` has to be a text, got a number",
            ),
            ("{family: ''}", "2:12", "needs a pattern, such as `http_*`"),
            (
                "{family: a, drop: b}",
                "2:21",
                "`drop` has to be a list, got a text",
            ),
            (
                "{family: a, drop: [b, 1]}",
                "2:25",
                "`drop` has to be a text, got a number",
            ),
            (
                "{family: a, drop: [b, __c]}",
                "2:25",
                "names the label `__c`",
            ),
            (
                "{family: a, caps: [b]}",
                "2:21",
                "a map from labels to numbers, got a list",
            ),
            (
                "{family: a, caps: {b: 1.5}}",
                "2:25",
                "a whole number from 0 on, got 1.5",
            ),
            (
                "{family: a, caps: {b: x}}",
                "2:25",
                "a whole number from 0 on, got a text",
            ),
            (
                "{family: a, caps: {b: 1, 'x y': 1}}",
                "2:28",
                "names the label `x y`",
            ),
            (
                "{family: a, rename: b-c}",
                "2:23",
                "`b-c`, which is not a metric name",
            ),
            (
                "{family: 'a*', rename: b}",
                "2:26",
                "put a `*` into the name",
            ),
            (
                "{family: a, rename: 'b*'}",
                "2:23",
                "may have one `*` if the pattern has",
            ),
            (
                "{family: a, buckets: 1}",
                "2:24",
                "`buckets` has to be a list, got a number",
            ),
            (
                "{family: a, buckets: [x]}",
                "2:25",
                "has to be a list of numbers, got a text",
            ),
            ("{family: a, buckets: [2, 1]}", "2:24", "have to ascend"),
            (
                "{family: a, native: 9}",
                "2:23",
                "a whole number from -4 to 8, got 9",
            ),
            (
                "{family: a, limit: 0}",
                "2:22",
                "a whole number from 1 on, got 0",
            ),
            (
                "{family: a, gauge_mode: median}",
                "2:27",
                "`median` is no gauge mode: the modes are",
            ),
            (
                "{family: a, off: maybe}",
                "2:20",
                "`off` has to be true or false, got a text",
            ),
        ] {
            let text = format!("views:\n- {view}\n");
            let registry = tallies::Registry::new();
            let error = Config::from_yaml(&text).and_then(|config| registry.configure(config));
            let said = error.unwrap_err().to_string();
            let (line, column) = place.split_once(':').unwrap();
            let place = format!("line {line}, column {column}: ");
            assert!(
                said.starts_with(&place) && said.contains(why),
                "{view}: {said}"
            );
            assert!(!said.contains('\n'), "{said}");
            // A view that is wrong is not in force.
            registry.counter("a", "").unwrap();
            assert!(registry.snapshot().family("a").is_some(), "{view}");
        }
        let error = Config::from_toml("[views]\nfamily = 'a'\n")
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("`views` has to be a list of views, got a map"),
            "{error}"
        );
    }
}
