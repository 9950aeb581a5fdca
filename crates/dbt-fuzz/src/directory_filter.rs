//! Filters of the configuration, and names that are put into them.

use dbt_server::authn::ldap::ber::{Element, SEQUENCE};
use dbt_server::authn::ldap::filter::{About, Filter};

/// Takes the first line for a filter, and the rest for a name: no name changes what is asked.
pub fn run(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let (template, name) = text.split_once('\n').unwrap_or((text, ""));
    let Ok(filter) = template.parse::<Filter>() else { return };
    assert_eq!(filter.names_user(), template.contains("{username}"));
    let about = |username: &str, dn: &str| {
        let bytes = filter.about(About { username, dn });
        let (whole, rest) = Element::first(&bytes).expect("it is an element");
        assert!(rest.is_empty());
        let mut values = Vec::new();
        let shape = shape(whole, &mut values);
        (shape, values)
    };
    let (usual, usual_values) = about("u", "d");
    for (username, dn) in [(name, "d"), ("u", name), (name, name), ("*)(uid=*", "{username}")] {
        let (strange, values) = about(username, dn);
        assert_eq!(strange, usual, "{username:?} changes the structure of {template}");
        assert_eq!(values.len(), usual_values.len());
        let names = filter.names_user() || filter.names_entry();
        assert!(names || values == usual_values, "{username:?} got into {template}");
    }
    if filter.names_user() {
        let name = if name.is_empty() { "somebody" } else { name };
        let (_shape, values) = about(name, "d");
        let bytes = name.as_bytes();
        let has = |value: &Vec<u8>| value.windows(bytes.len()).any(|window| window == bytes);
        assert!(values.iter().any(has), "the name is asked for as it is");
    }
}

/// Returns the tags of a filter and of what is in it, and collects its values.
fn shape(element: Element<'_>, values: &mut Vec<Vec<u8>>) -> String {
    let holds_others = element.tag & 0x20 != 0 || element.tag == SEQUENCE;
    if !holds_others {
        values.push(element.content.to_vec());
        return format!("{:x}", element.tag);
    }
    let inside = element.inside().expect("it is whole");
    let inside: Vec<String> = inside.into_iter().map(|part| shape(part, values)).collect();
    format!("{:x}({})", element.tag, inside.join(" "))
}
