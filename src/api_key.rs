//! Checks the form of an API key: one rule for all keys, and a message for each common mistake in copying one.

use crate::environment::Environment;
use crate::error::Error;
use crate::types::Secret;

const SANDBOX_PREFIX: &str = "sandbox_";

/// The longest key that is accepted, in bytes.
const MAX_LEN: usize = 4096;

/// Refuses a text that is not a key, and a key of the other environment. No message repeats any part of the key.
pub(crate) fn check(api_key: &Secret, environment: Environment) -> Result<(), Error> {
    let text = api_key.expose();
    form(text).map_err(|problem| Error::invalid_input("api_key", problem))?;
    let is_sandbox = is_of_sandbox(api_key);
    if is_sandbox == (environment == Environment::Sandbox) {
        return Ok(());
    }
    let belongs = if is_sandbox { Environment::Sandbox } else { Environment::Production };
    Err(Error::invalid_input(
        "api_key",
        format_args!(
            "it is a key of the {belongs} environment (keys of the sandbox, and only they, start with \
             `{SANDBOX_PREFIX}`), but the client is for {environment}"
        ),
    ))
}

/// Whether it is a key of the sandbox.
pub(crate) fn is_of_sandbox(api_key: &Secret) -> bool {
    api_key.expose().starts_with(SANDBOX_PREFIX)
}

/// What is wrong with the form of a key. The most specific problem comes first.
fn form(text: &str) -> Result<(), String> {
    let problem = match text {
        "" => "it is empty",
        _ if text.len() > MAX_LEN => return Err(format!("it is longer than {MAX_LEN} bytes, so it is no key")),
        _ if text.trim_end().contains(['\n', '\r']) => "it has several lines: give the key alone",
        _ if has_name(text) => "it begins with a name and `=`: give what stands behind it",
        _ if text.contains(['"', '\'', '`']) => "it has quotes: leave them out",
        _ if text.trim() != text => "it begins or ends with white space",
        _ if text.contains(char::is_whitespace) => "it has white space inside: copy it again, whole",
        _ => {
            return text.chars().position(|c| !c.is_ascii_graphic()).map_or(Ok(()), |place| {
                Err(format!("its character {} is not one of a key, which is ASCII: copy it again", place + 1))
            });
        }
    };
    Err(problem.to_owned())
}

/// Whether the text is a line of a settings file, such as `BUNQ_API_KEY=…`.
fn has_name(text: &str) -> bool {
    let text = text.trim_start();
    let (is_exported, text) = match text.strip_prefix("export ") {
        Some(text) => (true, text),
        None => (false, text),
    };
    let Some((name, _)) = text.split_once('=') else { return false };
    let name = name.trim();
    let is_name = !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || "_-.".contains(c));
    let lower = name.to_ascii_lowercase();
    // A user's token may contain `=` too, so the part before it must look like the name of a setting.
    let is_of_a_key = ["key", "token", "bunq", "secret"].iter().any(|word| lower.contains(word));
    let is_variable = name.contains('_') && name == name.to_ascii_uppercase();
    is_name && !text.starts_with(SANDBOX_PREFIX) && (is_exported || is_of_a_key || is_variable)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_and_users_tokens_pass() {
        test_timeout::start();
        for key in ["0123456789abcdef", "sandbox_0123456789abcdef", "abc=def", "YWJjZA==", "sandbox_a=b", "a-b.c_d:/+"]
        {
            assert_eq!(form(key), Ok(()), "{key}");
        }
    }

    #[test]
    fn each_disguise_is_named_whatever_the_environment() {
        test_timeout::start();
        for (key, problem) in [
            ("", "empty"),
            ("sandbox_0123456789\nsandbox_0123456789", "several lines"),
            ("0123456789\r\nBUNQ_ENV=production\n", "several lines"),
            ("BUNQ_API_KEY=sandbox_0123456789", "a name"),
            ("export BUNQ_API_KEY=\"0123456789\"", "a name"),
            ("api_key = 0123456789", "a name"),
            ("MY_BANK=0123456789", "a name"),
            ("\"sandbox_0123456789\"", "quotes"),
            ("'0123456789'", "quotes"),
            ("sandbox_01234 56789", "white space inside"),
            ("0123456789\t0123456789", "white space inside"),
            ("01234\u{a0}56789", "white space inside"),
            ("sandbox_0123456789\n", "ends with white space"),
            ("\u{201c}0123456789\u{201d}", "character 1 "),
            ("\u{feff}0123456789", "character 1 "),
            ("01234\u{200b}56789", "character 6 "),
            ("01234\u{0}56789", "character 6 "),
        ] {
            for environment in [Environment::Sandbox, Environment::Production] {
                let refusal = check(&key.into(), environment).unwrap_err().to_string();
                assert!(refusal.contains(problem) && !refusal.contains("56789"), "{key:?}: {refusal}");
            }
        }
    }
}
