//! Replies: a code and text for a person (RFC 959 §4.2), and the one table that turns an
//! [`io::Error`] into a reply.

use std::borrow::Cow;
use std::io::{self, ErrorKind};

use crate::text;

/// The reply to a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    pub code: u16,
    text: Vec<u8>,
    /// The reason for the log: in the server's own words, without anything that the client typed.
    why: Option<Cow<'static, str>>,
    /// The lines after the first. Boxed, because nearly every function returns a reply, and few
    /// replies have several lines.
    more: Option<Box<More>>,
}

/// The text of a reply, and the reason for the log if the text may be logged.
#[derive(Debug)]
pub struct Text {
    bytes: Vec<u8>,
    why: Option<Cow<'static, str>>,
}

/// A text in the source was not typed by a client, so it may be logged.
impl From<&'static str> for Text {
    fn from(text: &'static str) -> Text {
        Text { bytes: text.as_bytes().to_vec(), why: Some(Cow::Borrowed(text)) }
    }
}

impl From<String> for Text {
    fn from(text: String) -> Text {
        Text { bytes: text.into_bytes(), why: None }
    }
}

impl From<Vec<u8>> for Text {
    fn from(bytes: Vec<u8>) -> Text {
        Text { bytes, why: None }
    }
}

/// The lines of a reply after the first.
#[derive(Debug, Clone, PartialEq, Eq)]
struct More {
    lines: Vec<Vec<u8>>,
    closing: Vec<u8>,
}

impl Reply {
    /// A reply of one line. Control characters in `text` become `?`, so no name can end the line. A
    /// text that is made at run time may contain what the client typed, even a password, so it is
    /// not logged: see [`Reply::because`].
    pub fn new(code: u16, text: impl Into<Text>) -> Reply {
        let Text { bytes, why } = text.into();
        let text = match text::sanitized(&bytes) {
            Cow::Borrowed(_) => bytes,
            Cow::Owned(shown) => shown,
        };
        Reply { code, text, why, more: None }
    }

    /// Sets the reason for the log. It must contain nothing that the client typed.
    pub fn because(self, why: impl Into<Cow<'static, str>>) -> Reply {
        Reply { why: Some(why.into()), ..self }
    }

    /// The reason for the log.
    pub fn why(&self) -> Option<&str> {
        self.why.as_deref()
    }

    /// A reply about a path. Its text is `before`, the path, `after`.
    pub fn about(code: u16, before: &str, path: &[u8], after: &str) -> Reply {
        let reply = Reply::new(code, [before.as_bytes(), path, after.as_bytes()].concat());
        if code < 400 {
            return reply; // nothing was refused
        }
        let why = format!("{before}{after}");
        reply.because(why.trim_start_matches([':', ' ']).trim_end_matches('.').to_string())
    }

    /// A reply of several lines: `text` is the first, `closing` the last. The lines between begin
    /// with a space, so none of them looks like the last (RFC 959 §4.2).
    pub fn multi(
        code: u16,
        text: impl Into<Text>,
        lines: impl IntoIterator<Item = impl AsRef<[u8]>>,
        closing: &str,
    ) -> Reply {
        let lines =
            lines.into_iter().map(|line| text::sanitized(line.as_ref()).into_owned()).collect();
        let more = More { lines, closing: closing.as_bytes().to_vec() };
        Reply { more: Some(Box::new(more)), ..Reply::new(code, text) }
    }

    /// Adds `more` to the first line.
    pub fn and(mut self, more: &str) -> Reply {
        self.text.extend_from_slice(more.as_bytes());
        self
    }

    /// The reply to a failed operation on `path`.
    pub fn failure(path: &[u8], error: &io::Error) -> Reply {
        let (code, cause) = cause_of(error);
        Reply::about(code, "", path, &format!(": {cause}."))
    }

    /// The reply to a failed operation that is not about a path.
    pub fn trouble(error: &io::Error) -> Reply {
        let (code, cause) = cause_of(error);
        Reply::new(code, format!("{cause}.")).because(cause)
    }

    /// The bytes on the wire.
    pub fn encode(&self) -> Vec<u8> {
        let code = self.code.to_string().into_bytes();
        let Some(more) = &self.more else {
            return [&code, &b" "[..], &self.text, b"\r\n"].concat();
        };
        let mut bytes = [&code, &b"-"[..], &self.text, b"\r\n"].concat();
        for line in &more.lines {
            bytes.extend_from_slice(&[b" ", line.as_slice(), b"\r\n"].concat());
        }
        bytes.extend_from_slice(&[&code, &b" "[..], &more.closing, b"\r\n"].concat());
        bytes
    }
}

