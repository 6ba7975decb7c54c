//! A batch as the script takes it, and the answer of the script.

use redis::{ErrorKind, RedisError, ScriptInvocation, Value as Reply};

/// A field of a hash and its value.
pub(super) type Field<'a> = (Vec<u8>, &'a [u8]);

/// The changes of a batch, by the hash that they change and the command that does it. In this order
/// the script takes them.
#[derive(Default)]
pub(super) struct Lists<'a> {
    pub(super) set_totals: Vec<Field<'a>>,
    pub(super) delete_totals: Vec<Vec<u8>>,
    pub(super) set_gauges: Vec<Field<'a>>,
    pub(super) delete_gauges: Vec<Vec<u8>>,
}

/// The fate of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Status {
    /// It was applied.
    Applied,
    /// The writer was folded.
    Fenced,
    /// This batch, or one with a higher number, was applied before.
    Stale,
    /// Redis does not have a batch that it has acknowledged.
    Lost,
    /// Redis has nothing of the writer, and does not know that it was folded.
    Gone,
}

/// The answer to a batch.
#[derive(Debug)]
pub(super) struct FlushAnswer {
    pub(super) status: Status,
    /// The number of the last batch that was applied.
    pub(super) have: u64,
    pub(super) born: String,
    pub(super) slot: i64,
    pub(super) now: u64,
    pub(super) lost_gauges: bool,
}

impl FlushAnswer {
    pub(super) fn read(reply: &Reply) -> Option<Self> {
        let Reply::Array(parts) = reply else {
            return None;
        };
        let number = |at: usize| match parts.get(at)? {
            Reply::Int(n) => Some(*n),
            _ => None,
        };
        let bytes = |at: usize| super::content::bytes(parts.get(at)?);
        Some(Self {
            status: Status::read(bytes(0)?)?,
            have: u64::try_from(number(1)?).unwrap_or(0),
            born: String::from_utf8_lossy(bytes(2)?).into_owned(),
            slot: number(3)?,
            now: u64::try_from(number(4)?).ok()?,
            lost_gauges: number(5)? == 1,
        })
    }
}

impl Status {
    /// Reads what the script answers. `None` for what it never answers: then the batch may or may
    /// not have been applied, as after a lost reply.
    pub(super) fn read(answer: &[u8]) -> Option<Self> {
        Some(match answer {
            b"OK" => Self::Applied,
            b"FENCED" => Self::Fenced,
            b"STALE" => Self::Stale,
            b"LOST" => Self::Lost,
            b"GONE" => Self::Gone,
            _ => return None,
        })
    }
}

impl<'a> Lists<'a> {
    /// Returns the lists of the hash that has live gauges, or of the one that has totals: what is
    /// set and what is deleted.
    pub(super) fn of(&mut self, live: bool) -> (&mut Vec<Field<'a>>, &mut Vec<Vec<u8>>) {
        if live {
            (&mut self.set_gauges, &mut self.delete_gauges)
        } else {
            (&mut self.set_totals, &mut self.delete_totals)
        }
    }

    /// Adds the number of arguments of each list, and then the lists.
    pub(super) fn add_to(&self, script: &mut ScriptInvocation<'_>) {
        script
            .arg(2 * self.set_totals.len())
            .arg(self.delete_totals.len())
            .arg(2 * self.set_gauges.len())
            .arg(self.delete_gauges.len());
        for (set, delete) in [
            (&self.set_totals, &self.delete_totals),
            (&self.set_gauges, &self.delete_gauges),
        ] {
            for (field, value) in set {
                script.arg(&field[..]).arg(*value);
            }
            for field in delete {
                script.arg(&field[..]);
            }
        }
    }
}

pub(super) fn malformed() -> RedisError {
    RedisError::from((
        ErrorKind::UnexpectedReturnType,
        "the answer to a flush is malformed",
    ))
}
