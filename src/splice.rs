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
//! written. [`splices`] finds that out beforehand, and [`transfer::pump`] sends the file instead.

use std::fs::File;
use std::io::{self, ErrorKind, PipeReader, Read, Seek, SeekFrom, Write};
use std::net::TcpStream;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::{ChildStdin, ChildStdout};
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use crate::buffer;
use crate::transfer::{self, End, is_tick};

/// From this number of bytes on, a splice is quicker than a copy.
pub const WORTHWHILE: u64 = 256 * 1024;

/// The number of bytes that move at a time. A pipe has 16 slots of one page, and bytes that begin
/// inside a page need one slot more. A segment of the loopback interface holds 65,483 bytes: with
/// 16 pages, each piece would leave a tail of 53 bytes, which costs as much as a whole segment.
const PIECE: u64 = 15 * 4096;

/// Sends `length` bytes of `file`, from its position, to `socket`; fewer, if the file ends before.
/// `idle`, `stop` and the result are those of [`transfer::pump`]. The socket's timeout for writes
/// is the tick.
pub fn send_file(
    mut file: File,
    length: u64,
    socket: &TcpStream,
    idle: Duration,
    stop: &mut dyn FnMut(u64) -> bool,
) -> End {
    static IS_OFFERED: LazyLock<bool> = LazyLock::new(splices);
    let start = match file.stream_position() {
        Ok(start) => start,
        Err(error) => return End::SourceFailed(error),
    };
    let mut sent = 0;
    if *IS_OFFERED && let Ok(mut splice) = Splice::new(&file, socket) {
        if let Some(end) = splice.run(length, &mut sent, idle, stop) {
            return end;
        }
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

/// A file, a socket, and the pipe between them.
struct Splice<'s> {
    file: ChildStdout,
    /// Never waits. Only this thread empties the pipe, so waiting for room in it would never end.
    writer: ChildStdin,
    reader: PipeReader,
    socket: &'s TcpStream,
}

impl<'s> Splice<'s> {
    fn new(file: &File, socket: &'s TcpStream) -> io::Result<Splice<'s>> {
        // The last part of a piece is shorter than a segment. It need not wait for the next piece.
        socket.set_nodelay(true)?;
        let (reader, writer) = io::pipe()?;
        // `std` sets O_NONBLOCK for sockets only, but the call is the same for a pipe.
        let writer = UnixStream::from(OwnedFd::from(writer));
        writer.set_nonblocking(true)?;
        Ok(Splice {
            file: ChildStdout::from(OwnedFd::from(file.try_clone()?)),
            writer: ChildStdin::from(OwnedFd::from(writer)),
            reader,
            socket,
        })
    }

    /// Sends the file, and counts in `sent`. Returns `None` if the rest must be sent in another
    /// way.
    fn run(
        &mut self,
        length: u64,
        sent: &mut u64,
        idle: Duration,
        stop: &mut dyn FnMut(u64) -> bool,
    ) -> Option<End> {
        let mut last = Instant::now();
        while *sent < length {
            if stop(*sent) {
                return Some(End::Aborted);
            }
            let mut piece = self.file.by_ref().take(PIECE.min(length - *sent));
            // The pipe is empty. If it has no room, it has fewer slots than pipes usually have.
            let mut held = io::copy(&mut piece, &mut self.writer).ok()?;
            if held == 0 {
                break;
            }
            while held > 0 {
                let mut rest = (&self.reader).take(held);
                let copied = io::copy(&mut rest, &mut &*self.socket);
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
                    Err(error) if !splices() => return Some(End::SinkFailed(error)),
                    Err(_) if stop(*sent) => return Some(End::Aborted),
                    Err(_) if last.elapsed() >= idle => return Some(End::TimedOut),
                    Err(_) => {}
                }
            }
        }
        Some(End::Complete(*sent))
    }
}

/// Whether `io::copy` splices from a pipe to a socket. Tries it with a socket that takes nothing:
/// only a copy reads the byte before it fails.
fn splices() -> bool {
    let left = || -> io::Result<u64> {
        let (reader, mut writer) = io::pipe()?;
        writer.write_all(b"x")?;
        let (socket, peer) = UnixStream::pair()?;
        drop(peer);
        let mut byte = (&reader).take(1);
        let copied = io::copy(&mut byte, &mut TcpStream::from(OwnedFd::from(socket)));
        copied.map_or_else(|_| Ok(byte.limit()), |_| Ok(0))
    };
    matches!(left(), Ok(1))
}
