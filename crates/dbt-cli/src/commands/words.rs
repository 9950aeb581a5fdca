//! What somebody may have meant by a word that is no tool.

use dbt_core::brand;

use crate::usage::another_product;

/// Words people try, and the command that does it here.
const MEANT: [(&str, &str); 15] = [
    ("add", "server add URL"),
    ("config", "server list"),
    ("exec", "run TOOL"),
    ("info", "catalog show TOOL"),
    ("init", "server add URL"),
    ("install", "fetch TOOL"),
    ("list", "catalog list"),
    ("outdated", "update"),
    ("pin", "rollback TOOL VERSION"),
    ("publish", "publisher publish"),
    ("search", "catalog search TEXT"),
    ("status", "doctor"),
    ("sync", "update"),
    ("uninstall", "cache prune"),
    ("upgrade", "update"),
];

/// Commands of another program that has our name.
const OF_ANOTHER_PROGRAM: [&str; 6] = ["run", "build", "debug", "test", "compile", "seed"];

/// Returns what can be said to somebody who typed this word.
pub(crate) fn hints(word: &str) -> Vec<String> {
    let program = brand::PROGRAM;
    let meant = MEANT.iter().find(|(typed, _command)| *typed == word);
    let meant =
        meant.map(|(_typed, command)| format!("`{program} {command}` may be what is meant"));
    let another = OF_ANOTHER_PROGRAM.contains(&word).then(another_product).flatten();
    meant.into_iter().chain(another).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use dbt_core::name::{BUILT_IN_WORDS, RESERVED_WORDS};

    #[test]
    fn every_word_that_is_answered_is_a_reserved_one_and_every_answer_exists() {
        for (word, command) in MEANT {
            assert!(RESERVED_WORDS.contains(&word), "{word}");
            let first = command.split(' ').next().unwrap();
            assert!(BUILT_IN_WORDS.contains(&first) || first == "publisher", "{command}");
        }
    }

    #[test]
    fn a_word_of_the_data_build_tool_is_answered_with_who_we_are() {
        let expected = "this is the Dynamic Binary Toolkit, not the data build tool";
        for word in ["build", "debug", "test"] {
            assert_eq!(hints(word), [expected]);
        }
        assert_eq!(hints("list"), ["`dbt catalog list` may be what is meant"]);
        assert!(hints("deploy").is_empty());
    }
}
