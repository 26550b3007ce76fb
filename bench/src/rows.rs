//! The rows of the table: what is measured, on which servers, and how often.

mod bulk;
mod commands;
mod growth;
mod idle;
mod listing;
mod small;
mod start;

use anyhow::Result;

use crate::places::Places;
use crate::scale::Scale;
use crate::servers::{Program, Role, Server};
use crate::sheet::{Figure, Sheet};
use crate::stub::Kind;

/// What a row needs besides its server.
pub struct Setting<'a> {
    pub places: &'a Places,
    pub scale: &'a Scale,
}

/// Measures one server.
pub struct Recorder<'a> {
    pub sheet: &'a mut Sheet,
    pub server: &'static str,
    pub role: Role,
}

impl Recorder<'_> {
    fn record(&mut self, figure: Figure, value: f64) {
        self.sheet.record(self.server, self.role, figure, value);
    }
}

/// How a row is measured.
#[derive(Clone, Copy)]
pub enum Measure {
    /// At a server that runs during the whole benchmark.
    Running(fn(&Setting, &Server, &mut Recorder) -> Result<()>),
    /// At a server that the row starts, because the row measures its memory or its start.
    Fresh(fn(&Setting, &dyn Program, &mut Recorder) -> Result<()>),
}

/// A row, or several rows that are measured together.
pub struct Row {
    /// The name of the row in `--only`.
    pub name: &'static str,
    /// The most rounds, for a row that takes long and differs little.
    pub rounds: usize,
    pub takes: fn(Role) -> bool,
    pub measure: Measure,
}

/// All rows, in the order of the table.
pub const ROWS: [Row; 17] = [
    row("download", sends, Measure::Running(bulk::download)),
    row("download-4", sends, Measure::Running(bulk::download_by_four)),
    row("upload", receives, Measure::Running(bulk::upload)),
    row("upload-4", receives, Measure::Running(bulk::upload_by_four)),
    row("small-down", speaks_ftp, Measure::Running(small::down)),
    row("small-up", speaks_ftp, Measure::Running(small::up)),
    row("inline-down", is_plainftpd, Measure::Running(small::inline_down)),
    row("inline-up", is_plainftpd, Measure::Running(small::inline_up)),
    row("noop", speaks_ftp, Measure::Running(commands::noop)),
    row("greeting", speaks_ftp, Measure::Running(commands::greeting)),
    row("login", speaks_ftp, Measure::Running(commands::log_in)),
    row("list", is_server, Measure::Running(listing::list)),
    row("mlsd", is_server, Measure::Running(listing::mlsd)),
    row("start", speaks_ftp, Measure::Fresh(start::start)),
    few("idle", speaks_ftp, Measure::Fresh(idle::idle)),
    few("folder-growth", is_plainftpd, Measure::Running(growth::folder)),
    few("accounts-growth", is_plainftpd, Measure::Fresh(growth::accounts)),
];

/// The number of rounds for the rows that take long.
const FEW: usize = 3;

const fn row(name: &'static str, takes: fn(Role) -> bool, measure: Measure) -> Row {
    Row { name, rounds: usize::MAX, takes, measure }
}

const fn few(name: &'static str, takes: fn(Role) -> bool, measure: Measure) -> Row {
    Row { name, rounds: FEW, takes, measure }
}

fn is_plainftpd(role: Role) -> bool {
    matches!(role, Role::Subject | Role::Baseline)
}

fn is_server(role: Role) -> bool {
    !matches!(role, Role::Limit(_))
}

fn speaks_ftp(role: Role) -> bool {
    is_server(role) || role == Role::Limit(Kind::Ftp)
}

fn sends(role: Role) -> bool {
    is_server(role) || matches!(role, Role::Limit(Kind::Sendfile | Kind::Copy))
}

fn receives(role: Role) -> bool {
    is_server(role) || role == Role::Limit(Kind::Receive)
}
