//! What the probe prints: one line per step, what differs, and the summary.

use std::fmt;
use std::io::{self, Write};
use std::time::Instant;

use crate::failure::{Failure, Result};

/// Counts the steps and prints them.
pub struct Report {
    number: usize,
    ok: usize,
    failed: usize,
    not_offered: usize,
    began: Instant,
}

impl Report {
    /// A report without steps.
    pub fn new() -> Report {
        Report { number: 0, ok: 0, failed: 0, not_offered: 0, began: Instant::now() }
    }

    /// Prints a heading.
    pub fn heading(&self, text: &str) {
        say(format_args!("{text}"));
    }

    /// Counts and prints a step. A failure is followed by the dialogue that led to it.
    pub fn step(&mut self, name: &str, result: &Result, dialogue: &[String]) {
        self.number += 1;
        let number = self.number;
        match result {
            Ok(()) => {
                self.ok += 1;
                say(format_args!("{number:4}  {name:62}  ok"));
            }
            Err(Failure::NotOffered(why)) => {
                self.not_offered += 1;
                say(format_args!("{number:4}  {name:62}  not offered ({why})"));
            }
            Err(Failure::Differs { expected, got }) => {
                self.failed += 1;
                say(format_args!("{number:4}  {name:62}  FAIL"));
                say(format_args!("        expected: {expected}"));
                say(format_args!("        got:      {got}"));
                dialogue.iter().for_each(|line| say(format_args!("          {line}")));
            }
        }
    }

    /// Prints the summary.
    pub fn summary(&self) {
        let seconds = self.began.elapsed().as_secs_f64();
        say(format_args!(
            "{} steps: {} ok, {} failed, {} not offered; {seconds:.1} s",
            self.number, self.ok, self.failed, self.not_offered
        ));
    }

    /// Whether no step failed.
    pub fn is_ok(&self) -> bool {
        self.failed == 0
    }
}

/// Prints a line. A reader that has gone does not end the probe, which must still remove its files.
fn say(line: fmt::Arguments) {
    let _ = writeln!(io::stdout(), "{line}");
}
