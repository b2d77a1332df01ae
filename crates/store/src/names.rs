//! The names of the store's files.

/// Held locked by the process that uses the directory.
pub(crate) const LOCK: &str = "lock";
/// The list of runs.
pub(crate) const MANIFEST: &str = "manifest";
/// The next manifest while it is written.
pub(crate) const MANIFEST_NEW: &str = "manifest.new";

/// What a file is, by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Name {
    Lock,
    Manifest,
    ManifestNew,
    /// A segment of the journal.
    Journal(u64),
    /// A segment that waits to be used again.
    Spare(u64),
    /// A complete run.
    Run(u64),
    /// A file that is being written: worth nothing after a crash.
    Building(u64),
    /// Damaged bytes, kept for people.
    Damaged,
    /// No file of ours.
    Foreign,
}

pub(crate) fn journal(number: u64) -> String {
    format!("journal-{number:016x}")
}

pub(crate) fn spare(number: u64) -> String {
    format!("spare-{number:016x}")
}

pub(crate) fn run(number: u64) -> String {
    format!("run-{number:016x}")
}

pub(crate) fn building(number: u64) -> String {
    format!("building-{number:016x}")
}

pub(crate) fn damaged(file: &str, offset: u64) -> String {
    format!("damaged-{file}-{offset:x}")
}

pub(crate) fn parse(name: &str) -> Name {
    match name {
        LOCK => return Name::Lock,
        MANIFEST => return Name::Manifest,
        MANIFEST_NEW => return Name::ManifestNew,
        _ => {}
    }
    let Some((kind, rest)) = name.split_once('-') else { return Name::Foreign };
    if kind == "damaged" {
        return Name::Damaged;
    }
    let Ok(number) = u64::from_str_radix(rest, 16) else { return Name::Foreign };
    if rest.len() != 16 {
        return Name::Foreign;
    }
    match kind {
        "journal" => Name::Journal(number),
        "spare" => Name::Spare(number),
        "run" => Name::Run(number),
        "building" => Name::Building(number),
        _ => Name::Foreign,
    }
}

/// The number in a name, if there is one.
pub(crate) fn number(name: &str) -> Option<u64> {
    match parse(name) {
        Name::Journal(number)
        | Name::Spare(number)
        | Name::Run(number)
        | Name::Building(number) => Some(number),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_back() {
        assert_eq!(parse(&journal(7)), Name::Journal(7));
        assert_eq!(parse(&spare(u64::MAX)), Name::Spare(u64::MAX));
        assert_eq!(parse(&run(0x1f)), Name::Run(0x1f));
        assert_eq!(parse(&building(1)), Name::Building(1));
        assert_eq!(parse(&damaged("run-1", 64)), Name::Damaged);
        assert_eq!(parse("run-1"), Name::Foreign);
        assert_eq!(parse("notes"), Name::Foreign);
        assert_eq!(number("manifest"), None);
    }
}
