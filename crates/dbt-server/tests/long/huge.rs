//! Ten gibibytes up and down. The disk must have room for them once.

use crate::memory;

const SIZE: u64 = 10 << 30;

/// The room for the file and for what other tests write at the same time. An upload becomes a file of the
/// repository without being copied, and what is read is sparse.
const NEEDED: u64 = 15_000_000_000;

#[test]
fn ten_gibibytes_up_and_down_cost_a_few_buffers() {
    let place = std::env::temp_dir();
    let disk = rustix::fs::statvfs(&place).unwrap();
    let free = disk.f_bavail * disk.f_frsize;
    assert!(
        free >= NEEDED,
        "this test writes {SIZE} bytes to `{}`, which has {free} free and needs {NEEDED}",
        place.display()
    );
    memory::costs_little(SIZE, &format!(r#", "limits": {{"maxUploadBytes": {SIZE}}}"#));
}
