//! Puts the layers together: each key of each layer is checked alone, so that an error can name its source.

use super::Config;
use crate::failure::Failure;
use serde::Deserialize as _;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use toml::{Table, Value};

/// Variables that are not keys of the configuration.
const OTHER_VARIABLES: &[&str] =
    &["LAMPLIGHT_ENDPOINT", "LAMPLIGHT_REGION", "LAMPLIGHT_CONFIG", "LAMPLIGHT_LONG"];
/// Variables for tests are not looked at.
const TEST_PREFIX: &str = "LAMPLIGHT_TEST_";

/// What is laid over the defaults.
#[derive(Debug, Clone, Default)]
pub struct Layers {
    /// The file and its text.
    pub file: Option<(PathBuf, String)>,
    /// The environment, `LAMPLIGHT_*` only.
    pub environment: BTreeMap<String, String>,
    /// Key path and value of each flag that was given, e.g. `("listen", "127.0.0.1:0")`.
    pub flags: Vec<(&'static str, String)>,
}

impl Layers {
    /// Reads the file (`named`, or the default one where it exists) and the process's environment.
    pub fn collect(named: Option<&Path>, flags: Vec<(&'static str, String)>) -> Result<Self, Failure> {
        let path = named.map(Path::to_path_buf).or_else(super::configuration_file);
        let file = match path {
            None => None,
            Some(path) => match std::fs::read_to_string(&path) {
                Ok(text) => Some((path, text)),
                Err(error) => {
                    return Err(Failure::usage(format!(
                        "failed to read the configuration {}",
                        path.display()
                    ))
                    .because(error)
                    .then("lamplight --dump-config > config.toml   writes one with the defaults"));
                }
            },
        };
        let environment = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .filter(|(name, _)| name.starts_with("LAMPLIGHT_"))
            .collect();
        Ok(Self { file, environment, flags })
    }
}

/// The configuration that results. Fails on the first key that is unknown or whose value does not fit.
pub fn load(layers: &Layers) -> Result<Config, Failure> {
    let defaults = to_table(&Config::default())?;
    let known = key_paths(&defaults);
    let mut table = defaults.clone();
    if let Some((path, text)) = &layers.file {
        let source = format!("{}", path.display());
        let given: Table = toml::from_str(text).map_err(|error| {
            Failure::usage(format!("failed to read the configuration {source}")).because(error)
        })?;
        for (key, value) in leaves(&given, &defaults) {
            check_known(&key, &known, &source)?;
            set(&mut table, &key, value, &source)?;
        }
    }
    for (name, text) in &layers.environment {
        if OTHER_VARIABLES.contains(&name.as_str()) || name.starts_with(TEST_PREFIX) {
            continue;
        }
        let Some(key) = known.iter().find(|key| variable(key) == *name) else {
            let names: Vec<String> = known.iter().map(|key| variable(key)).collect();
            return Err(Failure::usage(format!("the environment variable {name} is not known"))
                .because("variables that begin with LAMPLIGHT_ are read as configuration")
                .suggesting(name, names.iter().map(String::as_str))
                .then("lamplight --dump-config   shows all keys; a.b is LAMPLIGHT_A_B"));
        };
        set_text(&mut table, key, text, name)?;
    }
    for (key, text) in &layers.flags {
        set_text(&mut table, key, text, &format!("--{}", key.replace(['_', '.'], "-")))?;
    }
    Config::deserialize(Value::Table(table))
        .map_err(|error| Failure::usage("failed to read the configuration").because(error))
}

/// `instances.keep_alive_seconds` is `LAMPLIGHT_INSTANCES_KEEP_ALIVE_SECONDS`.
fn variable(key: &str) -> String {
    format!("LAMPLIGHT_{}", key.replace('.', "_").to_uppercase())
}

pub(super) fn to_table(config: &Config) -> Result<Table, Failure> {
    Table::try_from(config)
        .map_err(|error| Failure::usage("failed to print the configuration").because(error))
}

fn key_paths(table: &Table) -> Vec<String> {
    leaves(table, table).into_iter().map(|(key, _)| key).collect()
}

/// Key paths and values. What is a table in `shape` is descended into; other tables are values.
pub(super) fn leaves(table: &Table, shape: &Table) -> Vec<(String, Value)> {
    let mut found = Vec::new();
    for (key, value) in table {
        match (value, shape.get(key)) {
            (Value::Table(inner), Some(Value::Table(inner_shape))) => {
                for (path, value) in leaves(inner, inner_shape) {
                    found.push((format!("{key}.{path}"), value));
                }
            }
            _ => found.push((key.clone(), value.clone())),
        }
    }
    found
}

fn check_known(key: &str, known: &[String], source: &str) -> Result<(), Failure> {
    // A section given as a plain value is known; its value is refused when it is set.
    let section = format!("{key}.");
    if known.iter().any(|candidate| candidate == key || candidate.starts_with(&section)) {
        return Ok(());
    }
    Err(Failure::usage(format!("{source} has the unknown key {key}"))
        .suggesting(key, known.iter().map(String::as_str))
        .then("lamplight --dump-config   shows all keys with their values"))
}

/// Text from the environment or a flag takes the type the key has by default.
fn set_text(table: &mut Table, key: &str, text: &str, source: &str) -> Result<(), Failure> {
    let value = match find(table, key) {
        Some(Value::Integer(_)) => text.parse().ok().map(Value::Integer),
        Some(Value::Float(_)) => text.parse().ok().map(Value::Float),
        Some(Value::Boolean(_)) => match text {
            "true" | "1" | "on" | "yes" => Some(Value::Boolean(true)),
            "false" | "0" | "off" | "no" => Some(Value::Boolean(false)),
            _ => None,
        },
        Some(Value::Array(_)) => {
            let items = text.split(',').map(str::trim).filter(|item| !item.is_empty());
            Some(Value::Array(items.map(|item| Value::String(item.to_owned())).collect()))
        }
        _ => Some(Value::String(text.to_owned())),
    };
    let Some(value) = value else {
        let expected = find(table, key).map_or("a value", |value| value.type_str());
        return Err(Failure::usage(format!("{source} is \"{text}\""))
            .because(format!("it must be of type {expected}")));
    };
    set(table, key, value, source)
}

fn find<'a>(table: &'a Table, key: &str) -> Option<&'a Value> {
    match key.split_once('.') {
        Some((first, rest)) => find(table.get(first)?.as_table()?, rest),
        None => table.get(key),
    }
}

