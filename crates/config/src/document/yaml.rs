//! YAML: what the parser deserializes becomes a tree.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::{Error, Location, NonFiniteFloatPolicy, Spanned};

use super::{Key, Node, Placed, Value, at};

/// The most values that the aliases of a document may repeat. Nested aliases multiply.
const MOST_REPEATED: usize = 10_000;
/// The most values of a document.
const MOST_VALUES: usize = 250_000;

pub(super) fn parse(text: &str) -> Result<Node, Placed> {
    let options = serde_saphyr::options! {
        with_snippet: false,
        strict_booleans: true,
        // For bounds. Other settings check their range.
        non_finite_float_policy: NonFiniteFloatPolicy::PassThrough,
        budget: serde_saphyr::budget! { max_nodes: MOST_VALUES },
        alias_limits: serde_saphyr::alias_limits! { max_total_replayed_events: MOST_REPEATED },
    };
    serde_saphyr::from_str_with_options::<Spanned<Any>>(text, options)
        .map(node)
        .map_err(|error| {
            let place = error.location().map_or((1, 1), |at| place(&at));
            (place, message(&error))
        })
}

/// Returns what is wrong, without the place. Messages that advise programmers of the parser are
/// replaced.
fn message(error: &Error) -> String {
    match error {
        Error::DuplicateMappingKey { key, .. } => {
            let key = key.as_deref().unwrap_or_default().escape_debug();
            format!("key `{key}` is given twice; remove or rename one of them")
        }
        Error::AliasReplayLimitExceeded { .. } => {
            format!("the aliases repeat more than {MOST_REPEATED} values; write fewer of them")
        }
        Error::Budget { .. } => format!(
            "the document is too large or too deeply nested: more than {MOST_VALUES} values, \
             aliases or anchors, or 64 levels"
        ),
        Error::AliasError { error, .. } => message(error),
        error => {
            // The parser ends its message with the place, which the caller shows in its own way.
            let message = error.to_string();
            let message = message.lines().next().unwrap_or_default();
            let message = message.split(" at line ").next().unwrap_or(message);
            message.to_owned()
        }
    }
}

fn place(at: &Location) -> (usize, usize) {
    (at.line().max(1) as usize, at.column().max(1) as usize)
}

fn node(spanned: Spanned<Any>) -> Node {
    Node {
        place: at(place(&spanned.referenced)),
        value: spanned.value.0,
    }
}

/// Any value.
struct Any(Value);

impl<'de> Deserialize<'de> for Any {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(AnyVisitor).map(Self)
    }
}

struct AnyVisitor;

impl<'de> Visitor<'de> for AnyVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, flag: bool) -> Result<Value, E> {
        Ok(Value::Flag(flag))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Value, E> {
        Ok(Value::Number(number as f64))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Value, E> {
        Ok(Value::Number(number as f64))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Value, E> {
        Ok(Value::Number(number))
    }

    fn visit_str<E>(self, text: &str) -> Result<Value, E> {
        Ok(Value::Text(text.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Value, A::Error> {
        let mut nodes = Vec::new();
        while let Some(value) = list.next_element()? {
            nodes.push(node(value));
        }
        Ok(Value::List(nodes))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut nodes = Vec::new();
        while let Some(key) = map.next_key::<Spanned<String>>()? {
            let key = Key {
                place: at(place(&key.referenced)),
                text: key.value,
            };
            nodes.push((key, node(map.next_value()?)));
        }
        Ok(Value::Map(nodes))
    }
}
