//! Where Windows keeps the environment of a user: `HKEY_CURRENT_USER\Environment`.

use std::ffi::c_void;
use std::io;

/// Returns the value `Path`.
pub(super) fn read() -> io::Result<Option<String>> {
    let key = Key::open(QUERY)?;
    let Some((_kind, bytes)) = key.value()? else { return Ok(None) };
    let units: Vec<u16> =
        bytes.chunks_exact(2).map(|unit| u16::from_ne_bytes([unit[0], unit[1]])).collect();
    let units = units.split(|unit| *unit == 0).next().unwrap_or_default();
    let text = String::from_utf16(units).map_err(|_error| {
        io::Error::new(io::ErrorKind::InvalidData, "the search path is not Unicode text")
    })?;
    Ok(Some(text))
}

/// Writes the value `Path`. It keeps its kind: whether variables in it mean anything.
pub(super) fn write(text: &str) -> io::Result<()> {
    let key = Key::open(QUERY | SET)?;
    let kind = key.value()?.map_or(TEXT_WITH_VARIABLES, |(kind, _bytes)| kind);
    let bytes: Vec<u8> = wide(text).iter().flat_map(|unit| unit.to_ne_bytes()).collect();
    let length = u32::try_from(bytes.len()).map_err(|_error| io::ErrorKind::InvalidInput)?;
    let name = wide(NAME);
    // SAFETY: the key is open, the name ends with a zero, and the bytes are as many as is said.
    let status = unsafe { RegSetValueExW(key.0, name.as_ptr(), 0, kind, bytes.as_ptr(), length) };
    outcome(status)?;
    tell();
    Ok(())
}

/// Tells every window that the environment is another one: a desktop starts programs with it.
fn tell() {
    let what = wide("Environment");
    let mut answer = 0;
    // SAFETY: the text ends with a zero, and both it and the answer live until the call returns, which
    // it does within the time that is said for each window.
    let _nobody_may_listen = unsafe {
        SendMessageTimeoutW(
            BROADCAST,
            SETTING_CHANGED,
            0,
            what.as_ptr(),
            ABORT_IF_HUNG,
            PATIENCE,
            &raw mut answer,
        )
    };
}

/// An open key.
struct Key(*mut c_void);

impl Key {
    fn open(rights: u32) -> io::Result<Self> {
        let path = wide("Environment");
        let mut key = std::ptr::null_mut();
        // SAFETY: the path ends with a zero, and the key is written to a pointer that is ours.
        let status = unsafe { RegOpenKeyExW(CURRENT_USER, path.as_ptr(), 0, rights, &raw mut key) };
        outcome(status).map(|()| Self(key))
    }

    /// Returns the kind and the bytes of the value, if there is one.
    fn value(&self) -> io::Result<Option<(u32, Vec<u8>)>> {
        let name = wide(NAME);
        let mut bytes = vec![0_u8; LIMIT];
        let mut length = u32::try_from(LIMIT).unwrap_or(0);
        let mut kind = 0;
        // SAFETY: the key is open, the name ends with a zero, and no more than the length that is said
        // is written to the bytes.
        let status = unsafe {
            RegQueryValueExW(
                self.0,
                name.as_ptr(),
                std::ptr::null(),
                &raw mut kind,
                bytes.as_mut_ptr(),
                &raw mut length,
            )
        };
        if status == NOT_FOUND {
            return Ok(None);
        }
        outcome(status)?;
        bytes.truncate(length as usize);
        Ok(Some((kind, bytes)))
    }
}

impl Drop for Key {
    fn drop(&mut self) {
        // SAFETY: the key is open, and nobody uses it afterwards.
        unsafe { RegCloseKey(self.0) };
    }
}

fn outcome(status: i32) -> io::Result<()> {
    if status == 0 { Ok(()) } else { Err(io::Error::from_raw_os_error(status)) }
}

fn wide(text: &str) -> Vec<u16> {
    text.encode_utf16().chain([0]).collect()
}

const NAME: &str = "Path";

/// More than a value of the environment can have.
const LIMIT: usize = 128 * 1024;

/// How long one window is waited for, in milliseconds.
const PATIENCE: u32 = 1000;

const CURRENT_USER: *mut c_void = 0x8000_0001_u32.cast_signed() as isize as *mut c_void;
const QUERY: u32 = 1;
const SET: u32 = 2;
const TEXT_WITH_VARIABLES: u32 = 2;
const NOT_FOUND: i32 = 2;
const BROADCAST: *mut c_void = 0xFFFF as *mut c_void;
const SETTING_CHANGED: u32 = 0x1A;
const ABORT_IF_HUNG: u32 = 2;

#[link(name = "advapi32")]
unsafe extern "system" {
    fn RegOpenKeyExW(
        above: *mut c_void,
        path: *const u16,
        options: u32,
        rights: u32,
        key: *mut *mut c_void,
    ) -> i32;
    fn RegQueryValueExW(
        key: *mut c_void,
        name: *const u16,
        reserved: *const u32,
        kind: *mut u32,
        bytes: *mut u8,
        length: *mut u32,
    ) -> i32;
    fn RegSetValueExW(
        key: *mut c_void,
        name: *const u16,
        reserved: u32,
        kind: u32,
        bytes: *const u8,
        length: u32,
    ) -> i32;
    fn RegCloseKey(key: *mut c_void) -> i32;
}

#[link(name = "user32")]
unsafe extern "system" {
    fn SendMessageTimeoutW(
        window: *mut c_void,
        message: u32,
        first: usize,
        second: *const u16,
        flags: u32,
        patience: u32,
        answer: *mut usize,
    ) -> isize;
}
