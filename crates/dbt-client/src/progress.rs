//! What long work tells of itself. Silent by default.

/// Follows one piece of long work.
pub trait Progress: Send + Sync {
    /// Work on `what` begins; `total` bytes are expected, if known.
    fn begin(&self, what: &str, total: Option<u64>);
    /// `bytes` more are done.
    fn advance(&self, bytes: u64);
    /// The work is over, well or not. Nothing stays on the screen.
    fn end(&self);
}

/// Says nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl Progress for Silent {
    fn begin(&self, _what: &str, _total: Option<u64>) {}
    fn advance(&self, _bytes: u64) {}
    fn end(&self) {}
}
