//! `import --from-aws NAME`: a function with its configuration, layers, versions and aliases from another endpoint to this server.
//!
//! ```text
//!  source: GetFunction, ListAliases ─► what is to be made: versions that aliases name, oldest first, $LATEST last
//!  here:   layers ─► CreateFunction (the first) ─ PublishVersion ─ UpdateFunction... ─► aliases, tags, reserved concurrency
//! ```
//! Nobody can choose a version's number, so aliases are told the numbers that publishing gave. When something goes wrong, the
//! function that was begun is deleted again.

mod plan;
mod source;

use crate::cli::{Global, Import};
use crate::client::{Client, FUNCTIONS, segment};
use crate::failure::Failure;
use crate::{output, package};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use http::Method;
use plan::{alias_request, configuration_request, text, versions_of_aliases};
use serde_json::{Value, json};
use source::Source;
use std::collections::BTreeMap;

const LAYERS: &str = "/2018-10-31/layers";

/// One version of the function, as the source has it.
struct Version {
    /// `$LATEST` or a number.
    number: String,
    configuration: Value,
    package: Bytes,
}

/// Copies one function.
pub async fn run(global: &Global, client: &Client, flags: &Import) -> Result<u8, Failure> {
    let region = flags.from_region.as_deref().unwrap_or(client.region());
    let source = Source::open(flags.endpoint_url.as_deref(), region, |name| std::env::var(name).ok())?;
    // The name is the seventh part of an ARN.
    let plain = flags.from_aws.split(':').nth(6).unwrap_or(&flags.from_aws);
    let name = flags.name.as_deref().unwrap_or(plain);
    if client.find_configuration(name).await?.is_some() {
        return Err(Failure::usage(format!("there is a function {name} here already"))
            .then(format!(
                "import it by another name: lamplight import --from-aws {} --name NAME",
                flags.from_aws
            ))
            .then(format!("or delete the one here:    lamplight delete {name}")));
    }
    let path = format!("{FUNCTIONS}/{}", segment(&flags.from_aws));
    let function = source.need(&path, &format!("function {}", flags.from_aws)).await?;
    let aliases = source.pages(&format!("{path}/aliases"), "Aliases").await?;
    let mut versions = Vec::new();
    for number in versions_of_aliases(&aliases)? {
        let published =
            source.need(&format!("{path}?Qualifier={number}"), &format!("version {number}")).await?;
        versions.push(version(&source, &number.to_string(), &published).await?);
    }
    versions.push(version(&source, "$LATEST", &function).await?);
    let mut layers = Layers { client, source: &source, copied: BTreeMap::new() };
    for version in &versions {
        layers.copy_all(&version.configuration).await?;
    }
    let mut begun = false;
    let made = make(client, name, &function, &aliases, &versions, &layers.copied, &mut begun).await;
    let numbers = match made {
        Ok(numbers) => numbers,
        Err(failure) if begun => {
            return Err(match client.delete_function(name, None).await {
                Ok(()) => failure,
                // Half a function must not answer calls.
                Err(_) => failure.then(format!("what was begun is still there: lamplight delete {name}")),
            });
        }
        Err(failure) => return Err(failure),
    };
    let left_out = plan::left_out(&versions.iter().map(|version| &version.configuration).collect::<Vec<_>>());
    if global.json {
        output::json(&json!({
            "FunctionName": name, "From": source.endpoint(), "Versions": numbers, "Layers": layers.copied,
            "Aliases": aliases.iter().map(|alias| text(alias, "Name")).collect::<Vec<_>>(), "LeftOut": left_out,
        }));
        return Ok(0);
    }
    output::line(format!("imported {name} from {}", source.endpoint()));
    for (old, new) in &numbers {
        output::line(format!("  version {old} is version {new} here"));
    }
    for (old, new) in &layers.copied {
        output::line(format!("  layer {old} is {new} here"));
    }
    for alias in &aliases {
        output::line(format!("  alias {}", text(alias, "Name")));
    }
    for line in left_out {
        output::remark(format!("not copied: {line}"));
    }
    output::remark(format!("next: lamplight invoke {name} '{{}}' --log"));
    Ok(0)
}

/// A version with its package.
async fn version(source: &Source, number: &str, function: &Value) -> Result<Version, Failure> {
    let configuration = function.get("Configuration").cloned().unwrap_or_default();
    if text(&configuration, "PackageType") == "Image" {
        return Err(Failure::usage("the function is a container image, and there are none here")
            .then("package its code as a ZIP, then: lamplight deploy PATH"));
    }
    let location = function.pointer("/Code/Location").and_then(Value::as_str).unwrap_or_default();
    let package = source.download(location, &format!("the package of version {number}")).await?;
    package::check_size(package.len() as u64)?;
    Ok(Version { number: number.to_owned(), configuration, package })
}

