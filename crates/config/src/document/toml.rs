//! TOML: what the parser returns becomes a tree.

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::{Key, Node, Placed, Value, at};

pub(super) fn parse(text: &str) -> Result<Node, Placed> {
    let table = DeTable::parse(text).map_err(|error| {
        let at = error.span().map_or(0, |span| span.start);
        (place(text, at), error.message().to_owned())
    })?;
    Ok(Node {
        place: at((1, 1)),
        value: map(text, table.into_inner())?,
    })
}

/// Returns the line and the column of a byte. Columns count characters.
fn place(text: &str, at: usize) -> (usize, usize) {
    let before = text.get(..at).unwrap_or(text);
    let line = before.rsplit('\n').next().unwrap_or_default();
    (before.matches('\n').count() + 1, line.chars().count() + 1)
}

fn map(text: &str, table: DeTable<'_>) -> Result<Value, Placed> {
    let pair = |(key, value): (Spanned<_>, _)| {
        let key = Key {
            place: at(place(text, key.span().start)),
            text: std::borrow::Cow::into_owned(key.into_inner()),
        };
        Ok((key, node(text, value)?))
    };
    let pairs = table.into_iter().map(pair).collect::<Result<_, _>>();
    pairs.map(Value::Map)
}

fn node(text: &str, value: Spanned<DeValue<'_>>) -> Result<Node, Placed> {
    let place = place(text, value.span().start);
    let number = |number: Option<f64>| {
        let what = "this number is too large";
        number.map(Value::Number).ok_or((place, what.to_owned()))
    };
    let value = match value.into_inner() {
        DeValue::String(text) => Value::Text(text.into_owned()),
        DeValue::Integer(n) => {
            let parsed = i64::from_str_radix(n.as_str(), n.radix());
            number(parsed.ok().map(|n| n as f64))?
        }
        DeValue::Float(n) => number(n.as_str().parse().ok())?,
        DeValue::Boolean(flag) => Value::Flag(flag),
        DeValue::Datetime(time) => Value::Text(time.to_string()),
        DeValue::Array(list) => {
            let nodes = list.into_iter().map(|value| node(text, value));
            Value::List(nodes.collect::<Result<_, _>>()?)
        }
        DeValue::Table(table) => map(text, table)?,
    };
    let place = at(place);
    Ok(Node { place, value })
}