/// The code and the cause in words. An error with a custom text comes from this server, and the
/// text names nothing of the host. The system's texts are not shown.
fn cause_of(error: &io::Error) -> (u16, String) {
    let (code, words) = match error.kind() {
        ErrorKind::NotFound => (550, "no such file or folder"),
        ErrorKind::PermissionDenied => (550, "not allowed"),
        ErrorKind::AlreadyExists => (550, "exists already"),
        ErrorKind::NotADirectory => (550, "not a folder"),
        ErrorKind::IsADirectory => (550, "a folder, not a file"),
        ErrorKind::DirectoryNotEmpty => (550, "the folder is not empty"),
        ErrorKind::InvalidInput => (550, "not possible"),
        ErrorKind::ReadOnlyFilesystem => (550, "the disk is read-only"),
        ErrorKind::CrossesDevices => (550, "it is on another disk"),
        ErrorKind::TooManyLinks => (550, "the folder holds too many folders"),
        ErrorKind::ResourceBusy | ErrorKind::ExecutableFileBusy => (450, "busy; try again"),
        ErrorKind::StorageFull => (452, "the disk is full"),
        ErrorKind::QuotaExceeded => (552, "the quota is used up"),
        ErrorKind::FileTooLarge => (552, "too large for the disk"),
        ErrorKind::NotSeekable => (554, "the transfer would begin beyond the end"),
        ErrorKind::InvalidFilename => (553, "the name is too long or not allowed"),
        _ => (451, "a failure of the server"),
    };
    match (error.get_ref(), error.raw_os_error()) {
        (Some(ours), _) => (code, ours.to_string()),
        (None, Some(number)) if code == 451 => (code, format!("{words} (system error {number})")),
        _ => (code, words.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_and_many_lines_are_framed_as_rfc_959_says() {
        assert_eq!(Reply::new(200, "Fine.").encode(), b"200 Fine.\r\n");
        let lines = vec![b"200 not the end".to_vec(), b"x".to_vec()];
        assert_eq!(
            Reply::multi(212, "/:", lines, "2 entries.").encode(),
            b"212-/:\r\n 200 not the end\r\n x\r\n212 2 entries.\r\n"
        );
        assert_eq!(Reply::multi(212, "/:", [""; 0], "0.").encode(), b"212-/:\r\n212 0.\r\n");
    }

    #[test]
    fn the_reason_for_the_log_has_only_the_servers_own_words() {
        let why = |reply: Reply| reply.why().map(str::to_string);
        assert_eq!(why(Reply::new(530, "Wrong password.")).as_deref(), Some("Wrong password."));
        assert_eq!(why(Reply::new(500, format!("Unknown command \"{}\".", "secret"))), None);
        assert_eq!(why(Reply::new(500, b"secret".to_vec())), None);
        let unknown = Reply::new(500, "secret".to_string()).because("unknown command");
        assert_eq!(why(unknown).as_deref(), Some("unknown command"));
        assert_eq!(
            why(Reply::about(550, "", b"/secret", ": nothing matches")).as_deref(),
            Some("nothing matches")
        );
        let missing = Reply::failure(b"/secret", &ErrorKind::NotFound.into());
        assert_eq!(why(missing).as_deref(), Some("no such file or folder"));
    }

    #[test]
    fn no_name_can_end_a_reply_early() {
        let reply = Reply::about(550, "", b"/x\r\n226 done\x1b", ": no.");
        assert_eq!(reply.encode(), b"550 /x??226 done?: no.\r\n");
    }

    #[test]
    fn failures_become_the_codes_that_clients_act_on() {
        for (kind, line) in [
            (ErrorKind::NotFound, "550 /x: no such file or folder.\r\n"),
            (ErrorKind::StorageFull, "452 /x: the disk is full.\r\n"),
            (ErrorKind::QuotaExceeded, "552 /x: the quota is used up.\r\n"),
            (ErrorKind::InvalidFilename, "553 /x: the name is too long or not allowed.\r\n"),
            (ErrorKind::ResourceBusy, "450 /x: busy; try again.\r\n"),
        ] {
            assert_eq!(Reply::failure(b"/x", &kind.into()).encode(), line.as_bytes());
        }
        let out_of_descriptors = io::Error::from_raw_os_error(24);
        assert_eq!(
            Reply::failure(b"/x", &out_of_descriptors).encode(),
            b"451 /x: a failure of the server (system error 24).\r\n"
        );
        let ours = io::Error::new(ErrorKind::InvalidInput, "a folder cannot go into itself");
        assert_eq!(
            Reply::failure(b"/x", &ours).encode(),
            b"550 /x: a folder cannot go into itself.\r\n"
        );
    }
}
