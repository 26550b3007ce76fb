//! Standard output and standard error, written so that no session waits for them.
//!
//! If one is a pipe whose reader has stopped reading, a write waits for ever. So one thread writes,
//! and all others put their messages into a queue of bounded length. If the queue is full, the
//! message is dropped and counted.

use std::convert::Infallible;
use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, SyncSender, TrySendError, channel, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use crate::config::STACK_SIZE;
use crate::file_size_limit;

/// The time between two tries to put the last message into a full queue.
const PAUSE: Duration = Duration::from_millis(10);
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

/// Standard output of the process, to which nothing is written before its gate is dropped.
#[derive(Debug)]
pub struct Stdout(Receiver<Infallible>);

/// Keeps [`Stdout`] from writing.
#[derive(Debug)]
pub struct Gate(#[expect(dead_code, reason = "dropping it is its use")] Sender<Infallible>);

impl Stdout {
    pub fn gated() -> (Stdout, Gate) {
        let (gate, opened) = channel();
        (Stdout(opened), Gate(gate))
    }
}

impl Write for Stdout {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let _ = self.0.recv();
        file_size_limit::check_stream(1, bytes.len() as u64)?;
        io::stdout().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stdout().flush()
    }
}

/// The queue of messages for a stream, and the thread that writes them.
#[derive(Debug)]
pub struct MessageQueue {
    queue: SyncSender<Message>,
    dropped: Arc<AtomicU64>,
}

enum Message {
    Line(Vec<u8>),
    /// Dropped when all lines before it have been written.
    Mark(#[expect(dead_code, reason = "dropping it is its use")] Sender<Infallible>),
}

impl MessageQueue {
    /// Starts the thread that writes to `sink`. At most `length` messages wait for it.
    pub fn start(sink: impl Write + Send + 'static, length: usize) -> io::Result<MessageQueue> {
        let (queue, messages) = sync_channel(length);
        let dropped = Arc::new(AtomicU64::new(0));
        let counter = Arc::clone(&dropped);
        let builder = thread::Builder::new().name("stderr".to_string()).stack_size(STACK_SIZE);
        builder.spawn(move || write_messages(sink, &messages, &counter))?;
        Ok(MessageQueue { queue, dropped })
    }

    /// Puts one line into the queue, without waiting, after the name of the program. `text` must
    /// not hold a line end.
    pub fn say(&self, text: &[u8]) {
        if !self.push([b"plainftpd: ", text, b"\n"].concat()) {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Puts bytes into the queue, without waiting. Returns whether there was room.
    pub fn push(&self, line: Vec<u8>) -> bool {
        self.queue.try_send(Message::Line(line)).is_ok()
    }

    /// Waits a moment for the writer, so that the last messages are seen.
    pub fn finish(&self) {
        let since = Instant::now();
        let (mark, written) = channel();
        let mut mark = Message::Mark(mark);
        while let Err(TrySendError::Full(back)) = self.queue.try_send(mark) {
            if since.elapsed() >= LAST_WAIT {
                return;
            }
            mark = back;
            thread::sleep(PAUSE);
        }
        let _ = written.recv_timeout(LAST_WAIT.saturating_sub(since.elapsed()));
    }
}

/// Waits, so that a server that cannot start still shows its warnings.
impl Drop for MessageQueue {
    fn drop(&mut self) {
        self.finish();
    }
}

fn write_messages(mut sink: impl Write, messages: &Receiver<Message>, dropped: &AtomicU64) {
    for message in messages {
        let Message::Line(line) = message else { continue };
        // If this write fails, there is no other place for the message.
        let _ = sink.write_all(&line).and_then(|()| sink.flush());
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

    const QUEUE: usize = 64;

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
        let stderr = MessageQueue::start(Slow { begun, go }, QUEUE).unwrap();
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
