//! The health check: is the server there, and does an account work?

use crate::account::random_name;
use crate::failure::{Result, same};
use crate::report::Report;
use crate::session::{Session, Target};

/// Runs the steps of the health check; those in an account only if there is one.
pub fn run(target: &Target, report: &mut Report) {
    let connected = Session::connect(target);
    let Some(mut session) = opened(report, "the server greets", connected) else { return };
    // Some servers answer nothing but a login with 2xx before it.
    step(report, &mut session, "NOOP is answered", |session| {
        session.ask("NOOP", "2xx|530").map(drop)
    });
    step(report, &mut session, "QUIT is 221", |session| session.ask("QUIT", "221").map(drop));
    if !target.name.is_empty() {
        run_in_account(target, report);
    }
}

fn run_in_account(target: &Target, report: &mut Report) {
    let logged_in = Session::log_in(target);
    let Some(mut session) = opened(report, "USER and PASS log in", logged_in) else { return };
    let name = random_name("plainftpd-probe");
    let content = name.repeat(40).into_bytes();
    step(report, &mut session, "a listing", |session| session.lines("LIST").map(drop));
    let stored = step(report, &mut session, "a small file is stored", |session| {
        session.store(format!("STOR {name}"), &content)
    });
    if !stored {
        // A part of it may be there.
        let _ = session.try_ask(format!("DELE {name}"));
        return;
    }
    step(report, &mut session, "it comes back unchanged", |session| {
        same(&content, &session.fetch(format!("RETR {name}"))?)
    });
    step(report, &mut session, "it is deleted", |session| {
        session.ask(format!("DELE {name}"), "250").map(drop)
    });
}

/// Reports whether a session could be opened.
fn opened<'a>(report: &mut Report, name: &str, opened: Result<Session<'a>>) -> Option<Session<'a>> {
    match opened {
        Ok(session) => {
            report.step(name, &Ok(()), &[]);
            Some(session)
        }
        Err(failure) => {
            report.step(name, &Err(failure), &[]);
            None
        }
    }
}

fn step<'a>(
    report: &mut Report,
    session: &mut Session<'a>,
    name: &str,
    run: impl FnOnce(&mut Session<'a>) -> Result,
) -> bool {
    let result = run(session);
    report.step(name, &result, &session.dialogue());
    result.is_ok()
}
