//! The commands against a real server: what a user types, and what comes back.

#![allow(clippy::unwrap_used)] // What fails here fails the test.

mod support;

use serde_json::{Value, json};
use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Command, Stdio};
use support::{Program, Ran, Server};

fn done(ran: &Ran) -> &str {
    assert_eq!(ran.status, 0, "{}", ran.text());
    ran.stdout.trim()
}

fn as_json(ran: &Ran) -> Value {
    serde_json::from_str(done(ran)).unwrap()
}

#[test]
fn a_function_from_first_deploy_to_deletion() {
    let Some(server) = Server::start("a_function_from_first_deploy_to_deletion") else { return };
    let program = Program::new().with("LAMPLIGHT_ENDPOINT", &server.endpoint);
    let runtime = server.python(&program);
    let deploy = |more: &[&str]| program.run(&[&["deploy", "./echo", "--runtime", &runtime], more].concat());
    program.write(
        "echo/app.py",
        "import os\ndef handler(event, context):\n    print('saw', event)\n    return [event, os.environ.get('STAGE')]\n",
    );
    assert!(done(&deploy(&["--env", "STAGE=test"])).starts_with("created echo"));

    // The event from an argument, from a file, from standard input, and none.
    program.write("event.json", "{\"from\": \"file\"}");
    assert_eq!(as_json(&program.run(&["invoke", "echo", "[1]"])), json!([[1], "test"]));
    assert_eq!(
        as_json(&program.run(&["invoke", "echo", "--file", "event.json"])),
        json!([{ "from": "file" }, "test"])
    );
    assert_eq!(as_json(&program.run_with_input(&["invoke", "echo", "-"], b"\"in\"")), json!(["in", "test"]));
    let whole = as_json(&program.run(&["invoke", "echo", "--json", "--log"]));
    assert_eq!(whole["Payload"], json!([{}, "test"]));
    assert!(whole["Log"].as_str().unwrap().contains("REPORT RequestId:"), "{whole}");

    // The log has the lines of a call as soon as it was answered.
    let log = program.run(&["logs", "echo"]);
    assert!(done(&log).contains("saw {'from': 'file'}"), "{}", log.text());

    // Deployed again without --env, the variables stay; with it, they are replaced.
    assert!(done(&deploy(&["--memory", "192"])).contains("192 MB"));
    assert_eq!(as_json(&program.run(&["invoke", "echo"])), json!([{}, "test"]));
    assert!(done(&deploy(&["--env", "STAGE=live", "--publish"])).contains("published as version 1"));
    assert_eq!(as_json(&program.run(&["invoke", "echo", "--qualifier", "1"])), json!([{}, "live"]));
    assert!(done(&program.run(&["list"])).contains("192 MB"));
    let shown = program.run(&["get", "echo"]);
    assert!(
        done(&shown).contains("environment  STAGE") && !shown.stdout.contains("live"),
        "{}",
        shown.text()
    );

    let usage = as_json(&program.run(&["usage", "echo", "--json"]));
    let requests: u64 =
        usage["Rows"].as_array().unwrap().iter().filter_map(|row| row["Requests"].as_u64()).sum();
    assert_eq!(requests, 6, "{usage}");
    assert!(done(&program.run(&["usage", "--by-day", "--since", "1h"])).contains("total"));

    // How each call found its instance; where the time of the cold ones went.
    let calls = as_json(&program.run(&["invocations", "echo", "--json"]));
    assert_eq!(calls["Invocations"].as_array().unwrap().len(), 6, "{calls}");
    let versions: Vec<&str> =
        calls["Invocations"].as_array().unwrap().iter().filter_map(|call| call["version"].as_str()).collect();
    assert_eq!(versions, ["1", "$LATEST", "$LATEST", "$LATEST", "$LATEST", "$LATEST"]);
    let shown = program.run(&["invocations", "echo", "--cold", "--limit", "6"]);
    let lines: Vec<&str> = done(&shown).lines().collect();
    let cold = calls["Invocations"].as_array().unwrap().iter().filter(|call| !call["cold_start"].is_null());
    let cold: Vec<_> = cold.collect();
    assert_eq!(lines.len(), 1 + cold.len(), "{}", shown.text());
    assert!(lines[0].contains("START") && lines[0].ends_with("INIT"), "{}", lines[0]);
    for (line, call) in lines[1..].iter().zip(cold) {
        assert!(line.contains(call["start"].as_str().unwrap()) && line.ends_with(" ms"), "{line}");
    }

    done(&program.run(&["invoke", "echo", "--dry-run"]));
    done(&program.run(&["delete", "echo", "--qualifier", "1"]));
    done(&program.run(&["delete", "echo"]));
    assert_eq!(program.run(&["invoke", "echo"]).status, 2);
    assert_eq!(program.run(&["delete", "echo"]).status, 2);
}

