//! A conversation with a directory service (LDAP, RFC 4511): a few questions over one
//! connection, each answered before the next.

use std::fmt;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

use super::ber::{self, Element};
use super::{Place, Security};
use crate::limits;
use crate::outbound::connect;
use crate::outbound::tls::Tls;

/// The name of the request to begin TLS.
const START_TLS: &str = "1.3.6.1.4.1.1466.20037";

const BIND: u8 = 0x60;
const BOUND: u8 = 0x61;
const UNBIND: u8 = 0x42;
const SEARCH: u8 = 0x63;
const ENTRY: u8 = 0x64;
const SEARCHED: u8 = 0x65;
const REFERENCE: u8 = 0x73;
const EXTENDED: u8 = 0x77;
const EXTENDED_ANSWER: u8 = 0x78;
const INTERMEDIATE: u8 = 0x79;

/// What a directory says of a request (RFC 4511, A.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// The number of the result.
    pub code: u32,
    /// What it says besides.
    pub message: String,
}

impl Outcome {
    /// It was done.
    pub const SUCCESS: u32 = 0;
    /// There is more than was asked for.
    pub const SIZE_LIMIT: u32 = 4;
    /// There is more than the directory lets anybody ask for.
    pub const ADMIN_LIMIT: u32 = 11;
    /// Another server should be asked.
    pub const REFERRAL: u32 = 10;
    /// There is no such entry.
    pub const NO_SUCH_OBJECT: u32 = 32;
    /// The name or the password is wrong.
    pub const INVALID_CREDENTIALS: u32 = 49;

    /// Says whether the directory cannot answer at the moment, so that its answer means nothing.
    pub const fn is_trouble(&self) -> bool {
        // operationsError, protocolError, timeLimitExceeded, busy, unavailable, other.
        matches!(self.code, 1 | 2 | 3 | 51 | 52 | 80)
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "result {}", self.code)?;
        if !self.message.is_empty() {
            write!(f, ", `{}`", self.message.escape_debug())?;
        }
        Ok(())
    }
}

/// An entry that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its name.
    pub dn: String,
    /// The values of the attribute that was asked for.
    pub values: Vec<String>,
}

/// What to look for.
#[derive(Clone, Copy, Debug)]
pub struct Query<'a> {
    /// Below which entry.
    pub base: &'a str,
    /// With which filter, as it is sent.
    pub filter: &'a [u8],
    /// Which attribute is wanted, if one is.
    pub attribute: Option<&'a str>,
    /// How many entries at most.
    pub most: u32,
}

/// A connection that can be spoken over.
trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// A connection to a directory.
pub struct Directory {
    stream: Box<dyn Stream>,
    last: u32,
    /// It says what nobody waits for any more, so that nothing else can be asked.
    is_used_up: bool,
}

impl Directory {
    /// Speaks over a connection that is there already.
    pub fn over(stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static) -> Self {
        Self { stream: Box::new(stream), last: 0, is_used_up: false }
    }

    /// Connects, and begins TLS if it is to be.
    pub async fn open(place: &Place, tls: &Tls) -> Result<Self, Trouble> {
        let plain = connect(&place.host, place.port).await.map_err(Trouble::Connect)?;
        let (stream, last): (Box<dyn Stream>, u32) = match place.security {
            Security::Plain => (Box::new(plain), 0),
            Security::Tls => {
                (Box::new(tls.begin(&place.host, plain).await.map_err(Trouble::Tls)?), 0)
            }
            Security::StartTls => {
                let mut plain = plain;
                // Read to the byte and no further: what somebody between put behind the answer
                // must not be taken for something said under TLS.
                start_tls(&mut plain).await?;
                (Box::new(tls.begin(&place.host, plain).await.map_err(Trouble::Tls)?), 1)
            }
        };
        Ok(Self { stream, last, is_used_up: false })
    }

    /// Says whether nothing more can be asked over this connection.
    pub const fn is_used_up(&self) -> bool {
        self.is_used_up
    }

