//! tar archives: POSIX.1-1988 (`ustar`), with the long names of POSIX.1-2001 (`pax`) and GNU.

use std::io::{self, Read};

use super::{Entry, Problem, Taken, copy};

/// The size of a header, and what everything is padded to.
const BLOCK: usize = 512;

/// The most bytes of a name that follows a header of its own.
const LONG_NAME_LIMIT: u64 = 64 * 1024;

/// Reads an archive to its end, which lets what unpacks it check all of it.
///
/// `limit` is how many bytes it may have.
pub(super) fn read(unpacked: impl Read, limit: u64, taken: &mut Taken<'_>) -> Result<(), Problem> {
    let mut from = unpacked.take(limit + 1);
    let outcome = entries(&mut from, taken);
    if from.limit() == 0 {
        return Err(Problem::TooLarge);
    }
    outcome?;
    io::copy(&mut from, &mut io::sink()).map_err(Problem::Read)?;
    if from.limit() == 0 { Err(Problem::TooLarge) } else { Ok(()) }
}

/// What headers before an entry's own say about it.
#[derive(Debug, Default, PartialEq, Eq)]
struct Said {
    path: Option<Vec<u8>>,
    size: Option<u64>,
}

fn entries(from: &mut impl Read, taken: &mut Taken<'_>) -> Result<(), Problem> {
    let mut said = Said::default();
    let mut block = [0; BLOCK];
    loop {
        copy(&mut *from, block.as_mut_slice(), BLOCK as u64)?;
        if block.iter().all(|byte| *byte == 0) {
            return Ok(());
        }
        let header = Header(&block);
        header.check()?;
        let size = header.size()?;
        match header.kind() {
            kind @ (b'x' | b'g') => {
                let records = small(from, size)?;
                let mut records_say = Said::default();
                records_say.read_pax(&records)?;
                skip_padding(from, size)?;
                if kind == b'x' {
                    said.path = records_say.path.or(said.path);
                    said.size = records_say.size.or(said.size);
                } else if records_say != Said::default() {
                    // Some readers name all entries so, and some none.
                    return Err(Problem::Format("it has a pax header that names all its entries"));
                }
                continue;
            }
            // The place of a link, which can stand between an entry and its name.
            b'K' => {
                small(from, size)?;
                skip_padding(from, size)?;
                continue;
            }
            b'L' => {
                let mut path = small(from, size)?;
                path.truncate(path.iter().position(|byte| *byte == 0).unwrap_or(path.len()));
                said.path = Some(path);
                skip_padding(from, size)?;
                continue;
            }
            _ => {}
        }
        let size = said.size.unwrap_or(size);
        let path = said.path.take().unwrap_or_else(|| header.path());
        said = Said::default();
        let (entry, size) = match header.kind() {
            b'0' | 0 => (Entry::File, size),
            // Links have no content, whatever their size says.
            b'1' | b'2' => (Entry::Link, 0),
            b'3'..=b'6' => (Entry::Other, 0),
            _ => (Entry::Other, size),
        };
        match taken.meet(&path, entry)? {
            Some(program) => copy(&mut *from, program, size)?,
            None => copy(&mut *from, io::sink(), size)?,
        }
        skip_padding(from, size)?;
    }
}

/// Reads a short content.
fn small(from: &mut impl Read, size: u64) -> Result<Vec<u8>, Problem> {
    if size > LONG_NAME_LIMIT {
        return Err(Problem::Format("a name in it is too long"));
    }
    let mut bytes = Vec::new();
    copy(from, &mut bytes, size)?;
    Ok(bytes)
}

fn skip_padding(from: &mut impl Read, size: u64) -> Result<(), Problem> {
    let block = BLOCK as u64;
    copy(from, io::sink(), (block - size % block) % block)
}

