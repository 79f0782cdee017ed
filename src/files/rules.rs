//! Decides which files are used and which are refused, from what the file system says about them.
//!
//! The table is in the documentation of [`files`](super). Nothing here does I/O, so that each line of the table is a
//! case of a test.

use std::fmt::Display;
use std::path::Path;

use crate::text::quoted;

/// How the process uses a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Class {
    /// Read only, with a secret in it.
    Secret,
    /// Read only. Everybody may read it.
    Public,
    /// Read only. Neither a secret nor what decides whom is trusted.
    Plain,
    /// The same, and no pipe.
    Regular,
    Kept,
    Folder,
    /// Nobody but its owner may even see what is in it.
    OwnFolder,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    File,
    Pipe,
    Folder,
    Link,
    Other,
}

/// What the file system says about a file.
#[derive(Debug, Clone, Copy)]
pub(super) struct Found {
    pub(super) kind: Kind,
    pub(super) mode: u32,
    pub(super) owner: u32,
    pub(super) group: u32,
    pub(super) links: u64,
    /// It is on a read-only file system, to which not even root can write.
    pub(super) is_fixed: bool,
}

/// The process that wants to use it.
#[derive(Debug)]
pub(super) struct Process {
    pub(super) user: u32,
    /// Known only where a folder is to be used.
    pub(super) groups: Vec<u32>,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Decision {
    Taken,
    /// It is used, with this warning.
    Warned(String),
    /// It is used after the permissions of its group are removed.
    TakenFromGroup,
    Refused(String),
}

/// Why this kind of file is refused.
pub(super) fn refused_kind(class: Class, kind: Kind) -> Option<&'static str> {
    match (class, kind) {
        (Class::Secret | Class::Public | Class::Plain, Kind::File | Kind::Pipe)
        | (Class::Regular | Class::Kept, Kind::File)
        | (Class::Folder | Class::OwnFolder, Kind::Folder) => None,
        (Class::Secret | Class::Public | Class::Plain, _) => Some("it is neither a regular file nor a pipe"),
        (Class::Regular, _) => Some("it is not a regular file: give the path of one"),
        (Class::Kept, Kind::Link) => {
            Some("it is a symbolic link: give the path that it leads to, or put the file itself there")
        }
        (Class::Kept, _) => Some("it is not a regular file: give the path of one, or of one to be made"),
        (Class::Folder | Class::OwnFolder, _) => Some("it is not a folder"),
    }
}

pub(super) fn decide(class: Class, path: &Path, found: &Found, process: &Process) -> Decision {
    if let Some(problem) = refused_kind(class, found.kind) {
        return Decision::Refused(problem.into());
    }
    let is_mine = found.owner == process.user;
    let is_for_me_alone = matches!(class, Class::Kept | Class::OwnFolder);
    let is_roots = found.owner == 0 && !is_for_me_alone;
    if !matches!(class, Class::Plain | Class::Regular) && !is_mine && !is_roots {
        let (owner, user) = (found.owner, process.user);
        let nor = if is_for_me_alone { "" } else { ", nor to root" };
        return Decision::Refused(format!(
            "it belongs to the user {owner}, not to {user}, who runs this program{nor}: give the path of one of your own"
        ));
    }
    match class {
        Class::Plain | Class::Regular => Decision::Taken,
        Class::Secret | Class::Public => read_only(class, path, found, is_mine),
        Class::Kept => kept(path, found),
        Class::Folder => folder(path, found, process),
        Class::OwnFolder => own_folder(path, found),
    }
}

fn read_only(class: Class, path: &Path, found: &Found, is_mine: bool) -> Decision {
    let mode = found.mode & 0o777;
    let can_be_changed = is_mine && !found.is_fixed;
    if mode & 0o022 != 0 {
        let effect = "others may change it";
        return match (can_be_changed, class) {
            (true, Class::Secret) => refused_for(mode, effect, chmod("600", path)),
            (true, _) => refused_for(mode, effect, chmod("go-w", path)),
            (false, _) => refused_for(mode, effect, "give the path of one that its owner alone may change"),
        };
    }
    if class == Class::Public || mode & 0o077 == 0 {
        return Decision::Taken;
    }
    if can_be_changed {
        return refused_for(mode, "others may read it", chmod("600", path));
    }
    match mode & 0o007 {
        // The user who put it there has chosen the group.
        0 => Decision::Taken,
        _ => Decision::Warned(format!("its mode is {mode:04o}, so that everybody on this machine may read it")),
    }
}

fn kept(path: &Path, found: &Found) -> Decision {
    let (mode, links) = (found.mode & 0o777, found.links);
    // A file that another has just replaced has no name any more, so 0 is allowed.
    if links > 1 {
        return Decision::Refused(format!(
            "it has {links} names (hard links): remove the others, or give another path"
        ));
    }
    if mode & 0o007 != 0 {
        let remedy = chmod("600", path) + " if nobody has; otherwise what is in it is no secret any more";
        return refused_for(mode, "others may have read or changed it", remedy);
    }
    if mode & 0o070 != 0 { Decision::TakenFromGroup } else { Decision::Taken }
}

