//! What a directory service answers, and what its bytes are.

use dbt_server::authn::ldap::ber::{self, Element};
use dbt_server::authn::ldap::directory::{Directory, Outcome, Query};
use tokio::runtime::Runtime;

/// How many entries are asked for.
const MOST: u32 = 2;

/// Takes the bytes for everything that the directory ever says: to a sign-in, and to a search.
pub fn run(data: &[u8]) {
    thread_local! {
        static RUNTIME: Runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    }
    RUNTIME.with(|runtime| runtime.block_on(converse(data)));
    elements(data);
}

async fn converse(data: &[u8]) {
    let says = || tokio::io::join(std::io::Cursor::new(data.to_vec()), tokio::io::sink());
    if let Ok(outcome) = Directory::over(says()).bind("cn=x", "password").await {
        let (tag, content) = first_answer(data).expect("it is an answer to the first request");
        assert_eq!(tag, 0x61, "a sign-in is answered");
        let (tag, code) = element(&content).expect("it has a result");
        assert_eq!(tag, 0x0a);
        let code = code.iter().fold(0_u64, |code, byte| code << 8 | u64::from(*byte));
        assert_eq!(u64::from(outcome.code), code);
    }
    let query = Query { base: "dc=x", filter: b"\x87\x01a", attribute: Some("cn"), most: MOST };
    let mut directory = Directory::over(says());
    if let Ok((entries, outcome)) = directory.search(query).await {
        let more = entries.len() - entries.len().min(MOST as usize);
        assert!(more <= 1, "what is not wanted is not waited for");
        assert!(more == 0 || outcome.code == Outcome::SIZE_LIMIT, "that there is more is said");
        assert_eq!(directory.is_used_up(), more == 1);
        let size: usize = entries
            .iter()
            .map(|entry| entry.dn.len() + entry.values.iter().map(String::len).sum::<usize>())
            .sum();
        assert!(size <= data.len(), "nothing is made up");
        let text = String::from_utf8_lossy(data);
        for entry in &entries {
            assert!(text.contains(&entry.dn), "{entry:?}");
            assert!(entry.values.iter().all(|value| text.contains(value)), "{entry:?}");
        }
    }
    // Without a password a directory would say yes to everybody.
    assert!(Directory::over(says()).bind("cn=x", "").await.is_err());
    assert!(Directory::over(says()).bind("", "password").await.is_err());
}

/// Reads the first message in another way, if it answers the first request.
fn first_answer(data: &[u8]) -> Option<(u8, Vec<u8>)> {
    let (tag, message) = element(data)?;
    let (number_tag, number) = element(message)?;
    let rest = message.get(message.len() - (message.len() - header(message)? - number.len())..)?;
    let is_first = number.iter().rev().skip(1).all(|byte| *byte == 0) && number.last() == Some(&1);
    let (operation, content) = element(rest)?;
    (tag == 0x30 && number_tag == 0x02 && is_first).then(|| (operation, content.to_vec()))
}

/// Returns how many bytes come before the content.
fn header(data: &[u8]) -> Option<usize> {
    let first = *data.get(1)?;
    Some(2 + if first < 0x80 { 0 } else { usize::from(first & 0x7f) })
}

fn element(data: &[u8]) -> Option<(u8, &[u8])> {
    let header = header(data)?;
    let length = match *data.get(1)? {
        short if short < 0x80 => usize::from(short),
        _ => data.get(2..header)?.iter().fold(0, |all, byte| all << 8 | usize::from(*byte)),
    };
    Some((*data.first()?, data.get(header..)?.get(..length)?))
}

/// What is read is a part of what is there, and written again it is read as the same.
fn elements(data: &[u8]) {
    let Some((first, rest)) = Element::first(data) else { return };
    assert!(data.ends_with(rest));
    assert_eq!(element(data), Some((first.tag, first.content)));
    let again = ber::element(first.tag, first.content);
    assert!(again.len() + rest.len() <= data.len(), "it is written as short as can be");
    assert_eq!(Element::first(&again), Some((first, &[][..])));
    if let Some(number) = first.number() {
        let again = ber::number(first.tag, number);
        assert_eq!(Element::first(&again).unwrap().0.number(), Some(number));
    }
    if let Some(inside) = first.inside() {
        let parts: Vec<Vec<u8>> =
            inside.iter().map(|part| ber::element(part.tag, part.content)).collect();
        let whole = ber::parts(first.tag, &parts);
        let whole = Element::first(&whole).unwrap().0;
        assert_eq!(whole.inside().unwrap().len(), inside.len());
    }
}
