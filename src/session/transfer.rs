//! How content travels: over the control connection, or over a data connection; and the one place
//! where a transfer's end becomes a reply.

use std::fs::File;
use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use crate::config::{CHUNK, CONNECT_LIMIT, TICK};
use crate::control::{CANCELLED, Control, InlineBody, LineKind};
use crate::data::{Flow, NoData};
use crate::reply::Reply;
use crate::text;
use crate::transfer::{self, Ascii, End, LineEnds};
use crate::users::Role;
use crate::vfs::{Upload, Vfs, VirtualPath};

use super::{Failure, Session, is_worth_reading};

/// What the control connection brings while a transfer goes on.
struct ControlMonitor {
    since: Instant,
    last: Instant,
    aborted: bool,
    lost: Option<io::Error>,
    /// Since when the client is known to have sent all that it will send.
    ended: Option<Instant>,
}

impl ControlMonitor {
    fn new() -> ControlMonitor {
        let now = Instant::now();
        ControlMonitor { since: now, last: now, aborted: false, lost: None, ended: None }
    }

    /// Whether the transfer must stop. Looks now and then only: it is asked for every chunk.
    fn stops(&mut self, control: &mut Control, moved: u64) -> bool {
        if self.last.elapsed() < TICK / 2 {
            return false;
        }
        self.last = Instant::now();
        let mut asked = 0;
        let looked = control.look(&mut |kind, is_next| match kind {
            // A second one is answered when it has its turn.
            LineKind::Abort if !self.aborted => {
                self.aborted = true;
                true
            }
            // Behind other lines it waits, so that their answers come in order.
            LineKind::Status if is_next && !self.aborted => {
                asked += 1;
                true
            }
            _ => false,
        });
        let status = Reply::new(213, format!("{} so far.", text::bytes(moved))).encode();
        let answered =
            looked.and_then(|()| (0..asked).try_for_each(|_| control.write_all(&status)));
        let answered = answered.and_then(|()| control.flush());
        self.lost = answered.err();
        if control.has_ended() {
            self.ended.get_or_insert_with(Instant::now);
        }
        self.aborted || self.lost.is_some()
    }

    /// Why an upload whose content has ended must not replace a file: an ABOR has come, or the
    /// client has died. Its system then ends both of its connections, and nothing else tells that
    /// from the end of the content. Looks once more if nothing came within `patience`. Answers
    /// nothing.
    fn stop_before_replacing(
        &mut self,
        control: &mut Control,
        patience: Duration,
    ) -> Option<&'static str> {
        let since = Instant::now();
        loop {
            let looked = control.look(&mut |kind, _| {
                let is_first_abort = kind == LineKind::Abort && !self.aborted;
                self.aborted |= is_first_abort;
                is_first_abort
            });
            self.lost = looked.err();
            if self.aborted {
                return Some("ABOR came before the file was replaced");
            }
            if self.lost.is_some() || control.has_ended_without_quit() {
                return Some("the control connection ended before the file was replaced");
            }
            let left = patience.saturating_sub(since.elapsed());
            if left.is_zero() || !control.wait_for_input(left) {
                return None;
            }
        }
    }

    /// How long the end of the control connection may come behind the end of the data connection.
    /// Linux ends a dead program's connections in the order opposite to that of their descriptors,
    /// so the second end comes up to some milliseconds later. A short upload cannot wait for that,
    /// and is seldom the one during which a client dies.
    fn grace_at_end(&self) -> Duration {
        const LEAST: Duration = Duration::from_millis(5);
        const MOST: Duration = Duration::from_millis(100);
        let share = (self.since.elapsed() / 16).min(MOST);
        if share < LEAST { Duration::ZERO } else { share }
    }
}

