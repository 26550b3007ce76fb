//! Commands on sessions and on the server: who, kick, stop, and the login of the owner.

use std::time::Duration;

use crate::config::STOP_WAIT;
use crate::reply::Reply;
use crate::session::{Outcome, Session};

use super::args::Args;
use super::{Command, Parsed};

/// `kick SESSION`.
pub fn parse_kick(args: Args<'_>) -> Parsed {
    args.first_number().map(Command::Kick)
}

/// `stop [SECONDS]`.
pub fn parse_stop(args: Args<'_>) -> Parsed {
    let wait = if args.bytes.trim_ascii().is_empty() {
        STOP_WAIT
    } else {
        // A day is the most that other settings allow.
        Duration::from_secs(args.first_number()?.min(86_400))
    };
    Ok(Command::Stop(wait))
}

/// `token TOKEN`, with the token of the control file. A wrong one ends the session. No throttle is
/// needed, because 256 random bits cannot be guessed.
pub fn token(session: &mut Session, token: &[u8]) -> Outcome {
    if !session.server.is_token(token) {
        session.leaving = true;
        return Err(Reply::new(421, "That is not the token in the file control.").into());
    }
    session.log_in_owner()?;
    Ok(Reply::new(230, "Welcome, owner of this server."))
}

/// `who`: a line per session.
pub fn who(session: &mut Session) -> Outcome {
    let lines = session.server.sessions.list(|number, activity| {
        let account = activity.account.as_deref().unwrap_or("-");
        let word = activity.word.unwrap_or("idle");
        let line = format!("{number} {account} {} {word} ", activity.peer);
        [line.as_bytes(), &activity.path].concat().trim_ascii_end().to_vec()
    });
    Ok(Reply::multi(211, "Session, account, address, what it does:", lines, "End."))
}

/// `kick SESSION`: ends a session, also its transfer.
pub fn kick(session: &mut Session, number: u64) -> Outcome {
    if number == session.slot.session {
        return Err(Reply::new(501, "That is your own session; leave it by quit.").into());
    }
    let ended = session.server.sessions.end(number, "An administrator has ended this session.");
    match ended {
        None => Err(Reply::new(550, format!("There is no session {number}.")).into()),
        Some(true) => Ok(Reply::new(200, format!("Session {number} has ended."))),
        Some(false) => {
            let text = "is disconnected, and ends when its command does.";
            Ok(Reply::new(200, format!("Session {number} {text}")))
        }
    }
}

/// `stop [SECONDS]`: stops the server; transfers may go on for `wait`.
pub fn stop(session: &mut Session, wait: Duration) -> Outcome {
    session.server.sessions.request_stop(wait);
    let text = format!("Stopping; transfers may go on for {} s.", wait.as_secs());
    Ok(Reply::new(200, text))
}
