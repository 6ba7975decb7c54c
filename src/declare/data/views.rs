//! Views from a file.

use crate::document::{Key, Node, Value};
use crate::error::Error;
use crate::registry::{View, ViewOrigin, ViewPart};
use crate::snapshot::GaugeMode;

const KEYS: [&str; 9] = [
    "family", "drop", "caps", "rename", "buckets", "native", "limit", "gauges", "off",
];

/// Reads a list of views. The errors of [`Registry::view`](crate::Registry::view) have their places
/// then, too.
pub(super) fn views(node: &Node, file: Option<&str>) -> Result<Vec<View>, Error> {
    let Value::List(list) = &node.value else {
        return Err(node.wrong(file, "views", "a list of views"));
    };
    let placed = |node| {
        let (view, origin) = view(node, file)?;
        Ok(view.with_origin(origin))
    };
    list.iter().map(placed).collect()
}

/// Reads one view and the places of its parts.
fn view(node: &Node, file: Option<&str>) -> Result<(View, ViewOrigin), Error> {
    let map = node.map(file, "a view")?;
    let Some((_, family)) = map.iter().find(|(key, _)| key.text == "family") else {
        // A wrong key is the likelier mistake.
        let unknown = map.iter().find(|(key, _)| !KEYS.contains(&&*key.text));
        return Err(match unknown {
            Some((key, _)) => key.unknown(file, &KEYS),
            None => node.error(file, "a view needs `family`, the pattern of names"),
        });
    };
    let mut view = View::new(&family.text(file, "family")?);
    let mut origin = ViewOrigin {
        file: file.map(Into::into),
        family: family.place,
        parts: Vec::new(),
    };
    let parts = &mut origin.parts;
    for (key, value) in map {
        view = match &*key.text {
            "family" => view,
            "drop" => drop_labels(view, value, file, parts)?,
            "caps" => caps(view, value, file, parts)?,
            "rename" => {
                parts.push((ViewPart::Rename, value.place));
                view.rename(&value.text(file, "rename")?)
            }
            "buckets" => {
                parts.push((ViewPart::Buckets, value.place));
                view.buckets(&bounds(value, file)?)
            }
            "native" => {
                parts.push((ViewPart::Native, value.place));
                view.native(whole(value, file, "native", -4.0, 8.0)? as i8)
            }
            "limit" => view.limit(whole(value, file, "limit", 1.0, MOST)? as usize),
            "gauges" => view.gauges(mode(value, file)?),
            "off" => match value.value {
                Value::Flag(true) => view.off(),
                Value::Flag(false) => view.on(),
                _ => return Err(value.wrong(file, "off", "true or false")),
            },
            _ => return Err(key.unknown(file, &KEYS)),
        };
    }
    Ok((view, origin))
}

/// The largest number of series or values that a file may have.
const MOST: f64 = u32::MAX as f64;

type Parts = Vec<(ViewPart, (usize, usize))>;

fn drop_labels(
    mut view: View,
    node: &Node,
    file: Option<&str>,
    parts: &mut Parts,
) -> Result<View, Error> {
    for (i, label) in node.list(file, "drop")?.iter().enumerate() {
        parts.push((ViewPart::Drop(i), label.place));
        view = view.drop_label(&label.text(file, "drop")?);
    }
    Ok(view)
}

fn caps(mut view: View, node: &Node, file: Option<&str>, parts: &mut Parts) -> Result<View, Error> {
    let Value::Map(map) = &node.value else {
        return Err(node.wrong(file, "caps", "a map from labels to numbers"));
    };
    for (i, (Key { place, text }, number)) in map.iter().enumerate() {
        parts.push((ViewPart::Cap(i), *place));
        view = view.cap(text, whole(number, file, text, 0.0, MOST)? as usize);
    }
    Ok(view)
}

