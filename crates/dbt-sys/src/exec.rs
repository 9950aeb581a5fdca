//! Becoming another program.
//!
//! The standard library's `CommandExt::exec` is not used: it resets SIGPIPE whatever we were
//! started with. What happens here is `execve` and nothing else, after undoing what Rust's own
//! runtime did before `main`. Windows has no such thing: there the other program is a child.

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::path::Path;

/// A program about to be executed: everything that needs memory or can be malformed is done, so
/// that nothing lies between the caller's last look at the file and the system call.
#[derive(Debug)]
pub struct Image {
    #[cfg(unix)]
    path: std::ffi::CString,
    #[cfg(unix)]
    arguments: unix::Vector,
    #[cfg(unix)]
    environment: unix::Vector,
    #[cfg(windows)]
    path: std::path::PathBuf,
    /// Those behind the name.
    #[cfg(windows)]
    arguments: Vec<OsString>,
    #[cfg(windows)]
    environment: Vec<(OsString, OsString)>,
}

#[cfg(unix)]
impl Image {
    /// Prepares executing the file at `path`.
    ///
    /// `arguments` is the whole vector: its first element is what the program sees as its own
    /// name. The environment is exactly `environment`; nothing is inherited beside it. Fails when
    /// there is no first argument, or when some text contains a zero byte.
    pub fn new(
        path: &Path,
        arguments: &[OsString],
        environment: &[(OsString, OsString)],
    ) -> io::Result<Self> {
        use std::os::unix::ffi::OsStrExt as _;

        if arguments.is_empty() {
            let words = "a program needs a name as its first argument";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, words));
        }
        let arguments = arguments.iter().map(|argument| argument.as_bytes().to_vec());
        let environment =
            environment.iter().map(|(name, value)| [name.as_bytes(), value.as_bytes()].join(&b'='));
        Ok(Self {
            path: unix::terminated("the program's path", path.as_os_str().as_bytes().to_vec())?,
            arguments: unix::Vector::new("an argument", arguments)?,
            environment: unix::Vector::new("an environment variable", environment)?,
        })
    }

    /// Becomes the program at the path. Returns only when that failed, and says why; the process
    /// is then as it was before the call.
    ///
    /// It tries once: a caller that wants to wait for `ETXTBSY` to pass looks at the file again
    /// before it calls again.
    pub fn replace(&self) -> io::Error {
        let _restored = crate::startup::AsHandedOver::restore();
        // SAFETY: the path is a terminated string; both vectors are arrays of pointers to
        // terminated strings that end with a null pointer. `self` owns all of them and outlives
        // the call, which only reads them, and which does not return when it succeeds.
        unsafe {
            libc::execve(
                self.path.as_ptr(),
                self.arguments.as_pointers(),
                self.environment.as_pointers(),
            )
        };
        io::Error::last_os_error()
    }

    /// Becomes the program that `file` is open on, whatever its name is or whether it has one
    /// (Linux only). Returns only when that failed, and says why.
    ///
    /// The program sees a name like `/dev/fd/3` in `AT_EXECFN`, and `/proc/self/exe` says what
    /// the file is rather than the path this image was prepared with. A script with `#!` is
    /// handed to its interpreter as `/dev/fd/N`, so its descriptor must not be marked
    /// close-on-exec, stays open in the interpreter, and needs `/proc`.
    #[cfg(target_os = "linux")]
    pub fn replace_by_descriptor(&self, file: &File) -> io::Error {
        use std::os::fd::AsRawFd as _;

        let _restored = crate::startup::AsHandedOver::restore();
        // SAFETY: the descriptor is borrowed, hence open; the empty path is a terminated
        // constant; the vectors are those of `replace`. The flag says that the path is empty.
        unsafe {
            libc::syscall(
                libc::SYS_execveat,
                file.as_raw_fd(),
                c"".as_ptr(),
                self.arguments.as_pointers(),
                self.environment.as_pointers(),
                libc::AT_EMPTY_PATH,
            )
        };
        io::Error::last_os_error()
    }

    /// Cannot be done on this system: says so.
    #[cfg(not(target_os = "linux"))]
    pub fn replace_by_descriptor(&self, _file: &File) -> io::Error {
        by_descriptor_is_unsupported()
    }
}

#[cfg(windows)]
impl Image {
    /// Prepares running the file at `path`.
    ///
    /// `arguments` is the whole vector, as on other systems; what the program sees as its own name is
    /// its path here. The environment is exactly `environment`. Fails when there is no first
    /// argument, or when some text contains a zero.
    pub fn new(
        path: &Path,
        arguments: &[OsString],
        environment: &[(OsString, OsString)],
    ) -> io::Result<Self> {
        use crate::windows::has_zero;

        let wrong = |words| io::Error::new(io::ErrorKind::InvalidInput, words);
        let Some((_name, arguments)) = arguments.split_first() else {
            return Err(wrong("a program needs a name as its first argument"));
        };
        if has_zero(path.as_os_str()) {
            return Err(wrong("the program's path has a zero"));
        }
        if arguments.iter().any(|argument| has_zero(argument)) {
            return Err(wrong("an argument has a zero"));
        }
        if environment.iter().any(|(name, value)| has_zero(name) || has_zero(value)) {
            return Err(wrong("an environment variable has a zero"));
        }
        let (arguments, environment) = (arguments.to_vec(), environment.to_vec());
        Ok(Self { path: path.to_owned(), arguments, environment })
    }

