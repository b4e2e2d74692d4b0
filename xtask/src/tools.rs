//! What the tests need beyond Rust: installed once into `.cache/`, or the reason why it cannot be.
//!
//! Versions are pinned here, so that a green run today is a green run tomorrow; a changed pin reinstalls.

use crate::command;
use crate::paths;
use anyhow::{Context as _, bail};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Clients and the test runner of the end-to-end suites. The AWS command line is Debian's package: version 2.
const PYTHON_PACKAGES: &[&str] =
    &["boto3==1.44.5", "awslambdaric==4.2.2", "pytest==9.2.0", "pytest-timeout==2.4.0"];
/// Command lines that people deploy and call with, in an environment of their own: they pin versions of botocore.
const COMMAND_LINES: &[&str] = &["awscli==1.46.3", "chalice==1.34.0", "cargo-lambda==1.9.2"];
/// What people deploy web applications with. Its classes are called by the tests, in an environment of their own.
const ZAPPA: &[&str] = &["zappa==0.63.0"];
/// A library that functions bring along, packed into theirs by the test.
const POWERTOOLS: &[&str] = &["aws-lambda-powertools[tracer]==3.37.0"];
/// npm 11 runs the install scripts of named packages only; older ones run all of them and skip the field.
const NODE_PACKAGE_JSON: &str = r#"{
  "private": true,
  "dependencies": { "aws-lambda-ric": "3.3.0" },
  "allowScripts": { "aws-lambda-ric": true }
}
"#;
/// A client of the API. Apart from the runtime client, which needs compilers.
const NODE_SDK_PACKAGE_JSON: &str = r#"{
  "private": true,
  "dependencies": { "@aws-sdk/client-lambda": "3.1162.0" }
}
"#;
/// What durable functions are written with: AWS's SDKs, packed into the functions of the tests as users pack them.
const DURABLE_PYTHON_PACKAGES: &[&str] = &["aws-durable-execution-sdk-python==3.0.0", "boto3==1.44.5"];
const DURABLE_NODE_PACKAGE_JSON: &str = r#"{
  "private": true,
  "dependencies": { "@aws/durable-execution-sdk-js": "2.4.0" }
}
"#;
/// The AWS Lambda Web Adapter, which runs web applications unmodified. Its releases are layers in AWS's regions; the crate is the
/// same program.
const WEB_ADAPTER: &str = "lambda_web_adapter@1.0.0-rc1";
/// Let's Encrypt's own authority for tests of ACME clients.
const PEBBLE: &str = "github.com/letsencrypt/pebble/v2/cmd/pebble@v2.10.1";
const NEXTEST_VERSION: &str = "0.9.151";

/// The interpreter of the end-to-end suites.
pub fn python() -> PathBuf {
    paths::cache().join("python/bin/python")
}

/// Installs everything; each answered line is something that is absent, with its reason.
pub fn install_all() -> Vec<String> {
    [
        ("cargo-nextest", nextest()),
        ("Python clients", python_packages()),
        ("command lines", command_lines()),
        ("Zappa", zappa()),
        ("Powertools", powertools()),
        ("Node runtime client", node_packages()),
        ("Node SDK", node_sdk()),
        ("durable execution SDK for Python", durable_python()),
        ("durable execution SDK for Node", durable_node()),
        ("Rust runtime client", rust_program("rust-runtime")),
        ("Rust SDK", rust_program("rust-sdk")),
        ("web adapter", web_adapter()),
        ("Pebble", pebble()),
    ]
    .into_iter()
    .filter_map(|(name, installed)| installed.err().map(|error| format!("{name}: {error:#}")))
    .collect()
}

/// `cargo nextest`, from source with the lock file of its release.
pub fn nextest() -> anyhow::Result<()> {
    if command::output(Command::new("cargo").args(["nextest", "--version"])).is_some() {
        return Ok(());
    }
    let requirement = format!("cargo-nextest@{NEXTEST_VERSION}");
    // Installing must not fill the project's own target directory.
    command::run(
        Command::new("cargo")
            .args(["install", "--locked", "--quiet", &requirement])
            .env_remove("CARGO_TARGET_DIR"),
    )
}

/// boto3, pytest and the stock Python runtime client.
pub fn python_packages() -> anyhow::Result<()> {
    virtual_environment(&paths::cache().join("python"), PYTHON_PACKAGES)
}

/// The AWS command line of version 1, Chalice and cargo-lambda.
pub fn command_lines() -> anyhow::Result<()> {
    virtual_environment(&paths::cache().join("command-lines"), COMMAND_LINES)
}

/// Zappa with what it needs.
pub fn zappa() -> anyhow::Result<()> {
    virtual_environment(&paths::cache().join("zappa"), ZAPPA)
}

/// Powertools for AWS Lambda with what it needs beside what a Lambda runtime has.
pub fn powertools() -> anyhow::Result<()> {
    virtual_environment(&paths::cache().join("powertools"), POWERTOOLS)
}

