//! Where a change shows that brings another file to a path.

use std::{
    collections::BTreeSet,
    ffi::OsString,
    fs,
    path::{Component, Path, PathBuf},
};

/// Links that are followed at most, as the kernel has it (path_resolution(7)).
const MOST_LINKS: usize = 40;

/// The folder of the file, and of every link on the way to it: a deployer may replace the file, or swap a link to it or
/// to a folder above it, as mounted configs do.
pub(super) fn folders_of(file: &Path) -> BTreeSet<PathBuf> {
    let mut folders = BTreeSet::new();
    let mut at = PathBuf::from(".");
    let mut left = Vec::new();
    push(&mut left, file);
    let mut links = 0;
    while let Some(step) = left.pop() {
        match step {
            Step::Root => at = PathBuf::from("/"),
            Step::Up => at.push(".."),
            Step::Down(name) => {
                let next = at.join(name);
                match fs::read_link(&next) {
                    Ok(target) if links < MOST_LINKS => {
                        links += 1;
                        folders.insert(at.clone());
                        push(&mut left, &target);
                    }
                    _ if left.is_empty() => {
                        folders.insert(at.clone());
                    }
                    _ => at = next,
                }
            }
        }
    }
    folders
}

enum Step {
    Root,
    Up,
    Down(OsString),
}

/// Puts the steps of `path` before those that are left, the first one last.
fn push(left: &mut Vec<Step>, path: &Path) {
    let steps = path.components().rev().filter_map(|component| match component {
        Component::RootDir => Some(Step::Root),
        Component::ParentDir => Some(Step::Up),
        Component::Normal(name) => Some(Step::Down(name.to_owned())),
        Component::CurDir | Component::Prefix(_) => None,
    });
    left.extend(steps);
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn every_link_on_the_way_counts() {
        let folder = tempfile::tempdir().expect("a folder");
        let root = fs::canonicalize(folder.path()).expect("it is there");
        for path in ["mount/1", "mount/2", "live", "archive"] {
            fs::create_dir_all(root.join(path)).expect("a folder");
        }
        fs::write(root.join("mount/1/key"), "1").expect("a file");
        fs::write(root.join("archive/chain"), "1").expect("a file");
        symlink("1", root.join("mount/data")).expect("a link");
        symlink("data/key", root.join("mount/key")).expect("a link");
        symlink("../archive/chain", root.join("live/chain")).expect("a link");
        symlink(root.join("live"), root.join("now")).expect("a link");
        symlink("loop", root.join("loop")).expect("a link");
        let found = |path: &str| -> Vec<String> {
            let folders = folders_of(&root.join(path));
            let short = |folder: &PathBuf| folder.strip_prefix(&root).expect("inside").display().to_string();
            folders.iter().map(short).collect()
        };
        assert_eq!(found("archive/chain"), ["archive"]);
        assert_eq!(found("mount/key"), ["mount", "mount/1"]);
        assert_eq!(found("live/chain"), ["live", "live/../archive"]);
        assert_eq!(found("now/chain"), ["", "live", "live/../archive"]);
        assert_eq!(found("live/missing"), ["live"]);
        assert_eq!(found("loop"), [""]);
        assert_eq!(folders_of(Path::new("forebay.toml")), [PathBuf::from(".")].into());
    }
}
