//! The words of a command line, divided by zero bytes.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt as _;

use dbt_cli::args::{self, Flags, Invocation};
use dbt_core::name::ToolName;

/// Routes a command line: what stands after a tool's name is the tool's, to the byte.
pub fn run(data: &[u8]) {
    let words: Vec<OsString> =
        data.split(|byte| *byte == 0).map(|word| OsString::from_vec(word.to_vec())).collect();
    let given_back: BTreeSet<ToolName> = ["catalog".parse().unwrap()].into();
    for given_back in [&BTreeSet::new(), &given_back] {
        routed(&words, given_back);
    }
    let linked = args::linked("deploy".into(), words.clone()).decide(&BTreeSet::new());
    let Ok((flags, Invocation::Tool(call))) = linked else { panic!("a link is a tool's") };
    assert_eq!((flags, call.arguments), (Flags::default(), words.clone()));
    let _any = dbt_cli::cli::parse_catalog(words);
}

fn decided(words: &[OsString], given_back: &BTreeSet<ToolName>) -> Option<(Flags, Invocation)> {
    args::read(words.to_vec()).ok()?.decide(given_back).ok()
}

fn routed(words: &[OsString], given_back: &BTreeSet<ToolName>) {
    let Some((flags, Invocation::Tool(call))) = decided(words, given_back) else { return };
    assert!(words.ends_with(&call.arguments), "{words:?} {call:?}");
    let at = words.len() - call.arguments.len() - 1;
    let word = words[at].to_str().expect("a tool's name is text");
    assert_eq!(word.split('@').next(), Some(call.name.as_str()));

    // Whatever is added there changes nothing before.
    for further in ["--version", "-s", "--", "-o", "x@1"] {
        let mut longer = words.to_vec();
        longer.push(further.into());
        let Some((same_flags, Invocation::Tool(longer_call))) = decided(&longer, given_back) else {
            panic!("{longer:?}")
        };
        assert_eq!((&same_flags, &longer_call.name), (&flags, &call.name), "{longer:?}");
        assert_eq!(longer_call.wanted, call.wanted);
        assert_eq!(longer_call.arguments, longer[at + 1..]);
    }
}
