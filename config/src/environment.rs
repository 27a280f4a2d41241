//! Variables of `lxc.environment`.

use std::fmt;
use std::str::FromStr;

use crate::Fault;

/// A variable for the environment of init or of hooks.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct EnvVar {
    /// The name, never empty and without `=`.
    pub name: String,
    /// The value; none where the caller's own value is to be inherited.
    pub value: Option<String>,
}

impl FromStr for EnvVar {
    type Err = Fault;

    /// Reads `NAME=VALUE`, or `NAME` alone to inherit it.
    fn from_str(text: &str) -> Result<Self, Fault> {
        let (name, value) = match text.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (text, None),
        };
        if name.is_empty() {
            return Err(Fault::value(text, "NAME=VALUE, or NAME to inherit"));
        }
        Ok(Self { name: name.to_owned(), value })
    }
}

impl fmt::Display for EnvVar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.value {
            Some(value) => write!(f, "{}={value}", self.name),
            None => f.write_str(&self.name),
        }
    }
}
