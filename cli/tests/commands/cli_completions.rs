//! Completion in bash, zsh and fish themselves, which source the script that the program prints.

use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::common::terminal::Terminal;
use crate::common::{Folder, program, ran, skipped};

/// Whether a shell is there. Where `CI` is set it must be; elsewhere its test is left out, and says so.
fn is_installed(shell: &str) -> bool {
    let is_there = Command::new(shell).args(["-c", "exit"]).stdin(Stdio::null()).status().is_ok();
    assert!(is_there || std::env::var_os("CI").is_none(), "{shell} is not installed");
    if !is_there {
        skipped(&format!("the completions of {shell}, which is not installed"));
    }
    is_there
}

/// The folder in which words are completed: with a file, a folder of files, one with another way to the program, and one with a
/// damaged file of profiles.
fn folder() -> Folder {
    let folder = Folder::new();
    for name in ["rows", "other"] {
        std::fs::create_dir(folder.path(name)).unwrap();
    }
    for file in ["rows.csv", "rows/of may.csv", "rows/spare.csv"] {
        std::fs::write(folder.path(file), "").unwrap();
    }
    symlink(env!("CARGO_BIN_EXE_bunq-partner"), folder.path("other/bunq-partner")).unwrap();
    std::fs::create_dir(folder.path("bunq-partner")).unwrap();
    folder.file(
        "bunq-partner/config.toml",
        "[profiles.test]\n[profiles.trial]\n[profiles.\"a b\"]\n[profiles.'t$(date)']\n",
    );
    folder
}

/// The folder of the program, before those in which the programs of the machine are.
fn path() -> String {
    let program = Path::new(env!("CARGO_BIN_EXE_bunq-partner")).parent().unwrap();
    format!("{}:{}", program.display(), std::env::var("PATH").unwrap())
}

/// What is typed after the name of the program, and what its last word may become.
const CASES: [(&str, &[&str]); 63] = [
    // Commands.
    ("cl", &["close"]),
    ("re", &["receipts", "rekey", "report"]),
    ("users ", &["activate", "list", "reset", "show"]),
    ("session ", &["end", "reinstall"]),
    ("receipts v", &["verify"]),
    ("fleet ", &["forget", "status"]),
    ("--env sandbox clo", &["close"]),
    ("--output=json -y clo", &["close"]),
    ("demo cl", &[]),
    // Options, of the command and of all.
    ("close --w", &["--wait"]),
    ("session end --d", &["--dry-run"]),
    ("close --s", &["--sandbox", "--show-secrets"]),
    ("demo --dry", &[]),
    ("--vers", &["--version"]),
    ("close -- --w", &[]),
    // Values out of a list.
    ("--env ", &["production", "sandbox"]),
    ("close --env=", &["--env=production", "--env=sandbox"]),
    ("close 1015 --env=p", &["--env=production"]),
    ("list --output j", &["json", "jsonl"]),
    ("list -oj", &["-ojson", "-ojsonl"]),
    ("--color a", &["always", "auto"]),
    ("sandbox --log ", &["json", "none", "text"]),
    ("completions ", &["bash", "elvish", "fish", "powershell", "zsh"]),
    ("help ex", &["exit-codes"]),
    ("help clo", &["close"]),
    ("help receipts ", &["verify"]),
    ("help exit-codes ", &[]),
    ("list --status CR", &["CREATED"]),
    ("list --status act", &["ACTIVE"]),
    ("list --status CREATED,AC", &["CREATED,ACTIVE"]),
    ("list --status=CREATED,AC", &["--status=CREATED,ACTIVE"]),
    ("list --status CREATED,C", &["CREATED,CANCELLED", "CREATED,CLOSED"]),
    // Profiles whose names need no quotes.
    ("--profile ", &["test", "trial"]),
    ("list --profile=tr", &["--profile=trial"]),
    // Faults, and what follows them.
    ("sandbox --fault dro", &["drop"]),
    ("sandbox --fault status", &["status="]),
    ("sandbox --fault status=5", &[]),
    ("sandbox --fault drop,", &["drop,after=", "drop,carried-out=", "drop,on=", "drop,times="]),
    ("sandbox --fault drop,on=get_prov", &["drop,on=get_provision"]),
    ("sandbox --fault=drop,times=", &["--fault=drop,times=always"]),
    // Operations that can be called, and their parameters.
    ("api get_prov", &["get_provision"]),
    ("api create_prov", &["create_provision"]),
    ("api get_provision --param ", &["provision_id="]),
    ("api list_provisions -p o", &["older_id="]),
    (
        "api list_provisions -p count=5 --param=",
        &["--param=external_uuid=", "--param=newer_id=", "--param=older_id=", "--param=status="],
    ),
    ("api get_provision --param provision_id=", &[]),
    ("api create_attachment --param X", &["X-Bunq-Attachment-Description="]),
    ("api create_attachment --content-type image/", &["image/gif", "image/jpeg", "image/png"]),
    // Files and folders.
    ("close --from r", &["rows", "rows.csv"]),
    ("close --from=rows/o", &["--from=rows/of may.csv"]),
    ("--context=~/rows.", &["--context=~/rows.csv"]),
    ("receipts verify rows/", &["rows/of may.csv", "rows/spare.csv"]),
    ("probe --save r", &["rows"]),
    ("create --activate=r", &["--activate=rows"]),
    ("api update_provision --body @row", &["@rows", "@rows.csv"]),
    ("api update_provision --body r", &[]),
    ("api get_attachment_content --output-file r", &["rows", "rows.csv"]),
    // Where a number, an id or another text is wanted.
    ("close ", &[]),
    ("get 1015 ", &[]),
    ("list --limit ", &[]),
    ("--base-url ", &[]),
    ("find r", &[]),
    ("sandbox --api-key r", &[]),
];