impl Said {
    /// Reads records `LENGTH KEY=VALUE\n`, of which the length counts everything.
    fn read_pax(&mut self, mut records: &[u8]) -> Result<(), Problem> {
        const BAD: Problem = Problem::Format("it has a bad pax header");
        while !records.is_empty() {
            let digits = records.iter().position(|byte| *byte == b' ').ok_or(BAD)?;
            let length = number(records.get(..digits).unwrap_or_default(), 10).ok_or(BAD)?;
            let length = usize::try_from(length).map_err(|_error| BAD)?;
            let record = records.get(digits + 1..length).ok_or(BAD)?;
            let record = record.strip_suffix(b"\n").ok_or(BAD)?;
            let equals = record.iter().position(|byte| *byte == b'=').ok_or(BAD)?;
            let value = record.get(equals + 1..).unwrap_or_default();
            match record.get(..equals) {
                Some(b"path") => self.path = Some(value.to_vec()),
                Some(b"size") => self.size = Some(number(value, 10).ok_or(BAD)?),
                // What is there is a map of the file and its parts, under a name of the archiver's.
                Some(key) if key.starts_with(b"GNU.sparse.") => {
                    return Err(Problem::Format("it has a sparse file"));
                }
                _ => {}
            }
            records = records.get(length..).unwrap_or_default();
        }
        Ok(())
    }
}

struct Header<'a>(&'a [u8; BLOCK]);

impl Header<'_> {
    fn field(&self, from: usize, to: usize) -> &[u8] {
        self.0.get(from..to).unwrap_or_default()
    }

    /// The sum of all bytes, those of the checksum itself taken as spaces.
    fn check(&self) -> Result<(), Problem> {
        let sum = self.0.iter().enumerate().fold(0_u64, |sum, (at, byte)| {
            sum + u64::from(if (148..156).contains(&at) { b' ' } else { *byte })
        });
        if octal(self.field(148, 156)) == Some(sum) {
            return Ok(());
        }
        Err(Problem::Format("it is not a tar archive, or a damaged one"))
    }

    fn kind(&self) -> u8 {
        self.field(156, 157).first().copied().unwrap_or_default()
    }

    fn size(&self) -> Result<u64, Problem> {
        let field = self.field(124, 136);
        let size = match field.split_first() {
            // GNU: a binary number where octal digits do not suffice.
            Some((0x80, binary)) => binary.iter().try_fold(0_u64, |value, byte| {
                value.checked_mul(256).map(|value| value + u64::from(*byte))
            }),
            _ => octal(field),
        };
        size.ok_or(Problem::Format("it has an entry without a size"))
    }

    fn path(&self) -> Vec<u8> {
        let text = |field: &[u8]| {
            let end = field.iter().position(|byte| *byte == 0).unwrap_or(field.len());
            field.get(..end).unwrap_or_default().to_vec()
        };
        let name = text(self.field(0, 100));
        let prefix = text(self.field(345, 500));
        if self.field(257, 262) != b"ustar" || prefix.is_empty() {
            return name;
        }
        [prefix, name].join(&b'/')
    }
}

fn octal(field: &[u8]) -> Option<u64> {
    let end = field.iter().position(|byte| *byte == 0).unwrap_or(field.len());
    number(field.get(..end)?.trim_ascii(), 8)
}

