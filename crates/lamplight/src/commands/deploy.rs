//! `deploy`: a folder or ZIP becomes a function, new or changed.

use super::functions::{number, text};
use crate::cli::{Deploy, Global};
use crate::client::Client;
use crate::failure::{Failure, closest};
use crate::output;
use crate::package::{self, Family, Guess, Source};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use http::Method;
use lamplight_model::{FunctionName, limits, managed_runtime};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::ops::RangeInclusive;

/// The role of functions that name none. It need not exist: a role grants nothing yet.
const DEFAULT_ROLE: &str = "arn:aws:iam::000000000000:role/lamplight";

/// What was asked for beside code, runtime and handler.
#[derive(Debug, Clone, Default)]
pub struct FunctionSettings {
    /// `MemorySize`, MiB.
    pub memory_mib: Option<u32>,
    /// `Timeout`, seconds.
    pub timeout_seconds: Option<u32>,
    /// `EphemeralStorage.Size`, MiB.
    pub ephemeral_storage_mib: Option<u32>,
    /// `Environment.Variables`.
    pub environment: Option<BTreeMap<String, String>>,
    /// `Role`.
    pub role: Option<String>,
    /// Directory of the platform and mount path.
    pub file_systems: Vec<(String, String)>,
    /// `Layers`, ARNs of versions.
    pub layers: Vec<String>,
    /// `Description`.
    pub description: Option<String>,
    /// Tag `lamplight:egress`.
    pub egress: Option<bool>,
}

/// Packs, creates or updates, waits until the function is usable.
pub async fn run(global: &Global, client: &Client, flags: &Deploy) -> Result<u8, Failure> {
    let mut settings = settings(flags)?;
    let name = match &flags.name {
        Some(name) => name.clone(),
        None => package::name_for(&flags.path).unwrap_or_default(),
    };
    let source = package::open(&flags.path)?;
    if FunctionName::parse(&name).is_none() {
        return Err(Failure::usage(format!("\"{name}\" is no function name"))
            .because("a name is 1 to 64 letters, digits, hyphens and underscores")
            .then("lamplight deploy PATH --name my-function"));
    }
    let (family, handler) = choose_handler(flags, &source)?;
    let runtime = match &flags.runtime {
        Some(runtime) => known_runtime(runtime)?,
        None => choose_runtime(client, family).await?,
    };
    for layer in &flags.layers {
        settings.layers.push(layer_version(client, layer).await?);
    }
    if flags.runtime.is_none() || flags.handler.is_none() {
        output::remark(format!("using runtime {runtime}, handler {handler}"));
    }
    let zip = match source {
        Source::Zip(bytes) => bytes,
        Source::Folder => {
            let installed =
                if flags.no_install { None } else { package::install(&flags.path, family, &runtime)? };
            package::pack(installed.as_ref().map_or(flags.path.as_path(), |installed| installed.folder()))?
        }
    };
    package::check_size(zip.len() as u64)?;
    let (configuration, created) = deploy_package(client, &name, &runtime, &handler, &zip, &settings).await?;
    let published = match flags.publish {
        true => Some(text(&client.publish_version(&name).await?, "Version")),
        false => None,
    };
    let url = match flags.url.as_deref() {
        Some("stream") => Some(client.publish_url(&name, "RESPONSE_STREAM").await?),
        Some(_) => Some(client.publish_url(&name, "BUFFERED").await?),
        None => None,
    };
    if global.json {
        let mut shown = configuration;
        if let Some(url) = url {
            shown["FunctionUrl"] = url.into();
        }
        output::json(&shown);
        return Ok(0);
    }
    output::line(format!(
        "{} {name}: {}, {}, {} MB, {} s, {} of code{}",
        if created { "created" } else { "updated" },
        text(&configuration, "Runtime"),
        text(&configuration, "Handler"),
        number(&configuration, "MemorySize"),
        number(&configuration, "Timeout"),
        output::bytes(number(&configuration, "CodeSize")),
        published.map_or_else(String::new, |version| format!(", published as version {version}")),
    ));
    let remark = text(&configuration, "StateReason");
    if !remark.is_empty() {
        output::remark(format!("warning: {remark}"));
    }
    match url {
        // Alone on standard output's last line, for scripts.
        Some(url) => output::line(url),
        None => output::remark(format!("next: lamplight invoke {name} '{{}}' --log")),
    }
    Ok(0)
}

