//! Injections as text, for command lines: `drop,on=update_provision,times=2`.

use std::fmt;
use std::str::FromStr;

use bunq_partner::Operation;

use crate::wire::fault::{Entry, Fault};
use crate::wire::injection::Injection;

/// As the notation writes it: `drop`, `late=250ms`.
impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Entry { name, value, .. } = self.entry();
        match value {
            Some(value) => write!(f, "{name}={value}"),
            None => f.write_str(name),
        }
    }
}

impl Injection {
    /// The names of all faults as [`from_str`](Self::from_str) reads them, with what their values are: `status=STATUS, drop, …`.
    pub fn fault_names() -> String {
        let names = Fault::spellings().into_iter().map(|spelling| spelling.name.to_owned() + &spelling.placeholder);
        names.collect::<Vec<_>>().join(", ")
    }
}

/// A text that is no [`Injection`]. It says what is wrong, and what there is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InvalidInjection(String);

impl fmt::Display for InvalidInjection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for InvalidInjection {}

/// Reads the notation of command lines: the name of a fault with its value, and then, each after a comma, the operation that
/// it is played on, after how many of its calls, how many times or `always`, and whether the call is carried out if not as
/// documented at the [`Fault`].
///
/// ```
/// use bunq_partner_sandbox::Injection;
///
/// let lost: Injection = "drop,on=update_provision,after=1,times=2".parse()?;
/// let slow: Injection = "late=250ms,times=always".parse()?;
/// // bunq closes the provision, and says that it has failed.
/// let untrue: Injection = "status=500,on=update_provision,carried-out=yes".parse()?;
/// # Ok::<(), bunq_partner_sandbox::InvalidInjection>(())
/// ```
impl FromStr for Injection {
    type Err = InvalidInjection;

    fn from_str(text: &str) -> Result<Self, InvalidInjection> {
        let refused = |problem: String| InvalidInjection(format!("fault: `{text}`: {problem}"));
        let mut parts = text.split(',');
        let (name, value) = named(parts.next().unwrap_or_default());
        let spelling = Fault::spellings()
            .into_iter()
            .find(|spelling| spelling.name == name)
            .ok_or_else(|| refused(format!("there is no fault `{name}`: there are {}", Self::fault_names())))?;
        let fault = (spelling.read)(value).ok_or_else(|| {
            let expected = format!("{name}{}", spelling.placeholder);
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
                ("carried-out", Some("yes")) => injection.carried_out(true),
                ("carried-out", Some("no")) => injection.carried_out(false),
                ("carried-out", _) => return Err(refused("`carried-out` is yes or no".into())),
                _ => {
                    let known = "on=OPERATION, after=CALLS, times=CALLS, carried-out=yes";
                    return Err(refused(format!("`{part}` is none of {known}")));
                }
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
    use std::time::Duration;

    use super::*;
    use crate::wire::fault::Spelling;

    fn read(text: &str) -> Result<String, String> {
        text.parse::<Injection>().map(|injection| format!("{injection:?}")).map_err(|error| error.to_string())
    }

    #[test]
    fn every_fault_is_written_as_it_is_read() {
        test_timeout::start();
        let spellings = Fault::spellings();
        for (fault, Spelling { name, placeholder, read }) in Fault::examples().into_iter().zip(&spellings) {
            let text = fault.to_string();
            assert_eq!(text.parse::<Injection>().unwrap(), Injection::new(fault));
            assert_eq!(named(&text).0, *name);
            assert!(read(Some("")).is_none() && read((placeholder.is_empty()).then_some("1")).is_none(), "{name}");
            assert_eq!(spellings.iter().filter(|other| other.name == *name).count(), 1, "{name} is there twice");
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
        for (text, injection) in [
            ("status=500,carried-out=yes", Injection::new(Fault::Status(500)).carried_out(true)),
            ("drop,carried-out=no", Injection::new(Fault::Drop).carried_out(false)),
        ] {
            assert_eq!(read(text).unwrap(), format!("{injection:?}"));
        }
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
            ("drop,on=close", "there is no operation `close`: there are create_installation,"),
            ("drop,times=twice", "`times` is a number, or `always`"),
            ("drop,after=", "`after` is a number of calls"),
            ("drop,carried-out", "`carried-out` is yes or no"),
            ("drop,once", "`once` is none of on=OPERATION"),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.starts_with(&format!("fault: `{text}`: {remedy}")), "{error}");
        }
    }
}
