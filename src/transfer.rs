//! The one copy loop, the ways in which it ends, and the line endings of ASCII type.

use std::io::{self, BufRead, ErrorKind, Read, Write};
use std::time::{Duration, Instant};

use crate::buffer::{self, Buffer};
use crate::config::TICK;

/// How a transfer ended.
#[derive(Debug)]
pub enum End {
    /// The source ended. The number is how many bytes the sink has received.
    Complete(u64),
    /// `stop` returned true.
    Aborted,
    /// No byte moved for the longest time allowed.
    TimedOut,
    /// Reading from the source failed.
    SourceFailed(io::Error),
    /// Writing to the sink failed.
    SinkFailed(io::Error),
}

/// Copies `source` to `sink` through a [`Buffer`] of up to `most` bytes.
///
/// A socket with a short timeout "ticks": it fails with [`ErrorKind::WouldBlock`] or
/// [`ErrorKind::TimedOut`] again and again while it waits. The copy goes on after a tick, unless no
/// byte has moved for `idle`. At every chunk and every tick, `stop` gets the number of bytes moved
/// so far, and returns whether to stop.
pub fn pump(
    source: &mut dyn Read,
    sink: &mut dyn Write,
    most: u64,
    idle: Duration,
    stop: &mut dyn FnMut(u64) -> bool,
) -> End {
    let mut buffer = Buffer::new(most);
    let mut moved: u64 = 0;
    let mut last = Instant::now();
    loop {
        if stop(moved) {
            return End::Aborted;
        }
        let (filled, ended) = fill(source, &mut buffer);
        if filled > 0 {
            last = Instant::now();
        }
        let mut rest = buffer.first(filled);
        while !rest.is_empty() {
            match sink.write(rest) {
                Ok(0) => return End::SinkFailed(ErrorKind::WriteZero.into()),
                Ok(written) => {
                    rest = rest.get(written..).unwrap_or_default();
                    moved = moved.saturating_add(written as u64);
                    last = Instant::now();
                }
                Err(error) if !is_tick(&error) => return End::SinkFailed(error),
                Err(_) if stop(moved) => return End::Aborted,
                Err(_) if last.elapsed() >= idle => return End::TimedOut,
                Err(_) => {}
            }
        }
        match ended {
            None => {}
            Some(Ok(())) => return End::Complete(moved),
            Some(Err(error)) if !is_tick(&error) => return End::SourceFailed(error),
            Some(Err(_)) if last.elapsed() >= idle => return End::TimedOut,
            Some(Err(_)) => {}
        }
        buffer.adapt_to(filled);
    }
}

/// Reads once into the buffer; if it is large, until it is full or a tick has passed. Returns how
/// many bytes were read, and how the source ended, if it did.
fn fill(source: &mut dyn Read, buffer: &mut Buffer) -> (usize, Option<io::Result<()>>) {
    let since = Instant::now();
    let mut filled = 0;
    loop {
        match source.read(buffer.after(filled)) {
            Ok(0) => return (filled, Some(Ok(()))),
            Ok(read) => filled += read,
            Err(error) => return (filled, Some(Err(error))),
        }
        if !buffer.is_large() || buffer.after(filled).is_empty() || since.elapsed() >= TICK {
            return (filled, None);
        }
    }
}

/// Like [`pump`], for sources and sinks that do not tick, such as files. Fails with
/// [`ErrorKind::Interrupted`] if `stop` returned true.
pub fn pump_all(
    source: &mut dyn Read,
    sink: &mut dyn Write,
    stop: &mut dyn FnMut(u64) -> bool,
) -> io::Result<u64> {
    match pump(source, sink, buffer::USUAL, Duration::ZERO, stop) {
        End::Complete(moved) => Ok(moved),
        End::SourceFailed(error) | End::SinkFailed(error) => Err(error),
        End::Aborted | End::TimedOut => Err(ErrorKind::Interrupted.into()),
    }
}

/// Whether the error only says that a socket's short timeout has passed, or a signal has come.
pub fn is_tick(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted)
}

/// The direction in which line endings are converted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LineEnds {
    /// LF becomes CRLF; a CRLF stays one.
    ToNetwork,
    /// CRLF becomes LF; a CR alone stays.
    FromNetwork,
}

