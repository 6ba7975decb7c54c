//! Reading a mapped file whose words were changed in any way never panics and never takes long.
//! What is read makes a page that can be read again. Checksums are not compared in builds of the
//! fuzzer.
//!
//! The input is a list of changes to a file of a real process: each has the number of a word, an
//! operation and a value.

#![cfg_attr(fuzzing, no_main)]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use tallies::{encode, snapshot::Snapshot};

static FILE: LazyLock<(Vec<u8>, Vec<usize>)> = LazyLock::new(|| {
    let mut lines = include_str!("../../tests/golden/share/format-3.words").lines();
    let mut bytes = vec![0; lines.next().unwrap().parse().unwrap()];
    let mut used = Vec::new();
    for line in lines {
        let (offset, word) = line.split_once(' ').unwrap();
        let at = usize::from_str_radix(offset, 16).unwrap();
        let word = u64::from_str_radix(word, 16).unwrap();
        bytes[at..at + 8].copy_from_slice(&word.to_le_bytes());
        used.push(at);
    }
    (bytes, used)
});

/// The offset of the address at which the file is mapped.
const BASE: usize = 80;

fn word(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap())
}

fuzz_target!(|input: &[u8]| {
    let (file, used) = &*FILE;
    let mut bytes = file.clone();
    let base = word(&bytes, BASE);
    for change in input.chunks_exact(7) {
        let number = usize::from(u16::from_le_bytes([change[0], change[1]]));
        let value = u64::from(u32::from_le_bytes(change[3..7].try_into().unwrap()));
        // Most words of a file are 0 and mean nothing.
        let at = used.get(number).copied().unwrap_or(8 * number % file.len());
        let old = word(&bytes, at);
        let new = match change[2] % 9 {
            0 => value,
            1 => old.wrapping_add(value),
            2 => old.wrapping_sub(value),
            3 => old ^ value,
            4 => old ^ value << 32,
            5 => base.wrapping_add(value & !7),
            6 => u64::MAX - value,
            7 => word(&bytes, used[value as usize % used.len()]),
            _ => old.rotate_left(value as u32),
        };
        bytes[at..at + 8].copy_from_slice(&new.to_le_bytes());
    }
    let read = tallies::__private::read_mapped(&bytes);
    if input.is_empty() {
        read.as_ref().unwrap();
    }
    let Ok(page) = read else { return };
    let text = encode::text(&page);
    tallies_check::read_text(text.as_bytes()).unwrap_or_else(|e| panic!("{e}\n{text}"));
    let _ = (encode::open_metrics(&page), encode::protobuf(&page));
    // Files of two writers add up, whatever they count.
    let mut both = Snapshot::default();
    both.merge(&page).unwrap();
    both.merge(&page).unwrap();
    assert_eq!(both.families().count(), page.families().count());
});
