//! The invariants of ARCHITECTURE.md that the compiler cannot keep, as checks and as tests.
//!
//! A check takes the [`Tree`] and returns one line for each thing that is wrong, with its place.

mod arrows;
mod cases;
mod documents;
mod forgotten;
mod names;
mod rust;
mod sources;

use crate::tree::Tree;

/// A check: what is wrong, one line each.
type Check = fn(&Tree) -> Vec<String>;

/// Every check there is. The tests below name them one by one, so that a failure has a name.
const CHECKS: &[Check] = &[
    arrows::rooms_depend_as_the_diagram_says,
    arrows::the_core_has_the_dependencies_it_should,
    arrows::heavy_crates_stay_in_their_room,
    arrows::every_crate_takes_the_workspace_lints,
    cases::every_hostile_case_has_its_test,
    documents::links_resolve,
    documents::every_page_can_be_reached,
    documents::every_page_with_commands_has_a_test,
    documents::every_decision_is_listed,
    documents::the_code_map_is_true,
    documents::the_named_tests_exist,
    forgotten::every_test_file_is_compiled,
    names::the_product_is_named_in_one_file,
    sources::files_are_short,
    sources::nothing_is_silenced_or_left_for_later,
    sources::the_world_is_touched_where_it_should_be,
    sources::unsafe_stays_in_its_room,
];

/// Returns everything that is wrong with the workspace.
pub(crate) fn problems(tree: &Tree) -> Vec<String> {
    CHECKS.iter().flat_map(|check| check(tree)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs one check on this very workspace.
    fn holds(check: Check) {
        let tree = Tree::read(crate::workspace_root()).unwrap();
        let problems = check(&tree);
        assert!(problems.is_empty(), "\n{}\n", problems.join("\n"));
    }

    #[test]
    fn rooms_depend_as_the_diagram_says() {
        holds(arrows::rooms_depend_as_the_diagram_says);
    }

    #[test]
    fn the_core_has_the_dependencies_it_should() {
        holds(arrows::the_core_has_the_dependencies_it_should);
    }

    #[test]
    fn heavy_crates_stay_in_their_room() {
        holds(arrows::heavy_crates_stay_in_their_room);
    }

    #[test]
    fn every_crate_takes_the_workspace_lints() {
        holds(arrows::every_crate_takes_the_workspace_lints);
    }

    #[test]
    fn every_hostile_case_has_its_test() {
        holds(cases::every_hostile_case_has_its_test);
    }

    #[test]
    fn links_resolve() {
        holds(documents::links_resolve);
    }

    #[test]
    fn every_page_can_be_reached() {
        holds(documents::every_page_can_be_reached);
    }

    #[test]
    fn every_page_with_commands_has_a_test() {
        holds(documents::every_page_with_commands_has_a_test);
    }

    #[test]
    fn every_decision_is_listed() {
        holds(documents::every_decision_is_listed);
    }

    #[test]
    fn the_code_map_is_true() {
        holds(documents::the_code_map_is_true);
    }

    #[test]
    fn the_named_tests_exist() {
        holds(documents::the_named_tests_exist);
    }

    #[test]
    fn every_test_file_is_compiled() {
        holds(forgotten::every_test_file_is_compiled);
    }

    #[test]
    fn the_product_is_named_in_one_file() {
        holds(names::the_product_is_named_in_one_file);
    }

    #[test]
    fn files_are_short() {
        holds(sources::files_are_short);
    }

    #[test]
    fn nothing_is_silenced_or_left_for_later() {
        holds(sources::nothing_is_silenced_or_left_for_later);
    }

    #[test]
    fn the_world_is_touched_where_it_should_be() {
        holds(sources::the_world_is_touched_where_it_should_be);
    }

    #[test]
    fn unsafe_stays_in_its_room() {
        holds(sources::unsafe_stays_in_its_room);
    }
}