    /// Signs in. Without a name or a password a directory says yes to everybody (RFC 4513, 5.1.2),
    /// so that neither is ever left out.
    pub async fn bind(&mut self, dn: &str, password: &str) -> Result<Outcome, Trouble> {
        if dn.is_empty() || password.is_empty() {
            return Err(Trouble::Unauthenticated);
        }
        let request = ber::parts(
            BIND,
            &[ber::number(ber::INTEGER, 3), ber::text(ber::OCTETS, dn), ber::text(0x80, password)],
        );
        self.send(&request).await?;
        match self.receive().await? {
            (BOUND, content) => outcome(&content),
            (tag, _content) => Err(Trouble::Unexpected(tag)),
        }
    }

    /// Looks for entries in the whole tree below one; one more than the most where there are more.
    /// Aliases are not followed, and neither are
    /// references to other servers: those would learn the names and passwords of ours.
    pub async fn search(&mut self, query: Query<'_>) -> Result<(Vec<Entry>, Outcome), Trouble> {
        // `1.1` is no attribute (RFC 4511, 4.5.1.8).
        let wanted = ber::text(ber::OCTETS, query.attribute.unwrap_or("1.1"));
        let seconds = u32::try_from(limits::ASKING_TIME.as_secs()).unwrap_or(u32::MAX);
        let request = ber::parts(
            SEARCH,
            &[
                ber::text(ber::OCTETS, query.base),
                ber::number(ber::ENUMERATED, 2),
                ber::number(ber::ENUMERATED, 0),
                ber::number(ber::INTEGER, query.most),
                ber::number(ber::INTEGER, seconds),
                ber::element(ber::BOOLEAN, &[0]),
                query.filter.to_vec(),
                ber::element(ber::SEQUENCE, &wanted),
            ],
        );
        self.send(&request).await?;
        let mut entries = Vec::new();
        loop {
            match self.receive().await? {
                (ENTRY, content) => {
                    let attribute = query.attribute.unwrap_or_default();
                    entries.push(entry(&content, attribute).ok_or(Trouble::Malformed)?);
                    // What a directory says that does not count is not waited for.
                    if entries.len() > query.most as usize {
                        self.is_used_up = true;
                        let message = "it sends more than was asked for".to_owned();
                        return Ok((entries, Outcome { code: Outcome::SIZE_LIMIT, message }));
                    }
                }
                (REFERENCE | INTERMEDIATE, _not_followed) => {}
                (SEARCHED, content) => return Ok((entries, outcome(&content)?)),
                (tag, _content) => return Err(Trouble::Unexpected(tag)),
            }
        }
    }

    /// Says goodbye, which nobody answers.
    pub async fn close(mut self) {
        let _gone_already = self.send(&ber::element(UNBIND, &[])).await;
        let _gone_already = self.stream.shutdown().await;
    }

    async fn send(&mut self, request: &[u8]) -> Result<(), Trouble> {
        self.last += 1;
        send(&mut self.stream, self.last, request).await
    }

    async fn receive(&mut self) -> Result<(u8, Vec<u8>), Trouble> {
        receive(&mut self.stream, self.last).await
    }
}

async fn start_tls(stream: &mut (impl AsyncRead + AsyncWrite + Unpin)) -> Result<(), Trouble> {
    let request = ber::element(EXTENDED, &ber::text(0x80, START_TLS));
    send(stream, 1, &request).await?;
    match receive(stream, 1).await? {
        (EXTENDED_ANSWER, content) => match outcome(&content)? {
            Outcome { code: Outcome::SUCCESS, .. } => Ok(()),
            refused => Err(Trouble::NoStartTls(refused)),
        },
        (tag, _content) => Err(Trouble::Unexpected(tag)),
    }
}

async fn send(
    stream: &mut (impl AsyncWrite + Unpin),
    id: u32,
    request: &[u8],
) -> Result<(), Trouble> {
    let message = ber::parts(ber::SEQUENCE, &[ber::number(ber::INTEGER, id), request.to_vec()]);
    stream.write_all(&message).await.map_err(Trouble::Connect)?;
    stream.flush().await.map_err(Trouble::Connect)
}

