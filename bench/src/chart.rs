//! The chart for README as an SVG: a few rows, each with a bar for plainftpd and one for the best
//! peer.

use std::path::Path;

use anyhow::{Context, Result, anyhow};
use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use crate::report::number;
use crate::sheet::{Better, Line, Sheet};

/// The rows of the chart, by the title of the figure, with the words that a newcomer reads.
const ROWS: [(&str, &str); 8] = [
    ("download, 1 client", "download of 1 GiB"),
    ("download, 1 client: server CPU", "the same: processor time"),
    ("upload, 1 client", "upload of 1 GiB"),
    ("4 KiB down, 16 clients", "small files down, 16 clients"),
    ("4 KiB up, 16 clients", "small files up, 16 clients"),
    ("connect + log in + quit, logged in before", "connect, log in, quit"),
    ("LIST of 100,000 files", "LIST of 100,000 files"),
    ("memory each of 10,000 idle clients", "memory of an idle client"),
];

const WIDTH: i32 = 860;
const ROW: i32 = 46;
const TOP: i32 = 64;
const FOOT: i32 = 58;
/// The left end of the bars, and the right end of the longest bar of a row.
const LEFT: i32 = 270;
const RIGHT: i32 = 620;

const OWN: RGBColor = RGBColor(15, 118, 110);
const PEER: RGBColor = RGBColor(148, 163, 184);
const INK: RGBColor = RGBColor(30, 41, 59);
const FAINT: RGBColor = RGBColor(71, 85, 105);

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type Drawn = std::result::Result<(), DrawingAreaErrorKind<std::io::Error>>;

/// A row of the chart: the medians of plainftpd and of the best peer.
struct Pair {
    title: String,
    unit: &'static str,
    own: f64,
    peer: f64,
    peer_name: &'static str,
    ratio: f64,
}

impl Pair {
    fn of(line: &Line, title: &str) -> Option<Pair> {
        let (own, peer) = (line.subject()?.median, line.best_peer()?);
        let note = if line.figure.better == Better::Lower { " (less is better)" } else { "" };
        Some(Pair {
            title: format!("{title}{note}"),
            unit: line.figure.unit,
            own,
            peer: peer.summary.median,
            peer_name: peer.server,
            ratio: peer.ratio,
        })
    }
}

/// Draws the rows that the sheet has. `notes` are the lines below them: the day, the machine and
/// the version.
pub fn draw(sheet: &Sheet, notes: &[String; 2], path: &Path) -> Result<()> {
    let pairs: Vec<Pair> = ROWS
        .iter()
        .filter_map(|(title, words)| {
            let line = sheet.lines.iter().find(|line| line.figure.title == *title)?;
            Pair::of(line, words)
        })
        .collect();
    let height = TOP + ROW * i32::try_from(pairs.len())? + FOOT;
    let size = (WIDTH as u32, u32::try_from(height).context("too many rows")?);
    let area = SVGBackend::new(path, size).into_drawing_area();
    draw_all(&area, &pairs, notes).map_err(|error| anyhow!("cannot draw: {error}"))
}

fn draw_all(area: &Area, pairs: &[Pair], notes: &[String; 2]) -> Drawn {
    // A ground of its own, so that the chart can be read in a dark page too.
    area.fill(&WHITE)?;
    write(area, "plainftpd beside the best other server", (20, 24), HPos::Left, (21, INK))?;
    for (left, color, text) in [(20, OWN, "plainftpd"), (130, PEER, "the best of the others")] {
        area.draw(&Rectangle::new([(left, 42), (left + 12, 54)], color.filled()))?;
        write(area, text, (left + 18, 48), HPos::Left, (14, INK))?;
    }
    for (pair, top) in pairs.iter().zip((TOP..).step_by(ROW as usize)) {
        draw_pair(area, pair, top)?;
    }
    let bottom = TOP + ROW * pairs.len() as i32;
    for (note, y) in notes.iter().zip([bottom + 20, bottom + 38]) {
        write(area, note, (20, y), HPos::Left, (12, FAINT))?;
    }
    area.present()
}

fn draw_pair(area: &Area, pair: &Pair, top: i32) -> Drawn {
    write(area, &pair.title, (LEFT - 12, top + 20), HPos::Right, (14, INK))?;
    let longest = pair.own.max(pair.peer);
    let bars = [(pair.own, OWN, top + 4, ""), (pair.peer, PEER, top + 21, pair.peer_name)];
    for (value, color, upper, name) in bars {
        let end = place(value / longest);
        area.draw(&Rectangle::new([(LEFT, upper), (end, upper + 15)], color.filled()))?;
        let text = format!("{} {} {name}", number(value), pair.unit);
        write(area, text.trim_end(), (end + 6, upper + 8), HPos::Left, (13, INK))?;
    }
    let verdict = format!("{}×", number(pair.ratio));
    let color = if pair.ratio < 1.0 { RED } else { OWN };
    write(area, &verdict, (WIDTH - 20, top + 20), HPos::Right, (17, color))
}

/// The right end of a bar whose value is this part of the longest one of its row.
fn place(part: f64) -> i32 {
    LEFT + (part.clamp(0.0, 1.0) * f64::from(RIGHT - LEFT)).round() as i32
}

fn write(
    area: &Area,
    text: &str,
    at: (i32, i32),
    side: HPos,
    (size, color): (u32, RGBColor),
) -> Drawn {
    let style = TextStyle::from(("sans-serif", size).into_font())
        .color(&color)
        .pos(Pos::new(side, VPos::Center));
    area.draw(&Text::new(text.to_string(), at, style))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::servers::Role;
    use crate::sheet::Figure;

    #[test]
    fn the_longest_bar_of_a_row_ends_where_there_is_room_for_its_number() {
        assert_eq!([place(0.0), place(1.0), place(7.0)], [LEFT, RIGHT, RIGHT]);
    }

    #[test]
    fn a_row_says_if_less_is_better_and_a_ratio_below_one_is_a_loss() {
        let mut sheet = Sheet::default();
        let figure = Figure::lower("LIST of 100,000 files", "s");
        sheet.record("plainftpd", Role::Subject, figure.clone(), 4.0);
        sheet.record("other", Role::Peer, figure, 2.0);
        let pair = Pair::of(&sheet.lines[0], "LIST").unwrap();
        assert_eq!((pair.title.as_str(), pair.ratio), ("LIST (less is better)", 0.5));
    }
}
