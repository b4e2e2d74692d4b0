//! What people get wrong, and what the program tells them: the real binary, its whole words as snapshots.
//!
//! A changed text shows as a changed snapshot in `tests/snapshots`; `INSTA_UPDATE=always` takes it over.

mod support;

use support::{Program, Server};

#[test]
fn the_server_is_not_running() {
    Program::new().check("server_not_running", &["list"]);
}

#[test]
fn what_answers_is_no_lamplight() {
    let stranger = support::Stranger::start();
    Program::new().check("stranger", &["list", "--endpoint", &stranger.endpoint]);
}

#[test]
fn the_endpoint_is_no_address() {
    Program::new().check("endpoint_https", &["list", "--endpoint", "https://127.0.0.1:9000"]);
    Program::new().check("endpoint_without_scheme", &["list", "--endpoint", "localhost:9000"]);
}

#[test]
fn a_misspelt_command_or_flag() {
    Program::new().check("misspelt_command", &["depoly", "."]);
    Program::new().check("misspelt_flag", &["invoke", "notes", "--qualifer", "1"]);
}

#[test]
fn the_path_is_no_package() {
    let program = Program::new();
    program.write("app.py", "def handler(event, context): pass");
    program.write("empty/.gitkeep/x", "");
    std::fs::remove_dir_all(program.path("empty/.gitkeep")).unwrap();
    program.check("no_such_folder", &["deploy", "./absent"]);
    program.check("not_a_zip", &["deploy", "./app.py"]);
    program.check("empty_folder", &["deploy", "./empty"]);
}

#[test]
fn the_handler_cannot_be_told() {
    let program = Program::new();
    program.write("none/readme.txt", "hello");
    program.write("two/app.py", "def handler(event, context): pass");
    program.write("two/index.mjs", "export const handler = async () => 1");
    program.check("no_handler", &["deploy", "./none"]);
    program.check("two_handlers", &["deploy", "./two"]);
}

#[test]
fn deploy_flags_out_of_range() {
    let program = Program::new();
    program.write("f/app.py", "def handler(event, context): pass");
    for (name, flags) in [
        ("unknown_runtime", ["--runtime", "pyton3.11"]),
        ("too_little_memory", ["--memory", "64"]),
        ("too_long_timeout", ["--timeout", "1000"]),
        ("variable_without_value", ["--env", "STAGE"]),
        ("no_file_system", ["--file-system", "notes:/data"]),
        ("bad_name", ["--name", "my function"]),
        ("bad_egress", ["--egress", "maybe"]),
    ] {
        program.check(name, &["deploy", "./f", flags[0], flags[1]]);
    }
}

#[test]
fn the_event_is_not_json() {
    let program = Program::new();
    program.write("event.json", "{}");
    program.check("event_not_json", &["invoke", "notes", "{key: value}"]);
    program.check("event_is_a_file_name", &["invoke", "notes", "event.json"]);
    program.check("event_file_absent", &["invoke", "notes", "--file", "absent.json"]);
}

#[test]
fn events_to_send_again_are_not_named() {
    let program = Program::new();
    program.check("redrive_of_nothing", &["events", "redrive"]);
    let id = "7f0b3a53-5f0c-4a55-9a52-0d9a6f7f1b11";
    program.check("redrive_of_some_of_one", &["events", "redrive", id, "--since", "2h"]);
}

#[test]
fn an_age_without_unit() {
    Program::new().check("age_without_unit", &["usage", "--since", "soon"]);
}

#[test]
fn a_period_that_is_none() {
    let program = Program::new();
    program.check("events_until_no_date", &["events", "list", "--until", "2026-13-01"]);
    program.check("events_since_after_until", &["events", "list", "--since", "1d", "--until", "2d"]);
}

#[test]
fn the_configuration_is_wrong() {
    let program = Program::new();
    for (name, text) in [
        ("configuration_unknown_key", "lisen = \"127.0.0.1:9000\""),
        ("configuration_wrong_type", "[instances]\nmost = \"many\""),
        ("configuration_no_toml", "listen = = 1"),
    ] {
        program.write("config.toml", text);
        program.check(name, &["--config", "config.toml", "--dump-config"]);
    }
    program.check("configuration_absent", &["--config", "absent.toml", "--dump-config"]);
    let program = Program::new().with("LAMPLIGHT_LISTN", "127.0.0.1:1");
    program.check("configuration_unknown_variable", &["--dump-config"]);
    Program::new().check("listen_everywhere", &["serve", "--listen", "0.0.0.0:9000"]);
}

