//! `plugin_opt_…` and `auth_opt_…`: the options of a plugin, each with the place that it stands at.

use std::collections::BTreeMap;

/// Options by name, without their prefix.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Options {
    /// Where the plugin itself stands.
    pub(crate) place: String,
    /// What names begin with in the file.
    prefix: &'static str,
    values: BTreeMap<String, Given>,
}

/// A value, and where it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Given {
    value: String,
    place: String,
}

impl Options {
    pub(crate) fn new(place: String, prefix: &'static str) -> Self {
        Self { place, prefix, values: BTreeMap::new() }
    }

    /// Takes an option in; one that is given again counts as it was given last.
    pub(crate) fn set(&mut self, name: &str, value: &str, place: &str) {
        let given = Given { value: value.trim().to_owned(), place: place.to_owned() };
        self.values.insert(name.to_owned(), given);
    }

    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        let text = self.values.get(name).map(|given| given.value.as_str());
        text.filter(|text| !text.is_empty())
    }

    /// An error about an option, with its place.
    pub(crate) fn error(&self, name: &str, problem: &str) -> String {
        let place = self.values.get(name).map_or(&self.place, |given| &given.place);
        format!("{place}: {}{name}: {problem}", self.prefix)
    }

    pub(crate) fn required(&self, name: &str) -> Result<&str, String> {
        self.text(name).ok_or_else(|| self.error(name, "is needed, and not given"))
    }

    /// `true`, or `false` where nothing is said.
    pub(crate) fn flag(&self, name: &str) -> Result<bool, String> {
        Ok(self.stated(name)?.unwrap_or(false))
    }

    /// `true` or `false` if one of them is said.
    pub(crate) fn stated(&self, name: &str) -> Result<Option<bool>, String> {
        match self.text(name) {
            None => Ok(None),
            Some("true") => Ok(Some(true)),
            Some("false") => Ok(Some(false)),
            Some(other) => Err(self.error(name, &format!("`{other}` is not true or false"))),
        }
    }

    pub(crate) fn number(&self, name: &str, default: u64, most: u64) -> Result<u64, String> {
        let Some(text) = self.text(name) else { return Ok(default) };
        let number = text.parse().ok().filter(|number| *number <= most);
        number
            .ok_or_else(|| self.error(name, &format!("`{text}` is not a number from 0 to {most}")))
    }

    /// A list with commas.
    pub(crate) fn list(&self, name: &str) -> Option<Vec<&str>> {
        let text = self.text(name)?;
        Some(text.split(',').map(str::trim).filter(|word| !word.is_empty()).collect())
    }

    /// One of several words; the first where nothing is said.
    pub(crate) fn word(&self, name: &str, words: &[&'static str]) -> Result<&'static str, String> {
        let Some(text) = self.text(name) else { return Ok(words.first().unwrap_or(&"")) };
        let known = words.iter().find(|word| word.eq_ignore_ascii_case(text));
        known.copied().ok_or_else(|| {
            self.error(name, &format!("`{text}` is not one of {}", words.join(", ")))
        })
    }
}