#[test]
fn following_the_log_shows_a_queued_event_run() {
    let Some(server) = Server::start("following_the_log_shows_a_queued_event_run") else { return };
    let program = Program::new().with("LAMPLIGHT_ENDPOINT", &server.endpoint);
    let runtime = server.python(&program);
    program.write("worker/app.py", "def handler(event, context):\n    print('working on', event['job'])\n");
    done(&program.run(&["deploy", "./worker", "--runtime", &runtime]));
    let mut follower = Command::new(env!("CARGO_BIN_EXE_lamplight"))
        .args(["logs", "worker", "--follow"])
        .env("LAMPLIGHT_ENDPOINT", &server.endpoint)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let queued = program.run(&["invoke", "worker", "--event", "{\"job\": 7}"]);
    done(&queued);
    assert!(queued.stderr.contains("queued as"), "{}", queued.text());
    let mut lines = BufReader::new(follower.stdout.take().unwrap()).lines().map_while(Result::ok);
    // Ends with the line or, if it never comes, with the test's own time limit.
    assert!(lines.any(|line| line.contains("working on 7")));
    follower.kill().unwrap();
    follower.wait().unwrap();
}

#[test]
fn packages_are_installed_before_packing() {
    let Some(server) = Server::start("packages_are_installed_before_packing") else { return };
    let program = Program::new().with("LAMPLIGHT_ENDPOINT", &server.endpoint);
    let runtime = server.python(&program);
    // A wheel and a package of our own: nothing is asked of the network.
    program.write("py/requirements.txt", "# ours\n./greeting-1.0-py3-none-any.whl\n");
    program.write("py/app.py", "import greeting\ndef handler(event, context): return greeting.hello()\n");
    std::fs::write(program.path("py/greeting-1.0-py3-none-any.whl"), wheel()).unwrap();
    done(&program.run(&["deploy", "./py", "--runtime", &runtime]));
    assert_eq!(as_json(&program.run(&["invoke", "py"])), json!("hello from a wheel"));
    assert!(!program.path("py/greeting").exists(), "the folder itself was changed");
    // Without installing, the module is missing, and that is said.
    done(&program.run(&["deploy", "./py", "--runtime", &runtime, "--no-install"]));
    let failed = program.run(&["invoke", "py"]);
    assert_eq!(failed.status, 1);
    assert!(failed.stderr.contains("name it in requirements.txt"), "{}", failed.text());

    program.write("py/requirements.txt", "./absent.whl\n");
    let failed = program.run(&["deploy", "./py", "--runtime", &runtime]);
    assert_eq!(failed.status, 2, "{}", failed.text());
    assert!(failed.stderr.contains("could not install the packages"), "{}", failed.text());

    if !has_npm() {
        eprintln!("skipped the npm part: npm is not installed");
        assert!(std::env::var("CI").as_deref() != Ok("true"), "npm is not installed");
        return;
    }
    program.write("js/package.json", "{\"dependencies\": {\"greeting\": \"file:./greeting\"}}");
    program.write(
        "js/greeting/package.json",
        "{\"name\": \"greeting\", \"version\": \"1.0.0\", \"main\": \"index.js\"}",
    );
    program.write("js/greeting/index.js", "module.exports = () => 'hello from npm';");
    program.write("js/index.js", "exports.handler = async () => require('greeting')();");
    done(&program.run(&["deploy", "./js"]));
    assert_eq!(as_json(&program.run(&["invoke", "js"])), json!("hello from npm"));
}

