//! docs/configuration.md names every variable that the server reads.

const PAGE: &str = include_str!("../../../../docs/configuration.md");
const VARIABLES: &str = include_str!("../../src/config/variables.rs");

#[test]
fn every_variable_of_the_server_is_on_the_page() {
    let list = VARIABLES.split("const NAMES: &[&str] = &[").nth(1).unwrap();
    let list = list.split("];").next().unwrap();
    let names: Vec<&str> =
        list.split('"').filter_map(|word| word.strip_prefix("REPOSERVER_")).collect();
    assert!(names.len() > 40, "{names:?}");
    let missing = names.iter().filter(|name| !PAGE.contains(&format!("`{name}`")));
    assert_eq!(missing.collect::<Vec<_>>(), Vec::<&&str>::new());
}
