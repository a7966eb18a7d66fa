//! The secret that a server asks for: read from the environment, sent, and shown nowhere.

use super::Settings;
use crate::{Code, Error, Result};
use std::fmt;

/// Where the key is looked for when no variable is named.
pub const KEY_VARIABLE: &str = "OPENAI_API_KEY";

/// A key, or none. It has no `Display`, and its `Debug` says only whether it is there.
#[derive(Clone, Default, PartialEq, Eq)]
pub(super) struct Key(Option<String>);

impl Key {
    /// Reads the variable that the settings name, else [`KEY_VARIABLE`].
    ///
    /// A variable that was not named on purpose is not sent in clear text to another machine: it most likely holds
    /// the key of another service.
    pub fn read(settings: &Settings, look: impl Fn(&str) -> Option<String>) -> Result<Key> {
        let (name, named) = match &settings.key_variable {
            Some(name) => (name.as_str(), true),
            None => (KEY_VARIABLE, false),
        };
        let value = look(name).map(|v| v.trim().to_owned()).filter(|v| !v.is_empty());
        if named && value.is_none() {
            let message = format!("the environment variable `{name}`, which should hold the server's key, is not set");
            return Err(Error::new(Code::Config, message));
        }
        if value.as_ref().is_some_and(|v| !v.bytes().all(|b| b.is_ascii_graphic())) {
            let message = format!("the environment variable `{name}` holds signs that no key has");
            return Err(Error::new(Code::Config, message));
        }
        Ok(Key(value.filter(|_| named || is_private(&settings.base))))
    }

    /// Value of the Authorization header.
    pub fn bearer(&self) -> Option<String> {
        self.0.as_ref().map(|key| format!("Bearer {key}"))
    }

    /// The text without the key, for servers that repeat it in their errors.
    pub fn redact(&self, text: &str) -> String {
        match &self.0 {
            Some(key) => text.replace(key.as_str(), "***"),
            None => text.to_owned(),
        }
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "Key(***)" } else { "Key(none)" })
    }
}

/// Whether what is sent there cannot be read on the way: encrypted, or to this machine.
fn is_private(base: &str) -> bool {
    base.starts_with("https://") || is_loopback(base)
}

/// Whether the address is this machine's.
pub(super) fn is_loopback(base: &str) -> bool {
    let host = base.split_once("://").map_or(base, |(_, rest)| rest).split('/').next().unwrap_or_default();
    let name = match host.strip_prefix('[') {
        Some(six) => six.split(']').next().unwrap_or_default(),
        None => host.split(':').next().unwrap_or_default(),
    };
    name == "localhost" || name.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(base: &str, variable: Option<&str>, value: Option<&str>) -> Result<Key> {
        let settings = Settings { key_variable: variable.map(str::to_owned), ..Settings::new("m", base) };
        Key::read(&settings, |name| value.filter(|_| name == variable.unwrap_or(KEY_VARIABLE)).map(str::to_owned))
    }

    #[test]
    fn the_key_is_trimmed_and_never_shown() {
        let key = read("https://h/v1", None, Some(" sk-secret\n")).unwrap();
        assert_eq!(key.bearer().unwrap(), "Bearer sk-secret");
        assert_eq!(format!("{key:?}"), "Key(***)");
        assert_eq!(key.redact("Incorrect API key provided: sk-secret."), "Incorrect API key provided: ***.");
    }

    #[test]
    fn without_a_variable_there_is_no_key_unless_it_was_named() {
        assert_eq!(read("https://h/v1", None, None).unwrap(), Key(None));
        let error = read("https://h/v1", Some("MY_KEY"), Some("")).unwrap_err().to_string();
        assert!(error.contains("`MY_KEY`"), "{error}");
    }

    #[test]
    fn a_key_with_a_line_break_is_refused_without_showing_it() {
        let error = read("https://h/v1", None, Some("sk-1\r\nHost: x")).unwrap_err().to_string();
        assert!(error.contains(KEY_VARIABLE) && !error.contains("sk-1"), "{error}");
    }

    #[test]
    fn the_default_key_is_not_sent_in_clear_text_to_another_machine() {
        for (base, sent) in [
            ("http://10.0.0.7:8000/v1", false),
            ("http://localhost.example.org/v1", false),
            ("http://localhost:8000/v1", true),
            ("http://127.0.0.2/v1", true),
            ("http://[::1]:80/v1", true),
            ("https://10.0.0.7/v1", true),
        ] {
            assert_eq!(read(base, None, Some("k")).unwrap().bearer().is_some(), sent, "{base}");
            assert!(read(base, Some("MY_KEY"), Some("k")).unwrap().bearer().is_some(), "{base}");
        }
    }
}
