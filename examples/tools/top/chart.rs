//! Drawings in cells: sparklines, charts and heat maps.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::{Color, Style};

use crate::history::Counts;

const BARS: [&str; 9] = [" ", "▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"];
const SHADES: [&str; 5] = [" ", "░", "▒", "▓", "█"];
/// From few to many, visible on light and on dark ground.
const HEAT: [Color; 7] = [
    Color::Indexed(24),
    Color::Indexed(31),
    Color::Indexed(37),
    Color::Indexed(71),
    Color::Indexed(143),
    Color::Indexed(208),
    Color::Indexed(196),
];

/// The smallest and the largest of the points that are shown.
pub fn range(points: impl Iterator<Item = f64>, from_zero: bool) -> (f64, f64) {
    let finite = points.filter(|point| point.is_finite());
    let start = if from_zero { 0.0 } else { f64::INFINITY };
    let (low, high) = finite.fold((start, f64::NEG_INFINITY), |(low, high), x| {
        (low.min(x), high.max(x))
    });
    if low > high { (0.0, 0.0) } else { (low, high) }
}

/// Draws points from the right edge to the left, the last one at the right.
pub fn area<'a>(
    points: impl DoubleEndedIterator<Item = &'a f64> + Clone,
    from_zero: bool,
    area: Rect,
    style: Style,
    buffer: &mut Buffer,
) -> (f64, f64) {
    let shown = points.rev().take(area.width as usize);
    let (low, high) = range(shown.clone().copied(), from_zero);
    let eighths = f64::from(area.height) * 8.0;
    for (x, point) in (area.left()..area.right()).rev().zip(shown) {
        if !point.is_finite() {
            continue;
        }
        // A value that never changes is a line in the middle, and zero is a line at the bottom.
        let part = match high - low {
            0.0 if high == 0.0 => 0.0,
            0.0 => 0.5,
            span => (point - low) / span,
        };
        let mut left = (part * eighths).round().max(1.0) as usize;
        for y in (area.top()..area.bottom()).rev() {
            if left == 0 {
                break;
            }
            buffer[(x, y)]
                .set_symbol(BARS[left.min(8)])
                .set_style(style);
            left = left.saturating_sub(8);
        }
    }
    (low, high)
}

/// The labels of a heat map's rows, the largest bound first, each with the range of its buckets.
/// Neighbours share a row if there are more buckets than rows.
pub fn heat_rows(buckets: usize, rows: usize) -> Vec<std::ops::Range<usize>> {
    let rows = rows.min(buckets).max(1);
    let mut ranges: Vec<_> = (0..rows)
        .map(|row| row * buckets / rows..(row + 1) * buckets / rows)
        .collect();
    ranges.reverse();
    ranges
}

/// Draws the new observations of each page as a column, the last page at the right.
pub fn heat<'a>(
    pages: impl DoubleEndedIterator<Item = &'a Counts> + Clone,
    rows: &[std::ops::Range<usize>],
    area: Rect,
    color: bool,
    buffer: &mut Buffer,
) {
    let shown = pages.rev().take(area.width as usize);
    let count = |page: &Counts, row: &std::ops::Range<usize>| {
        page.get(row.clone())
            .map_or(0, |counts| counts.iter().sum::<u64>())
    };
    let cells = shown
        .clone()
        .flat_map(|page| rows.iter().map(move |row| count(page, row)));
    let most = cells.max().unwrap_or(0);
    for (x, page) in (area.left()..area.right()).rev().zip(shown) {
        for (y, row) in (area.top()..area.bottom()).zip(rows) {
            let n = count(page, row);
            if n == 0 {
                continue;
            }
            // By the root, because the counts of buckets differ by orders of magnitude.
            let part = (n as f64 / most as f64).sqrt();
            let cell = &mut buffer[(x, y)];
            if color {
                let i = (part * (HEAT.len() - 1) as f64).round() as usize;
                cell.set_symbol("█").set_fg(HEAT[i]);
            } else {
                let i = (part * (SHADES.len() - 1) as f64).ceil() as usize;
                cell.set_symbol(SHADES[i]);
            }
        }
    }
}
