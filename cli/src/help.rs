//! Topics of the help beside the commands, and the manual page.

use std::io::{self, Write as _};

use bunq_partner_sandbox::Injection;
use clap::{Command, CommandFactory as _, ValueEnum as _};
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, roman};

use super::arguments::{CommandLine, Topic};
use super::exit::{self, Failure};
use super::operations;
use super::output::write_text;
use super::schema::SCHEMA;

/// The environment variables that the program reads.
const ENVIRONMENT: [(&str, &str); 11] = [
    ("BUNQ_API_KEY", "API key, unless --api-key-file or --profile is given"),
    ("BUNQ_ENV", "sandbox or production, unless --env or --profile is given"),
    ("BUNQ_BASE_URL", "base URL, unless --base-url or --profile is given; refused in production"),
    ("BUNQ_PROFILE", "profile, unless --profile is given or one of the variables above is set"),
    ("BUNQ_PARTNER_POSTGRES", "URL of the database that machines share, instead of a profile's url_file"),
    ("BUNQ_WEBHOOK_URL", "URL of `webhooks`, unless --url-file is given"),
    ("BUNQ_LOG", "log of calls: off, info (as -v) or debug (as -vv), unless -v is given"),
    ("HTTPS_PROXY, ALL_PROXY, NO_PROXY", "proxy to bunq, and the hosts that need none"),
    ("SSL_CERT_FILE, SSL_CERT_DIR", "on Linux, the certificates to trust instead of the system's"),
    ("NO_COLOR", "if set, no colour"),
    ("TZ", "time zone of `watch` and `webhooks listen`, instead of the system's"),
];

/// The files that the program reads and keeps.
const FILES: [(&str, &str); 4] = [
    ("$XDG_CONFIG_HOME/bunq-partner/config.toml", "profiles; `bunq-partner config path` prints where it is"),
    ("$XDG_STATE_HOME/bunq-partner/", "key pair and session, one file for each environment, address and API key"),
    ("FILE.journal", "progress of a bulk run over FILE"),
    ("JOURNAL.input", "rows that a bulk run read from standard input"),
];

/// Shows the help of a command or a topic.
pub(super) fn show(words: &[String]) -> Result<(), Failure> {
    let mut program = CommandLine::command();
    program.build();
    let topic = match words {
        [word] => Topic::from_str(word, false).ok(),
        _ => None,
    };
    let text = match (topic, words) {
        (Some(topic), _) => about(topic, &program),
        (None, [api, operation]) if api == "api" => operations::describe(operation)?,
        (None, _) => {
            let mut command = &program;
            for word in words {
                command = command.find_subcommand(word).ok_or_else(|| {
                    Failure::usage(format!("there is no command and no topic `{}`", words.join(" ")))
                        .with_hint("`bunq-partner help` lists the commands and topics")
                })?;
            }
            command.clone().render_help().to_string()
        }
    };
    Ok(write_text(&format!("{}\n", text.trim_end()))?)
}

fn about(topic: Topic, program: &Command) -> String {
    match topic {
        Topic::Options => options(program),
        Topic::Environment => environment(),
        Topic::ExitCodes => exit::help(),
        Topic::Faults => faults(),
        Topic::Operations => operations::list(),
        Topic::Schema => SCHEMA.to_owned(),
    }
}

/// The options that all commands have.
fn options(program: &Command) -> String {
    let options = program.get_arguments().filter(|option| option.is_global_set() && option.get_id() != "_help");
    let options = options.map(|option| option.clone().global(false).hide_short_help(false));
    let topic = Command::new("options").disable_help_flag(true).max_term_width(100).args(options);
    topic.help_template("Options of all commands:\n\n{all-args}").render_help().to_string()
}

fn environment() -> String {
    let list = |entries: &[(&str, &str)]| {
        entries.iter().map(|(name, meaning)| format!("  {name}\n      {meaning}\n")).collect::<String>()
    };
    format!("Environment variables; an empty one is not set:\n{}\nFiles:\n{}", list(&ENVIRONMENT), list(&FILES))
}

