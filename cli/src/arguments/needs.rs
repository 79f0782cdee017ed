//! Options that change what is done, and do nothing without another.

use clap::error::ErrorKind;
use clap::parser::ValueSource;
use clap::{ArgMatches, Command, Error};

/// Each of these options, by its id, and the one that it needs in the commands that have both. clap's `requires` is no substitute: it
/// is not held where something typed excludes what is required, so that `close 7 --journal FILE` would pass.
const NEEDS: [(&str, &str); 12] = [
    ("timeout", "wait"),
    ("journal", "from"),
    ("resume", "from"),
    ("activate", "from"),
    ("ensure", "external_uuid"),
    ("content_type", "body"),
    ("another", "identity_token_file"),
    ("custody", "user"),
    ("date_of_birth", "country"),
    ("country", "date_of_birth"),
    ("certificate", "key"),
    ("key", "certificate"),
];

/// Refuses an option that would do nothing. Only what was typed counts.
pub(super) fn check(command: &mut Command, matches: &ArgMatches) -> Result<(), Error> {
    if let Some((name, below)) = matches.subcommand() {
        return command.find_subcommand_mut(name).map_or(Ok(()), |command| check(command, below));
    }
    let is_typed =
        |id: &str| matches.ids().any(|typed| typed == id) && matches.value_source(id) == Some(ValueSource::CommandLine);
    let name = |id: &str| {
        let option = command.get_arguments().find(|option| option.get_id() == id)?;
        option.get_long().map(|name| format!("--{name}"))
    };
    let problem = NEEDS
        .iter()
        .filter(|(option, other)| is_typed(option) && !is_typed(other))
        .find_map(|(option, other)| Some(format!("{} does nothing without {}", name(option)?, name(other)?)));
    problem.map_or(Ok(()), |problem| Err(command.error(ErrorKind::MissingRequiredArgument, problem)))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use clap::error::ErrorKind;
    use clap::{Command, CommandFactory as _};

    use super::super::CommandLine;

    /// What an option does.
    enum Use {
        /// It changes what is done, or says how it is shown, beside these words.
        With(&'static str),
        /// It changes what is done, but beside these words it does nothing without the other option.
        Needs(&'static str, &'static str),
        /// It changes what is done, but beside the first words it does nothing: it needs the option that stands in their place.
        NeedsInstead(&'static str, &'static str),
    }

    use Use::{Needs, NeedsInstead, With};

    /// The options of the commands, as typed.
    const OPTIONS: &[(&str, &str, Use)] = &[
        ("close", "--wait", With("7")),
        ("close", "--timeout=1h", Needs("--wait", "7")),
        ("close", "--dry-run", With("7")),
        ("close", "--receipts=FILE", With("7")),
        ("close", "--from=FILE", With("")),
        ("close", "--journal=FILE", NeedsInstead("7", "--from=FILE")),
        ("close", "--resume", NeedsInstead("7", "--from=FILE")),
        ("create", "--email=user@example.com", With("--phone-number=+31600000000")),
        ("create", "--phone-number=+31600000000", With("--email=user@example.com")),
        ("create", "--external-uuid=00000000-0000-4000-8000-000000000005", With(USER)),
        ("create", "--ensure", Needs("--external-uuid=00000000-0000-4000-8000-000000000005", USER)),
        ("create", "--director=7", With(USER)),
        ("create", "--date-of-birth=1990-12-31", Needs("--country=NL", USER)),
        ("create", "--country=NL", Needs("--date-of-birth=1990-12-31", USER)),
        ("create", "--wait", With(USER)),
        ("create", "--timeout=1h", Needs("--wait", USER)),
        ("create", "--dry-run", With(USER)),
        ("create", "--receipts=FILE", With(USER)),
        ("create", "--from=FILE", With("")),
        ("create", "--journal=FILE", NeedsInstead(USER, "--from=FILE")),
        ("create", "--resume", NeedsInstead(USER, "--from=FILE")),
        ("create", "--activate=FOLDER", NeedsInstead(USER, "--from=FILE")),
        ("list", "--status=ACTIVE", With("")),
        ("list", "--limit=10", With("")),
        ("watch", "--timeout=1h", With("")),
        ("users list", "--unactivated", With("")),
        ("users list", "--custody=FOLDER", With("")),
        ("users show", "--custody=FOLDER", With("7")),
        ("users activate", "--custody=FOLDER", With("7")),
        ("users activate", "--dry-run", With("7")),
        ("users reset", "--custody=FOLDER", With("7")),
        ("users reset", "--dry-run", With("7")),
        ("onboard", "--from=FILE", With("7")),
        ("onboard", "--identity-token-file=FILE", With("7")),
        ("onboard", "--another", Needs("--identity-token-file=FILE", "7")),
        ("onboard", "--submit-identity=8001", With("7")),
        ("onboard", "--custody=FOLDER", With("7")),
        ("onboard", "--wait", With("7")),
        ("onboard", "--timeout=1h", Needs("--wait", "7")),
        ("onboard", "--dry-run", With("7")),
        ("onboard", "--show-personal", With("7")),
        ("inquiries list", "--status=FINALIZED", With("7")),
        ("inquiries list", "--purpose=ONBOARDING", With("7")),
        ("inquiries list", "--kind=USER_PERSON", With("7")),
        ("inquiries list", "--limit=10", With("7")),
        ("inquiries list", "--show-personal", With("7")),
        ("inquiries list", "--custody=FOLDER", With("7")),
        ("inquiries answer", "--text=-", With("7 88 881")),
        ("inquiries answer", "--attach=scan.png", With("7 88 881")),
        ("inquiries answer", "--custody=FOLDER", With("7 88 881 --text=-")),
        ("inquiries answer", "--wait", With("7 88 881 --text=-")),
        ("inquiries answer", "--timeout=1h", Needs("--wait", "7 88 881 --text=-")),
        ("inquiries answer", "--dry-run", With("7 88 881 --text=-")),
        ("inquiries answer", "--show-personal", With("7 88 881 --text=-")),
        ("attachment put", "--description=Passport", With("7 passport.png")),
        ("attachment put", "--custody=FOLDER", With("7 passport.png")),
        ("attachment put", "--dry-run", With("7 passport.png")),
        ("attachment put", "--show-personal", With("7 passport.png")),
        ("attachment get", "--output-file=FILE", With("7 6001")),
        ("attachment get", "--custody=FOLDER", With("7 6001")),
        ("oauth ensure", "--secret-file=FILE", With("https://partner.example.com/callback")),
        ("session end", "--dry-run", With("")),
        ("api", "--param=provision_id=7", With("get_provision")),
        ("api", "--user=7", With("create_nationality")),
        ("api", "--custody=FOLDER", Needs("--user=7", "create_nationality")),
        ("api", "--body={}", With("create_provision")),
        ("api", "--content-type=image/png", Needs("--body=@FILE", "create_attachment")),
        ("api", "--output-file=FILE", With("get_attachment_content")),
        ("api", "--dry-run", With("create_provision")),
        ("doctor", "--custody=FOLDER", With("")),
        ("probe", "--create", With("")),
        ("probe", "--save=FOLDER", With("")),
        ("rekey", "--custody=FOLDER", With("")),
        ("rekey", "--old-api-key-file=FILE", With("")),
        ("webhooks list", "--show-urls", With("")),
        ("webhooks list", "--user=7", With("")),
        ("webhooks list", "--custody=FOLDER", Needs("--user=7", "")),
        ("webhooks ensure", "--url-file=FILE", With("SUPPORT")),
        ("webhooks ensure", "--user=7", With("SUPPORT")),
        ("webhooks ensure", "--custody=FOLDER", Needs("--user=7", "SUPPORT")),
        ("webhooks ensure", "--show-urls", With("SUPPORT")),
        ("webhooks ensure", "--dry-run", With("SUPPORT")),
        ("webhooks remove", "--url-file=FILE", With("SUPPORT")),
        ("webhooks remove", "--user=7", With("SUPPORT")),
        ("webhooks remove", "--custody=FOLDER", Needs("--user=7", "SUPPORT")),
        ("webhooks remove", "--show-urls", With("SUPPORT")),
        ("webhooks remove", "--dry-run", With("SUPPORT")),
        ("webhooks check", "--user=7", With("")),
        ("webhooks check", "--custody=FOLDER", Needs("--user=7", "")),
        ("webhooks failures", "--limit=10", With("")),
        ("webhooks failures", "--show-urls", With("")),
        ("webhooks failures", "--user=7", With("")),
        ("webhooks failures", "--custody=FOLDER", Needs("--user=7", "")),
        ("webhooks retry", "--url-file=FILE", With("")),
        ("webhooks retry", "--user=7", With("9001")),
        ("webhooks retry", "--custody=FOLDER", Needs("--user=7", "9001")),
        ("webhooks retry", "--dry-run", With("9001")),
        ("webhooks listen", "--listen=127.0.0.1", With("")),
        ("webhooks listen", "--port=0", With("")),
        ("webhooks listen", "--url-file=FILE", With("")),
        ("webhooks listen", "--certificate=FILE", Needs("--key=FILE", "")),
        ("webhooks listen", "--key=FILE", Needs("--certificate=FILE", "")),
        ("webhooks listen", "--journal=FILE", With("")),
        ("webhooks listen", "--trusted-proxy=10.0.0.0/8", With("")),
        ("webhooks listen", "--from=192.0.2.0/24", With("")),
        ("webhooks listen", "--custody=FOLDER", With("")),
        ("receipts verify", "--public-key=FILE", With("FILE")),
        ("report", "--from=FILE", With("")),
        ("report", "--journal=FILE", With("--from=FILE")),
        // It needs the format csv, which a profile may set too: the command looks.
        ("report", "--failed", With("--from=FILE")),
        ("sandbox", "--listen=127.0.0.1", With("")),
        ("sandbox", "--port=0", With("")),
        ("sandbox", "--api-key=KEY", With("")),
        ("sandbox", "--rate-limits", With("")),
        ("sandbox", "--fault=drop", With("")),
        ("sandbox", "--seed=FILE", With("")),
        ("sandbox", "--provisions=10", With("")),
        ("sandbox", "--no-oauth-client", With("")),
        ("sandbox", "--state=FILE", With("")),
        ("sandbox", "--bank-profile=FILE", With("")),
        ("sandbox", "--allow=192.0.2.7", With("")),
        ("sandbox", "--step=1s", With("")),
        ("sandbox", "--log=json", With("")),
    ];

    const USER: &str = "--email=user@example.com --phone-number=+31600000000";

    /// The options of all commands, as typed, and whether each chooses a bank, a key or a session: those are refused where a command is a
    /// bank itself. The others say how results are shown, or consent to what is asked, and are refused nowhere.
    const OPTIONS_OF_ALL: [(&str, bool); 15] = [
        ("--profile=NAME", true),
        ("--env=sandbox", true),
        ("--base-url=URL", true),
        ("--api-key-file=FILE", true),
        ("--context=FILE", true),
        ("--plain-http=HOST", true),
        ("--sandbox", true),
        ("--rehearse=2", true),
        ("--yes", false),
        ("--columns=id", false),
        ("--no-header", false),
        ("--output=json", false),
        ("--color=never", false),
        ("--show-secrets", false),
        ("--verbose", false),
    ];

    /// The options of each command that has some, by what is typed for both. Those of all commands are those of the command.
    fn options(command: &Command, typed: &str, found: &mut BTreeSet<(String, String)>) {
        let of_all = |option: &clap::Arg| option.is_global_set() && !typed.is_empty();
        for option in command.get_arguments().filter(|option| !option.is_positional() && !of_all(option)) {
            found.insert((typed.to_owned(), format!("--{}", option.get_long().unwrap())));
        }
        for below in command.get_subcommands() {
            options(below, format!("{typed} {}", below.get_name()).trim(), found);
        }
    }

    fn parsed(words: &[&str]) -> Result<CommandLine, clap::Error> {
        let words = words.iter().flat_map(|words| words.split_whitespace());
        CommandLine::read(["bunq-partner"].into_iter().chain(words))
    }

    fn name(typed: &str) -> String {
        typed.split('=').next().unwrap().to_owned()
    }

    fn is_needed(other: &str, refused: &[&str], taken: &[&str]) {
        assert!(parsed(taken).is_ok(), "{taken:?}");
        let refusal = parsed(refused).map(drop).unwrap_err();
        assert_eq!(refusal.kind(), ErrorKind::MissingRequiredArgument, "{refused:?}: {refusal}");
        let said = format!("error: {} does nothing without {}\n", name(refused[1]), name(other));
        assert!(refusal.to_string().starts_with(&said), "{refused:?}: {refusal}");
    }

    #[test]
    fn an_option_is_refused_where_it_would_do_nothing() {
        test_timeout::start();
        for (command, option, use_of_it) in OPTIONS {
            match use_of_it {
                With(rest) => assert!(parsed(&[command, rest, option]).is_ok(), "{command} {option}"),
                Needs(other, rest) => is_needed(other, &[command, option, rest], &[command, option, rest, other]),
                NeedsInstead(rest, other) => {
                    is_needed(other, &[command, option, rest], &[command, option, other]);
                    is_needed(other, &[command, option], &[command, option, other]);
                }
            }
        }
        for (option, chooses) in OPTIONS_OF_ALL {
            let typed: Vec<_> = parsed(&["list", option]).unwrap().connection.typed().map(str::to_owned).collect();
            assert_eq!(typed, if chooses { vec![name(option)] } else { Vec::new() }, "{option}");
        }
    }

    #[test]
    fn what_each_option_does_is_decided() {
        test_timeout::start();
        let mut program = CommandLine::command();
        program.build();
        let mut found = BTreeSet::new();
        options(&program, "", &mut found);
        found.retain(|(_, option)| !["--help", "--version"].contains(&option.as_str()));
        let of_commands = OPTIONS.iter().map(|(command, option, _)| ((*command).to_owned(), name(option)));
        let of_all = OPTIONS_OF_ALL.iter().map(|(option, _)| (String::new(), name(option)));
        assert_eq!(of_commands.chain(of_all).collect::<BTreeSet<_>>(), found);
    }
}
