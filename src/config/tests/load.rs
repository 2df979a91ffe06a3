//! What [`load`] adds to [`parse`]: the folder of the file.

use std::fs;

use super::super::*;

const FILE: &str = "\
[access_log]
output = \"logs/access.log\"
[[listener]]
address = \"127.0.0.1:0\"
tls = { certificates = [{ chain = \"shop.pem\", key = \"/nowhere/shop.key\" }] }
[[route]]
cluster = \"api\"
[cluster.api]
endpoints = [\"127.0.0.1:9000\"]
";

#[test]
fn relative_paths_begin_at_the_folder_of_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let (file, chain, key) = (
        folder.path().join("f.toml"),
        folder.path().join("shop.pem"),
        folder.path().join("shop.key"),
    );
    fs::write(&file, FILE.replace("/nowhere/", "")).unwrap();
    fs::write(&chain, "").unwrap();
    fs::write(&key, "").unwrap();
    let config = load(&file).unwrap();
    assert_eq!(
        config.access_log.output,
        AccessLogOutput::File(folder.path().join("logs/access.log"))
    );
    assert_eq!(
        config.listeners[0].tls,
        Some(Tls::new(vec![Certificate { chain, key }]))
    );
    let text = config.to_toml();
    assert_eq!(parse(&text, "f").unwrap(), config, "{text}");
}

#[test]
fn missing_certificates_are_problems_at_their_place() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("f.toml");
    fs::write(&file, FILE).unwrap();
    let Err(LoadError::Problems(problems)) = load(&file) else {
        panic!("both files are missing")
    };
    let places: Vec<_> = problems.iter().map(|problem| (problem.line, problem.column)).collect();
    assert_eq!(places, [(5, 35), (5, 53)]);
    assert_eq!(problems.file(), file.display().to_string());
    assert!(
        problems
            .to_string()
            .contains("/nowhere/shop.key cannot be read: No such file"),
        "{problems}"
    );
}

#[test]
fn paths_stay_as_they_are_without_a_folder() {
    let config = parse(FILE, "f").unwrap();
    assert_eq!(
        config.access_log.output,
        AccessLogOutput::File("logs/access.log".into())
    );
}

#[test]
fn a_file_that_cannot_be_read_is_named() {
    let error = load(Path::new("/nowhere/forebay.toml")).unwrap_err();
    assert_eq!(error.to_string(), "cannot read /nowhere/forebay.toml");
    assert!(std::error::Error::source(&error).is_some());
}
