//! The results as Markdown and as JSON.

use std::fmt::Write;

use serde_json::{Value, json};

use crate::machine::Machine;
use crate::sheet::{Beside, Better, Column, Sheet};
use crate::stats::Summary;

/// The two tables and the notes, as Markdown.
pub fn markdown(sheet: &Sheet, machine: &Machine, rounds: usize) -> String {
    let mut text = format!("{machine}. Rounds, interleaved: {rounds}.\n\n");
    text += "Median (minimum … maximum). If a ratio is above 1, plainftpd is better, also if a \
             lower figure is better.\n\n";
    text += &table(
        &["work", "unit", "plainftpd", "best peer", "ratio", "limit", "ratio"],
        comparison(sheet),
    );
    text += "\nAll servers:\n\n";
    text += &table(&["work", "unit", "server", "median", "minimum", "maximum"], details(sheet));
    if !sheet.notes.is_empty() {
        text += "\nWhat is missing:\n\n";
        for note in &sheet.notes {
            let _ = writeln!(text, "- {note}");
        }
    }
    text
}

fn comparison(sheet: &Sheet) -> Vec<Vec<String>> {
    let beside = |beside: Option<Beside>| match beside {
        Some(beside) => [
            format!("{} {}", beside.server, spread(&beside.summary)),
            format!("{:.2}", beside.ratio),
        ],
        None => ["–".to_string(), "–".to_string()],
    };
    let compared = sheet.lines.iter().filter_map(|line| {
        let mut cells =
            vec![line.figure.title.clone(), line.figure.unit.to_string(), spread(&line.subject()?)];
        cells.extend(beside(line.best_peer()));
        cells.extend(beside(line.limit()));
        Some(cells)
    });
    compared.collect()
}

fn details(sheet: &Sheet) -> Vec<Vec<String>> {
    let mut rows = Vec::new();
    for line in &sheet.lines {
        for Column { server, values, .. } in &line.columns {
            let Some(summary) = Summary::of(values) else { continue };
            let mut cells = vec![
                line.figure.title.clone(),
                line.figure.unit.to_string(),
                (*server).to_string(),
            ];
            cells.extend([summary.median, summary.min, summary.max].map(number));
            rows.push(cells);
        }
    }
    rows
}

fn spread(summary: &Summary) -> String {
    let Summary { min, median, max } = *summary;
    format!("{} ({} … {})", number(median), number(min), number(max))
}

/// A number with three significant digits, or with all digits before the point.
pub fn number(value: f64) -> String {
    let whole = value.fract() == 0.0;
    let digits = if whole { 0 } else { 2 - value.abs().log10().floor() as i32 };
    let decimals = usize::try_from(digits.clamp(0, 4)).unwrap_or(0);
    let text = format!("{value:.decimals$}");
    let (whole, fraction) =
        text.split_once('.').map_or((&*text, ""), |(whole, _)| (whole, &text[whole.len()..]));
    let mut grouped = String::new();
    for (index, digit) in whole.chars().enumerate() {
        if index > 0 && digit != '-' && (whole.len() - index).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped + fraction
}

/// A Markdown table with aligned columns.
fn table(heads: &[&str], rows: Vec<Vec<String>>) -> String {
    let length = |text: &str| text.chars().count();
    let mut widths: Vec<usize> = heads.iter().map(|head| length(head)).collect();
    for (cell, width) in
        rows.iter().flat_map(|row| row.iter().enumerate().map(|(at, cell)| (cell, at)))
    {
        if let Some(width) = widths.get_mut(width) {
            *width = (*width).max(length(cell));
        }
    }
    let line = |cells: &mut dyn Iterator<Item = &str>| {
        let padded = cells.zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
        format!("| {} |\n", padded.collect::<Vec<_>>().join(" | "))
    };
    let rule: Vec<String> = widths.iter().map(|width| "-".repeat(*width)).collect();
    let mut text = line(&mut heads.iter().copied());
    text += &line(&mut rule.iter().map(String::as_str));
    for row in &rows {
        text += &line(&mut row.iter().map(String::as_str));
    }
    text
}

/// All figures of all rounds, as JSON.
pub fn json(sheet: &Sheet, machine: &Machine, rounds: usize) -> Value {
    let figures = sheet.lines.iter().map(|line| {
        let values = |column: &Column| (column.server.to_string(), json!(column.values));
        let servers = line.columns.iter().map(values);
        let better = match line.figure.better {
            Better::Higher => "higher",
            Better::Lower => "lower",
        };
        json!({
            "work": line.figure.title,
            "unit": line.figure.unit,
            "better": better,
            "servers": servers.collect::<serde_json::Map<_, _>>(),
        })
    });
    json!({
        "machine": machine.to_string(),
        "rounds": rounds,
        "figures": figures.collect::<Vec<_>>(),
        "missing": sheet.notes,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::servers::Role;
    use crate::sheet::Figure;

    #[test]
    fn numbers_have_three_significant_digits() {
        for (value, text) in [
            (0.0, "0"),
            (10.0, "10"),
            (0.1574, "0.157"),
            (0.0123, "0.0123"),
            (4.064, "4.06"),
            (23.46, "23.5"),
            (999.6, "1,000"),
            (1_230_000.4, "1,230,000"),
            (-0.5, "-0.500"),
        ] {
            assert_eq!(number(value), text);
        }
    }

    #[test]
    fn a_table_is_markdown_and_aligned() {
        let rows =
            vec![vec!["a".to_string(), "long".to_string()], vec!["…".to_string(), "x".to_string()]];
        assert_eq!(
            table(&["one", "2"], rows),
            "| one | 2    |\n| --- | ---- |\n| a   | long |\n| …   | x    |\n"
        );
    }

    #[test]
    fn a_figure_that_only_plainftpd_has_stands_alone() {
        let mut sheet = Sheet::default();
        sheet.record("plainftpd", Role::Subject, Figure::higher("get", "files/s"), 7.0);
        let cells = comparison(&sheet).remove(0);
        assert_eq!(cells, ["get", "files/s", "7 (7 … 7)", "–", "–", "–", "–"]);
    }
}