/// Sets one key and reads the whole again, so that what does not fit is told with its source.
fn set(table: &mut Table, key: &str, value: Value, source: &str) -> Result<(), Failure> {
    let mut changed = table.clone();
    let shown = value.to_string();
    let what = if source.starts_with("--") || source.starts_with("LAMPLIGHT_") {
        format!("{source} is {shown}")
    } else {
        format!("{source} sets {key} = {shown}")
    };
    if let Some(default) = find(table, key)
        && !fits(default, &value)
    {
        return Err(Failure::usage(what).because(format!("it must be of type {}", default.type_str())));
    }
    insert(&mut changed, key, value);
    match Config::deserialize(Value::Table(changed.clone())) {
        Ok(_) => {
            *table = changed;
            Ok(())
        }
        Err(error) => Err(Failure::usage(what).because(error.message())),
    }
}

/// Whether a value has the type of the default; a whole number is also a price.
fn fits(default: &Value, value: &Value) -> bool {
    default.same_type(value) || (default.is_float() && value.is_integer())
}

pub(super) fn insert(table: &mut Table, key: &str, value: Value) {
    if let Some((first, below)) = key.split_once('.')
        && let Some(inner) = table.get_mut(first).and_then(Value::as_table_mut)
    {
        return insert(inner, below, value);
    }
    table.insert(key.to_owned(), value);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layers(file: &str, environment: &[(&str, &str)], flags: &[(&'static str, &str)]) -> Layers {
        Layers {
            file: Some((PathBuf::from("config.toml"), file.to_owned())),
            environment: environment
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect(),
            flags: flags.iter().map(|(key, value)| (*key, (*value).to_owned())).collect(),
        }
    }

    fn check_refused(layers: &Layers, expected: &str) {
        let failure = load(layers).unwrap_err();
        assert!(failure.text().contains(expected), "{}", failure.text());
    }

    #[test]
    fn flags_win_over_the_environment_and_that_over_the_file() {
        let file = "listen = \"127.0.0.1:1\"\nlog = \"warn\"\ndrain_seconds = 5\n[instances]\nmost = 7\n";
        let environment = [("LAMPLIGHT_LISTEN", "127.0.0.1:2"), ("LAMPLIGHT_LOG", "debug")];
        let config = load(&layers(file, &environment, &[("listen", "127.0.0.1:3")])).unwrap();
        assert_eq!(config.listen.port(), 3);
        assert_eq!(config.log, "debug");
        assert_eq!(config.drain_seconds, 5);
        assert_eq!(config.instances.most, 7);
        assert_eq!(config.instances.concurrency, 1_000);
    }

    #[test]
    fn every_key_can_be_set_by_its_variable() {
        let environment = [
            ("LAMPLIGHT_INSTANCES_EGRESS", "on"),
            ("LAMPLIGHT_PRICES_PER_REQUEST", "0.5"),
            ("LAMPLIGHT_HOSTS", "a.example, b.example"),
            ("LAMPLIGHT_ENDPOINT", "http://elsewhere"),
        ];
        let config = load(&layers("", &environment, &[])).unwrap();
        assert!(config.instances.egress);
        assert!((config.prices.per_request - 0.5).abs() < f64::EPSILON);
        assert_eq!(config.hosts, ["a.example", "b.example"]);
    }

    #[test]
    fn what_it_prints_it_reads() {
        let config = Config { drain_seconds: 77, ..Config::default() };
        assert_eq!(load(&layers(&config.to_toml().unwrap(), &[], &[])).unwrap(), config);
    }

    #[test]
    fn what_is_unknown_or_does_not_fit_is_refused_with_its_source() {
        check_refused(&layers("lisen = 1", &[], &[]), "did you mean listen?");
        check_refused(&layers("[instances]\nmots = 1", &[], &[]), "did you mean instances.most?");
        check_refused(&layers("[nonsense]\na = 1", &[], &[]), "unknown key nonsense");
        check_refused(&layers("[prices]\nper_requst = 1", &[], &[]), "did you mean prices.per_request?");
        check_refused(&layers("listen = 9000", &[], &[]), "config.toml sets listen = 9000");
        check_refused(&layers("instances = 3", &[], &[]), "config.toml sets instances = 3");
        check_refused(&layers("drain_seconds = -1", &[], &[]), "drain_seconds = -1");
        check_refused(&layers("", &[("LAMPLIGHT_LISTN", "x")], &[]), "did you mean LAMPLIGHT_LISTEN?");
        check_refused(&layers("", &[("LAMPLIGHT_DRAIN_SECONDS", "soon")], &[]), "must be of type integer");
        check_refused(&layers("", &[], &[("listen", "here")]), "--listen is \"here\"");
        check_refused(&layers("a = = b", &[], &[]), "failed to read the configuration config.toml");
    }

    #[test]
    fn only_loopback_is_listened_on() {
        let config = load(&layers("listen = \"0.0.0.0:9000\"", &[], &[])).unwrap();
        assert!(config.check().is_err());
    }

    #[test]
    fn hosts_are_names() {
        let check = |host: &str| load(&layers(&format!("hosts = [\"{host}\"]"), &[], &[])).unwrap().check();
        for host in ["lamplight.example", "my_host", "Host-1", "192.0.2.1", "2001:db8::1"] {
            assert!(check(host).is_ok(), "{host}");
        }
        for host in ["http://x.example", "x.example:9000", "*.x.example", "x.example/", "", "a..b", "a b"] {
            let text = check(host).unwrap_err().text();
            assert!(text.starts_with(&format!("error: hosts has \"{host}\"")), "{text}");
        }
    }
}
