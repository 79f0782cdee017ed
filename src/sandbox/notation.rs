//! Injections as text, for command lines: `drop,on=update_provision,times=2`.

use std::fmt::Write as _;
use std::str::FromStr;
use std::time::Duration;

use super::fault::{Fault, Injection};
use crate::error::Error;
use crate::operation::Operation;

/// What a fault's value is.
#[derive(Clone, Copy)]
enum Value {
    None(Fault),
    Status(fn(u16) -> Fault),
    Time(fn(Duration) -> Fault),
    Bytes(fn(usize) -> Fault),
}

const FAULTS: [(&str, Value); 31] = [
    ("status", Value::Status(Fault::Status)),
    ("unsigned-status", Value::Status(Fault::UnsignedStatus)),
    ("rate-limited", Value::None(Fault::RateLimited { retry_after: None })),
    ("retry-after", Value::Time(|after| Fault::RateLimited { retry_after: Some(after) })),
    ("session-lost", Value::None(Fault::SessionLost)),
    ("forbidden", Value::None(Fault::Forbidden)),
    ("request-id-refused", Value::None(Fault::RequestIdRefused)),
    ("relabelled", Value::Status(Fault::Relabelled)),
    ("crossed", Value::None(Fault::Crossed)),
    ("replayed", Value::None(Fault::Replayed)),
    ("drop", Value::None(Fault::Drop)),
    ("late-arrival", Value::Time(Fault::LateArrival)),
    ("truncated", Value::None(Fault::Truncated)),
    ("slow-drip", Value::Time(|pause| Fault::SlowDrip { pause })),
    ("late", Value::Time(Fault::Late)),
    ("empty-body", Value::None(Fault::EmptyBody)),
    ("empty-response", Value::None(Fault::EmptyResponse)),
    ("not-json", Value::None(Fault::NotJson)),
    ("oversized", Value::Bytes(Fault::Oversized)),
    ("missing-signature", Value::None(Fault::MissingSignature)),
    ("wrong-signature", Value::None(Fault::WrongSignature)),
    ("foreign-signature", Value::None(Fault::ForeignSignature)),
    ("unknown-status", Value::None(Fault::UnknownStatus)),
    ("unknown-sub-status", Value::None(Fault::UnknownSubStatus)),
    ("unknown-values", Value::None(Fault::UnknownValues)),
    ("unknown-field", Value::None(Fault::UnknownField)),
    ("repeated-items", Value::None(Fault::RepeatedItems)),
    ("unknown-item", Value::None(Fault::UnknownItem)),
    ("missing-optional-fields", Value::None(Fault::MissingOptionalFields)),
    ("null-fields", Value::None(Fault::NullFields)),
    ("unknown-header", Value::None(Fault::UnknownHeader)),
];

impl Value {
    fn fault(self, text: Option<&str>) -> Option<Fault> {
        match (self, text) {
            (Self::None(fault), None) => Some(fault),
            (Self::Status(fault), Some(text)) => {
                text.parse().ok().filter(|status| (100..1000).contains(status)).map(fault)
            }
            (Self::Time(fault), Some(text)) => {
                let time: jiff::SignedDuration = text.parse().ok()?;
                time.try_into().ok().map(fault)
            }
            (Self::Bytes(fault), Some(text)) => text.parse().ok().map(fault),
            (_, _) => None,
        }
    }

    fn placeholder(self) -> &'static str {
        match self {
            Self::None(_) => "",
            Self::Status(_) => "=STATUS",
            Self::Time(_) => "=TIME",
            Self::Bytes(_) => "=BYTES",
        }
    }
}

impl Injection {
    /// The names of all faults as [`from_str`](Self::from_str) reads them, with what their values are: `status=STATUS, drop, …`.
    pub fn fault_names() -> String {
        let mut names = String::new();
        for (name, value) in FAULTS {
            // Nothing fails that is written to a text.
            let _ = write!(names, "{}{name}{}", if names.is_empty() { "" } else { ", " }, value.placeholder());
        }
        names
    }
}

