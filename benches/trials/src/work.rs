//! The work that all programs do, some of them a little more of it.

/// How many rounds and strings a program makes of one of each: 1 000, 1 005 or 1 010, by the end of
/// its name.
#[must_use]
pub fn size(program: &str) -> u64 {
    let more = program
        .rsplit_once('_')
        .and_then(|(_, more)| more.parse::<u64>().ok());
    1000 + more.expect("the name of a program ends in a number")
}

/// Rounds that each wait for the one before: 4 to 6 µs.
#[must_use]
pub fn chain(size: u64) -> u64 {
    (0..size).fold(0x9e37_79b9_7f4a_7c15, |mut x, round| {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        std::hint::black_box(x ^ round)
    })
}

/// Strings on the heap: 20 to 30 µs.
#[must_use]
pub fn strings(size: u64) -> Vec<String> {
    (0..size)
        .map(|number| (1_000_000 + number).to_string())
        .collect()
}
