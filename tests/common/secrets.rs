//! What secrets look like, to find those that are kept readable.

/// What is part of a secret: of the API keys of all tests and the tokens of credentials; of a key in PEM; and of one in base64, the name
/// of its algorithm, with which it begins.
pub const PARTS: [&[u8]; 3] = [b"sandbox_", b"PRIVATE KEY", b"BgkqhkiG9w0BAQEFAA"];

/// How many digits the tokens of installations, sessions and OAuth clients have, in hexadecimal.
pub const TOKEN_LEN: usize = 64;

/// The first secret in a text, or what is found of it.
pub fn secret_in(text: &[u8]) -> Option<String> {
    let has = |part: &&[u8]| text.windows(part.len()).any(|bytes| bytes == *part);
    let part = PARTS.into_iter().find(|part| has(part));
    let is_digit = |byte: &u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(byte);
    let token = || text.split(|byte| !is_digit(byte)).find(|digits| digits.len() >= TOKEN_LEN);
    part.or_else(token).map(|found| String::from_utf8_lossy(found).into_owned())
}