/// Creates the function, or updates its code and the settings that were given. Says whether it is new.
pub async fn deploy_package(
    client: &Client,
    name: &str,
    runtime: &str,
    handler: &str,
    zip: &[u8],
    settings: &FunctionSettings,
) -> Result<(Value, bool), Failure> {
    let mut request = request(client.region(), settings);
    request.insert("Runtime".to_owned(), json!(runtime));
    request.insert("Handler".to_owned(), json!(handler));
    match client.find_configuration(name).await? {
        None => {
            request.insert("FunctionName".to_owned(), json!(name));
            request.entry("Role").or_insert_with(|| json!(DEFAULT_ROLE));
            request.insert("Code".to_owned(), json!({ "ZipFile": BASE64.encode(zip) }));
            if let Some(egress) = settings.egress {
                request.insert("Tags".to_owned(), egress_tag(egress));
            }
            client.create_function(&Value::Object(request)).await?;
            Ok((client.wait_until_settled(name).await?, true))
        }
        Some(_) => {
            client.wait_until_settled(name).await?;
            // Configuration first: code that needs a new handler or variable never runs without it.
            let updated = client.update_configuration(name, &Value::Object(request)).await?;
            client.wait_until_settled(name).await?;
            client.update_code(name, zip, false).await?;
            if let Some(egress) = settings.egress {
                client.tag(&text(&updated, "FunctionArn"), &egress_tag(egress)).await?;
            }
            Ok((client.wait_until_settled(name).await?, false))
        }
    }
}

fn egress_tag(egress: bool) -> Value {
    json!({ "lamplight:egress": if egress { "on" } else { "off" } })
}

fn request(region: &str, settings: &FunctionSettings) -> Map<String, Value> {
    let mut request = Map::new();
    let mut put = |key: &str, value: Value| request.insert(key.to_owned(), value);
    if let Some(memory) = settings.memory_mib {
        put("MemorySize", json!(memory));
    }
    if let Some(timeout) = settings.timeout_seconds {
        put("Timeout", json!(timeout));
    }
    if let Some(size) = settings.ephemeral_storage_mib {
        put("EphemeralStorage", json!({ "Size": size }));
    }
    if let Some(environment) = &settings.environment {
        put("Environment", json!({ "Variables": environment }));
    }
    if let Some(role) = &settings.role {
        put("Role", json!(role));
    }
    if let Some(description) = &settings.description {
        put("Description", json!(description));
    }
    if !settings.layers.is_empty() {
        put("Layers", json!(settings.layers));
    }
    if !settings.file_systems.is_empty() {
        let account = lamplight_model::AccountId::DEFAULT;
        let configs: Vec<Value> = settings
            .file_systems
            .iter()
            .map(|(directory, path)| {
                let arn = format!("arn:aws:elasticfilesystem:{region}:{account}:access-point/{directory}");
                json!({ "Arn": arn, "LocalMountPath": path })
            })
            .collect();
        put("FileSystemConfigs", json!(configs));
    }
    request
}

fn settings(flags: &Deploy) -> Result<FunctionSettings, Failure> {
    check_range("--memory", flags.memory, &limits::MEMORY_MIB, "MiB")?;
    check_range("--timeout", flags.timeout, &limits::TIMEOUT_SECONDS, "seconds")?;
    check_range("--ephemeral-storage", flags.ephemeral_storage, &limits::EPHEMERAL_STORAGE_MIB, "MiB")?;
    let mut environment = BTreeMap::new();
    for pair in &flags.environment {
        let (key, value) = pair.split_once('=').filter(|(key, _)| !key.is_empty()).ok_or_else(|| {
            Failure::usage(format!("--env {pair} has no value"))
                .then("--env KEY=VALUE")
                .then("an empty one: --env KEY=")
        })?;
        environment.insert(key.to_owned(), value.to_owned());
    }
    let mut file_systems = Vec::new();
    for pair in &flags.file_system {
        file_systems.push(parse_file_system(pair)?);
    }
    let egress = match flags.egress.as_deref() {
        None => None,
        Some("on") => Some(true),
        Some("off") => Some(false),
        Some(other) => {
            return Err(Failure::usage(format!("--egress {other} is neither on nor off")).then("--egress on"));
        }
    };
    Ok(FunctionSettings {
        memory_mib: flags.memory,
        timeout_seconds: flags.timeout,
        ephemeral_storage_mib: flags.ephemeral_storage,
        environment: (!environment.is_empty()).then_some(environment),
        role: flags.role.clone(),
        file_systems,
        layers: Vec::new(),
        description: flags.description.clone(),
        egress,
    })
}