/// ASCII type (RFC 959 §3.1.1.1): a source whose line endings are converted while it is read.
#[derive(Debug)]
pub struct Ascii<R> {
    source: R,
    line_ends: LineEnds,
    raw: Vec<u8>,
    converted: Vec<u8>,
    used: usize,
    after_cr: bool,
    ended: bool,
}

impl<R: Read> Ascii<R> {
    /// Converts the line endings of `source`.
    pub fn new(source: R, line_ends: LineEnds) -> Ascii<R> {
        let raw = vec![0; ASCII_CHUNK];
        Ascii {
            source,
            line_ends,
            raw,
            converted: Vec::new(),
            used: 0,
            after_cr: false,
            ended: false,
        }
    }

    /// Converts the first `read` bytes of `raw`, line by line.
    fn convert(&mut self, read: usize) {
        let raw = self.raw.get(..read).unwrap_or_default();
        let Some((first, last)) = raw.first().zip(raw.last()) else { return };
        let out = &mut self.converted;
        if self.line_ends == LineEnds::FromNetwork && self.after_cr && *first != b'\n' {
            out.push(b'\r');
        }
        let mut rest = raw;
        while !rest.is_empty() && rest.read_until(b'\n', out).is_ok() {
            match (self.line_ends, out.as_slice()) {
                (LineEnds::ToNetwork, [.., b'\r', b'\n']) => {}
                (LineEnds::ToNetwork, [b'\n']) if self.after_cr => {}
                (LineEnds::ToNetwork, [.., b'\n']) => {
                    out.pop();
                    out.extend_from_slice(b"\r\n");
                }
                (LineEnds::FromNetwork, [.., b'\r', b'\n']) => {
                    out.truncate(out.len() - 2);
                    out.push(b'\n');
                }
                // The CR waits for the next byte, because CRLF becomes LF.
                (LineEnds::FromNetwork, [.., b'\r']) => drop(out.pop()),
                _ => {}
            }
        }
        self.after_cr = *last == b'\r';
    }
}

const ASCII_CHUNK: usize = 64 * 1024;