fn folder(path: &Path, found: &Found, process: &Process) -> Decision {
    let mode = found.mode & 0o1777;
    let (is_sticky, is_worlds) = (mode & 0o1000 != 0, mode & 0o002 != 0);
    if is_worlds && !is_sticky {
        return refused_for(mode, "everybody may replace the files in it", chmod("o-w", path));
    }
    // Where everybody may create files, the group's permission adds nothing.
    if mode & 0o020 != 0 && !is_worlds && !process.groups.contains(&found.group) {
        let group = found.group;
        let effect = format!("the group {group}, to which this process does not belong, may make files in it");
        return refused_for(mode, &effect, chmod("g-w", path));
    }
    Decision::Taken
}

fn own_folder(path: &Path, found: &Found) -> Decision {
    let mode = found.mode & 0o777;
    if mode & 0o077 == 0 {
        return Decision::Taken;
    }
    refused_for(mode, "others may see what is in it, or change it", chmod("700", path))
}

fn refused_for(mode: u32, effect: &str, remedy: impl Display) -> Decision {
    Decision::Refused(format!("its mode is {mode:04o}, so that {effect}: {remedy}"))
}

fn chmod(change: &str, path: &Path) -> String {
    format!("`chmod {change} {}`", quoted(&path.to_string_lossy()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROOT: u32 = 0;
    const ME: u32 = 10;
    const OTHER: u32 = 11;
    const MY_GROUP: u32 = 50;
    const OTHER_GROUP: u32 = 51;

    const MINE: Found = Found { kind: Kind::File, mode: 0o600, owner: ME, group: MY_GROUP, links: 1, is_fixed: false };
    const ROOTS: Found = Found { owner: ROOT, group: ROOT, ..MINE };
    const OTHERS: Found = Found { owner: OTHER, ..MINE };

    /// The decision in one line, without the mode.
    fn decided(class: Class, found: Found, user: u32) -> String {
        let mode = format!("its mode is {:04o}, so that ", found.mode);
        let process = Process { user, groups: vec![ME, MY_GROUP] };
        match decide(class, Path::new("/a b"), &found, &process) {
            Decision::Taken => "taken".into(),
            Decision::TakenFromGroup => "taken from the group".into(),
            Decision::Warned(warning) => format!("warned: {}", warning.strip_prefix(&mode).unwrap()),
            Decision::Refused(problem) => format!("refused: {}", problem.strip_prefix(&mode).unwrap_or(&problem)),
        }
    }

    /// Each case is a line of the table: its name, the class, the file, the user of the process, and the expected
    /// decision.
    #[test]
    fn each_line_of_the_table() {
        test_timeout::start();
        use Class::{Folder, Kept, OwnFolder, Plain, Public, Regular, Secret};
        let folder = |found: Found, mode, group| Found { kind: Kind::Folder, mode, group, ..found };
        let with = |found: Found, mode| Found { mode, ..found };
        let fixed = |found: Found, mode| Found { mode, is_fixed: true, ..found };
        let of_kind = |kind| Found { kind, ..MINE };
        for (line, class, found, user, expected) in [
            ("kind", Secret, MINE, ME, "taken"),
            ("kind", Secret, of_kind(Kind::Pipe), ME, "taken"),
            ("kind", Secret, of_kind(Kind::Folder), ME, "refused: it is neither a regular file nor a pipe"),
            ("kind", Public, of_kind(Kind::Other), ME, "refused: it is neither a regular file nor a pipe"),
            ("kind", Plain, of_kind(Kind::Pipe), ME, "taken"),
            ("kind", Plain, of_kind(Kind::Other), ME, "refused: it is neither a regular file nor a pipe"),
            ("kind", Regular, OTHERS, ME, "taken"),
            ("kind", Regular, of_kind(Kind::Pipe), ME, "refused: it is not a regular file: give the path of one"),
            ("kind", Regular, of_kind(Kind::Folder), ME, "refused: it is not a regular file"),
            ("kind", Regular, of_kind(Kind::Other), ME, "refused: it is not a regular file"),
            ("kind", Kept, MINE, ME, "taken"),
            ("kind", Kept, of_kind(Kind::Link), ME, "refused: it is a symbolic link: give the path"),
            ("kind", Kept, of_kind(Kind::Pipe), ME, "refused: it is not a regular file"),
            ("kind", Kept, of_kind(Kind::Folder), ME, "refused: it is not a regular file"),
            ("kind", Folder, folder(MINE, 0o700, MY_GROUP), ME, "taken"),
            ("kind", Folder, MINE, ME, "refused: it is not a folder"),
            ("owner", Secret, ROOTS, ME, "taken"),
            ("owner", Plain, with(OTHERS, 0o666), ME, "taken"),
            (
                "owner",
                Secret,
                OTHERS,
                ME,
                "refused: it belongs to the user 11, not to 10, who runs this program, nor to root",
            ),
            ("owner", Secret, OTHERS, ROOT, "refused: it belongs to the user 11, not to 0"),
            ("owner", Public, OTHERS, ME, "refused: it belongs to the user 11"),
            ("owner", Kept, ROOTS, ME, "refused: it belongs to the user 0, not to 10, who runs this program: give"),
            ("owner", Kept, OTHERS, ROOT, "refused: it belongs to the user 11, not to 0"),
            ("owner", Kept, ROOTS, ROOT, "taken"),
            ("owner", Folder, folder(ROOTS, 0o755, ROOT), ME, "taken"),
            ("owner", Folder, folder(OTHERS, 0o700, MY_GROUP), ME, "refused: it belongs to the user 11"),
            ("owner", Folder, folder(OTHERS, 0o700, MY_GROUP), ROOT, "refused: it belongs to the user 11"),
            ("names", Secret, Found { links: 2, ..MINE }, ME, "taken"),
            ("names", Kept, Found { links: 2, ..MINE }, ME, "refused: it has 2 names"),
            ("names", Kept, Found { links: 0, ..MINE }, ME, "taken"),
            ("write", Secret, with(MINE, 0o620), ME, "refused: others may change it: `chmod 600 '/a b'`"),
            ("write", Secret, with(MINE, 0o602), ME, "refused: others may change it: `chmod 600"),
            ("write", Secret, with(ROOTS, 0o660), ME, "refused: others may change it: give the path"),
            ("write", Secret, fixed(MINE, 0o666), ME, "refused: others may change it: give the path"),
            ("write", Public, with(MINE, 0o664), ME, "refused: others may change it: `chmod go-w '/a b'`"),
            ("write", Public, with(ROOTS, 0o646), ME, "refused: others may change it: give the path"),
            ("read", Public, with(MINE, 0o644), ME, "taken"),
            ("read", Secret, with(MINE, 0o644), ME, "refused: others may read it: `chmod 600 '/a b'`"),
            ("read", Secret, with(MINE, 0o640), ME, "refused: others may read it"),
            ("read", Secret, with(MINE, 0o440), ME, "refused: others may read it"),
            ("read", Secret, with(MINE, 0o611), ME, "refused: others may read it"),
            ("read", Secret, with(ROOTS, 0o444), ROOT, "refused: others may read it"),
            ("read", Secret, with(ROOTS, 0o444), ME, "warned: everybody on this machine may read it"),
            ("read", Secret, with(ROOTS, 0o644), ME, "warned: everybody on"),
            ("read", Secret, fixed(ROOTS, 0o444), ROOT, "warned: everybody on"),
            ("read", Secret, fixed(MINE, 0o444), ME, "warned: everybody on"),
            ("read", Secret, with(ROOTS, 0o440), ME, "taken"),
            ("read", Secret, with(ROOTS, 0o640), ME, "taken"),
            ("read", Secret, fixed(MINE, 0o440), ME, "taken"),
            ("group", Kept, with(MINE, 0o640), ME, "taken from the group"),
            ("group", Kept, with(MINE, 0o660), ME, "taken from the group"),
            ("group", Kept, with(MINE, 0o610), ME, "taken from the group"),
            ("everybody", Kept, with(MINE, 0o604), ME, "refused: others may have read or changed it: `chmod 600 '"),
            ("everybody", Kept, with(MINE, 0o602), ME, "refused: others may have"),
            ("everybody", Kept, with(MINE, 0o666), ME, "refused: others may have"),
            (
                "add",
                Folder,
                folder(MINE, 0o777, MY_GROUP),
                ME,
                "refused: everybody may replace the files in it: `chmod o-w '/a b'`",
            ),
            ("add", Folder, folder(ROOTS, 0o1777, ROOT), ME, "taken"),
            ("add", Folder, folder(MINE, 0o770, OTHER_GROUP), ME, "refused: the group 51, to which"),
            ("add", Folder, folder(ROOTS, 0o1775, OTHER_GROUP), ME, "refused: the group 51"),
            ("add", Folder, folder(ROOTS, 0o2770, MY_GROUP), ME, "taken"),
            ("add", Folder, folder(MINE, 0o755, OTHER_GROUP), ME, "taken"),
            ("own", OwnFolder, folder(MINE, 0o700, MY_GROUP), ME, "taken"),
            ("own", OwnFolder, folder(MINE, 0o2700, MY_GROUP), ME, "taken"),
            ("own", OwnFolder, MINE, ME, "refused: it is not a folder"),
            (
                "own",
                OwnFolder,
                folder(ROOTS, 0o700, ROOT),
                ME,
                "refused: it belongs to the user 0, not to 10, who runs",
            ),
            ("own", OwnFolder, folder(ROOTS, 0o700, ROOT), ROOT, "taken"),
            ("own", OwnFolder, folder(MINE, 0o750, MY_GROUP), ME, "refused: others may see what is in it"),
            ("own", OwnFolder, folder(MINE, 0o701, MY_GROUP), ME, "refused: others may see"),
            ("own", OwnFolder, folder(MINE, 0o770, MY_GROUP), ME, "refused: others may see"),
        ] {
            let decided = decided(class, found, user);
            assert!(
                decided.starts_with(expected) && (expected != "taken" || decided == expected),
                "{line}: {class:?} {found:?} for {user}: {decided}"
            );
        }
    }
}