#[test]
fn quickstart_works_from_a_copied_binary() {
    if !support::root_or_skip("quickstart_works_from_a_copied_binary") {
        return;
    }
    let program = Program::new();
    let copy = program.path("copied");
    std::fs::copy(env!("CARGO_BIN_EXE_lamplight"), &copy).unwrap();
    let output = Command::new(&copy)
        .args(["quickstart", "--once", "--listen", "127.0.0.1:0", "--data-dir", "./data"])
        .current_dir(program.path("."))
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}\n{}", String::from_utf8_lossy(&output.stderr));
    for expected in [
        "POST /notes (cold start)",
        "GET /notes (warm)",
        "REPORT RequestId:",
        "bill:",
        "dead-lettered: a note has 1 to 60 characters",
        "done, its note is there",
        "every answer was right",
    ] {
        assert!(text.contains(expected), "{expected} is not in {text}");
    }
}

#[test]
fn a_running_server_sees_runtimes_named_later() {
    let Some(server) = Server::start("a_running_server_sees_runtimes_named_later") else { return };
    let program = Program::new().with("LAMPLIGHT_ENDPOINT", &server.endpoint);
    let runtime = server.python(&program);
    program.write("f/app.py", "import sys\ndef handler(event, context): return sys.version_info[1]\n");
    done(&program.run(&["deploy", "./f", "--runtime", "python3.15"]));
    assert_eq!(program.run(&["invoke", "f"]).status, 2);
    let data = server.data_directory();
    done(&program.run(&["runtime", "alias", &format!("python3.15={runtime}"), "--data-dir", &data]));
    let minor: u64 = runtime.trim_start_matches("python3.").parse().unwrap();
    assert_eq!(as_json(&program.run(&["invoke", "f"])), json!(minor));

    let listed = as_json(&program.run(&["runtime", "list", "--json"]));
    let row = listed["Runtimes"]
        .as_array()
        .unwrap()
        .iter()
        .find(|row| row["Identifier"] == runtime.as_str())
        .unwrap();
    let interpreter = row["Interpreter"].as_str().unwrap().to_owned();
    let added = program.run(&["runtime", "add", &runtime, &interpreter, "--data-dir", &data]);
    assert!(done(&added).contains(&interpreter), "{}", added.text());
    done(&program.run(&["deploy", "./f", "--name", "g", "--runtime", &runtime]));
    assert_eq!(as_json(&program.run(&["invoke", "g"])), json!(minor));
}

#[test]
fn a_killed_server_starts_again_at_once_and_a_note_survives() {
    let Some(server) = Server::start("a_killed_server_starts_again_at_once_and_a_note_survives") else {
        return;
    };
    let program = Program::new().with("LAMPLIGHT_ENDPOINT", &server.endpoint);
    let runtime = server.python(&program);
    let example = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/notes");
    done(&program.run(&["deploy", example, "--runtime", &runtime, "--file-system", "notes:/mnt/notes"]));
    let post = "{\"httpMethod\": \"POST\", \"body\": \"{\\\"text\\\": \\\"kept\\\"}\"}";
    assert_eq!(as_json(&program.run(&["invoke", "notes", post]))["statusCode"], 201);
    let server = server.kill_and_start_again();
    let answer = as_json(&program.run(&["invoke", "notes", "{\"httpMethod\": \"GET\"}"]));
    assert!(answer["body"].as_str().unwrap().contains("kept"), "{answer}");
    drop(server);
}

fn has_npm() -> bool {
    Command::new("npm").arg("--version").output().is_ok_and(|output| output.status.success())
}

/// The smallest wheel (PEP 427).
fn wheel() -> Vec<u8> {
    let mut archive = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    let options = zip::write::SimpleFileOptions::default();
    for (name, text) in [
        ("greeting.py", "def hello(): return 'hello from a wheel'\n"),
        ("greeting-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: greeting\nVersion: 1.0\n"),
        (
            "greeting-1.0.dist-info/WHEEL",
            "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        ),
        (
            "greeting-1.0.dist-info/RECORD",
            "greeting.py,,\ngreeting-1.0.dist-info/METADATA,,\ngreeting-1.0.dist-info/WHEEL,,\ngreeting-1.0.dist-info/RECORD,,\n",
        ),
    ] {
        archive.start_file(name, options).unwrap();
        archive.write_all(text.as_bytes()).unwrap();
    }
    archive.finish().unwrap().into_inner()
}