/// Holds a shell against the cases. `complete` returns what the last word of a line may become.
fn check(shell: &str, mut complete: impl FnMut(&str) -> Vec<String>) {
    for (typed, expected) in CASES {
        let mut candidates = complete(&format!("bunq-partner {typed}"));
        for candidate in &mut candidates {
            // Some shells mark folders.
            candidate.truncate(candidate.trim_end_matches('/').len());
        }
        candidates.sort();
        assert_eq!(candidates, expected, "{shell}: bunq-partner {typed}");
    }
}

/// A shell at a terminal, ready to complete.
struct Shell(Terminal);

impl Shell {
    fn start(folder: &Folder, shell: &str, arguments: &[&str], setup: &str) -> Self {
        let path = path();
        let home = folder.0.to_str().unwrap();
        let environment =
            [("PATH", path.as_str()), ("HOME", home), ("XDG_CONFIG_HOME", home), ("TERM", "dumb"), ("PS1", PROMPT)];
        // No line is wrapped.
        let mut shell = Self(Terminal::run(4000, &[&[shell], arguments].concat(), &environment));
        shell.0.take_until(PROMPT);
        // Shows words, even if the line sends its output elsewhere. What is typed does not look like it.
        let words = r#"words() { printf '\n[%s' words; printf '<%s>' "$@"; echo ']'; } >/dev/tty"#;
        // No answer depends on a variable, or on a profile.
        shell.0.type_keys(&format!("cd; {setup}; {words}; export BUNQ_ENV=staging\n"));
        shell.0.take_until(PROMPT);
        assert_eq!(shell.words_after("'b c'", ""), ["b c"]);
        shell
    }

    /// The words of a line after more keys. The shell tells, because they become those of another command.
    fn words_after(&mut self, line: &str, keys: &str) -> Vec<String> {
        self.0.type_keys(&format!("{line}{keys}{LINE_START}words \n"));
        let screen = self.0.take_until("[words<");
        assert!(!screen.contains("error") && !screen.contains("not found"), "{screen}");
        let words = self.0.take_until(">]");
        self.0.take_until(PROMPT);
        words.split("><").map(str::to_owned).collect()
    }