/// Reads one message, which must answer the request with this number, and nothing after it.
async fn receive(stream: &mut (impl AsyncRead + Unpin), id: u32) -> Result<(u8, Vec<u8>), Trouble> {
    let mut head = [0; 2];
    stream.read_exact(&mut head).await.map_err(Trouble::Connect)?;
    let [tag, first] = head;
    if tag != ber::SEQUENCE {
        return Err(Trouble::Malformed);
    }
    let length = if first < 0x80 {
        usize::from(first)
    } else {
        let mut length = [0; ber::LENGTH_BYTES];
        let count = usize::from(first & 0x7f);
        let length = length.get_mut(..count).filter(|bytes| !bytes.is_empty());
        let length = length.ok_or(Trouble::Malformed)?;
        stream.read_exact(length).await.map_err(Trouble::Connect)?;
        ber::big_endian(length)
    };
    if length > limits::ANSWER_BYTES {
        return Err(Trouble::TooMuch);
    }
    let mut content = vec![0; length];
    stream.read_exact(&mut content).await.map_err(Trouble::Connect)?;
    let (number, rest) = Element::first(&content).ok_or(Trouble::Malformed)?;
    let (operation, _controls) = Element::first(rest).ok_or(Trouble::Malformed)?;
    if number.tag != ber::INTEGER {
        return Err(Trouble::Malformed);
    }
    match number.number() {
        Some(0) => Err(Trouble::Disconnected),
        Some(number) if number == id => Ok((operation.tag, operation.content.to_vec())),
        _ => Err(Trouble::Malformed),
    }
}

fn outcome(content: &[u8]) -> Result<Outcome, Trouble> {
    let parts = Element { tag: ber::SEQUENCE, content }.inside().ok_or(Trouble::Malformed)?;
    let [code, _matched, message, ..] = parts.as_slice() else { return Err(Trouble::Malformed) };
    if code.tag != ber::ENUMERATED {
        return Err(Trouble::Malformed);
    }
    let code = code.number().ok_or(Trouble::Malformed)?;
    let message = String::from_utf8_lossy(message.content).chars().take(200).collect();
    Ok(Outcome { code, message })
}

fn entry(content: &[u8], attribute: &str) -> Option<Entry> {
    let (dn, rest) = Element::first(content)?;
    let (attributes, _none) = Element::first(rest)?;
    let mut values = Vec::new();
    for written in attributes.inside()? {
        let parts = written.inside()?;
        let [name, set] = parts.as_slice() else { return None };
        if name.text()?.eq_ignore_ascii_case(attribute) && set.tag == ber::SET {
            // What is no text names no group.
            values
                .extend(set.inside()?.into_iter().filter_map(Element::text).map(ToOwned::to_owned));
        }
    }
    Some(Entry { dn: dn.text()?.to_owned(), values })
}

/// Why a directory could not be asked.
#[derive(Debug, thiserror::Error)]
pub enum Trouble {
    /// Nobody answers, or the connection ended.
    #[error("the connection failed: {0}")]
    Connect(#[source] std::io::Error),
    /// TLS could not begin.
    #[error("the connection is not secure: {0}")]
    Tls(#[source] std::io::Error),
    /// The directory does not begin TLS.
    #[error("the directory does not begin TLS: {0}")]
    NoStartTls(Outcome),
    /// The directory ended the conversation.
    #[error("the directory ended the conversation")]
    Disconnected,
    /// What came is no answer of a directory.
    #[error("what came is no answer of a directory")]
    Malformed,
    /// What came answers something else.
    #[error("what came answers something else (0x{0:02x})")]
    Unexpected(u8),
    /// More came than was asked for.
    #[error("more came than was asked for")]
    TooMuch,
    /// A sign-in without a name or a password would prove nothing.
    #[error("a sign-in needs a name and a password")]
    Unauthenticated,
    /// The name that searches is not accepted.
    #[error("the directory does not accept `ldap.bindDn` with its password: {0}")]
    Service(Outcome),
    /// A search was refused.
    #[error("the search below `{base}` failed: {outcome}")]
    Search {
        /// Where.
        base: String,
        /// What the directory said.
        outcome: Outcome,
    },
    /// The directory cannot answer now.
    #[error("the directory cannot answer now: {0}")]
    Busy(Outcome),
    /// It takes too long.
    #[error("there was no answer in {} seconds", limits::ASKING_TIME.as_secs())]
    Time,
}
