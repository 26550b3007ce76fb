//! The buffer of a copy: how it grows, and that large buffers are few.

use std::mem;
use std::sync::Mutex;

use crate::lock::lock;

/// The size of a new buffer in bytes. A small file needs no larger one, and a large file loses
/// little time by it.
const FIRST: u64 = 32 * 1024;
/// The size that any number of copies may have at the same time, in bytes.
pub const USUAL: u64 = 256 * 1024;
/// The size of a large buffer in bytes. With writes of this size, the kernel takes large pieces of
/// memory for a file.
pub const LARGE: u64 = 4 * 1024 * 1024;
/// How many large buffers the whole program has at most. It keeps them, because to free blocks of
/// this size would make `malloc` keep smaller blocks for later, up to 8 MiB per arena.
const MOST_LARGE: usize = 2;

/// A buffer that grows while its source is quick.
#[derive(Debug)]
pub struct Buffer {
    bytes: Vec<u8>,
    most: u64,
    is_large: bool,
    shared: &'static Mutex<LargeBuffers>,
}

/// The large buffers that all copies share.
#[derive(Debug)]
struct LargeBuffers {
    free: Vec<Vec<u8>>,
    made: usize,
}

impl LargeBuffers {
    const NONE: LargeBuffers = LargeBuffers { free: Vec::new(), made: 0 };
}

impl Buffer {
    /// A buffer that grows up to `most` bytes, but not beyond [`USUAL`], unless `most` allows
    /// [`LARGE`] and a large buffer is free.
    pub fn new(most: u64) -> Buffer {
        static SHARED: Mutex<LargeBuffers> = Mutex::new(LargeBuffers::NONE);
        Buffer::sharing(&SHARED, most)
    }

    fn sharing(shared: &'static Mutex<LargeBuffers>, most: u64) -> Buffer {
        Buffer { bytes: zeros(most.clamp(1, FIRST)), most, is_large: false, shared }
    }

    /// Whether this is a large buffer, which the caller should fill.
    pub fn is_large(&self) -> bool {
        self.is_large
    }

    /// The bytes after the first `count`.
    pub fn after(&mut self, count: usize) -> &mut [u8] {
        self.bytes.get_mut(count..).unwrap_or_default()
    }

    /// The first `count` bytes.
    pub fn first(&self, count: usize) -> &[u8] {
        self.bytes.get(..count).unwrap_or_default()
    }

    /// Grows if the source has filled the buffer with `count` bytes. If it has not filled a large
    /// buffer, gives that back. The content is lost.
    pub fn adapt_to(&mut self, count: usize) {
        let is_full = count == self.bytes.len();
        if is_full && (count as u64) < self.most.min(USUAL) {
            self.bytes = zeros(self.most.min(USUAL));
        } else if is_full && !self.is_large && self.most >= LARGE {
            self.borrow_large();
        } else if !is_full && self.is_large {
            self.give_back();
            self.bytes = zeros(USUAL);
        }
    }

    fn borrow_large(&mut self) {
        let mut large = lock(self.shared);
        if let Some(bytes) = large.free.pop() {
            self.bytes = bytes;
        } else if large.made < MOST_LARGE {
            large.made += 1;
            self.bytes = zeros(LARGE);
        } else {
            return;
        }
        self.is_large = true;
    }

    fn give_back(&mut self) {
        if mem::take(&mut self.is_large) {
            lock(self.shared).free.push(mem::take(&mut self.bytes));
        }
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        self.give_back();
    }
}

/// Zeros, which the system need not write before they are used.
fn zeros(size: u64) -> Vec<u8> {
    vec![0; usize::try_from(size).unwrap_or(usize::MAX)]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The size after a quick source has filled the buffer.
    fn fill(buffer: &mut Buffer) -> u64 {
        buffer.adapt_to(buffer.bytes.len());
        buffer.bytes.len() as u64
    }

    #[test]
    fn a_buffer_grows_while_its_source_fills_it_and_large_ones_are_few() {
        static SHARED: Mutex<LargeBuffers> = Mutex::new(LargeBuffers::NONE);
        let mut buffers: Vec<_> =
            (0..MOST_LARGE + 2).map(|_| Buffer::sharing(&SHARED, u64::MAX)).collect();
        for buffer in &mut buffers {
            assert_eq!(buffer.bytes.len() as u64, FIRST);
            buffer.adapt_to(FIRST as usize - 1);
            assert_eq!(buffer.bytes.len() as u64, FIRST, "it was not filled");
            assert_eq!(fill(buffer), USUAL);
        }
        let sizes: Vec<_> = buffers.iter_mut().map(fill).collect();
        assert_eq!(sizes, [LARGE, LARGE, USUAL, USUAL]);
        assert_eq!(fill(&mut buffers[0]), LARGE);
        buffers[0].adapt_to(LARGE as usize - 1);
        assert_eq!(buffers[0].bytes.len() as u64, USUAL, "it was given back");
        assert_eq!(fill(&mut buffers[2]), LARGE);
        buffers.remove(1);
        assert_eq!(fill(buffers.last_mut().unwrap()), LARGE);
        drop(buffers);
        let large = lock(&SHARED);
        assert_eq!((large.made, large.free.len()), (MOST_LARGE, MOST_LARGE));
    }

    #[test]
    fn a_buffer_is_never_larger_than_the_content_that_it_is_for() {
        for (most, sizes) in [
            (0, [1, 1, 1]),
            (5000, [5000, 5000, 5000]),
            (40_000, [FIRST, 40_000, 40_000]),
            (USUAL, [FIRST, USUAL, USUAL]),
            (LARGE - 1, [FIRST, USUAL, USUAL]),
        ] {
            let mut buffer = Buffer::new(most);
            let first = buffer.bytes.len() as u64;
            assert_eq!([first, fill(&mut buffer), fill(&mut buffer)], sizes, "{most}");
        }
    }
}
