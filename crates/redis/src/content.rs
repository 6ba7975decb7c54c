//! The content of one hash of a writer, or of the folded totals.

use std::collections::{BTreeMap, HashMap};

use redis::{FromRedisValue, ParsingError, Value as Reply};
use tallies::share::store;
use tallies::snapshot::Family;

use super::tracked::FamilyId;

/// The content of a `w:`, `g:`, `x:` or `acc` hash.
#[derive(Debug, Default)]
pub(super) struct Content {
    /// The families, in the order of their names. Several have one name if the hash has several
    /// descriptions with it.
    pub(super) families: Vec<Family>,
    /// The fields that begin with `#`.
    words: HashMap<String, String>,
    /// The fields that begin with `t`: folded writers, and the times of their folds.
    pub(super) folds: Vec<(String, u64)>,
    /// The number of fields that could not be read.
    pub(super) malformed: usize,
}

/// The number that stands for a description: 64-bit FNV-1a.
pub(super) fn family_id(description: &[u8]) -> FamilyId {
    let add = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    let hash = description.iter().fold(0xcbf2_9ce4_8422_2325, add);
    hash.to_be_bytes()
}

/// Returns the field of a family's description.
pub(super) fn description_field(id: FamilyId) -> Vec<u8> {
    [b"d", &id[..]].concat()
}

/// Returns the field of a series.
pub(super) fn series_field(id: FamilyId, text: &str) -> Vec<u8> {
    [b"s", &id[..], text.as_bytes()].concat()
}

/// Splits the field of a series into the number of its family and its label text.
fn split_field(field: &[u8]) -> Option<(FamilyId, &str)> {
    let (id, text) = field.get(1..)?.split_first_chunk::<8>()?;
    Some((*id, std::str::from_utf8(text).ok()?))
}

impl FromRedisValue for Content {
    /// Reads the answer to HGETALL.
    fn from_redis_value(reply: Reply) -> Result<Self, ParsingError> {
        let fields: Vec<(Vec<u8>, Vec<u8>)> = FromRedisValue::from_redis_value(reply)?;
        let mut content = Self::default();
        let mut families: BTreeMap<FamilyId, Family> = BTreeMap::new();
        let mut series: Vec<(FamilyId, &str, &[u8])> = Vec::new();
        for (field, value) in &fields {
            let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
            match field.first() {
                Some(b'#') => _ = content.words.insert(text(field), text(value)),
                Some(b't') => {
                    let time = text(value).parse().unwrap_or(0);
                    content.folds.push((text(&field[1..]), time));
                }
                Some(b'd') => match (field[1..].try_into(), store::read_description(value)) {
                    (Ok(id), Ok(family)) => _ = families.insert(id, family),
                    _ => content.malformed += 1,
                },
                Some(b's') => match split_field(field) {
                    Some((id, text)) => series.push((id, text, value)),
                    None => content.malformed += 1,
                },
                _ => content.malformed += 1,
            }
        }
        // Redis has no order. A page has the same order each time.
        series.sort_unstable();
        for (id, text, value) in series {
            let read = |family| store::read_series(family, text, value).is_ok();
            let is_read = families.get_mut(&id).is_some_and(read);
            content.malformed += usize::from(!is_read);
        }
        // A description without series is left of a family that was removed. One that took its name
        // since may have another kind.
        let families = families.into_values();
        let mut families: Vec<_> = families.filter(|family| !family.is_empty()).collect();
        // Those of one name stay in the order of their numbers.
        families.sort_by(|one, other| one.name().cmp(other.name()));
        content.families = families;
        Ok(content)
    }
}

impl Content {
    /// Returns the field `#name`.
    pub(super) fn word(&self, name: &str) -> Option<&str> {
        self.words.get(name).map(String::as_str)
    }
}