impl Session {
    /// Does work on the files that may take long. It asks now and then whether to stop, with the
    /// bytes it has done, and then fails: ABOR stops it, and a client that ended its input a while
    /// ago, for it may wait for the answer, or be gone.
    pub fn run_cancellable<T>(
        &mut self,
        work: impl FnOnce(&Vfs, &mut dyn FnMut(u64) -> bool) -> io::Result<T>,
    ) -> Result<io::Result<T>, Failure> {
        let stall = self.server.config.stall_timeout;
        self.control.flush().map_err(Failure::Lost)?;
        let files = self.login.files()?;
        let control = &mut self.control;
        let mut monitor = ControlMonitor::new();
        let mut is_given_up = false;
        let done = work(files, &mut |moved| {
            let stopped = monitor.stops(control, moved);
            is_given_up = monitor.ended.is_some_and(|ended| ended.elapsed() >= stall);
            stopped || is_given_up
        });
        match done {
            Err(_) if monitor.aborted || monitor.lost.is_some() => Err(aborted(monitor)),
            Err(_) if is_given_up => {
                Err(Reply::new(426, "Client disconnected; operation cancelled.").into())
            }
            done => Ok(done),
        }
    }

    /// Opens the data connection that was set up; `by_hand` is the word that needs none.
    fn open_data(&mut self, flow: Flow, by_hand: &str) -> Result<TcpStream, Failure> {
        // The answer to PASV may still be on its way.
        self.control.flush().map_err(Failure::Lost)?;
        let patience = self.server.config.stall_timeout.min(CONNECT_LIMIT);
        let setup = std::mem::take(&mut self.settings.data);
        let mut monitor = ControlMonitor::new();
        let control = &mut self.control;
        let mut stop = || monitor.stops(control, 0) || control.has_ended();
        let why = match setup.open(self.peer, flow, patience, &mut stop) {
            Ok(stream) => return Ok(stream),
            Err(NoData::Unset) => {
                let text = format!(
                    "No data connection: send EPSV or PASV first; by hand, use \"{by_hand}\"."
                );
                return Err(Reply::new(425, text).because("no data connection was set up").into());
            }
            Err(NoData::Stopped) if monitor.aborted => return Err(Failure::Aborted),
            Err(NoData::Stopped) => "the client is gone".to_string(),
            Err(NoData::NobodyCame(port)) => {
                let seconds = patience.as_secs();
                format!(
                    "nobody connected to port {port} within {seconds} s; is it closed by a firewall?"
                )
            }
            Err(NoData::Unreachable(port, error)) => {
                format!("your port {port} could not be reached: {}", error.kind())
            }
            Err(NoData::Failed(error)) => format!("trouble on the server's side: {}", error.kind()),
        };
        let reply = Reply::new(425, format!("No data connection: {why}"));
        self.log_context.why = Some(why);
        Err(reply.into())
    }

    fn announce(&mut self, reply: &Reply) -> Result<(), Failure> {
        self.say(reply).and_then(|()| self.control.flush()).map_err(Failure::Lost)
    }

    /// Sends `source` over the data connection, which is closed when this returns. `size` is told
    /// to the client where it is known. Returns the bytes sent.
    pub fn send_data(
        &mut self,
        source: &mut dyn Read,
        size: Option<u64>,
        path: &VirtualPath,
        by_hand: &str,
    ) -> Result<u64, Failure> {
        let mut stream = self.open_data(Flow::Out, by_hand)?;
        let told = size.map_or(String::new(), |size| format!(" ({})", text::bytes(size)));
        let announcement = Reply::about(150, "Sending ", path.bytes(), &format!("{told}."));
        match size {
            // It travels with the 226, or with the first tick of a transfer that does not move.
            Some(..=GATHERED) => self.say(&announcement).map_err(Failure::Lost)?,
            _ => self.announce(&announcement)?,
        }
        let mut monitor = ControlMonitor::new();
        let stall = self.server.config.stall_timeout;
        let control = &mut self.control;
        let mut stop = |moved| monitor.stops(control, moved);
        let end = transfer::pump(
            source,
            &mut stream,
            chunk_for(size.unwrap_or(u64::MAX)),
            stall,
            &mut stop,
        );
        let sent = match end {
            End::Complete(sent) => sent,
            End::SourceFailed(error) => return Err(Reply::failure(path.bytes(), &error).into()),
            End::SinkFailed(error) => return Err(broken(&error, "").into()),
            End::TimedOut => return Err(self.stalled("").into()),
            End::Aborted => return Err(aborted(monitor)),
        };
        self.sent = self.sent.saturating_add(sent);
        self.log_context.bytes = Some(sent);
        Ok(sent)
    }