fn check_range(
    flag: &str,
    value: Option<u32>,
    range: &RangeInclusive<u32>,
    unit: &str,
) -> Result<(), Failure> {
    match value {
        Some(value) if !range.contains(&value) => Err(Failure::usage(format!(
            "{flag} {value} is out of range"
        ))
        .because(format!("it must be {} to {} {unit}", range.start(), range.end()))),
        _ => Ok(()),
    }
}

/// `notes:/mnt/notes`. Names and paths as the sandbox and the Lambda API take them.
fn parse_file_system(pair: &str) -> Result<(String, String), Failure> {
    let part_is_plain = |part: &str, more: &str| {
        part.bytes().all(|byte| byte.is_ascii_alphanumeric() || more.as_bytes().contains(&byte))
    };
    pair.split_once(':')
        .filter(|(directory, path)| {
            let below = path.strip_prefix("/mnt/").unwrap_or_default();
            !directory.is_empty()
                && directory.len() <= 64
                && part_is_plain(directory, "-_")
                && !below.is_empty()
                && path.len() <= 160
                && part_is_plain(below, "-_.")
        })
        .map(|(directory, path)| (directory.to_owned(), path.to_owned()))
        .ok_or_else(|| {
            Failure::usage(format!("--file-system {pair} is no file system"))
                .because("it is a directory name of letters, digits, hyphens and underscores, a colon, and a path right below /mnt")
                .then("--file-system notes:/mnt/notes")
        })
}

/// The ARN of a layer's version: as given, or of the newest version of the layer of that name.
async fn layer_version(client: &Client, layer: &str) -> Result<String, Failure> {
    if layer.starts_with("arn:") {
        return Ok(layer.to_owned());
    }
    let (name, version) = layer.split_once(':').unwrap_or((layer, ""));
    let is_name =
        !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte));
    if !is_name || !version.bytes().all(|byte| byte.is_ascii_digit()) || layer.ends_with(':') {
        return Err(Failure::usage(format!("--layer {layer} is no layer"))
            .because("it is a layer's name, its name and version, or the ARN of a version")
            .then("--layer libraries")
            .then("--layer libraries:3"));
    }
    let path = format!("/2018-10-31/layers/{name}/versions?MaxItems=50");
    let answer = client.json(Method::GET, &path, None).await?;
    let versions =
        answer.get("LayerVersions").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    // The newest is the first.
    let found =
        versions.iter().find(|row| version.is_empty() || number(row, "Version").to_string() == version);
    match found {
        Some(row) => Ok(text(row, "LayerVersionArn")),
        None if version.is_empty() => Err(Failure::usage(format!("there is no layer {name}"))
            .then(format!(
                "aws lambda publish-layer-version --layer-name {name} --zip-file fileb://layer.zip"
            ))
            .then("aws lambda list-layers")),
        None => Err(Failure::usage(format!("the layer {name} has no version {version} among its newest 50"))
            .then(format!("aws lambda list-layer-versions --layer-name {name}"))),
    }
}

fn known_runtime(runtime: &str) -> Result<String, Failure> {
    if managed_runtime::is_known(runtime) {
        return Ok(runtime.to_owned());
    }
    let failure = Failure::usage(format!("there is no runtime {runtime}"));
    // "python" alone is nearest to the oldest version; the newest of the family is what is meant.
    let newest = managed_runtime::IDENTIFIERS.iter().rev().copied();
    Err(match closest(runtime, newest) {
        Some(candidate) => failure.then(format!("did you mean {candidate}?")),
        None => failure,
    }
    .then("lamplight runtime list   shows what runs here"))
}

