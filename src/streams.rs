//! Standard output and standard error, written so that no session waits for them.
//!
//! If one is a pipe whose reader has stopped reading, a write waits for ever. So one thread writes,
//! and all others put their messages into a queue of bounded length. If the queue is full, the
//! message is dropped and counted.

use std::convert::Infallible;
use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::thread;
use std::time::Duration;

use crate::config::STACK_SIZE;
use crate::file_size_limit;

/// How long the end of a queue waits for its last messages to be written.
const LAST_WAIT: Duration = Duration::from_secs(1);

/// Standard error of the process. If it is a file, a write fails that would make the file too long.
#[derive(Debug)]
pub struct Stderr;

impl Write for Stderr {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        file_size_limit::check_stream(2, bytes.len() as u64)?;
        if cfg!(test) {
            // Unlike `stderr()`, this shows only what a failed test has written.
            eprint!("{}", String::from_utf8_lossy(bytes));
            return Ok(bytes.len());
        }
        io::stderr().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

/// The queue of messages for a stream, and the thread that writes them. Dropping it waits a moment
/// for the last messages, also if a server cannot start, so that its warnings are seen.
#[derive(Debug)]
pub struct MessageQueue {
    // Dropped first, which ends the thread.
    queue: SyncSender<Vec<u8>>,
    dropped: Arc<AtomicU64>,
    #[expect(dead_code, reason = "dropping it is its use")]
    last: LastMessage,
}

/// Dropping this waits until the other end is dropped.
#[derive(Debug)]
struct LastMessage(Receiver<Infallible>);

impl Drop for LastMessage {
    fn drop(&mut self) {
        let _ = self.0.recv_timeout(LAST_WAIT);
    }
}

impl MessageQueue {
    /// The queue for standard error. At most `length` messages wait.
    pub fn stderr(length: usize) -> io::Result<MessageQueue> {
        MessageQueue::start("stderr", length, |bytes| Stderr.write_all(bytes))
    }

    /// The queue for standard output, to which nothing is written before the gate, the returned
    /// sender, is dropped.
    pub fn stdout(length: usize) -> io::Result<(Sender<Infallible>, MessageQueue)> {
        let (gate, opened) = channel();
        let queue = MessageQueue::start("stdout", length, move |bytes| {
            let _ = opened.recv();
            file_size_limit::check_stream(1, bytes.len() as u64)?;
            io::stdout().write_all(bytes).and_then(|()| io::stdout().flush())
        })?;
        Ok((gate, queue))
    }

    /// Starts the thread `name`, which writes by `write`.
    fn start(
        name: &str,
        length: usize,
        mut write: impl FnMut(&[u8]) -> io::Result<()> + Send + 'static,
    ) -> io::Result<MessageQueue> {
        let (queue, messages) = sync_channel::<Vec<u8>>(length);
        let (written, last) = channel();
        let dropped = Arc::new(AtomicU64::new(0));
        let counter = Arc::clone(&dropped);
        let builder = thread::Builder::new().name(name.to_string()).stack_size(STACK_SIZE);
        builder.spawn(move || {
            for message in messages {
                // If this write fails, there is no other place for the message.
                let _ = write(&message);
                let missing = counter.swap(0, Ordering::Relaxed);
                if missing > 0 {
                    let text =
                        format!("{missing} messages were dropped, because nothing read them");
                    let _ = write(&message_of(text.as_bytes()));
                }
            }
            drop(written);
        })?;
        Ok(MessageQueue { queue, dropped, last: LastMessage(last) })
    }

    /// Puts one line into the queue, without waiting, after the name of the program. `text` must
    /// not hold a line end.
    pub fn say(&self, text: &[u8]) {
        if !self.push(message_of(text)) {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Puts bytes into the queue, without waiting. Returns whether there was room.
    pub fn push(&self, line: Vec<u8>) -> bool {
        self.queue.try_send(line).is_ok()
    }
}

fn message_of(text: &[u8]) -> Vec<u8> {
    [b"plainftpd: ", text, b"\n"].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUEUE: usize = 64;

    #[test]
    fn no_session_waits_for_a_reader_that_has_stopped_and_dropped_messages_are_counted() {
        let ((begun, writes), (release, go)) = (channel(), channel::<()>());
        // Reports each write when it begins, and ends it only when `go` says so.
        let write = move |bytes: &[u8]| {
            let _ = begun.send(String::from_utf8_lossy(bytes).into_owned());
            let _ = go.recv();
            Ok(())
        };
        let stderr = MessageQueue::start("slow", QUEUE, write).unwrap();
        stderr.say(b"first");
        assert_eq!(writes.recv().unwrap(), "plainftpd: first\n");
        // The writer is blocked: the queue takes what fits, and the other messages are dropped.
        (0..QUEUE + 7).for_each(|n| stderr.say(n.to_string().as_bytes()));
        drop(release);
        let mut written = String::new();
        drop(stderr);
        writes.iter().for_each(|text| written.push_str(&text));
        assert!(
            written.starts_with("plainftpd: 7 messages were dropped, because nothing read them\n"),
            "{written}"
        );
        assert!(written.ends_with(&format!("plainftpd: {}\n", QUEUE - 1)), "{written}");
        assert_eq!(written.lines().count(), QUEUE + 1);
    }
}