    /// Receives the data connection's content into `upload`; when this returns, the connection is
    /// closed and the file in its place. Returns the bytes stored.
    pub fn receive_data(
        &mut self,
        upload: Upload,
        path: &VirtualPath,
        by_hand: &str,
    ) -> Result<u64, Failure> {
        self.receive_data_as(upload, path, &Reply::about(150, "Send ", path.bytes(), "."), by_hand)
    }

    /// Like [`Session::receive_data`], with another 150 reply.
    pub fn receive_data_as(
        &mut self,
        mut upload: Upload,
        path: &VirtualPath,
        invitation: &Reply,
        by_hand: &str,
    ) -> Result<u64, Failure> {
        let mut stream = self.open_data(Flow::In, by_hand)?;
        self.announce(invitation)?;
        let mut monitor = ControlMonitor::new();
        let stall = self.server.config.stall_timeout;
        let ascii = self.settings.ascii;
        let control = &mut self.control;
        let mut stop = |moved| monitor.stops(control, moved);
        let mut pump =
            |source: &mut dyn Read| transfer::pump(source, &mut upload, CHUNK, stall, &mut stop);
        let end = match ascii {
            false => pump(&mut stream),
            true => pump(&mut Ascii::new(&mut stream, LineEnds::FromNetwork)),
        };
        let failure = match end {
            End::Complete(received) => {
                let patience = monitor.grace_at_end();
                let mut why = None;
                if upload.replaces() && !patience.is_zero() {
                    why = monitor.stop_before_replacing(&mut self.control, patience);
                }
                // The last look holds a lock.
                let stored = why.is_none()
                    && upload
                        .commit_if(&mut || {
                            why = monitor.stop_before_replacing(&mut self.control, Duration::ZERO);
                            why.is_none()
                        })
                        .map_err(|error| Reply::failure(path.bytes(), &error))?;
                if !stored {
                    return Err(self.not_replaced(monitor, path, why));
                }
                self.received = self.received.saturating_add(received);
                self.log_context.bytes = Some(received);
                return Ok(received);
            }
            End::SinkFailed(error) => return Err(Reply::failure(path.bytes(), &error).into()),
            end => end,
        };
        // Who may not resume it would only find its name taken.
        let may_resume = self.role() != Some(Role::Drop);
        let kept = match may_resume && upload.keep_partial() {
            true => " What came is kept, to go on from.",
            false => " Nothing was stored.",
        };
        Err(match failure {
            End::Aborted => aborted(monitor),
            End::SourceFailed(error) => broken(&error, kept).into(),
            _ => self.stalled(kept).into(),
        })
    }

    fn not_replaced(
        &mut self,
        monitor: ControlMonitor,
        path: &VirtualPath,
        why: Option<&'static str>,
    ) -> Failure {
        self.log_context.why = why.map(str::to_string);
        if monitor.aborted || monitor.lost.is_some() {
            return aborted(monitor);
        }
        let text = ": the control connection ended before the content did; the old file stays.";
        Reply::about(426, "", path.bytes(), text).into()
    }

    fn stalled(&self, kept: &str) -> Reply {
        let seconds = self.server.config.stall_timeout.as_secs();
        Reply::new(426, format!("Nothing moved for {seconds} s; the transfer was ended.{kept}"))
            .because("nothing moved for too long")
    }