/// The handler given, or the one found in the files.
fn choose_handler(flags: &Deploy, source: &Source) -> Result<(Family, String), Failure> {
    let wanted = flags.runtime.as_deref().map(|runtime| match managed_runtime::family(runtime) {
        managed_runtime::RuntimeFamily::Node => Family::Node,
        managed_runtime::RuntimeFamily::Provided => Family::Provided,
        _ => Family::Python,
    });
    if let (Some(family), Some(handler)) = (wanted, &flags.handler) {
        return Ok((family, handler.clone()));
    }
    // A custom runtime may take any handler; most ignore it.
    if wanted == Some(Family::Provided) {
        return Ok((Family::Provided, "bootstrap".to_owned()));
    }
    let files = match source {
        Source::Folder => package::folder_listing(&flags.path),
        Source::Zip(bytes) => package::zip_listing(bytes),
    };
    if files.is_empty() && matches!(source, Source::Folder) {
        package::pack(&flags.path)?;
    }
    let shown = flags.path.display();
    match package::guess(&files, wanted) {
        Guess::Found { family, handler } => Ok((family, flags.handler.clone().unwrap_or(handler))),
        Guess::Ambiguous(several) => Err(Failure::usage(format!("{shown} holds more than one handler"))
            .because(several.join(", "))
            .then(format!("lamplight deploy {shown} --runtime python3.11"))
            .then(format!("lamplight deploy {shown} --runtime nodejs20.x"))),
        Guess::Nothing(names) => match (&flags.handler, wanted) {
            (Some(handler), None) if handler.contains('.') => {
                Err(Failure::usage(format!("which runtime {handler} is for cannot be told from {shown}"))
                    .then(format!("lamplight deploy {shown} --handler {handler} --runtime python3.11")))
            }
            _ => Err(Failure::usage(format!("no handler was found in {shown}"))
                .because(match names.is_empty() {
                    true => "it holds no files at its top".to_owned(),
                    false => format!(
                        "looked for a function named handler or lambda_handler in {}",
                        names.join(", ")
                    ),
                })
                .then(format!("lamplight deploy {shown} --runtime python3.11 --handler FILE.FUNCTION"))),
        },
    }
}

/// The newest runtime of the family that the server can run.
async fn choose_runtime(client: &Client, family: Family) -> Result<String, Failure> {
    let prefix = match family {
        Family::Provided => return Ok("provided.al2023".to_owned()),
        Family::Python => "python3",
        Family::Node => "nodejs",
    };
    let runtimes = client.json(Method::GET, "/lamplight/v1/runtimes", None).await?;
    let installed: Vec<String> = runtimes
        .get("Runtimes")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .map(|runtime| text(runtime, "Identifier"))
        .collect();
    // The enumeration is in order of age.
    managed_runtime::IDENTIFIERS
        .iter()
        .rev()
        .find(|identifier| identifier.starts_with(prefix) && installed.iter().any(|name| name == *identifier))
        .map(|identifier| (*identifier).to_owned())
        .ok_or_else(|| {
            Failure::usage(format!(
                "the server has no {} to run this with",
                if prefix == "nodejs" { "Node.js" } else { "Python" }
            ))
            .then("lamplight doctor")
            .then("sudo lamplight runtime add python3.13 PATH   names an interpreter")
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_systems_are_plain_names_below_mnt() {
        let parse =
            |text| parse_file_system(text).ok().map(|(directory, path)| format!("{directory} {path}"));
        assert_eq!(parse("notes:/mnt/notes").as_deref(), Some("notes /mnt/notes"));
        for text in
            ["notes", "notes:", ":/mnt/a", "no/tes:/mnt/a", "..:/mnt/a", "a:/etc", "a:/mnt/", "a:/mnt/b/c"]
        {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    #[test]
    fn a_misspelt_runtime_finds_its_neighbour() {
        assert!(known_runtime("python3.11").is_ok());
        assert!(known_runtime("pyton3.11").unwrap_err().text().contains("did you mean python3.11?"));
        assert!(known_runtime("node20").unwrap_err().text().contains("did you mean nodejs"));
    }
}
