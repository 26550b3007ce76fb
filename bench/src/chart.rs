//! The chart as an SVG: for each row, plainftpd compared with the best peer and with the limit.

use std::path::Path;

use anyhow::{Result, anyhow};
use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use crate::report::number;
use crate::sheet::Sheet;

const WIDTH: u32 = 1100;
const LINE: i32 = 26;
const TOP: i32 = 84;
const LEFT: i32 = 360;
const RIGHT: i32 = 980;
/// The ratios at the edges. A ratio beyond an edge is drawn at the edge, with its number.
const EDGE: f64 = 20.0;

const PEER: RGBColor = RGBColor(31, 119, 180);
const LIMIT: RGBColor = RGBColor(160, 160, 160);
const INK: RGBColor = RGBColor(34, 34, 34);
const GRID: RGBColor = RGBColor(225, 225, 225);

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

/// A row of the chart.
struct Bar {
    title: String,
    peer: Option<(&'static str, f64)>,
    limit: Option<f64>,
}

/// Draws the ratios of a sheet.
pub fn draw(sheet: &Sheet, path: &Path) -> Result<()> {
    let bars: Vec<Bar> = sheet
        .lines
        .iter()
        .filter_map(|line| {
            line.subject()?;
            let (peer, limit) = (
                line.best_peer().map(|peer| (peer.server, peer.ratio)),
                line.limit().map(|limit| limit.ratio),
            );
            let finite = |ratio: f64| ratio.is_finite() && ratio > 0.0;
            let (peer, limit) =
                (peer.filter(|peer| finite(peer.1)), limit.filter(|limit| finite(*limit)));
            (peer.is_some() || limit.is_some()).then(|| Bar {
                title: line.figure.title.clone(),
                peer,
                limit,
            })
        })
        .collect();
    let height = u32::try_from(TOP + LINE * i32::try_from(bars.len())? + 20)?;
    let area = SVGBackend::new(path, (WIDTH, height)).into_drawing_area();
    draw_bars(&area, &bars).map_err(|error| anyhow!("cannot draw: {error}"))
}

type Drawn = std::result::Result<(), DrawingAreaErrorKind<std::io::Error>>;

fn draw_bars(area: &Area, bars: &[Bar]) -> Drawn {
    area.fill(&WHITE)?;
    draw_head(area)?;
    let bottom = TOP + LINE * bars.len() as i32;
    for ratio in [0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0] {
        let color = if ratio == 1.0 { INK } else { GRID };
        area.draw(&PathElement::new(vec![(place(ratio), TOP - 6), (place(ratio), bottom)], color))?;
        write(area, &format!("{ratio}"), (place(ratio), TOP - 16), HPos::Center, 12)?;
    }
    for (index, bar) in bars.iter().enumerate() {
        draw_bar(area, bar, TOP + LINE * index as i32)?;
    }
    area.present()
}

fn draw_head(area: &Area) -> Drawn {
    write(area, "plainftpd beside the best peer and the physical limit", (16, 22), HPos::Left, 18)?;
    write(area, "right of 1: plainftpd is better", (place(1.0) + 6, 46), HPos::Left, 12)?;
    for (left, color, text) in [(16, PEER, "to the best peer"), (150, LIMIT, "to the limit")] {
        area.draw(&Rectangle::new([(left, 41), (left + 12, 51)], color.filled()))?;
        write(area, text, (left + 18, 46), HPos::Left, 12)?;
    }
    Ok(())
}

fn draw_bar(area: &Area, bar: &Bar, top: i32) -> Drawn {
    write(area, &bar.title, (LEFT - 30, top + LINE / 2), HPos::Right, 12)?;
    let one = place(1.0);
    let limit = bar.limit.map(|ratio| (ratio, LIMIT, top + 15, top + 21));
    let peer = bar.peer.map(|(_, ratio)| (ratio, PEER, top + 4, top + 14));
    for (ratio, color, upper, lower) in [peer, limit].into_iter().flatten() {
        let end = place(ratio);
        area.draw(&Rectangle::new([(one.min(end), upper), (one.max(end), lower)], color.filled()))?;
    }
    if let Some((name, ratio)) = bar.peer {
        // To the right of both ends, because the titles are on the left.
        let at = (one.max(place(ratio)) + 5, top + 9);
        write(area, &format!("{} {name}", number(ratio)), at, HPos::Left, 11)?;
    }
    Ok(())
}

/// The position of a ratio on a logarithmic scale.
fn place(ratio: f64) -> i32 {
    let part = (ratio.clamp(1.0 / EDGE, EDGE).log(EDGE) + 1.0) / 2.0;
    LEFT + (part * f64::from(RIGHT - LEFT)).round() as i32
}

fn write(area: &Area, text: &str, at: (i32, i32), side: HPos, size: u32) -> Drawn {
    let style = TextStyle::from(("sans-serif", size).into_font())
        .color(&INK)
        .pos(Pos::new(side, VPos::Center));
    area.draw(&Text::new(text.to_string(), at, style))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ratio_of_one_is_in_the_middle_and_extremes_are_at_the_edges() {
        assert_eq!(place(1.0), i32::midpoint(LEFT, RIGHT));
        assert_eq!(place(0.0001), LEFT);
        assert_eq!(place(1e9), RIGHT);
    }
}