#[test]
fn the_flag_wins_over_the_variable_and_that_over_the_file() {
    let program = Program::new().with("LAMPLIGHT_LISTEN", "127.0.0.1:2").with("LAMPLIGHT_DRAIN_SECONDS", "2");
    program.write("config.toml", "listen = \"127.0.0.1:1\"\ndrain_seconds = 1\nlog = \"warn\"\n");
    let dumped =
        program.run(&["--config", "config.toml", "--dump-config", "serve", "--listen", "127.0.0.1:3"]);
    for expected in ["listen = \"127.0.0.1:3\"", "drain_seconds = 2", "log = \"warn\""] {
        assert!(dumped.text().contains(expected), "{expected} is not in {}", dumped.text());
    }
    assert_eq!(dumped.status, 0);
}

#[test]
fn errors_are_json_for_programs() {
    let failed = Program::new().run(&["list", "--json"]);
    assert_eq!(failed.status, 3);
    let document: serde_json::Value = serde_json::from_str(&failed.stderr).unwrap();
    assert_eq!(document.pointer("/error/status"), Some(&serde_json::json!(3)));
}

#[test]
fn without_root() {
    if !support::root_or_skip("without_root") {
        return;
    }
    let program = Program::new().without_privileges();
    program.check("serve_without_root", &["serve"]);
    program.check("quickstart_without_root", &["quickstart"]);
}

#[test]
fn the_data_directory_is_not_ours() {
    if !support::root_or_skip("the_data_directory_is_not_ours") {
        return;
    }
    let program = Program::new();
    program.write("thesis/chapter.tex", "");
    let flags = ["serve", "--listen", "127.0.0.1:0", "--data-dir"];
    program.check("data_directory_foreign", &[flags.as_slice(), &["./thesis"]].concat());
    program.check("data_directory_is_a_file", &[flags.as_slice(), &["./thesis/chapter.tex"]].concat());
}

#[test]
fn with_a_server() {
    let Some(server) = Server::start("with_a_server") else { return };
    let program = Program::new().with("LAMPLIGHT_ENDPOINT", &server.endpoint);
    program.write("notes/app.py", "def handler(event, context):\n    return event\n");
    program.write("broken/app.py", "import absent_package\ndef handler(event, context): pass\n");
    program.write("slow/app.py", "import time\ndef handler(event, context): time.sleep(30)\n");
    let runtime = server.python(&program);
    let deploy = |path: &str, more: &[&str]| {
        let arguments = [&["deploy", path, "--runtime", &runtime], more].concat();
        let deployed = program.run(&arguments);
        assert_eq!(deployed.status, 0, "{}", deployed.text());
    };
    deploy("./notes", &[]);
    assert_eq!(program.run(&["invoke", "notes", "{\"a\": 1}"]).stdout.trim(), "{\"a\": 1}");
    program.check("no_such_function", &["invoke", "nots"]);
    program.check("no_events_of_no_function", &["events", "redrive", "--function", "nots"]);
    program.check("no_such_request", &["events", "show", "7f0b3a53"]);
    program.check("no_such_condition", &["events", "list", "--condition", "retries"]);
    program.check("no_such_version", &["invoke", "notes", "--qualifier", "7"]);
    deploy("./broken", &[]);
    program.check("missing_dependency", &["invoke", "broken"]);
    deploy("./notes", &["--handler", "app.absent"]);
    program.check("wrong_handler", &["invoke", "notes"]);
    deploy("./slow", &["--timeout", "1"]);
    program.check("function_timed_out", &["invoke", "slow"]);
    program.check("region_without_functions", &["get", "notes", "--region", "eu-west-1"]);

    let second = Program::new();
    let address = server.endpoint.trim_start_matches("http://").to_owned();
    let other = second.path("other").display().to_string();
    second.check("port_taken", &["serve", "--listen", &address, "--data-dir", &other]);
    let data = server.data_directory();
    second.check("data_directory_taken", &["serve", "--listen", "127.0.0.1:0", "--data-dir", &data]);
    second.write("python3.11", "a text");
    second.check("no_interpreter", &["runtime", "add", "python3.11", "./python3.11", "--data-dir", &data]);
    second
        .check("alias_across_languages", &["runtime", "alias", "python3.13=nodejs20.x", "--data-dir", &data]);

    // The interpreters of this host are in the text, so it is no snapshot.
    program.write("future/app.py", "def handler(event, context): pass\n");
    let warned = program.run(&["deploy", "./future", "--runtime", "python3.15"]);
    assert!(warned.stderr.contains("warning: No interpreter for python3.15"), "{}", warned.text());
    let refused = program.run(&["invoke", "future"]);
    assert_eq!(refused.status, 2);
    assert!(refused.stderr.contains("lamplight runtime add python3.15"), "{}", refused.text());
}