fn bounds(node: &Node, file: Option<&str>) -> Result<Vec<f64>, Error> {
    let bound = |node: &Node| match &node.value {
        Value::Number(number) => Ok(*number),
        // As Prometheus writes the last bucket.
        Value::Text(text) if text == "+Inf" || text == "inf" => Ok(f64::INFINITY),
        _ => Err(node.wrong(file, "buckets", "a list of numbers")),
    };
    node.list(file, "buckets")?.iter().map(bound).collect()
}

/// Returns a whole number within limits.
fn whole(node: &Node, file: Option<&str>, name: &str, least: f64, most: f64) -> Result<f64, Error> {
    let right = if most == MOST {
        format!("a whole number from {least} on")
    } else {
        format!("a whole number from {least} to {most}")
    };
    match node.value {
        Value::Number(n) if n.fract() == 0.0 && (least..=most).contains(&n) => Ok(n),
        Value::Number(n) => Err(node.error(file, format!("`{name}` has to be {right}, got {n}"))),
        _ => Err(node.wrong(file, name, &right)),
    }
}

fn mode(node: &Node, file: Option<&str>) -> Result<GaugeMode, Error> {
    let name = node.text(file, "gauges")?;
    GaugeMode::from_name(&name).ok_or_else(|| {
        let names: Vec<_> = GaugeMode::NAMES.iter().map(|(_, name)| *name).collect();
        let (name, names) = (name.escape_debug(), names.join(", "));
        node.error(
            file,
            format!("`{name}` is no gauge mode: the modes are {names}"),
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::document::{Language, parse};

    fn read(text: &str, language: Language) -> Result<Vec<View>, Error> {
        let tree = parse(text, language, None)?;
        let list = tree.map(None, "")?;
        assert_eq!((list.len(), &*list[0].0.text), (1, "views"));
        let nodes = list[0].1.list(None, "views")?;
        nodes.iter().map(|node| Ok(view(node, None)?.0)).collect()
    }

    const YAML: &str = "views:
  - {family: 'mail_*', drop: [peer, host], caps: {queue: 20, to: 0}, rename: 'post_*'}
  - {family: '*_seconds', buckets: [0.1, 1, +Inf], native: -4, limit: 100}
  - {family: '*_celsius', gauges: max, drop: [disk]}
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
gauges = 'max'
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
                .gauges(GaugeMode::Max)
                .drop_label("disk"),
            View::new("*").off(),
            View::new("a*").on(),
            View::new("nothing"),
        ];
        for (text, language) in [(YAML, Language::Yaml), (TOML, Language::Toml)] {
            let read = read(text, language).unwrap();
            assert_eq!(format!("{read:?}"), format!("{views:?}"), "{language:?}");
        }
    }

    /// `View` is also `Deserialize`, for other formats. The two have the same keys.
    #[cfg(feature = "serde")]
    #[test]
    fn the_parser_agrees_with_serde() {
        #[derive(serde::Deserialize)]
        struct File {
            views: Vec<View>,
        }
        let file: File = serde_saphyr::from_str(&YAML.replace("+Inf", ".inf")).unwrap();
        let read = read(YAML, Language::Yaml).unwrap();
        assert_eq!(format!("{read:?}"), format!("{:?}", file.views));
        for key in KEYS.into_iter().chain(["families"]) {
            let text = format!("views:\n  - {{family: a, {key}: {{x: y}}}}\n");
            let unknown = serde_saphyr::from_str::<File>(&text).err().unwrap();
            let unknown = unknown.to_string().contains("unknown field");
            assert_eq!(unknown, !KEYS.contains(&key), "{key}");
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
                "{family: a, gauges: median}",
                "2:23",
                "`median` is no gauge mode: the modes are",
            ),
            (
                "{family: a, off: maybe}",
                "2:20",
                "`off` has to be true or false, got a text",
            ),
        ] {
            let text = format!("views:\n- {view}\n");
            let registry = crate::Registry::new();
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