fn faults() -> String {
    let names = Injection::fault_names();
    let names: String = names.split(", ").map(|name| format!("  {name}\n")).collect();
    format!(
        "Faults for `bunq-partner sandbox --fault FAULT`: a name, and after commas\n\
         on=OPERATION, after=CALLS, times=CALLS or times=always, and\n\
         carried-out=yes or carried-out=no, as in\n\
         `drop,on=update_provision,times=2`\n\n{names}"
    )
}

/// The manual page: the program, its commands, and what they have in common.
pub(super) fn manual() -> io::Result<Vec<u8>> {
    let mut program = CommandLine::command();
    program.build();
    let mut page = Vec::new();
    let man = Man::new(program.clone());
    man.render_title(&mut page)?;
    man.render_name_section(&mut page)?;
    man.render_synopsis_section(&mut page)?;
    man.render_description_section(&mut page)?;
    man.render_options_section(&mut page)?;
    let mut examples = Vec::new();
    let mut below: Vec<_> = program.get_subcommands().collect();
    while !below.is_empty() {
        let command = below.remove(0);
        below.splice(0..0, command.get_subcommands());
        let name = command.get_display_name().unwrap_or(command.get_name());
        writeln!(page, ".SH \"{}\"", name.to_uppercase())?;
        // The options of all commands are said once.
        let own = command.clone().mut_args(|option| {
            let is_global = option.is_global_set();
            option.hide(is_global)
        });
        let man = Man::new(own);
        man.render_synopsis_section(&mut page)?;
        man.render_description_section(&mut page)?;
        man.render_options_section(&mut page)?;
        let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
        examples.extend(help.lines().skip(1).map(|line| line.trim().to_owned()));
    }
    let codes = exit::meanings().map(|(code, meaning)| (code.to_string(), meaning.to_owned()));
    let owned = |(name, meaning): &(&str, &str)| ((*name).to_owned(), (*meaning).to_owned());
    section("ENVIRONMENT", ENVIRONMENT.iter().map(owned)).to_writer(&mut page)?;
    section("FILES", FILES.iter().map(owned)).to_writer(&mut page)?;
    section("EXIT STATUS", codes).to_writer(&mut page)?;
    section("EXAMPLES", examples.into_iter().map(|line| (line, String::new()))).to_writer(&mut page)?;
    Ok(page)
}

fn section(title: &str, entries: impl Iterator<Item = (String, String)>) -> Roff {
    let mut roff = Roff::new();
    roff.control("SH", [title]);
    for (name, meaning) in entries {
        roff.control("TP", []).text([bold(name)]).text([roman(meaning)]);
    }
    roff
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;
    use serde_json::Value;

    use super::super::columns::Results;
    use super::*;

    /// What each command writes, by what is typed for it.
    fn results(command: &Command, typed: &str) -> Vec<(String, Results)> {
        if command.get_subcommands().next().is_none() {
            let help = command.get_after_help().unwrap().to_string();
            let (_, examples) = help.split_once("Examples:\n").unwrap();
            let example = examples.lines().next().unwrap().split(" | ").next().unwrap().split_whitespace();
            return vec![(typed.to_owned(), CommandLine::try_parse_from(example).unwrap().command.results())];
        }
        let below = command.get_subcommands();
        below.flat_map(|below| results(below, format!("{typed} {}", below.get_name()).trim())).collect()
    }

    #[test]
    fn topics_are_for_terminals_of_80_columns() {
        test_timeout::start();
        let program = CommandLine::command();
        // clap wraps the options, and the schema is for programs.
        for topic in Topic::value_variants().iter().filter(|topic| !matches!(topic, Topic::Options | Topic::Schema)) {
            let text = about(*topic, &program);
            assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
        }
    }

    #[test]
    fn the_schema_has_each_command_that_writes_json() {
        test_timeout::start();
        let schema: Value = serde_json::from_str(SCHEMA).unwrap();
        let mut described: Vec<_> = schema["properties"].as_object().unwrap().keys().cloned().collect();
        let mut program = CommandLine::command();
        program.build();
        let all = results(&program, "");
        let writing = all.into_iter().filter(|(_, results)| !matches!(results, Results::Text));
        let mut writing: Vec<_> = writing.map(|(typed, _)| typed).collect();
        described.sort_unstable();
        writing.sort_unstable();
        assert_eq!(described, writing);
    }
}