/// Makes the function here; `begun` says whether there is one now. Gives the numbers of the published versions, there and here.
async fn make(
    client: &Client,
    name: &str,
    function: &Value,
    aliases: &[Value],
    versions: &[Version],
    layers: &BTreeMap<String, String>,
    begun: &mut bool,
) -> Result<BTreeMap<String, String>, Failure> {
    let mut numbers = BTreeMap::new();
    for (index, version) in versions.iter().enumerate() {
        let mut request = configuration_request(&version.configuration, layers);
        if index == 0 {
            request["FunctionName"] = json!(name);
            request["Code"] = json!({ "ZipFile": BASE64.encode(&version.package) });
            request["Architectures"] =
                version.configuration.get("Architectures").cloned().unwrap_or(json!(["x86_64"]));
            if let Some(tags) =
                function.get("Tags").filter(|tags| tags.as_object().is_some_and(|tags| !tags.is_empty()))
            {
                request["Tags"] = tags.clone();
            }
            client.create_function(&request).await?;
            *begun = true;
        } else {
            client.update_configuration(name, &request).await?;
            client.wait_until_settled(name).await?;
            client.update_code(name, &version.package, false).await?;
        }
        client.wait_until_settled(name).await?;
        if version.number != "$LATEST" {
            let published = client.publish_version(name).await?;
            numbers.insert(version.number.clone(), text(&published, "Version"));
            client.wait_until_settled(name).await?;
        }
    }
    for alias in aliases {
        let request = alias_request(alias, &numbers)?;
        client.json(Method::POST, &format!("{FUNCTIONS}/{}/aliases", segment(name)), Some(&request)).await?;
    }
    if let Some(reserved) = function.pointer("/Concurrency/ReservedConcurrentExecutions") {
        let path = format!("/2017-10-31/functions/{}/concurrency", segment(name));
        client.json(Method::PUT, &path, Some(&json!({ "ReservedConcurrentExecutions": reserved }))).await?;
    }
    Ok(numbers)
}

/// Layers that were copied, from the ARN there to the ARN here.
struct Layers<'a> {
    client: &'a Client,
    source: &'a Source,
    copied: BTreeMap<String, String>,
}

impl Layers<'_> {
    async fn copy_all(&mut self, configuration: &Value) -> Result<(), Failure> {
        for layer in configuration.get("Layers").and_then(Value::as_array).into_iter().flatten() {
            let arn = text(layer, "Arn");
            if !self.copied.contains_key(&arn) {
                let here = self.copy(&arn).await.map_err(|failure| Failure {
                    what: format!("failed to copy the layer {arn}: {}", failure.what),
                    ..failure
                })?;
                self.copied.insert(arn, here);
            }
        }
        Ok(())
    }

    async fn copy(&self, arn: &str) -> Result<String, Failure> {
        let path = format!("{LAYERS}?find=LayerVersion&Arn={}", segment(arn));
        let there = self.source.need(&path, "such layer").await?;
        let name = arn.split(':').nth(6).unwrap_or_default();
        let digest = there.pointer("/Content/CodeSha256").and_then(Value::as_str).unwrap_or_default();
        if let Some(same) = self.find_same(name, digest).await? {
            return Ok(same);
        }
        let location = there.pointer("/Content/Location").and_then(Value::as_str).unwrap_or_default();
        let package = self.source.download(location, "its package").await?;
        package::check_size(package.len() as u64)?;
        let mut request = json!({ "Content": { "ZipFile": BASE64.encode(&package) } });
        for key in ["Description", "LicenseInfo", "CompatibleRuntimes", "CompatibleArchitectures"] {
            if let Some(value) = there.get(key).filter(|value| **value != json!("")) {
                request[key] = value.clone();
            }
        }
        let path = format!("{LAYERS}/{}/versions", segment(name));
        let made = self.client.json(Method::POST, &path, Some(&request)).await?;
        Ok(text(&made, "LayerVersionArn"))
    }

    /// The newest version here of that name, if it has the same content: importing twice does not fill the disk.
    async fn find_same(&self, name: &str, digest: &str) -> Result<Option<String>, Failure> {
        let path = format!("{LAYERS}/{}/versions?MaxItems=1", segment(name));
        let listed = self.client.json(Method::GET, &path, None).await?;
        let Some(arn) = listed.pointer("/LayerVersions/0/LayerVersionArn").and_then(Value::as_str) else {
            return Ok(None);
        };
        let path = format!("{LAYERS}?find=LayerVersion&Arn={}", segment(arn));
        let newest = self.client.json(Method::GET, &path, None).await?;
        let same = newest.pointer("/Content/CodeSha256").and_then(Value::as_str) == Some(digest);
        Ok((same && !digest.is_empty()).then(|| arn.to_owned()))
    }
}
