//! Memory for a program that runs for a few milliseconds.
//!
//! Such a program asks for a few thousand small pieces and ends before it could make use of what was
//! given back. They are cut off one after the other from a reserve of fixed size, which touches few
//! pages and needs no system call; what is large, and everything once the reserve is used up, comes
//! from the system, so that long work does not grow.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::UnsafeCell;
use std::mem::MaybeUninit;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The size of the reserve. What is not touched of it costs nothing.
const RESERVE: usize = 256 * 1024;

/// What is larger comes from the system.
const LARGEST: usize = 32 * 1024;

/// The alignment of the reserve; what needs more comes from the system.
const ALIGNMENT: usize = 64;

/// An allocator to be named as `#[global_allocator]`.
#[derive(Debug)]
pub struct Momentary {
    /// How much of the reserve is used. Only grows, but for the piece that was cut off last.
    used: AtomicUsize,
    reserve: Reserve,
}

#[repr(C, align(64))]
#[derive(Debug)]
struct Reserve(UnsafeCell<MaybeUninit<[u8; RESERVE]>>);

// SAFETY: nobody reads or writes the reserve but those to whom a piece of it was given, and
// `Momentary::used` is moved by one exchange, so that no two pieces overlap.
unsafe impl Sync for Reserve {}

impl Momentary {
    /// Makes one whose reserve nobody has used.
    #[expect(clippy::new_without_default, reason = "it is made once, by a constant expression")]
    pub const fn new() -> Self {
        let reserve = Reserve(UnsafeCell::new(MaybeUninit::uninit()));
        Self { used: AtomicUsize::new(0), reserve }
    }

    fn start(&self) -> *mut u8 {
        self.reserve.0.get().cast()
    }

    /// Returns where in the reserve a piece begins, if it is one of the reserve.
    fn position(&self, piece: *const u8) -> Option<usize> {
        let position = piece.addr().wrapping_sub(self.start().addr());
        (position < RESERVE).then_some(position)
    }

    /// Cuts off a piece and returns where it begins.
    fn cut(&self, layout: Layout) -> Option<usize> {
        if layout.size() > LARGEST || layout.align() > ALIGNMENT {
            return None;
        }
        let mut used = self.used.load(Ordering::Relaxed);
        loop {
            let begin = used.next_multiple_of(layout.align());
            let end = begin.checked_add(layout.size()).filter(|end| *end <= RESERVE)?;
            match self.exchange(used, end) {
                Ok(_) => return Some(begin),
                Err(now) => used = now,
            }
        }
    }

    /// Makes the piece that was cut off last end somewhere else; false if it is not the last.
    fn end_at(&self, before: usize, end: usize) -> bool {
        end <= RESERVE && self.exchange(before, end).is_ok()
    }

    /// Whoever gets a piece that another thread has given back must see it given back.
    fn exchange(&self, before: usize, after: usize) -> Result<usize, usize> {
        self.used.compare_exchange_weak(before, after, Ordering::AcqRel, Ordering::Acquire)
    }
}

