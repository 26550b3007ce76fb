//! The log line of a command.
//!
//! A password may have been typed in any place of a line. So the log has only words of the table,
//! paths that exist, and reasons in the server's own words. Each session has a budget for lines
//! that cost the client nothing.

use std::time::Instant;

use crate::reply::Reply;
use crate::session::{LogShare, Session};
use crate::vfs::VirtualPath;

use super::table::CommandInfo;

/// Writes the line of a command that began at `since` and ended with `reply`, if the session's
/// budget allows another line. `had_account`: the client was logged in when the command began.
pub fn log_command(
    session: &mut Session,
    info: Option<&CommandInfo>,
    reply: &Reply,
    since: Instant,
    had_account: bool,
) {
    let is_refused = reply.code >= 400;
    let share = share_of(session, is_refused, had_account);
    if !session.may_log(share) {
        return;
    }
    let is_failed_login = session.log_context.failed_login.is_some();
    let mut line = session.line(if is_failed_login { "login-failed" } else { "command" });
    // A failed login names its account by `user`, as other lines do.
    let is_user = is_failed_login && session.account().is_none();
    if let Some(account) = session.log_context.account.as_ref().filter(|_| is_user) {
        line = line.with("user", account);
    }
    line = line.with("word", info.map_or("unknown", |info| info.name));
    if let Some(account) = session.log_context.account.as_ref().filter(|_| !is_failed_login) {
        line = line.with("account", account);
    }
    for (key, path) in [("path", &session.log_context.path), ("to", &session.log_context.to)] {
        // A path that does not exist may have been a password.
        let is_known = |path: &&VirtualPath| {
            !is_refused || session.files().is_ok_and(|files| files.entry(path).is_ok())
        };
        if let Some(path) = path.as_ref().filter(is_known) {
            line = line.with(key, path.bytes());
        }
    }
    if let Some(bytes) = session.log_context.bytes {
        line = line.number("bytes", bytes);
    }
    if let Some(why) = session.log_context.why.as_deref().or(reply.why().filter(|_| is_refused)) {
        line = line.with("why", why);
    }
    let milliseconds = u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX);
    session.log(line.number("code", reply.code.into()).number("ms", milliseconds), share);
}

/// The share that the line counts towards.
fn share_of(session: &Session, is_refused: bool, had_account: bool) -> LogShare {
    match session.log_context.failed_login {
        Some(share) => share,
        None if !session.had_account() && session.account().is_some() && !is_refused => {
            LogShare::UnauthenticatedOnce
        }
        None if !session.had_account() => LogShare::Unauthenticated,
        None if !had_account && session.account().is_none() => LogShare::Unauthenticated,
        None if is_refused => LogShare::Refusal,
        None => LogShare::Unlimited,
    }
}