impl<R: Read> Read for Ascii<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.used == self.converted.len() && !self.ended {
            self.converted.clear();
            self.used = 0;
            let read = self.source.read(&mut self.raw)?;
            self.convert(read);
            if read == 0 {
                self.ended = true;
                if self.after_cr && self.line_ends == LineEnds::FromNetwork {
                    self.converted.push(b'\r');
                }
            }
        }
        let read = self.converted.get(self.used..).unwrap_or_default().read(buffer)?;
        self.used += read;
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gives its steps one after the other, then the end.
    struct Script(Vec<io::Result<usize>>);

    impl Script {
        fn next(&mut self, most: usize) -> io::Result<usize> {
            if self.0.is_empty() { Ok(0) } else { self.0.remove(0).map(|n| n.min(most)) }
        }
    }

    impl Read for Script {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            self.next(buffer.len())
        }
    }

    impl Write for Script {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.next(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn tick() -> io::Result<usize> {
        Err(ErrorKind::WouldBlock.into())
    }

    const LONG: Duration = Duration::from_secs(1000);

    #[test]
    fn short_writes_and_ticks_lose_no_byte() {
        let mut source = Script(vec![Ok(5), tick(), Ok(3)]);
        let mut sink = Script(vec![Ok(2), tick(), Ok(9), Ok(1), tick(), Ok(9)]);
        let end = pump(&mut source, &mut sink, 100, LONG, &mut |_| false);
        assert!(matches!(end, End::Complete(8)), "{end:?}");
        assert!(sink.0.is_empty());
    }

    #[test]
    fn the_side_that_fails_is_named() {
        let broken = || Err(ErrorKind::BrokenPipe.into());
        let end = pump(&mut Script(vec![broken()]), &mut Script(vec![]), 9, LONG, &mut |_| false);
        assert!(matches!(end, End::SourceFailed(_)), "{end:?}");
        let mut sink = Script(vec![broken()]);
        let end = pump(&mut Script(vec![Ok(1)]), &mut sink, 9, LONG, &mut |_| false);
        assert!(matches!(end, End::SinkFailed(_)), "{end:?}");
        let end = pump(&mut Script(vec![Ok(1)]), &mut Script(vec![Ok(0)]), 9, LONG, &mut |_| false);
        assert!(matches!(end, End::SinkFailed(_)), "{end:?}");
    }

    /// Keeps the size of each write.
    #[derive(Default)]
    struct Sizes(Vec<usize>);

    impl Write for Sizes {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.push(bytes.len());
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_large_buffer_is_filled_by_several_reads_and_loses_none_of_them() {
        const ALL: usize = usize::MAX;
        for (last, is_complete) in [(Err(ErrorKind::ConnectionReset.into()), false), (Ok(0), true)]
        {
            let steps = [Ok(ALL), Ok(ALL), Ok(1000), Ok(7), tick(), Ok(500), Ok(ALL), Ok(3), last];
            let (mut source, mut sink) = (Script(steps.into()), Sizes::default());
            let end = pump(&mut source, &mut sink, buffer::LARGE, LONG, &mut |_| false);
            // The tick gives the large buffer back. When its successor is full, there is another.
            assert_eq!(sink.0, [32 * 1024, 256 * 1024, 1007, 500, 256 * 1024, 3]);
            match end {
                End::Complete(moved) => {
                    assert!(is_complete);
                    assert_eq!(moved, sink.0.iter().sum::<usize>() as u64);
                }
                End::SourceFailed(_) => assert!(!is_complete),
                end => panic!("{end:?}"),
            }
        }
    }

    #[test]
    fn silence_beyond_the_limit_times_out_on_either_side() {
        let end =
            pump(&mut Script(vec![tick()]), &mut Script(vec![]), 9, Duration::ZERO, &mut |_| false);
        assert!(matches!(end, End::TimedOut), "{end:?}");
        let mut sink = Script(vec![tick()]);
        let end = pump(&mut Script(vec![Ok(1)]), &mut sink, 9, Duration::ZERO, &mut |_| false);
        assert!(matches!(end, End::TimedOut), "{end:?}");
    }

    #[test]
    fn a_stop_is_noticed_between_chunks_and_while_the_sink_waits() {
        let mut asked = 0;
        let mut stop = |_| {
            asked += 1;
            asked > 1
        };
        let end = pump(
            &mut Script(vec![Ok(1), Ok(1)]),
            &mut Script(vec![Ok(1), Ok(1)]),
            9,
            LONG,
            &mut stop,
        );
        assert!(matches!(end, End::Aborted), "{end:?}");
        let mut asked = 0;
        let mut stop = |_| {
            asked += 1;
            asked > 1
        };
        let end =
            pump(&mut Script(vec![Ok(1)]), &mut Script(vec![tick(), Ok(1)]), 9, LONG, &mut stop);
        assert!(matches!(end, End::Aborted), "{end:?}");
    }

    /// Gives a few bytes at a time, so that lines are cut everywhere.
    struct Drip<'b>(&'b [u8], usize);

    impl Read for Drip<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let few = buffer.len().min(self.1);
            self.0.read(&mut buffer[..few])
        }
    }

    #[test]
    fn line_endings_are_converted_wherever_chunks_are_cut() {
        for (line_ends, from, to) in [
            (LineEnds::ToNetwork, &b"a\nb\r\nc\rd\n\n"[..], &b"a\r\nb\r\nc\rd\r\n\r\n"[..]),
            (LineEnds::ToNetwork, b"\n\r\n\r\r\n\r", b"\r\n\r\n\r\r\n\r"),
            (LineEnds::FromNetwork, b"\r\n\r\r\n\n\rx\r", b"\n\r\n\n\rx\r"),
            (LineEnds::FromNetwork, b"a\r\nb\nc\rd\r\r\n\r", b"a\nb\nc\rd\r\n\r"),
            (LineEnds::ToNetwork, b"", b""),
            (LineEnds::FromNetwork, b"", b""),
        ] {
            for few in [1, 2, 3, 4, 100] {
                let mut turned = Vec::new();
                Ascii::new(Drip(from, few), line_ends).read_to_end(&mut turned).unwrap();
                assert_eq!(turned, to, "{line_ends:?}, {few} at a time");
            }
        }
    }
}
