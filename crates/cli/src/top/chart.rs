//! Drawings in cells: sparklines, charts and heat maps.

use std::collections::VecDeque;
use std::ops::Range;

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::{Color, Style};
use ratatui::widgets::{RenderDirection, Sparkline, Widget};

use super::history::Counts;

const SHADES: [&str; 5] = [" ", "░", "▒", "▓", "█"];
/// From few to many, visible on light and on dark ground.
const HEAT: [u8; 7] = [24, 31, 37, 71, 143, 208, 196];

/// Returns the smallest and the largest of points.
pub fn range<'a>(points: impl Iterator<Item = &'a f64>, from_zero: bool) -> (f64, f64) {
    let finite = points.filter(|point| point.is_finite());
    let start = if from_zero { 0.0 } else { f64::INFINITY };
    let (low, high) = finite.fold((start, f64::NEG_INFINITY), |(low, high), x| {
        (low.min(*x), high.max(*x))
    });
    if low > high { (0.0, 0.0) } else { (low, high) }
}

/// Draws points as an area and returns their range. The last point is at the right, and one that is
/// not known leaves a gap.
pub fn area(
    points: &VecDeque<f64>,
    from_zero: bool,
    area: Rect,
    style: Style,
    buffer: &mut Buffer,
) -> (f64, f64) {
    let shown = points.iter().rev().take(area.width.into());
    let (low, high) = range(shown.clone(), from_zero);
    let full = area.height * 8;
    // The bars of a single line do not touch the line above.
    let most = if area.height == 1 { 7 } else { full };
    let height = |point: &f64| {
        // A value that never changes is a line in the middle, and zero is a line at the bottom.
        let part = match high - low {
            0.0 if high == 0.0 => 0.0,
            0.0 => 0.5,
            span => (point - low) / span,
        };
        let height = (part * f64::from(most)).round().max(1.0) as u64;
        point.is_finite().then_some(height)
    };
    Sparkline::default()
        .data(shown.map(height))
        .max(full.into())
        .direction(RenderDirection::RightToLeft)
        .style(style)
        .render(area, buffer);
    (low, high)
}

/// Returns the buckets of a heat map's rows, the largest bound first. They are those that are in
/// use on the pages, and one more at each end. Neighbours share a row if there are more than rows.
pub fn heat_rows<'a>(
    pages: impl Iterator<Item = &'a Counts>,
    buckets: usize,
    rows: usize,
) -> Vec<Range<usize>> {
    let used = |page: &'a Counts| (0..page.len()).filter(move |i| page[*i] > 0);
    let used: Vec<usize> = pages.flat_map(used).collect();
    let (from, to) = match (used.iter().min(), used.iter().max()) {
        (Some(from), Some(to)) => (from.saturating_sub(1), (to + 2).min(buckets)),
        _ => (0, buckets),
    };
    let rows = rows.min(to - from).max(1);
    let edge = |row: usize| from + row * (to - from) / rows;
    let rows = (0..rows).rev();
    rows.map(|row| edge(row)..edge(row + 1)).collect()
}

/// Draws the new observations of each page as a column, the last page at the right.
pub fn heat(
    pages: &VecDeque<Counts>,
    rows: &[Range<usize>],
    area: Rect,
    color: bool,
    buffer: &mut Buffer,
) {
    let shown = pages.iter().rev().take(area.width.into());
    // The mean of the buckets of a row, or else a row of two would look busier than its neighbours.
    let mean = |page: &Counts, row: &Range<usize>| {
        let counts = page.get(row.clone()).unwrap_or_default();
        counts.iter().sum::<u64>() as f64 / counts.len().max(1) as f64
    };
    let columns = shown.clone();
    let cells = columns.flat_map(|page| rows.iter().map(move |row| mean(page, row)));
    let most = cells.fold(0.0, f64::max);
    for (column, page) in area.columns().rev().zip(shown) {
        for (cell, row) in column.positions().zip(rows) {
            let n = mean(page, row);
            if n == 0.0 {
                continue;
            }
            // By the root, because the counts of buckets differ by orders of magnitude.
            let part = (n / most).sqrt();
            let cell = &mut buffer[cell];
            if color {
                let i = (part * (HEAT.len() - 1) as f64).round() as usize;
                cell.set_symbol("█").set_fg(Color::Indexed(HEAT[i]));
            } else {
                let i = (part * (SHADES.len() - 1) as f64).ceil() as usize;
                cell.set_symbol(SHADES[i]);
            }
        }
    }
}