// SAFETY: a piece of the reserve lies within it, is aligned as its start is (`ALIGNMENT`) and `cut`
// makes it, and overlaps no other, because `used` is behind all of them that were not given back.
// Everything else is the system's.
unsafe impl GlobalAlloc for Momentary {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        match self.cut(layout) {
            // SAFETY: the piece lies within the reserve.
            Some(begin) => unsafe { self.start().add(begin) },
            // SAFETY: the caller's promises are the system's.
            None => unsafe { System.alloc(layout) },
        }
    }

    unsafe fn dealloc(&self, piece: *mut u8, layout: Layout) {
        match self.position(piece) {
            // What is not the last stays as it is until the program ends.
            Some(begin) => {
                self.end_at(begin + layout.size(), begin);
            }
            // SAFETY: what is not of the reserve came from the system, with this layout.
            None => unsafe { System.dealloc(piece, layout) },
        }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        match self.cut(layout) {
            Some(begin) => {
                // SAFETY: the piece lies within the reserve.
                let piece = unsafe { self.start().add(begin) };
                // SAFETY: so long is the piece, and nobody else has it.
                unsafe { piece.write_bytes(0, layout.size()) };
                piece
            }
            // SAFETY: the caller's promises are the system's.
            None => unsafe { System.alloc_zeroed(layout) },
        }
    }

    unsafe fn realloc(&self, piece: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        let Some(begin) = self.position(piece) else {
            // SAFETY: what is not of the reserve came from the system, with this layout.
            return unsafe { System.realloc(piece, layout, size) };
        };
        if size <= LARGEST && self.end_at(begin + layout.size(), begin + size) {
            return piece;
        }
        if size <= layout.size() {
            return piece;
        }
        // SAFETY: the caller promises that the size is possible with this alignment.
        let wanted = unsafe { Layout::from_size_align_unchecked(size, layout.align()) };
        // SAFETY: the size is larger than one that was not zero.
        let larger = unsafe { self.alloc(wanted) };
        if !larger.is_null() {
            // SAFETY: both are at least so long, and the new one was given to nobody else.
            unsafe { larger.copy_from_nonoverlapping(piece, layout.size()) };
        }
        larger
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layout(size: usize, align: usize) -> Layout {
        Layout::from_size_align(size, align).unwrap()
    }

    #[test]
    fn pieces_are_aligned_and_do_not_overlap() {
        static MEMORY: Momentary = Momentary::new();
        let memory = &MEMORY;
        let mut end = 0;
        for (size, align) in [(1, 1), (3, 2), (5, 64), (8, 8), (0, 1), (100, 16)] {
            let begin = memory.cut(layout(size, align)).unwrap();
            assert!(begin >= end && begin.is_multiple_of(align), "{size} {align}");
            end = begin + size;
        }
    }

    #[test]
    fn what_is_large_or_does_not_fit_comes_from_the_system() {
        static MEMORY: Momentary = Momentary::new();
        let memory = &MEMORY;
        assert_eq!(memory.cut(layout(LARGEST + 1, 1)), None);
        assert_eq!(memory.cut(layout(1, ALIGNMENT * 2)), None);
        let pieces = std::iter::from_fn(|| memory.cut(layout(LARGEST, 1))).count();
        assert_eq!(pieces, RESERVE / LARGEST);
        let small = layout(16, 8);
        // SAFETY: the layout has a size.
        let piece = unsafe { memory.alloc_zeroed(small) };
        assert_eq!(memory.position(piece), None);
        // SAFETY: it came from there, with this layout.
        unsafe { memory.dealloc(piece, small) };
    }

    #[test]
    fn the_last_piece_grows_and_is_given_back_in_its_place() {
        static MEMORY: Momentary = Momentary::new();
        let memory = &MEMORY;
        let small = layout(16, 8);
        // SAFETY: the layout has a size.
        let piece = unsafe { memory.alloc(small) };
        // SAFETY: it came from there, and has this layout.
        let longer = unsafe { memory.realloc(piece, small, 100) };
        assert_eq!(longer, piece);
        // SAFETY: the same.
        unsafe { memory.dealloc(longer, layout(100, 8)) };
        assert_eq!(memory.used.load(Ordering::Relaxed), 0);
        // SAFETY: the layout has a size.
        let again = unsafe { memory.alloc_zeroed(small) };
        assert_eq!(again, piece);
    }

    #[test]
    fn a_piece_that_is_not_the_last_moves_with_what_is_in_it() {
        static MEMORY: Momentary = Momentary::new();
        let memory = &MEMORY;
        let small = layout(16, 8);
        // SAFETY: the layout has a size.
        let [piece, other] = [(); 2].map(|()| unsafe { memory.alloc(small) });
        // SAFETY: so long is the piece.
        unsafe { piece.write_bytes(7, 16) };
        // SAFETY: it came from there, and has this layout.
        let moved = unsafe { memory.realloc(piece, small, LARGEST + 1) };
        assert!(moved != piece && memory.position(moved).is_none());
        // SAFETY: so much was copied.
        let content = unsafe { std::slice::from_raw_parts(moved, 16) };
        assert_eq!(content, [7; 16]);
        // SAFETY: they came from there, with these layouts.
        unsafe { memory.dealloc(moved, layout(LARGEST + 1, 8)) };
        // SAFETY: the same.
        unsafe { memory.dealloc(other, small) };
    }

    #[test]
    fn threads_do_not_get_each_others_pieces() {
        static MEMORY: Momentary = Momentary::new();
        let memory = &MEMORY;
        let small = layout(24, 8);
        std::thread::scope(|scope| {
            for number in 0..4_u8 {
                scope.spawn(move || {
                    for _round in 0..20_000 {
                        // SAFETY: the layout has a size.
                        let piece = unsafe { memory.alloc(small) };
                        // SAFETY: so long is the piece.
                        unsafe { piece.write_bytes(number, 24) };
                        // SAFETY: it was just written.
                        let content = unsafe { std::slice::from_raw_parts(piece, 24) };
                        assert_eq!(content, [number; 24]);
                        // SAFETY: it came from there, with this layout.
                        unsafe { memory.dealloc(piece, small) };
                    }
                });
            }
        });
    }
}
