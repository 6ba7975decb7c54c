//! The protocol between a comparison and the benches that it starts: a JSON value on a line.
//!
//! The bench reads requests from its standard input and answers each on its standard output. An
//! answer starts with [`MARK`] on a line of its own, so a bench may print what it likes besides.
//! The bench ends when its input ends, thus also when the comparison is killed.

use std::io::{self, BufRead, Write};

use serde::{Deserialize, Serialize};

use super::measure::Batch;
use crate::Build;

/// Set to [`VERSION`] for a bench that is to answer requests.
pub(super) const VARIABLE: &str = "TALLIES_BENCH_LANE";

/// The version of these messages. Executables of two revisions meet, so it is part of the
/// handshake.
pub(super) const VERSION: u32 = 1;

const MARK: &str = "@tallies-bench ";

/// Longer lines are no messages.
const LONGEST: u64 = 1 << 20;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Task {
    /// Asks for the names of the benches.
    Names,
    /// Asks for a batch of the bench at this place in the names.
    Run { bench: usize, iterations: u64 },
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Reply {
    Names {
        version: u32,
        names: Vec<String>,
        /// Of executables that tell.
        #[serde(default)]
        build: Option<Build>,
    },
    Took(Batch),
    /// The request makes no sense.
    Refused(String),
}

pub(super) fn send_request(to: &mut impl Write, request: Task) -> io::Result<()> {
    let mut line = serde_json::to_vec(&request)?;
    line.push(b'\n');
    to.write_all(&line)?;
    to.flush()
}

/// Returns the next request; `None` at the end of the input.
pub(super) fn read_request(from: &mut impl BufRead) -> io::Result<Option<Task>> {
    Ok(match read_line(from)? {
        line if line.is_empty() => None,
        line => Some(serde_json::from_slice(&line)?),
    })
}

pub(super) fn send_answer(to: &mut impl Write, answer: &Reply) -> io::Result<()> {
    // The bench may have printed a line without its end.
    let line = format!("\n{MARK}{}\n", serde_json::to_string(answer)?);
    to.write_all(line.as_bytes())?;
    to.flush()
}

/// Returns the next answer, and skips what the bench prints besides; `None` at the end.
pub(super) fn read_answer(from: &mut impl BufRead) -> io::Result<Option<Reply>> {
    loop {
        let line = read_line(from)?;
        if line.is_empty() {
            return Ok(None);
        }
        if let Some(answer) = line.strip_prefix(MARK.as_bytes()) {
            return Ok(Some(serde_json::from_slice(answer)?));
        }
    }
}

/// Reads a line, or the part of it that has [`LONGEST`] bytes. Empty only at the end.
fn read_line(from: &mut impl BufRead) -> io::Result<Vec<u8>> {
    let mut line = Vec::new();
    io::Read::take(from, LONGEST).read_until(b'\n', &mut line)?;
    Ok(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_found_among_what_a_bench_prints() {
        let took = Reply::Took(Batch {
            nanos: 17,
            instructions: None,
        });
        let mut output = b"loading...".to_vec();
        send_answer(&mut output, &took).unwrap();
        output.extend_from_slice(b"\xff\n@tallies\n");
        send_answer(&mut output, &Reply::Refused("no".to_owned())).unwrap();
        let mut output = output.as_slice();
        assert_eq!(read_answer(&mut output).unwrap(), Some(took));
        assert_eq!(
            read_answer(&mut output).unwrap(),
            Some(Reply::Refused("no".to_owned()))
        );
        assert_eq!(read_answer(&mut output).unwrap(), None);
    }

    #[test]
    fn requests_end_with_the_input_and_nonsense_is_an_error() {
        let mut input = Vec::new();
        let run = Task::Run {
            bench: 3,
            iterations: u64::MAX,
        };
        send_request(&mut input, run).unwrap();
        send_request(&mut input, Task::Names).unwrap();
        let mut input = input.as_slice();
        assert_eq!(read_request(&mut input).unwrap(), Some(run));
        assert_eq!(read_request(&mut input).unwrap(), Some(Task::Names));
        assert_eq!(read_request(&mut input).unwrap(), None);
        assert!(read_request(&mut b"{}\n".as_slice()).is_err());
        assert!(read_answer(&mut b"@tallies-bench 7\n".as_slice()).is_err());
    }

    #[test]
    fn an_answer_of_before_builds_were_told_is_understood() {
        let mut output =
            b"@tallies-bench {\"names\":{\"version\":1,\"names\":[\"a\"]}}\n".as_slice();
        let expected = Reply::Names {
            version: 1,
            names: vec!["a".to_owned()],
            build: None,
        };
        assert_eq!(read_answer(&mut output).unwrap(), Some(expected));
    }

    #[test]
    fn an_endless_line_is_not_kept_in_memory() {
        let mut endless = io::BufReader::new(io::Read::take(io::repeat(b'x'), 3 * LONGEST));
        assert_eq!(read_answer(&mut endless).unwrap(), None);
    }
}