    /// Runs the program at the path, waits for it, and ends with its exit code. Returns only when it
    /// could not be started, and says why.
    ///
    /// Ctrl-C is the program's: from here on it does not end this process.
    pub fn replace(&self) -> io::Error {
        crate::windows::replace(&self.path, &self.arguments, &self.environment)
    }

    /// Cannot be done on this system: says so.
    pub fn replace_by_descriptor(&self, _file: &File) -> io::Error {
        by_descriptor_is_unsupported()
    }
}

#[cfg(not(target_os = "linux"))]
fn by_descriptor_is_unsupported() -> io::Error {
    io::Error::new(io::ErrorKind::Unsupported, "this system cannot execute an open file")
}

/// Returns a second descriptor of a file, which a program that we become inherits.
#[cfg(unix)]
pub fn inherited(file: &File) -> io::Result<File> {
    Ok(File::from(rustix::io::dup(file)?))
}

/// There are no descriptors here.
#[cfg(not(unix))]
pub fn inherited(_file: &File) -> io::Result<File> {
    Err(by_descriptor_is_unsupported())
}

/// Says whether a program that inherits a descriptor can open the file by its number.
#[cfg(unix)]
pub fn can_be_opened(descriptor: &File) -> bool {
    use std::os::fd::AsRawFd as _;
    std::fs::metadata(format!("/dev/fd/{}", descriptor.as_raw_fd())).is_ok()
}

/// There are no descriptors here.
#[cfg(not(unix))]
pub fn can_be_opened(_descriptor: &File) -> bool {
    false
}

/// Returns the number of the process that would have become this one: its own, and on Windows, where
/// nothing becomes another program, that of the process that has started it.
pub fn predecessor() -> u32 {
    #[cfg(windows)]
    let number = crate::windows::parent();
    #[cfg(not(windows))]
    let number = std::process::id();
    number
}

/// Says whether `error` means that somebody has the file open for writing, which passes: most
/// often a child of this very process that has not executed its own program yet.
pub fn is_busy(error: &io::Error) -> bool {
    #[cfg(windows)]
    if error.raw_os_error() == Some(crate::cause::IN_USE) {
        // So do programs that look at every new file for viruses.
        return true;
    }
    error.kind() == io::ErrorKind::ExecutableFileBusy
}

#[cfg(unix)]
mod unix {
    use std::ffi::{CString, c_char};
    use std::io;

    /// Adds the zero byte that ends a string in C.
    ///
    /// The error does not repeat the text, which may be a secret.
    pub(super) fn terminated(what: &str, text: Vec<u8>) -> io::Result<CString> {
        CString::new(text).map_err(|error| {
            let words = format!("{what} has a zero byte at position {}", error.nul_position());
            io::Error::new(io::ErrorKind::InvalidInput, words)
        })
    }

    /// An array of strings as C wants it.
    #[derive(Debug)]
    pub(super) struct Vector {
        /// Owns what the pointers point to: the heap memory of a `CString` stays where it is.
        _strings: Vec<CString>,
        pointers: Vec<*const c_char>,
    }

    impl Vector {
        pub(super) fn new(what: &str, texts: impl Iterator<Item = Vec<u8>>) -> io::Result<Self> {
            let strings =
                texts.map(|text| terminated(what, text)).collect::<io::Result<Vec<_>>>()?;
            let ends = std::iter::once(std::ptr::null());
            let pointers = strings.iter().map(|text| text.as_ptr()).chain(ends).collect();
            Ok(Self { _strings: strings, pointers })
        }

        pub(super) fn as_pointers(&self) -> *const *const c_char {
            self.pointers.as_ptr()
        }
    }
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    fn texts(texts: &[&str]) -> Vec<OsString> {
        texts.iter().map(OsString::from).collect()
    }

    #[test]
    fn a_program_without_a_name_is_refused() {
        let error = Image::new(Path::new("/bin/true"), &[], &[]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
    }

    #[test]
    fn a_zero_byte_is_refused_and_values_are_not_repeated() {
        for (path, argument, value) in
            [("/bin/t\0rue", "t", "v"), ("/bin/true", "t\0", "v"), ("/bin/true", "t", "secret\0")]
        {
            let environment = [("NAME".into(), value.into())];
            let error = Image::new(Path::new(path), &texts(&[argument]), &environment).unwrap_err();
            assert!(error.to_string().contains("zero byte"), "{error}");
            assert!(!error.to_string().contains("secret"), "{error}");
        }
    }

    #[test]
    fn what_cannot_be_executed_comes_back_as_an_error() {
        let _turn = crate::startup::tests::turn();
        let image = Image::new(Path::new("/nonexistent/tool"), &texts(&["tool"]), &[]).unwrap();
        assert_eq!(image.replace().kind(), io::ErrorKind::NotFound);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn an_open_directory_cannot_be_executed() {
        let _turn = crate::startup::tests::turn();
        let image = Image::new(Path::new("/"), &texts(&["tool"]), &[]).unwrap();
        let error = image.replace_by_descriptor(&File::open("/").unwrap());
        assert_eq!(error.kind(), io::ErrorKind::PermissionDenied);
    }
}
