//! What the owner fixed about the package.

use std::fs;
use std::path::Path;

fn manifest() -> toml::Table {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml");
    fs::read_to_string(path).unwrap().parse().unwrap()
}

#[test]
fn the_direct_runtime_dependencies_are_exactly_three() {
    let manifest = manifest();
    let names: Vec<_> = manifest["dependencies"].as_table().unwrap().keys().collect();
    assert_eq!(names, ["hex", "rand", "sha2"]);
    // Nor by another door.
    for table in ["build-dependencies", "target"] {
        assert!(!manifest.contains_key(table), "{table}");
    }
}

#[test]
fn unsafe_code_is_forbidden() {
    assert_eq!(manifest()["lints"]["rust"]["unsafe_code"].as_str(), Some("forbid"));
}