    /// Sends `size` bytes of a file over the control connection: 150 with the count, exactly so
    /// many bytes, an empty line's end. Returns the bytes sent.
    pub fn send_inline(&mut self, file: File, size: u64) -> Result<u64, Failure> {
        self.say(&Reply::new(150, format!("{size} bytes follow."))).map_err(Failure::Lost)?;
        let mut source = file.take(size);
        let end = transfer::pump(
            &mut source,
            &mut self.control,
            chunk_for(size),
            self.server.config.stall_timeout,
            &mut |_| false,
        );
        match end {
            End::Complete(sent) if sent == size => {
                self.sent = self.sent.saturating_add(sent);
                self.log_context.bytes = Some(sent);
                self.say_raw(b"\r\n")?;
                Ok(sent)
            }
            // The count is promised and the bytes are missing: only the end of the connection can
            // tell the client.
            End::Complete(_) => Err(Failure::Lost(ErrorKind::UnexpectedEof.into())),
            End::SourceFailed(error) | End::SinkFailed(error) => Err(Failure::Lost(error)),
            End::TimedOut | End::Aborted => Err(Failure::Lost(ErrorKind::TimedOut.into())),
        }
    }

    /// Receives content over the control connection into `upload`, or throws it away where that is
    /// already refused. The content is consumed in either case, or the session ends. `fate` tells a
    /// person what becomes of lines that are typed. Returns the bytes stored.
    pub fn receive_inline(
        &mut self,
        upload: Result<Upload, Reply>,
        path: &VirtualPath,
        fate: &str,
    ) -> Result<u64, Failure> {
        let refused = |error: io::Error| Reply::failure(&path.shown(), &error);
        let Some(body) = self.body.take() else {
            return Err(Reply::new(501, "No content follows this line.").into());
        };
        let announced = match &body {
            InlineBody::Length(length) => *length,
            InlineBody::Text(text) => text.len() as u64 + 1,
            InlineBody::UntilDot | InlineBody::Unknown => 0,
        };
        let held = upload.and_then(|mut upload| match upload.expect(announced) {
            Ok(()) => Ok(upload),
            Err(error) => Err(refused(error)),
        });
        let mut upload = match held {
            Ok(upload) => upload,
            Err(reply) => {
                if is_worth_reading(&body) && !matches!(body, InlineBody::Text(_)) {
                    self.invite(&body, path, fate)?;
                }
                return Err(self.refuse_content(reply, body));
            }
        };
        self.invite(&body, path, fate)?;
        let (end, left) = self.pump_inline(&mut upload, &body);
        let received = match end {
            End::Complete(bytes) if left == InlineBody::Length(0) => bytes,
            End::Complete(_) => return Err(broken_off()),
            End::SinkFailed(error) => {
                drop(upload); // its space is free again before the client hears of it
                return Err(self.refuse_content(refused(error), left));
            }
            End::SourceFailed(error) if error.kind() == ErrorKind::InvalidData => {
                let reply = Reply::new(500, format!("{error}. Nothing was stored."))
                    .because(error.to_string());
                return Err(self.refuse_content(reply, left));
            }
            End::SourceFailed(error) if error.kind() == ErrorKind::UnexpectedEof => {
                return Err(broken_off());
            }
            End::SourceFailed(error) if error.kind() == CANCELLED => {
                return Err(Reply::new(426, "Cancelled. Nothing was stored.").into());
            }
            End::SourceFailed(error) => return Err(Failure::Lost(error)),
            End::TimedOut | End::Aborted => {
                self.leave();
                return Err(
                    Reply::new(421, "Silent for too long; closing. Nothing was stored.").into()
                );
            }
        };
        upload.commit().map_err(refused)?;
        self.received = self.received.saturating_add(received);
        self.log_context.bytes = Some(received);
        Ok(received)
    }