    /// What the last word of a line may become.
    fn complete(&mut self, line: &str) -> Vec<String> {
        let typed = line.split(' ').next_back().unwrap();
        let mut words = self.words_after(line, ALL);
        let mut candidates = words.split_off((line.split(' ').count() - 1).min(words.len()));
        candidates.retain(|candidate| candidate != typed);
        candidates
    }
}

const PROMPT: &str = "ready> ";

/// Moves to the start of the line.
const LINE_START: &str = "\u{1}";

/// Removes what is typed.
const KILL_LINE: &str = "\u{15}";

/// Puts all that the word may become into the line.
const ALL: &str = "\u{1b}*";

const TAB: &str = "\t";

/// What a person gets from a shell beside the candidates.
fn check_habits(shell: &mut Shell) {
    let mut words = |line: &str, keys: &str| shell.words_after(line, keys)[1..].join(" ");
    // A space follows what is complete, and none what a value follows.
    assert_eq!(words("bunq-partner clo", &format!("{TAB}1015 --w{TAB}")), "close 1015 --wait");
    assert_eq!(
        words("bunq-partner api get_provision -p pro", &format!("{TAB}1015")),
        "api get_provision -p provision_id=1015"
    );
    // In quotes, at the end of a line with a redirection, and behind a variable.
    assert_eq!(words("bunq-partner list --status \"CREATED,AC", TAB), "list --status CREATED,ACTIVE");
    assert_eq!(words("bunq-partner list > rows.c", TAB), "list");
    assert_eq!(words("BUNQ_ENV=production bunq-partner close --w", TAB), "bunq-partner close --wait");
    // The program may be called by a path. If it is gone, nothing is completed, and nothing said.
    shell.words_after("without; PATH=/usr/bin:/bin;", "");
    for program in ["./other/bunq-partner", "~/other/bunq-partner", "other/../other/bunq-partner"] {
        assert_eq!(shell.complete(&format!("{program} clo")), ["close"], "{program}");
    }
    for program in ["bunq-partner", "./nothing/bunq-partner"] {
        assert_eq!(shell.complete(&format!("{program} clo")), [""; 0], "{program}");
    }
}

fn bash(folder: &Folder) -> Shell {
    Shell::start(folder, "bash", &["--norc", "--noprofile", "-i"], "source <(bunq-partner completions bash)")
}

#[test]
fn bash_completes() {
    test_timeout::start();
    if !is_installed("bash") {
        return;
    }
    let folder = folder();
    let mut shell = bash(&folder);
    check("bash", |line| {
        let mut candidates = shell.complete(line);
        // Behind `=`, bash shows the end of the word alone.
        let word = line.split(' ').next_back().unwrap();
        let before = &word[..word.rfind('=').map_or(0, |at| at + 1)];
        candidates.iter_mut().filter(|it| !it.starts_with(before)).for_each(|it| it.insert_str(0, before));
        candidates
    });
    check_habits(&mut shell);
    // A shell that ends with the first failure does not end because nothing answers.
    shell.words_after("careful; set -eu;", "");
    assert_eq!(shell.complete("bunq-partner clo"), [""; 0]);
}

/// Starts the completion system of zsh, with a key for [`ALL`].
const ZSH: &str = "bindkey -e; autoload -Uz compinit; compinit -u -D; \
    zstyle ':completion:all:*' insert true; zstyle ':completion:all::::' completer _all_matches _complete; \
    zle -C all complete-word _generic; bindkey '^[*' all";

fn zsh(folder: &Folder) -> Shell {
    Shell::start(folder, "zsh", &["-f"], &format!("{ZSH}; source <(bunq-partner completions zsh)"))
}