fn number(digits: &[u8], base: u32) -> Option<u64> {
    let text = std::str::from_utf8(digits).ok().filter(|text| !text.starts_with('+'))?;
    u64::from_str_radix(text, base).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A header as `tar` writes it, with its sum.
    fn header(name: &str, kind: u8, size: u64) -> Vec<u8> {
        let mut block = vec![0; BLOCK];
        block[..name.len()].copy_from_slice(name.as_bytes());
        block[124..135].copy_from_slice(format!("{size:011o}").as_bytes());
        block[156] = kind;
        block[148..156].fill(b' ');
        let sum: u64 = block.iter().map(|byte| u64::from(*byte)).sum();
        block[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
        block
    }

    fn outcome(archive: impl Read, limit: u64) -> Result<Vec<u8>, String> {
        let wanted = ["deploy".to_owned()];
        let mut taken = Taken::new(&wanted);
        read(archive, limit, &mut taken)
            .and_then(|()| taken.finish())
            .map(|mut program| {
                let mut bytes = Vec::new();
                program.read_to_end(&mut bytes).unwrap();
                bytes
            })
            .map_err(|problem| problem.to_string())
    }

    fn padded(mut bytes: Vec<u8>) -> Vec<u8> {
        bytes.resize(bytes.len().next_multiple_of(BLOCK), 0);
        bytes
    }

    #[test]
    fn what_unpacks_without_end_is_left_at_the_limit() {
        let words = Err("unpacked, it has more than 8 GiB".to_owned());
        assert_eq!(outcome(io::repeat(0), 100_000), words, "behind the end");
        let endless = header("x", b'0', 1 << 30);
        assert_eq!(outcome(endless.chain(io::repeat(1)), 100_000), words, "in an entry");
        let endless = header("deploy", b'0', 1 << 30);
        assert_eq!(outcome(endless.chain(io::repeat(1)), 100_000), words, "in the program");
    }

    #[test]
    fn what_is_damaged_is_refused_and_nothing_of_it_taken() {
        let program = [header("x/deploy", b'0', 5), padded(b"bytes".to_vec())].concat();
        let good = [program.clone(), vec![0; 2 * BLOCK]].concat();
        assert_eq!(outcome(&*good, 1 << 20), Ok(b"bytes".to_vec()));
        assert_eq!(outcome(&good[..600], 1 << 20), Err("it ends too early".to_owned()));
        assert_eq!(outcome(&*program, 1 << 20), Err("it ends too early".to_owned()));
        let mut bad = good.clone();
        bad[0] ^= 1;
        let words = "it is not a tar archive, or a damaged one".to_owned();
        assert_eq!(outcome(&*bad, 1 << 20), Err(words));
        let long = [header("x", b'L', 1 << 20), good].concat();
        assert_eq!(outcome(&*long, 1 << 22), Err("a name in it is too long".to_owned()));
    }

    fn missing(seen: &str) -> String {
        format!("it has no file `deploy`; it has `{seen}`")
    }

    #[test]
    fn an_archive_that_others_read_as_another_is_refused() {
        let after = |headers: &[(u8, &[u8])], name: &str| {
            let headers = headers.iter().map(|(kind, content)| {
                [header("of its own", *kind, content.len() as u64), padded(content.to_vec())]
                    .concat()
            });
            let headers: Vec<u8> = headers.collect::<Vec<_>>().concat();
            let program = [header(name, b'0', 5), padded(b"bytes".to_vec())].concat();
            outcome(&*[headers, program, vec![0; 2 * BLOCK]].concat(), 1 << 20)
        };
        let link: (u8, &[u8]) = (b'K', b"somewhere\0");
        assert_eq!(after(&[(b'L', b"x/deploy\0"), link], "cut off"), Ok(b"bytes".to_vec()));
        assert_eq!(after(&[(b'L', b"x/other\0"), link], "deploy"), Err(missing("other")));
        let all = Err("it has a pax header that names all its entries".to_owned());
        assert_eq!(after(&[(b'g', b"15 path=deploy\n")], "other"), all);
        assert_eq!(after(&[(b'g', b"11 size=99\n")], "deploy"), all);
        assert_eq!(after(&[(b'g', b"13 comment=x\n")], "deploy"), Ok(b"bytes".to_vec()));
        let sparse = Err("it has a sparse file".to_owned());
        assert_eq!(after(&[(b'x', b"22 GNU.sparse.major=1\n")], "deploy"), sparse);
    }

    #[test]
    fn long_names_are_not_shown_whole() {
        let name = "n".repeat(60_000);
        let archive = [
            header("x", b'L', 60_000),
            padded(name.into_bytes()),
            header("x", b'0', 0),
            vec![0; 2 * BLOCK],
        ];
        let shown = format!("{}…", "n".repeat(super::super::SHOWN_LETTERS));
        assert_eq!(outcome(&*archive.concat(), 1 << 20), Err(missing(&shown)));
    }

    #[test]
    fn names_in_headers_of_their_own_are_read() {
        let archive = |kind, content: &str| {
            [
                header("longer", kind, content.len() as u64),
                padded(content.as_bytes().to_vec()),
                header("cut off", b'0', 5),
                padded(b"bytes".to_vec()),
                vec![0; 2 * BLOCK],
            ]
            .concat()
        };
        let read = |kind, content| outcome(&*archive(kind, content), 1 << 20);
        assert_eq!(read(b'L', "a/deploy\0"), Ok(b"bytes".to_vec()));
        assert_eq!(read(b'x', "19 path=a/b/deploy\n"), Ok(b"bytes".to_vec()));
        assert_eq!(read(b'K', "a/other\0"), Err(missing("cut off")));
        let words = Err("it has a bad pax header".to_owned());
        for content in ["18 path=a/b/deploy\n", "99 path=deploy\n", "0 \n", "path=deploy\n", "\n"] {
            assert_eq!(read(b'x', content), words, "{content}");
        }
    }
}
