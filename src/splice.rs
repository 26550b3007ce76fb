//! Sends a file to a socket without copying its content through the memory of this program.
//!
//! sendfile(2) is the call for this, but `std` does not offer it from a file to a socket, and this
//! program has no `unsafe` code. `std` does offer splice(2), which moves pages between a pipe and
//! something else: `io::copy` calls it if it takes the source for a pipe, and it judges by the type
//! of the source. So the file is wrapped as a [`ChildStdout`], and its pages move from the cache of
//! the kernel to a pipe, and from the pipe to the socket.
//!
//! Why this is sound: `ChildStdout` promises nothing about its descriptor but that it can be read.
//! `std` keeps files away from splice only because the reader then sees changes that are made to
//! the file after the call. DESIGN.md says why the readers of this server may see them.
//!
//! What happens if `std` or the kernel refuses: `io::copy` then copies through a buffer. That is
//! correct, unless the socket times out half-way, when it is unknown how much of the buffer was
//! written. A [`Probe`] finds that out beforehand, and [`transfer::pump`] sends the file instead.

#![expect(clippy::disallowed_methods, reason = "only `io::copy` splices")]

use std::fs::File;
use std::io::{self, ErrorKind, PipeReader, PipeWriter, Read, Seek, SeekFrom, Write};
use std::net::TcpStream;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::{ChildStdin, ChildStdout};
use std::sync::{LazyLock, Mutex};
use std::time::{Duration, Instant};

use crate::buffer;
use crate::lock::lock;
use crate::transfer::{self, End, is_tick};

/// From this number of bytes on, a splice is quicker than a copy.
pub const WORTHWHILE: u64 = 128 * 1024;

/// The number of bytes that move at a time. A pipe has 16 slots of one page, and bytes that begin
/// inside a page need one slot more. A segment of the loopback interface holds 65,483 bytes: with
/// 16 pages, each piece would leave a tail of 53 bytes, which costs as much as a whole segment.
const PIECE: u64 = 15 * 4096;

/// Sends `length` bytes of `file`, from its position, to `socket`; fewer, if the file ends before.
/// `idle`, `stop` and the result are those of [`transfer::pump`]. The socket's timeout for writes
/// is the tick.
#[inline(never)] // keeps the frames with `io::copy` out of those that every session has
pub fn send_file(
    mut file: File,
    length: u64,
    socket: &TcpStream,
    idle: Duration,
    stop: &mut dyn FnMut(u64) -> bool,
) -> End {
    let start = match file.stream_position() {
        Ok(start) => start,
        Err(error) => return End::SourceFailed(error),
    };
    let mut sent = 0;
    if let Ok(mut pipe) = Pipe::new()
        && Probe::splices()
    {
        let mut source = ChildStdout::from(OwnedFd::from(file));
        if let Some(end) = pipe.send(&mut source, length, socket, &mut sent, idle, stop) {
            return end;
        }
        file = File::from(OwnedFd::from(source));
        if let Err(error) = file.seek(SeekFrom::Start(start.saturating_add(sent))) {
            return End::SourceFailed(error);
        }
    }
    let mut rest = file.take(length.saturating_sub(sent));
    let mut stop = |moved| stop(sent.saturating_add(moved));
    match transfer::pump(&mut rest, &mut &*socket, buffer::USUAL, idle, &mut stop) {
        End::Complete(moved) => End::Complete(sent.saturating_add(moved)),
        end => end,
    }
}

/// The pipe between a file and a socket.
struct Pipe {
    /// Never waits. Only this thread empties the pipe, so waiting for room in it would never end.
    writer: ChildStdin,
    reader: PipeReader,
}

impl Pipe {
    fn new() -> io::Result<Pipe> {
        let (reader, writer) = io::pipe()?;
        // `std` sets O_NONBLOCK for sockets only, but the call is the same for a pipe.
        let writer = UnixStream::from(OwnedFd::from(writer));
        writer.set_nonblocking(true)?;
        Ok(Pipe { writer: ChildStdin::from(OwnedFd::from(writer)), reader })
    }

    /// Sends `length` bytes of `source` to `socket`, and counts in `sent`. Returns `None` if the
    /// rest must be sent in another way.
    fn send(
        &mut self,
        source: &mut ChildStdout,
        length: u64,
        socket: &TcpStream,
        sent: &mut u64,
        idle: Duration,
        stop: &mut dyn FnMut(u64) -> bool,
    ) -> Option<End> {
        // The last part of a piece is shorter than a segment. It need not wait for the next piece.
        socket.set_nodelay(true).ok()?;
        let mut last = Instant::now();
        while *sent < length {
            if stop(*sent) {
                return Some(End::Aborted);
            }
            let mut piece = source.take(PIECE.min(length - *sent));
            // The pipe is empty. If it has no room, it has fewer slots than pipes usually have.
            let mut held = io::copy(&mut piece, &mut self.writer).ok()?;
            if held == 0 {
                break;
            }
            while held > 0 {
                let mut rest = (&self.reader).take(held);
                let copied = io::copy(&mut rest, &mut &*socket);
                // After an error, too, `Take` knows how much has left the pipe.
                let moved = held - rest.limit();
                if moved > 0 {
                    last = Instant::now();
                }
                held -= moved;
                *sent += moved;
                match copied {
                    Ok(0) => return Some(End::SinkFailed(ErrorKind::WriteZero.into())),
                    Ok(_) => {}
                    Err(error) if !is_tick(&error) => return Some(End::SinkFailed(error)),
                    // The kernel has begun to refuse, and `std` has lost bytes.
                    Err(error) if !Probe::splices() => return Some(End::SinkFailed(error)),
                    Err(_) if stop(*sent) => return Some(End::Aborted),
                    Err(_) if last.elapsed() >= idle => return Some(End::TimedOut),
                    Err(_) => {}
                }
            }
        }
        Some(End::Complete(*sent))
    }
}

/// A pipe with one byte, and a socket that takes nothing. `io::copy` from one to the other fails,
/// and leaves the byte in the pipe only if it splices.
struct Probe {
    reader: PipeReader,
    writer: PipeWriter,
    socket: TcpStream,
}

impl Probe {
    fn new() -> io::Result<Probe> {
        let (reader, mut writer) = io::pipe()?;
        writer.write_all(b"x")?;
        let (socket, _peer) = UnixStream::pair()?;
        Ok(Probe { reader, writer, socket: TcpStream::from(OwnedFd::from(socket)) })
    }

    /// Whether `io::copy` splices from a pipe to a socket now. The server keeps one probe open, so
    /// that the answer needs no new file descriptor.
    fn splices() -> bool {
        let Some(shared) = &*SHARED else { return false };
        let mut probe = lock(shared);
        let mut byte = (&probe.reader).take(1);
        let _ = io::copy(&mut byte, &mut &probe.socket);
        let is_left = byte.limit() == 1;
        if !is_left {
            let _ = probe.writer.write_all(b"x");
        }
        is_left
    }
}

/// `None` if it could not be opened.
static SHARED: LazyLock<Option<Mutex<Probe>>> = LazyLock::new(|| Probe::new().ok().map(Mutex::new));

/// Opens what large downloads need, while there are file descriptors.
pub fn prepare() {
    LazyLock::force(&SHARED);
}
