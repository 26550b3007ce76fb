//! All figures, and how plainftpd compares with the best peer and with the limit.

use std::collections::BTreeSet;

use crate::servers::Role;
use crate::stats::Summary;

/// Whether higher or lower values are better.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Better {
    Higher,
    Lower,
}

/// The quantity that is measured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Figure {
    pub title: String,
    pub unit: &'static str,
    pub better: Better,
}

impl Figure {
    pub fn higher(title: impl Into<String>, unit: &'static str) -> Figure {
        Figure { title: title.into(), unit, better: Better::Higher }
    }

    pub fn lower(title: impl Into<String>, unit: &'static str) -> Figure {
        Figure { title: title.into(), unit, better: Better::Lower }
    }
}

/// The values of one server, one per round.
#[derive(Debug, Clone)]
pub struct Column {
    pub server: &'static str,
    pub role: Role,
    pub values: Vec<f64>,
}

/// The values of all servers for one row.
#[derive(Debug, Clone)]
pub struct Line {
    pub figure: Figure,
    pub columns: Vec<Column>,
}

/// A server's summary, and plainftpd's median compared with it. A ratio above 1 always means that
/// plainftpd is better.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Beside {
    pub server: &'static str,
    pub summary: Summary,
    pub ratio: f64,
}

/// The figures in the order in which they were first measured.
#[derive(Debug, Default)]
pub struct Sheet {
    pub lines: Vec<Line>,
    pub notes: BTreeSet<String>,
}

impl Sheet {
    pub fn record(&mut self, server: &'static str, role: Role, figure: Figure, value: f64) {
        let Some(line) = self.lines.iter_mut().find(|line| line.figure == figure) else {
            let columns = vec![Column { server, role, values: vec![value] }];
            return self.lines.push(Line { figure, columns });
        };
        match line.columns.iter_mut().find(|column| column.server == server) {
            Some(column) => column.values.push(value),
            None => line.columns.push(Column { server, role, values: vec![value] }),
        }
    }

    /// Adds a note that says why a figure is missing.
    pub fn note(&mut self, text: String) {
        self.notes.insert(text);
    }
}

impl Line {
    pub fn subject(&self) -> Option<Summary> {
        let column = self.columns.iter().find(|column| column.role == Role::Subject)?;
        Summary::of(&column.values)
    }

    pub fn best_peer(&self) -> Option<Beside> {
        self.best(|role| role == Role::Peer)
    }

    pub fn limit(&self) -> Option<Beside> {
        self.best(|role| matches!(role, Role::Limit(_)))
    }

    fn best(&self, among: impl Fn(Role) -> bool) -> Option<Beside> {
        let columns = self.columns.iter().filter(|column| among(column.role));
        let summaries =
            columns.filter_map(|column| Some((column.server, Summary::of(&column.values)?)));
        let (server, summary) = match self.figure.better {
            Better::Higher => summaries.max_by(|a, b| a.1.median.total_cmp(&b.1.median)),
            Better::Lower => summaries.min_by(|a, b| a.1.median.total_cmp(&b.1.median)),
        }?;
        let own = self.subject()?.median;
        let ratio = match self.figure.better {
            Better::Higher => own / summary.median,
            Better::Lower => summary.median / own,
        };
        Some(Beside { server, summary, ratio })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stub::Kind;

    fn sheet(figure: &Figure) -> Sheet {
        let mut sheet = Sheet::default();
        for (server, role, values) in [
            ("plainftpd", Role::Subject, [10.0, 20.0, 30.0]),
            ("a", Role::Peer, [5.0, 5.0, 50.0]),
            ("b", Role::Peer, [40.0, 40.0, 1.0]),
            ("stub", Role::Limit(Kind::Ftp), [100.0, 80.0, 90.0]),
        ] {
            for value in values {
                sheet.record(server, role, figure.clone(), value);
            }
        }
        sheet
    }

    #[test]
    fn the_best_peer_has_the_best_median() {
        let sheet = sheet(&Figure::higher("x", "files/s"));
        let best = sheet.lines[0].best_peer().unwrap();
        assert_eq!((best.server, best.ratio), ("b", 0.5));
        assert_eq!(sheet.lines[0].limit().unwrap().ratio, 20.0 / 90.0);
    }

    #[test]
    fn if_less_is_better_a_ratio_above_one_is_still_better() {
        let sheet = sheet(&Figure::lower("x", "s"));
        let best = sheet.lines[0].best_peer().unwrap();
        assert_eq!((best.server, best.ratio), ("a", 0.25));
    }

    #[test]
    fn a_figure_without_plainftpd_has_no_ratio() {
        let mut sheet = Sheet::default();
        sheet.record("a", Role::Peer, Figure::higher("x", "s"), 1.0);
        assert_eq!(sheet.lines[0].best_peer(), None);
    }
}
