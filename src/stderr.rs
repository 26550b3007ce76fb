//! Standard error, written so that no session waits for it.
//!
//! If standard error is a pipe whose reader has stopped reading, a write waits for ever. So one
//! thread writes, and all others put their messages into a queue of bounded length. If the queue is
//! full, the message is dropped and counted.

use std::convert::Infallible;
use std::io::{self, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, channel, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use crate::config::STACK_SIZE;
use crate::file_size_limit;

/// The most messages that wait for the writer.
const QUEUE: usize = 64;
/// How long the end of the process waits for the last messages to be written.
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

/// The queue of messages for standard error, and the thread that writes them.
#[derive(Debug)]
pub struct MessageQueue {
    /// `None` only while the struct is dropped.
    queue: Option<SyncSender<Vec<u8>>>,
    dropped: Arc<AtomicU64>,
    /// Disconnected when the writing thread has ended.
    ended: Mutex<Receiver<Infallible>>,
}

impl MessageQueue {
    /// Starts the thread that writes to `sink`.
    pub fn start(sink: impl Write + Send + 'static) -> io::Result<MessageQueue> {
        let (queue, messages) = sync_channel(QUEUE);
        let (end, ended) = channel::<Infallible>();
        let dropped = Arc::new(AtomicU64::new(0));
        let counter = Arc::clone(&dropped);
        let builder = thread::Builder::new().name("stderr".to_string()).stack_size(STACK_SIZE);
        builder.spawn(move || {
            write_messages(sink, &messages, &counter);
            drop(end);
        })?;
        Ok(MessageQueue { queue: Some(queue), dropped, ended: Mutex::new(ended) })
    }

    /// Puts one line into the queue, without waiting. `text` must not hold a line end.
    pub fn say(&self, text: &[u8]) {
        let line = [b"plainftpd: ", text, b"\n"].concat();
        if self.queue.as_ref().is_none_or(|queue| queue.try_send(line).is_err()) {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Waits a moment for the writer, so that a server that cannot start still shows its warnings.
impl Drop for MessageQueue {
    fn drop(&mut self) {
        self.queue = None;
        let ended = self.ended.get_mut().unwrap_or_else(PoisonError::into_inner);
        let _ = ended.recv_timeout(LAST_WAIT);
    }
}

fn write_messages(mut sink: impl Write, messages: &Receiver<Vec<u8>>, dropped: &AtomicU64) {
    for message in messages {
        // If this write fails, there is no other place for the message.
        let _ = sink.write_all(&message);
        let missing = dropped.swap(0, Ordering::Relaxed);
        if missing > 0 {
            let _ = writeln!(
                sink,
                "plainftpd: {missing} messages were dropped, because nothing read them"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::Sender;

    /// Reports each write when it begins, and ends it only when `go` says so.
    struct Slow {
        begun: Sender<String>,
        go: Receiver<()>,
    }

    impl Write for Slow {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let _ = self.begun.send(String::from_utf8_lossy(bytes).into_owned());
            let _ = self.go.recv();
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn no_session_waits_for_a_reader_that_has_stopped_and_dropped_messages_are_counted() {
        let ((begun, writes), (release, go)) = (channel(), channel());
        let stderr = MessageQueue::start(Slow { begun, go }).unwrap();
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
