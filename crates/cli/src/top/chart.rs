//! Drawings in cells: sparklines, charts and heat maps.

use std::ops::Range;

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::{Color, Style};

use super::history::Counts;

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

/// Draws points as a line of bars, the last one at the right. No bar touches the line above.
pub fn sparkline<'a>(
    points: impl DoubleEndedIterator<Item = &'a f64> + Clone,
    from_zero: bool,
    area: Rect,
    style: Style,
    buffer: &mut Buffer,
) {
    bars(points, from_zero, 7.0, area, style, buffer);
}

/// Draws points as an area and returns their range. The last point is at the right.
pub fn area<'a>(
    points: impl DoubleEndedIterator<Item = &'a f64> + Clone,
    from_zero: bool,
    area: Rect,
    style: Style,
    buffer: &mut Buffer,
) -> (f64, f64) {
    let eighths = f64::from(area.height) * 8.0;
    bars(points, from_zero, eighths, area, style, buffer)
}

/// Draws points from the right edge to the left, the highest one that many eighths of a cell high.
fn bars<'a>(
    points: impl DoubleEndedIterator<Item = &'a f64> + Clone,
    from_zero: bool,
    eighths: f64,
    area: Rect,
    style: Style,
    buffer: &mut Buffer,
) -> (f64, f64) {
    let shown = points.rev().take(area.width as usize);
    let (low, high) = range(shown.clone().copied(), from_zero);
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

/// Returns the buckets of a heat map's rows, the largest bound first. They are those that are in
/// use on the pages, and one more at each end. Neighbours share a row if there are more than rows.
pub fn heat_rows<'a>(
    pages: impl Iterator<Item = &'a Counts>,
    buckets: usize,
    rows: usize,
) -> Vec<Range<usize>> {
    let (mut from, mut to) = (buckets, 0);
    for page in pages {
        let mut used = (0..page.len()).filter(|i| page[*i] > 0);
        if let Some(first) = used.next() {
            from = from.min(first);
            to = to.max(used.next_back().unwrap_or(first) + 1);
        }
    }
    if from >= to {
        (from, to) = (0, buckets);
    }
    let (from, to) = (from.saturating_sub(1), (to + 1).min(buckets));
    let rows = rows.min(to - from).max(1);
    let edge = |row: usize| from + row * (to - from) / rows;
    (0..rows)
        .rev()
        .map(|row| edge(row)..edge(row + 1))
        .collect()
}

/// Draws the new observations of each page as a column, the last page at the right.
pub fn heat<'a>(
    pages: impl DoubleEndedIterator<Item = &'a Counts> + Clone,
    rows: &[Range<usize>],
    area: Rect,
    color: bool,
    buffer: &mut Buffer,
) {
    let shown = pages.rev().take(area.width as usize);
    // The mean of the buckets of a row, or else a row of two would look busier than its neighbours.
    let mean = |page: &Counts, row: &Range<usize>| {
        let counts = page.get(row.clone()).unwrap_or_default();
        counts.iter().sum::<u64>() as f64 / counts.len().max(1) as f64
    };
    let cells = shown
        .clone()
        .flat_map(|page| rows.iter().map(move |row| mean(page, row)));
    let most = cells.fold(0.0, f64::max);
    for (x, page) in (area.left()..area.right()).rev().zip(shown) {
        for (y, row) in (area.top()..area.bottom()).zip(rows) {
            let n = mean(page, row);
            if n == 0.0 {
                continue;
            }
            // By the root, because the counts of buckets differ by orders of magnitude.
            let part = (n / most).sqrt();
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