/// Reads the notation of command lines: the name of a fault with its value, and then, each after a comma, the operation that
/// it is played on, after how many of its calls, and how many times or `always`.
///
/// ```
/// use bunq_partner::sandbox::Injection;
///
/// let lost: Injection = "drop,on=update_provision,after=1,times=2".parse()?;
/// let slow: Injection = "late=250ms,times=always".parse()?;
/// # Ok::<(), bunq_partner::Error>(())
/// ```
impl FromStr for Injection {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let refused = |problem: String| Error::invalid_input("fault", format_args!("`{text}`: {problem}"));
        let mut parts = text.split(',');
        let (name, value) = named(parts.next().unwrap_or_default());
        let (_, kind) = FAULTS
            .iter()
            .find(|(known, _)| *known == name)
            .ok_or_else(|| refused(format!("there is no fault `{name}`: there are {}", Self::fault_names())))?;
        let fault = kind.fault(value).ok_or_else(|| {
            let expected = format!("{name}{}", kind.placeholder());
            refused(format!("it is written `{expected}`, where a STATUS is 100 to 999, and a TIME as 250ms or 2s"))
        })?;
        let mut injection = Self::new(fault);
        for part in parts {
            injection = match named(part) {
                ("on", Some(id)) => match Operation::by_id(id) {
                    Some(operation) => injection.on(operation),
                    None => {
                        let known: Vec<_> = Operation::ALL.iter().map(|operation| operation.id).collect();
                        return Err(refused(format!("there is no operation `{id}`: there are {}", known.join(", "))));
                    }
                },
                ("times", Some("always")) => injection.always(),
                ("times", Some(calls)) => match calls.parse() {
                    Ok(calls) => injection.times(calls),
                    Err(_) => return Err(refused("`times` is a number, or `always`".into())),
                },
                ("after", Some(calls)) => match calls.parse() {
                    Ok(calls) => injection.after(calls),
                    Err(_) => return Err(refused("`after` is a number of calls".into())),
                },
                _ => return Err(refused(format!("`{part}` is none of on=OPERATION, after=CALLS, times=CALLS"))),
            };
        }
        Ok(injection)
    }
}

fn named(text: &str) -> (&str, Option<&str>) {
    text.split_once('=').map_or((text, None), |(name, value)| (name, Some(value)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<String, String> {
        text.parse::<Injection>().map(|injection| format!("{injection:?}")).map_err(|error| error.to_string())
    }

    #[test]
    fn every_fault_can_be_written() {
        test_timeout::start();
        for (name, value) in FAULTS {
            let example = match value {
                Value::None(_) => "",
                Value::Status(_) => "=503",
                Value::Time(_) => "=2s",
                Value::Bytes(_) => "=100",
            };
            assert!(read(&format!("{name}{example}")).is_ok(), "{name}");
            assert!(Injection::fault_names().contains(name));
        }
    }

    #[test]
    fn an_injection_is_read() {
        test_timeout::start();
        let expected =
            Injection::new(Fault::Late(Duration::from_millis(250))).on(&Operation::GET_PROVISION).after(1).times(2);
        assert_eq!(read("late=250ms,on=get_provision,after=1,times=2").unwrap(), format!("{expected:?}"));
        let always = Injection::new(Fault::Status(503)).always();
        assert_eq!(read("status=503,times=always").unwrap(), format!("{always:?}"));
    }

    #[test]
    fn a_mistake_is_named_with_its_remedy() {
        test_timeout::start();
        for (text, remedy) in [
            ("", "there is no fault ``: there are status=STATUS,"),
            ("dorp", "there is no fault `dorp`: there are status=STATUS,"),
            ("drop=1", "it is written `drop`"),
            ("status", "it is written `status=STATUS`"),
            ("status=99", "it is written `status=STATUS`"),
            ("late=soon", "it is written `late=TIME`"),
            ("late=-1s", "it is written `late=TIME`"),
            ("drop,on=close", "there is no operation `close`: there are list_device_servers,"),
            ("drop,times=twice", "`times` is a number, or `always`"),
            ("drop,after=", "`after` is a number of calls"),
            ("drop,once", "`once` is none of on=OPERATION"),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.starts_with(&format!("fault: `{text}`: {remedy}")), "{error}");
        }
    }
}