#[test]
fn zsh_completes() {
    test_timeout::start();
    if !is_installed("zsh") {
        return;
    }
    let folder = folder();
    let mut shell = zsh(&folder);
    check("zsh", |line| shell.complete(line));
    check_habits(&mut shell);
    // A package puts the script into a folder of functions, which zsh reads at the first completion.
    let (script, _, _) = ran(program(&folder).args(["completions", "zsh"]));
    std::fs::write(folder.path("other/_bunq-partner"), script).unwrap();
    let mut shell = Shell::start(&folder, "zsh", &["-f"], &format!("fpath=(~/other $fpath); {ZSH}"));
    assert_eq!(shell.complete("bunq-partner clo"), ["close"]);
}

/// What fish completes a line to, where programs are found in these folders.
fn fish(folder: &Folder, path: &str, line: &str) -> Vec<String> {
    if !folder.path("script.fish").exists() {
        let (script, _, _) = ran(program(folder).args(["completions", "fish"]));
        folder.file("script.fish", &script);
    }
    let mut command = Command::new("fish");
    let script = "source script.fish; set PATH (string split : $argv[1]); complete --do-complete $argv[2]";
    command.args(["--command", script, path, line]);
    command.current_dir(&folder.0).env("HOME", &folder.0).env("BUNQ_ENV", "staging");
    for name in ["XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_CACHE_HOME"] {
        command.env(name, &folder.0);
    }
    let (out, err, code) = ran(command.stdin(Stdio::null()));
    assert_eq!((err.as_str(), code), ("", 0), "{line}");
    out.lines().map(|line| line.split('\t').next().unwrap().to_owned()).collect()
}

#[test]
fn fish_completes() {
    test_timeout::start();
    if !is_installed("fish") {
        return;
    }
    let folder = folder();
    let complete = |path: &str, line: &str| fish(&folder, path, line);
    check("fish", |line| complete(&path(), line));
    assert_eq!(complete(&path(), "bunq-partner list --status \"CREATED,AC"), ["CREATED,ACTIVE"]);
    assert_eq!(complete(&path(), "BUNQ_ENV=production bunq-partner close --w"), ["--wait"]);
    let without = "/usr/bin:/bin";
    for program in ["./other/bunq-partner", "~/other/bunq-partner"] {
        assert_eq!(complete(without, &format!("{program} clo")), ["close"], "{program}");
    }
    for program in ["bunq-partner", "./nothing/bunq-partner"] {
        assert_eq!(complete(without, &format!("{program} clo")), [""; 0], "{program}");
    }
}

/// What stands in the line before the cursor is not run.
#[test]
fn completing_executes_nothing() {
    test_timeout::start();
    let folder = folder();
    let lines = [
        "bunq-partner close $(touch executed) --w",
        "bunq-partner close `touch executed` --w",
        "bunq-partner --context \"$(touch executed)\" clo",
        "$(touch executed)/bunq-partner clo",
    ];
    for (shell, start) in [("bash", bash as fn(&Folder) -> Shell), ("zsh", zsh)] {
        if !is_installed(shell) {
            continue;
        }
        let mut shell = start(&folder);
        for line in lines {
            shell.0.type_keys(&format!("{line}{TAB}{KILL_LINE}words done\n"));
            shell.0.take_until("[words<done>]");
            shell.0.take_until(PROMPT);
            assert!(!folder.path("executed").exists(), "{line}");
        }
    }
    if is_installed("fish") {
        for line in lines {
            fish(&folder, &path(), line);
            assert!(!folder.path("executed").exists(), "fish: {line}");
        }
    }
}

#[test]
fn a_broken_file_of_profiles_completes_to_nothing() {
    test_timeout::start();
    let folder = folder();
    folder.file("bunq-partner/config.toml", "no profile can be read");
    for (words, answer) in [(["--profile", ""], "values \n"), (["--profile", "t"], "values \n")] {
        let said = ran(program(&folder).args(["completions", "bash", "--"]).args(words));
        assert_eq!(said, (answer.to_owned(), String::new(), 0));
    }
    let (out, err, code) = ran(program(&folder).args(["completions", "bash", "--", "whoa"]));
    assert!(out.contains("whoami") && err.is_empty() && code == 0, "{out}{err}");
}