/// A virtual environment with exactly `packages`, made anew when the list or the interpreter has changed.
fn virtual_environment(directory: &Path, packages: &[&str]) -> anyhow::Result<()> {
    // The distribution's interpreter first: it is also what `provided` functions find inside their sandbox,
    // so compiled packages fit both.
    let interpreter = ["/usr/bin/python3", "python3"]
        .into_iter()
        .find(|program| {
            command::output(Command::new(program).args(["-c", "import ensurepip, venv"])).is_some()
        })
        .context("no python3 with venv and ensurepip; get it with: apt-get install python3-venv")?;
    let version = command::output(Command::new(interpreter).arg("--version")).unwrap_or_default();
    let wanted = format!("{version}\n{}", packages.join("\n"));
    stamped(directory, &wanted, || {
        command::run(Command::new(interpreter).args(["-m", "venv"]).arg(directory))?;
        command::run(
            Command::new(directory.join("bin/pip"))
                .args(["install", "--quiet", "--disable-pip-version-check"])
                .args(packages),
        )
    })
}

/// aws-lambda-ric compiles a native addon around libcurl, hence the list of tools.
fn node_packages() -> anyhow::Result<()> {
    let directory = paths::cache().join("node");
    stamped(&directory, &node_wanted(NODE_PACKAGE_JSON)?, || {
        let absent: Vec<_> = ["cmake", "autoreconf", "libtoolize", "make", "g++"]
            .into_iter()
            .filter(|program| !command::exists(program))
            .collect();
        if !absent.is_empty() {
            bail!(
                "{} absent; get them with: apt-get install cmake autoconf automake libtool make g++",
                absent.join(", ")
            );
        }
        npm_install(&directory, NODE_PACKAGE_JSON)?;
        if !directory.join("node_modules/aws-lambda-ric/dist/rapid-client.node").exists() {
            bail!("its native addon was not built");
        }
        Ok(())
    })
}

/// The SDK for JavaScript, as users install it.
fn node_sdk() -> anyhow::Result<()> {
    let directory = paths::cache().join("node-sdk");
    stamped(&directory, &node_wanted(NODE_SDK_PACKAGE_JSON)?, || {
        npm_install(&directory, NODE_SDK_PACKAGE_JSON)
    })
}

/// The durable execution SDK for Python, with the client it calls the platform by.
fn durable_python() -> anyhow::Result<()> {
    virtual_environment(&paths::cache().join("durable-python"), DURABLE_PYTHON_PACKAGES)
}

/// The durable execution SDK for JavaScript.
fn durable_node() -> anyhow::Result<()> {
    let directory = paths::cache().join("durable-node");
    stamped(&directory, &node_wanted(DURABLE_NODE_PACKAGE_JSON)?, || {
        npm_install(&directory, DURABLE_NODE_PACKAGE_JSON)
    })
}

/// What a directory with these packages is stamped with: native parts fit one version of Node.
fn node_wanted(package_json: &str) -> anyhow::Result<String> {
    if !command::exists("node") || !command::exists("npm") {
        bail!("no node and npm on the path");
    }
    let version = command::output(Command::new("node").arg("--version")).unwrap_or_default();
    Ok(format!("{version}\n{package_json}"))
}

fn npm_install(directory: &Path, package_json: &str) -> anyhow::Result<()> {
    std::fs::write(directory.join("package.json"), package_json)?;
    command::run(
        Command::new("npm")
            .args(["install", "--no-package-lock", "--no-audit", "--no-fund", "--loglevel=error"])
            .current_dir(directory),
    )
}

/// A program of `tests/clients/` that is a workspace of its own, so that its 100 crates stay out of ours.
fn rust_program(name: &str) -> anyhow::Result<()> {
    let manifest = paths::root().join("tests/clients").join(name).join("Cargo.toml");
    command::run(
        Command::new("cargo")
            .args(["build", "--quiet", "--locked", "--release", "--manifest-path"])
            .arg(manifest)
            .arg("--target-dir")
            .arg(paths::cache().join(name)),
    )
}

/// The program `lambda-adapter`, with the lock file of its release.
fn web_adapter() -> anyhow::Result<()> {
    let directory = paths::cache().join("web-adapter");
    stamped(&directory, WEB_ADAPTER, || {
        command::run(
            Command::new("cargo")
                .args(["install", "--locked", "--quiet", "--root"])
                .arg(&directory)
                .arg(WEB_ADAPTER)
                .env_remove("CARGO_TARGET_DIR"),
        )
    })
}

/// The program `pebble`.
fn pebble() -> anyhow::Result<()> {
    let directory = paths::cache().join("pebble");
    stamped(&directory, PEBBLE, || {
        if !command::exists("go") {
            bail!("no go on the path; get it with: apt-get install golang-go");
        }
        // Modules are read-only otherwise, and nobody could remove the directory.
        command::run(
            Command::new("go")
                .args(["install", "-modcacherw", PEBBLE])
                .env("GOBIN", &directory)
                .env("GOMODCACHE", directory.join("modules")),
        )
    })
}

/// Runs `install` on an empty `directory` unless it already holds what `wanted` describes.
fn stamped(
    directory: &Path,
    wanted: &str,
    install: impl FnOnce() -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let stamp = directory.join(".installed");
    if std::fs::read_to_string(&stamp).is_ok_and(|found| found == wanted) {
        return Ok(());
    }
    if directory.exists() {
        std::fs::remove_dir_all(directory)
            .with_context(|| format!("failed to remove {}", directory.display()))?;
    }
    std::fs::create_dir_all(directory).with_context(|| format!("failed to make {}", directory.display()))?;
    install()?;
    std::fs::write(&stamp, wanted).with_context(|| format!("failed to write {}", stamp.display()))
}
