//! Profiles and `api_key_command`: what wins, what is refused, and that no key gets to a bank that is not its own.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _};
use std::os::unix::fs::{PermissionsExt as _, chown, symlink};
use std::path::Path;
use std::process::{Command, Stdio};

use bunq_partner_sandbox::{AcceptedInstallation, Profile, Sandbox};
use serde_json::Value;

use crate::common::bulk::{Signal, signal};
use crate::common::{Folder, by, hearing, program, program_for, ran, skipped};

/// Writes the file of profiles.
fn profiles(folder: &Folder, text: &str) {
    let _ = fs::create_dir(folder.path("bunq-partner"));
    folder.file("bunq-partner/config.toml", text);
}

/// A profile of a bank, with its key in a file that has the profile's name.
fn bank_profile(folder: &Folder, name: &str, sandbox: &Sandbox) -> String {
    folder.file(&format!("{name}.key"), &format!("{}\n", sandbox.api_key().expose()));
    let key = folder.path(&format!("{name}.key"));
    format!("[profiles.{name}]\nbase_url = \"{}\"\napi_key_file = {key:?}\n", sandbox.base_url())
}

/// A profile with a command, which a shell reads after all.
fn command_profile(folder: &Folder, sandbox: &Sandbox, script: &str) {
    let words = ["sh", "-c", script];
    let text = format!("[profiles.default]\nbase_url = \"{}\"\napi_key_command = {words:?}\n", sandbox.base_url());
    profiles(folder, &text);
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

/// One of the lines of `config show`: value and source.
fn shown(command: &mut Command, setting: &str) -> (String, String) {
    let (out, err, code) = ran(command.args(["config", "show", "--output", "json"]));
    assert_eq!((err.as_str(), code), ("", 0));
    let settings: Vec<Value> = serde_json::from_str(&out).unwrap();
    let line = settings.iter().find(|line| line["setting"] == setting).unwrap();
    (line["value"].as_str().unwrap().to_owned(), line["source"].as_str().unwrap().to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn each_place_gives_a_bank_and_its_own_key() {
    test_timeout::start();
    let folder = Folder::new();
    let mut banks = Vec::new();
    for _ in 0..5 {
        banks.push(Sandbox::start().await.unwrap());
    }
    let [typed, explicit, variable, ambient, default] = &banks[..] else { panic!() };
    let file = [("explicit", explicit), ("ambient", ambient), ("default", default)];
    profiles(&folder, &file.map(|(name, bank)| bank_profile(&folder, name, bank)).concat());
    let key = folder.file("typed.key", typed.api_key().expose());
    // Each line has all that the next one has, and more.
    let run = |rank: usize| {
        let mut command = program(&folder);
        if rank >= 1 {
            command.env("BUNQ_PROFILE", "ambient");
        }
        if rank >= 2 {
            command.env("BUNQ_BASE_URL", variable.base_url()).env("BUNQ_API_KEY", variable.api_key().expose());
        }
        if rank == 3 {
            command.args(["--profile", "explicit"]);
        }
        if rank == 4 {
            command.args(["--base-url", typed.base_url(), "--api-key-file"]).arg(&key);
        }
        command
    };
    for (rank, (bank, source)) in [
        (default, "profile default in "),
        (ambient, "profile ambient in "),
        (variable, "variable BUNQ_BASE_URL"),
        (explicit, "profile explicit in "),
        (typed, "option --base-url"),
    ]
    .into_iter()
    .enumerate()
    {
        let (value, from) = shown(&mut run(rank), "base_url");
        assert!(value == bank.base_url() && from.starts_with(source), "{value} of {from}");
        let (_, err, code) = ran(run(rank).arg("whoami"));
        assert_eq!((err.as_str(), code), ("", 0), "{source}");
        for other in &banks {
            assert_eq!(other.take_call_log().is_empty(), other.base_url() != bank.base_url(), "{source}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_key_is_sent_to_an_address_from_elsewhere() {
    test_timeout::start();
    let (folder, sandbox, other) = (Folder::new(), Sandbox::start().await.unwrap(), Sandbox::start().await.unwrap());
    let of = bank_profile(&folder, "default", &sandbox);
    let production = "[profiles.production]\nenvironment = \"production\"\napi_key_command = [\"false\"]\n";
    profiles(&folder, &(of + production + "[profiles.keyless]\nenvironment = \"sandbox\"\n"));
    let key = folder.path("default.key");
    let key = key.to_str().unwrap();
    let url = ("BUNQ_BASE_URL", other.base_url());
    let file = folder.path("bunq-partner/config.toml").display().to_string();
    let of_default = format!("profile default in {file}");
    for (variables, arguments, problems) in [
        (&[url][..], &[][..], &["variable BUNQ_BASE_URL", &of_default][..]),
        (&[], &["--base-url", other.base_url()], &["option --base-url", &of_default]),
        (&[], &["--env", "sandbox"], &["option --env", &of_default]),
        (&[("BUNQ_ENV", "sandbox")], &[], &["variable BUNQ_ENV", &of_default]),
        (&[url, ("BUNQ_PROFILE", "default")], &[], &["variable BUNQ_BASE_URL", &of_default]),
        (&[url], &["--api-key-file", key], &["option --api-key-file", "variable BUNQ_BASE_URL", "give --base-url"]),
        (&[url, ("BUNQ_ENV", "production"), ("BUNQ_API_KEY", "1")], &[], &["BUNQ_BASE_URL", "variable BUNQ_ENV"]),
        (&[url, ("BUNQ_API_KEY", "1")], &["--env", "production"], &["BUNQ_BASE_URL", "option --env", "production"]),
        (
            &[("BUNQ_API_KEY", "sandbox_1")],
            &["--profile", "keyless"],
            &["variable BUNQ_API_KEY", "profile keyless in "],
        ),
        (&[], &["--profile", "default", "--base-url", other.base_url()], &["--profile", "--base-url"]),
        (&[], &["--profile", "default", "--env", "sandbox"], &["--profile", "--env"]),
        (&[], &["--profile", "default", "--api-key-file", key], &["--profile", "--api-key-file"]),
    ] {
        // Options may be before the command and after it.
        let (before, after) = arguments.split_at(arguments.len().min(2));
        for arguments in [[arguments, &["list"], &[]], [before, &["list"], after], [after, &["list"], before]] {
            let arguments = arguments.concat();
            let (out, err, code) = ran(program(&folder).envs(variables.iter().copied()).args(&arguments));
            assert_eq!((out.as_str(), code), ("", 2), "{variables:?} {arguments:?}: {err}");
            assert!(problems.iter().all(|problem| err.contains(problem)), "{variables:?} {arguments:?}: {err}");
            assert!(!err.contains(sandbox.api_key().expose()), "{err}");
        }
    }
    assert!(sandbox.call_log().is_empty() && other.call_log().is_empty());
    // A profile's production asks as the option's does.
    let (_, err, code) = ran(program(&folder).args(["probe", "--profile", "production"]));
    assert!(err.contains("does not run in production") && code == 2, "{err}");
    let text = "[profiles.default]\nenvironment = \"production\"\napi_key_command = [\"echo\", \"1\"]\n";
    profiles(&folder, text);
    let (_, err, code) = ran(program(&folder).args(["close", "7"]));
    assert!(err.contains("Close 7 in production: confirm it with --yes") && code == 2, "{err}");
}

#[test]
fn the_sandbox_of_the_program_needs_neither_variables_nor_profiles() {
    test_timeout::start();
    let folder = Folder::new();
    profiles(&folder, "nonsense");
    let variables = [("BUNQ_ENV", "production"), ("BUNQ_BASE_URL", "nonsense"), ("BUNQ_PROFILE", "missing")];
    for arguments in [&["list"][..], &["config", "show"], &["close", "1015", "--dry-run"]] {
        let (out, err, code) = ran(program(&folder).envs(variables).arg("--sandbox").args(arguments));
        assert!(!out.is_empty() && err.is_empty() && code == 0, "{arguments:?}: {err}");
    }
    let values = ["--env=production", "--profile=x", "--base-url=u", "--api-key-file=f", "--context=c"];
    for option in values {
        let name = option.split('=').next().unwrap();
        for arguments in [["--sandbox", option, "list"], ["--sandbox", "list", option], ["list", option, "--sandbox"]] {
            let (out, err, code) = ran(program(&folder).args(arguments));
            assert!(err.contains(&format!("--sandbox and {name} cannot be given together")), "{arguments:?}: {err}");
            assert_eq!((out.as_str(), code), ("", 2), "{arguments:?}");
        }
    }
    // A profile of a bank's behaviour has another name.
    let (_, err, code) = ran(program(&folder).args(["sandbox", "--profile", "x"]));
    assert!(err.contains("--bank-profile") && code == 2, "{err}");
}

#[test]
fn a_file_that_others_may_change_is_refused() {
    test_timeout::start();
    let folder = Folder::new();
    profiles(&folder, "[profiles.default]\noutput = \"json\"\n");
    let file = folder.path("bunq-partner/config.toml");
    let in_folder = folder.path("bunq-partner");
    let refused = |problem: &str| {
        for arguments in [&["config", "show"][..], &["config", "path"], &["list"], &["report", "--from", "x"]] {
            let (out, err, code) = ran(program(&folder).args(arguments));
            assert!(err.contains(problem) && out.is_empty() && code == 2, "{arguments:?}: {err}");
        }
        let (_, err, code) = ran(program(&folder).arg("help"));
        assert_eq!((err.as_str(), code), ("", 0));
    };
    // It has no secrets.
    for mode in [0o644, 0o444] {
        set_mode(&file, mode);
        assert_eq!(shown(&mut program(&folder), "output").0, "json");
    }
    for mode in [0o664, 0o646, 0o666] {
        set_mode(&file, mode);
        refused(&format!("config.toml: its mode is {mode:04o}, so that others may change it: `chmod go-w "));
    }
    set_mode(&file, 0o644);
    set_mode(&in_folder, 0o777);
    refused("its mode is 0777, so that everybody may replace the files in it");
    set_mode(&in_folder, 0o700);
    profiles(&folder, &" ".repeat(64 * 1024 + 1));
    refused("it is larger than 65536 bytes");
    if rustix::process::geteuid().is_root() {
        profiles(&folder, "");
        chown(&file, Some(65534), None).unwrap();
        refused("it belongs to the user 65534, not to 0");
    } else {
        skipped("only root can give a file to another user");
    }
}

/// Others may not change what a link leads to either, and no command waits for what is no file.
#[test]
fn a_link_is_followed_to_a_file_that_nobody_else_may_change() {
    test_timeout::start();
    let folder = Folder::new();
    let place = folder.path("bunq-partner");
    let (file, shared, own) = (place.join("config.toml"), folder.path("shared"), folder.path("own"));
    for folder in [&place, &shared, &own] {
        fs::create_dir(folder).unwrap();
        set_mode(folder, 0o755);
    }
    folder.file("shared/profiles", "[profiles.default]\noutput = \"json\"\n");
    let output = || {
        let (out, err, code) = ran(program(&folder).args(["config", "path"]));
        if out.starts_with('{') { "json".to_owned() } else { format!("{code} {err}") }
    };
    // One by one, and as a relative link to another link.
    symlink("../own/link", &file).unwrap();
    symlink(shared.join("profiles"), own.join("link")).unwrap();
    assert_eq!(output(), "json");
    for changed in [&shared, &own, &place] {
        set_mode(changed, 0o777);
        let problem = output();
        assert!(problem.starts_with("2 ") && problem.contains("everybody may replace the files in it"), "{problem}");
        set_mode(changed, 0o755);
    }
    fs::remove_file(shared.join("profiles")).unwrap();
    assert!(output().contains("config.toml: it cannot be opened: No such file"), "{}", output());
    fs::remove_file(&file).unwrap();
    assert!(Command::new("mkfifo").arg(&file).status().unwrap().success());
    assert!(output().contains("config.toml: it is not a regular file"), "{}", output());
}

#[test]
fn a_mistake_in_the_file_is_an_error_with_its_place() {
    test_timeout::start();
    let folder = Folder::new();
    for (text, problem) in [
        (
            "[profiles.test]\nbase_ur = \"planted\"",
            "config.toml: line 2, column 1: unknown member base_ur: a profile has ",
        ),
        ("[profiles.test]\napi_key = \"planted\"", "config.toml: line 2, column 1: an API key does not belong here"),
        ("[profiles.test]\noutput = \"planted", "config.toml: line 2, column "),
        ("[test]\noutput = \"planted\"", "config.toml: line 1, column 2: unknown member test"),
    ] {
        profiles(&folder, text);
        for arguments in [&["config", "show"][..], &["config", "path", "-o", "json"], &["list", "--profile", "test"]] {
            let (out, err, code) = ran(program(&folder).args(arguments));
            assert!(err.contains(problem) && out.is_empty() && code == 2, "{arguments:?}: {err}");
            assert!(!err.contains("planted"), "{err}");
        }
    }
}

#[test]
fn a_profile_that_is_not_there_is_an_error() {
    test_timeout::start();
    let folder = Folder::new();
    let asked = |problem: &str| {
        let (_, err, code) = ran(program(&folder).args(["list", "--profile", "tset"]));
        assert!(err.contains("--profile tset: there is no such profile in /") && code == 2, "{err}");
        assert!(err.contains(problem), "{err}");
        let (_, err, code) = ran(program(&folder).env("BUNQ_PROFILE", "tset").args(["config", "show"]));
        assert!(err.contains("BUNQ_PROFILE tset: there is no such profile in /") && code == 2, "{err}");
    };
    asked("the file has no profile, or does not exist");
    profiles(&folder, "[profiles.test]\n[profiles.work]\n");
    asked("there are test, work");
    // What was typed wins over the variable.
    let (value, source) = shown(program(&folder).env("BUNQ_PROFILE", "tset").args(["--profile", "work"]), "profile");
    assert_eq!((value.as_str(), source.as_str()), ("work", "option --profile"));
    // A file in the current folder is not one of profiles, nor one that a relative folder leads to.
    for place in ["here", "here/bunq-partner", "here/.config/bunq-partner"] {
        fs::create_dir_all(folder.path(place)).unwrap();
        folder.file(&format!("{place}/config.toml"), "[profiles.tset]\n");
    }
    for (name, value) in [("XDG_CONFIG_HOME", "."), ("XDG_CONFIG_HOME", ""), ("HOME", ".")] {
        let mut command = program(&folder);
        command.env_remove("XDG_CONFIG_HOME").env("HOME", folder.path("home")).env(name, value);
        let (_, err, code) = ran(command.current_dir(folder.path("here")).args(["list", "--profile", "tset"]));
        assert!(err.contains("--profile tset: the") && code == 2, "{name}={value}: {err}");
    }
}

/// In a container the user may be no more than a number, which has no home.
#[tokio::test(flavor = "multi_thread")]
async fn what_has_a_folder_of_its_own_needs_no_home() {
    test_timeout::start();
    let (sandbox, folder) = (Sandbox::start().await.unwrap(), Folder::new());
    let homeless = |plain: &Command| {
        let mut command = Command::new("unshare");
        command.args(["--user", "--map-user=54321", "env", "-u", "HOME"]);
        by(command, plain)
    };
    if !homeless(&Command::new("true")).stderr(Stdio::null()).status().is_ok_and(|status| status.success()) {
        return skipped("no user can be had that has no home");
    }
    let without = |variables: &[&str], arguments: &[&str]| {
        let mut command = program_for(&folder, &sandbox);
        variables.iter().for_each(|variable| _ = command.env_remove(variable));
        ran(&mut homeless(command.args(arguments)))
    };
    let (_, err, code) = without(&["XDG_CONFIG_HOME"], &["whoami"]);
    assert_eq!((err.as_str(), code), ("", 0));
    assert!(folder.path("bunq-partner").is_dir());
    let calls = sandbox.call_log().len();

    let problem = "the home directory is not known: set HOME or XDG_STATE_HOME, or give --context";
    let (_, err, code) = without(&["XDG_STATE_HOME"], &["whoami"]);
    assert!(err.contains(problem) && code == 18, "{code}: {err}");
    assert_eq!(sandbox.call_log().len(), calls);
    let (out, _, code) = without(&["XDG_STATE_HOME"], &["config", "show"]);
    assert!(out.contains(problem) && code == 0, "{code}: {out}");
    let (out, _, code) = without(&["XDG_STATE_HOME"], &["doctor"]);
    assert!(out.contains("Verdict: context: ") && out.contains(problem) && !out.contains("key:"), "{out}");
    assert_eq!(code, 1);
    let context = folder.path("context.json");
    let (_, err, code) = without(&["XDG_STATE_HOME"], &["whoami", "--context", context.to_str().unwrap()]);
    assert_eq!((err.as_str(), code), ("", 0));

    let (_, err, code) = without(&["XDG_CONFIG_HOME"], &["config", "path"]);
    let problem = "the file of profiles has no folder: the home directory is not known: set HOME or XDG_CONFIG_HOME\n";
    assert!(err.ends_with(problem) && code == 2, "{code}: {err}");
}

#[test]
fn config_is_shown_in_every_format() {
    test_timeout::start();
    let folder = Folder::new();
    let file = folder.path("bunq-partner/config.toml");
    let (out, err, code) = ran(program(&folder).args(["config", "path"]));
    assert_eq!((out, err.as_str(), code), (format!("{}\n", file.display()), "", 0));
    profiles(
        &folder,
        "[profiles.default]\noutput = \"jsonl\"\ncontext = \"c.json\"\n[profiles.p]\napi_key_command = [\"echo\", \"planted\"]\n",
    );
    assert_eq!(shown(&mut program(&folder), "output"), ("json".into(), "option --output".into()));
    let (out, _, code) = ran(program(&folder).args(["config", "path"]));
    assert_eq!((serde_json::from_str::<Value>(&out).unwrap()["exists"].as_bool(), code), (Some(true), 0));
    // What is no matter of the bank is taken from another profile.
    for profile in ["default", "p"] {
        let (out, err, code) = ran(program(&folder).args(["config", "show", "--profile", profile]));
        assert_eq!((out.lines().count(), err.as_str(), code), (10, "", 0));
        assert!(out.lines().all(|line| serde_json::from_str::<Value>(line).is_ok()), "{out}");
        assert!(!out.contains("planted") && out.contains("c.json") == (profile == "default"), "{out}");
    }
    let (_, err, _) = ran(program(&folder).args(["list", "--profile", "p", "--context", "/nonexistent/c"]));
    assert!(serde_json::from_str::<Value>(&err).unwrap()["error"].is_object(), "{err}");
    for (format, expected) in [("csv", "setting,value,source\nprofile,default,default\n"), ("table", "SETTING ")] {
        let (out, err, code) = ran(program(&folder).args(["config", "show", "-o", format]));
        assert_eq!((err.as_str(), code), ("", 0));
        assert!(out.starts_with(expected), "{out}");
    }
    let (value, source) = shown(program(&folder).env("BUNQ_API_KEY", "planted"), "api_key");
    assert_eq!((value.as_str(), source.as_str()), ("set", "variable BUNQ_API_KEY"));
    let secret_url = ["--base-url", "https://user:planted@example.com"];
    assert_eq!(shown(program(&folder).args(secret_url), "base_url").0, "[redacted]");
}

/// A profile is for all commands: where its format cannot be, the nearest is used. One that was typed is refused there.
#[tokio::test(flavor = "multi_thread")]
async fn the_format_of_a_profile_yields_where_it_cannot_be() {
    test_timeout::start();
    let (folder, sandbox) = (Folder::new(), Sandbox::start().await.unwrap());
    let id = sandbox.populate(1)[0].to_string();
    let bank = bank_profile(&folder, "default", &sandbox);
    let ids = folder.file("ids.csv", &format!("id\n7\n{id}\n"));
    let ids = ids.to_str().unwrap();
    let (out, err, code) = ran(program(&folder).args(["--profile", "default"]).arg("list"));
    assert!(out.is_empty() && err.contains("--profile default: there is no such profile") && code == 2, "{err}");
    let api = ["api", "get_provision", "--param", &format!("provision_id={id}")];
    let watch = ["watch", &id];
    for (format, command, refusal, expected) in [
        ("csv", &["doctor"][..], "csv is for records", " ok   bank "),
        ("csv", &["whoami"], "csv is for records", "user id "),
        ("csv", &["session", "end"], "csv is for records", ""),
        ("csv", &api, "csv is for records", "{\n  \"Response\": ["),
        ("csv", &["close", &id, "--dry-run"], "csv is for records", "PUT http"),
        ("csv", &["close", "--from", ids, "--dry-run"], "csv is for records", "2 rows: update_provision"),
        ("csv", &["session", "end", "--dry-run"], "csv is for records", "DELETE http"),
        ("csv", &["config", "path"], "csv is for records", "/"),
        ("json", &watch, "use --output jsonl", "{\""),
    ] {
        profiles(&folder, &format!("{bank}output = \"{format}\"\n"));
        let (out, err, code) = ran(program(&folder).args(command));
        assert!(out.starts_with(expected) && code == 0, "{command:?}: {out}{err}");
        sandbox.take_call_log();
        let (out, err, code) = ran(program(&folder).args(command).args(["--output", format]));
        assert!(out.is_empty() && err.contains(refusal) && code == 2, "{command:?}: {out}{err}");
        assert!(sandbox.take_call_log().is_empty(), "{command:?}");
    }

    // The rows that have failed are csv alone, which a profile may say.
    profiles(&folder, &bank);
    assert_eq!(ran(program(&folder).args(["close", "--from", ids])).2, 9);
    let report = ["report", "--from", ids, "--failed"];
    for (format, expected) in [("csv", "id\n7\n"), ("json", ""), ("table", "")] {
        profiles(&folder, &format!("{bank}output = \"{format}\"\n"));
        let (out, err, code) = ran(program(&folder).args(report));
        assert_eq!((out.as_str(), code), (expected, if expected.is_empty() { 2 } else { 0 }), "{err}");
        assert!(!expected.is_empty() || err.contains("add --output csv"), "{err}");
        assert_eq!(ran(program(&folder).args(report).args(["-o", "csv"])).0, "id\n7\n");
    }

    // An error has the format too, also one about the format.
    profiles(&folder, &format!("{bank}output = \"json\"\n"));
    for command in [&["get", "7"][..], &["list", "--columns", "names"]] {
        let (_, err, code) = ran(program(&folder).args(command));
        let error = serde_json::from_str::<Value>(&err).unwrap();
        assert_eq!(error["error"]["exit_code"], code, "{command:?}: {err}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_gives_the_key_once_and_only_where_it_is_needed() {
    test_timeout::start();
    let (folder, sandbox) = (Folder::new(), Sandbox::start().await.unwrap());
    let id = sandbox.populate(1)[0].to_string();
    let key = folder.file("key", &format!("{}\n", sandbox.api_key().expose()));
    let runs = folder.path("runs");
    let script = format!("echo run >> {runs:?}; echo unlocked >&2; cat {key:?}");
    command_profile(&folder, &sandbox, &script);
    let count = || fs::read_to_string(&runs).map_or(0, |text| text.lines().count());
    for arguments in [
        &["help"][..],
        &["close", "--help"],
        &["close", &id, "--dry-run"],
        &["--sandbox", "list"],
        &["config", "show"],
        &["config", "path"],
    ] {
        let (_, err, code) = ran(program(&folder).args(arguments));
        assert_eq!((err.as_str(), code, count()), ("", 0, 0), "{arguments:?}");
    }
    for (runs, command) in [&["list"][..], &["doctor"], &["close", &id, "--wait"]].into_iter().enumerate() {
        let (out, err, code) = ran(program(&folder).args(command).args(["--output", "json"]));
        assert_eq!((err.lines().next(), code, count()), (Some("unlocked"), 0, runs + 1), "{command:?}: {err}");
        assert!(!(out + &err).contains(sandbox.api_key().expose()));
    }
    let (out, _, code) = ran(program(&folder).arg("doctor"));
    let file = folder.path("bunq-partner/config.toml");
    let bank = format!("sandbox at {}, of profile default in {}", sandbox.base_url(), file.display());
    assert!(out.contains(&bank) && code == 0, "{out}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_that_gives_no_key_is_an_error() {
    test_timeout::start();
    let (folder, sandbox) = (Folder::new(), Sandbox::start().await.unwrap());
    let runs = folder.path("runs");
    let count = || fs::read_to_string(&runs).map_or(0, |text| text.lines().count());
    for (script, problem) in [
        ("echo locked >&2; echo planted; exit 7", "`sh` failed (exit status: 7)"),
        ("echo planted; echo planted", "`sh` prints several lines"),
        ("true", "`sh` prints nothing"),
        ("yes planted", "`sh` prints more than 4096 bytes"),
        ("echo '\"planted\"'", "api_key: it has quotes"),
        ("echo planted", "api_key: it is a key of the production environment"),
    ] {
        command_profile(&folder, &sandbox, &format!("echo run >> {runs:?}; {script}"));
        let (out, err, code) = ran(program(&folder).arg("list"));
        assert!(err.contains(problem) && out.is_empty() && code == 2, "{script}: {err}");
        assert!(!err.contains("planted"), "{err}");
        assert!(problem.starts_with("api_key") || err.contains("api_key_command of profile default in /"), "{err}");
        assert_eq!(
            problem.starts_with("api_key"),
            err.contains("hint: `bunq-partner config show` says where"),
            "{err}"
        );
        assert_eq!((err.contains("locked\n"), count()), (script.contains("locked"), 1), "{err}");
        let (out, err, code) = ran(program(&folder).arg("doctor"));
        assert!(out.contains("FAIL  key") && out.contains(problem) && code == 1, "{out}{err}");
        assert!(!(out + &err).contains("planted"));
        assert_eq!(count(), 2);
        fs::remove_file(&runs).unwrap();
    }
    profiles(&folder, "[profiles.default]\napi_key_command = [\"bunq-partner-missing\"]\n");
    let (_, err, code) = ran(program(&folder).arg("list"));
    assert!(err.contains("`bunq-partner-missing` cannot be run: No such file") && code == 2, "{err}");
    assert!(sandbox.call_log().iter().all(|call| !call.body.contains("planted")));
}

/// bunq's sources do not settle it. What fails because of it names the member.
#[tokio::test(flavor = "multi_thread")]
async fn a_profile_says_whose_installation_users_take() {
    test_timeout::start();
    let folder = Folder::new();
    folder.own_folder("users");
    let mut played = Profile::default();
    played.user_installation = AcceptedInstallation::Partner;
    let sandbox = Sandbox::builder().profile(played).start().await.unwrap();
    let id = sandbox.populate(1)[0].to_string();
    let text = bank_profile(&folder, "default", &sandbox) + "custody = \"../users\"\n";
    profiles(&folder, &text);
    let activate = || ran(program(&folder).args(["users", "activate", &id]));
    let (_, err, code) = activate();
    assert!(err.contains("user_installation of the profile is \"own\" or \"partner\"") && code == 8, "{err}");
    profiles(&folder, &(text + "user_installation = \"partner\"\n"));
    let (out, err, code) = activate();
    assert!(out.contains("activated") && code == 0, "{out}{err}");
    let (value, source) = shown(&mut program(&folder), "user_installation");
    assert!(value == "partner" && source.starts_with("profile default in "), "{value} {source}");
    assert_eq!(shown(&mut program(&folder), "limits_are_per"), ("address".to_owned(), "default".to_owned()));
}

/// All that the command has started holds one end of a pipe, which is closed when none is left.
#[tokio::test(flavor = "multi_thread")]
async fn an_interruption_ends_a_command_that_hangs() {
    test_timeout::start();
    let (folder, sandbox) = (Folder::new(), Sandbox::start().await.unwrap());
    for (command, kind) in
        [("list", Signal::INT), ("list", Signal::TERM), ("list", Signal::HUP), ("doctor", Signal::INT)]
    {
        command_profile(&folder, &sandbox, "sleep 1000 & echo started >&2; sleep 1000");
        let mut process =
            hearing(program(&folder).arg(command)).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let mut stderr = BufReader::new(process.stderr.take().unwrap());
        let mut line = String::new();
        stderr.read_line(&mut line).unwrap();
        assert_eq!(line, "started\n");
        signal(&process, kind);
        let mut rest = String::new();
        stderr.read_to_string(&mut rest).unwrap();
        assert!(rest.contains("interrupted") && !rest.contains("failed"), "{rest}");
        assert_eq!(process.wait().unwrap().code(), Some(130));
    }
}