    /// Throws the content away that is still to come, so that `reply` is the answer to all of it.
    /// What is not worth reading is left to [`Session::refuse_body`].
    fn refuse_content(&mut self, reply: Reply, left: InlineBody) -> Failure {
        if !is_worth_reading(&left) {
            self.body = Some(left);
            return Failure::Refused(reply);
        }
        match self.control.discard(&left) {
            Ok(()) => Failure::Refused(reply),
            // The rest will not come; the client can be told nevertheless.
            Err(error) if error.kind() == ErrorKind::TimedOut => {
                self.leave();
                Failure::Refused(reply)
            }
            Err(error) => Failure::Lost(error),
        }
    }

    /// The 150 that tells a person that the server listens.
    fn invite(&mut self, body: &InlineBody, path: &VirtualPath, fate: &str) -> Result<(), Failure> {
        let reply = match body {
            InlineBody::Length(length) => {
                Reply::new(150, format!("Send {}.", text::bytes(*length)))
            }
            // People who type `upload FILE` mean a file of theirs; Ctrl-C cancels in telnet, and
            // ends nc.
            InlineBody::UntilDot => {
                let end =
                    ". Then type a line with only \".\"; or press Ctrl-C, and nothing is stored.";
                Reply::about(150, &format!("What you type now {fate} "), path.bytes(), end)
            }
            InlineBody::Text(_) | InlineBody::Unknown => Reply::new(150, "Storing the line."),
        };
        self.say(&reply).map_err(Failure::Lost)
    }

    /// Moves inline content; also returns what of it was not read.
    fn pump_inline(&mut self, upload: &mut Upload, body: &InlineBody) -> (End, InlineBody) {
        let mut pump = |source: &mut dyn Read, chunk| {
            // The control connection has waited its whole time-out when it ticks.
            transfer::pump(source, upload, chunk, Duration::ZERO, &mut |_| false)
        };
        match body {
            InlineBody::Text(text) => {
                let line = [text, &b"\n"[..]].concat();
                (pump(&mut line.as_slice(), line.len()), InlineBody::Length(0))
            }
            InlineBody::Length(length) => {
                let mut content = self.control.content(*length);
                let end = pump(&mut content, chunk_for(*length));
                (end, InlineBody::Length(content.left()))
            }
            InlineBody::UntilDot | InlineBody::Unknown => {
                let end = pump(&mut self.control.text(), CHUNK_OF_TEXT);
                let left = match end {
                    End::Complete(_) => InlineBody::Length(0),
                    _ => InlineBody::UntilDot,
                };
                (end, left)
            }
        }
    }
}

/// Content up to this many bytes is taken by the socket of a fresh data connection without a wait
/// (Linux begins with 16 KiB, and others with no less), so that its 150 needs no packet of its own.
const GATHERED: u64 = 8 * 1024;
/// Lines are handed on one by one.
const CHUNK_OF_TEXT: usize = 16 * 1024;

/// A buffer as large as the content, up to [`CHUNK`].
fn chunk_for(size: u64) -> usize {
    usize::try_from(size).unwrap_or(CHUNK).clamp(1, CHUNK)
}

fn broken_off() -> Failure {
    Reply::new(426, "The connection ended before the content did. Nothing was stored.").into()
}

fn broken(error: &io::Error, kept: &str) -> Reply {
    Reply::new(426, format!("The data connection broke: {}.{kept}", error.kind()))
        .because(format!("the data connection broke: {}", error.kind()))
}

/// Why the watch stopped the transfer: ABOR, or there is no client any more.
fn aborted(monitor: ControlMonitor) -> Failure {
    monitor.lost.map_or(Failure::Aborted, Failure::Lost)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_is_as_large_as_the_content_and_never_larger_than_a_chunk() {
        for (size, expected) in [(0, 1), (1, 1), (5000, 5000), (u64::MAX, CHUNK)] {
            assert_eq!(chunk_for(size), expected);
        }
    }
}
