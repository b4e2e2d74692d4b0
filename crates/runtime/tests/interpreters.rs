//! Our bootstraps under every interpreter this host has, as discovery finds them.

#![allow(clippy::unwrap_used)] // Helpers of tests are tests, too.

mod common;

use common::Bootstrap;
use lamplight_model::managed_runtime::{RuntimeFamily, family, is_known};
use lamplight_runtime::managed::{SearchPaths, discover};
use std::path::Path;
use std::process::Command;

fn version(interpreter: &Path) -> Option<String> {
    let output = Command::new(interpreter).arg("--version").output().ok()?;
    String::from_utf8(output.stdout).ok()
}

#[tokio::test]
async fn every_interpreter_that_is_found_runs_its_bootstrap() {
    let table = discover(&SearchPaths::of_host(), &version);
    let mut seen = Vec::new();
    for runtime in table.available().filter(|runtime| is_known(&runtime.identifier)) {
        let minor: u32 = runtime.version.split('.').nth(1).unwrap().parse().unwrap();
        let (name, file, code, handler, expected) = match family(&runtime.identifier) {
            // What our Python bootstrap supports; Lambda's own oldest is 3.9.
            RuntimeFamily::Python if minor < 8 => continue,
            RuntimeFamily::Python => {
                let code = "import sys, logging\ndef handler(event, context):\n    print('hi'); logging.error('ho')\n    return [sys.version_info[1], event['a'], len(str(context)) > 9, exit.__class__.__name__]\n";
                (
                    "python",
                    "app.py",
                    code,
                    "app.handler",
                    format!("response [{minor}, \"x\", true, \"Quitter\"]"),
                )
            }
            _ => {
                let code = "exports.handler = async (event) => { console.log('hi'); console.error('ho'); return [process.version.slice(1), event.a]; };";
                ("node", "app.js", code, "app.handler", format!("response [\"{}\",\"x\"]", runtime.version))
            }
        };
        let told = version(&runtime.interpreter).unwrap();
        assert!(told.contains(&runtime.version), "{} is told to be {}", told.trim(), runtime.version);
        let mut bootstrap = Bootstrap::with_interpreter(name, &runtime.interpreter, &[(file, code)], handler);
        bootstrap.ready().await;
        assert_eq!(bootstrap.invoke(r#"{"a":"x"}"#).await, expected, "{}", runtime.identifier);
        assert_eq!(bootstrap.logs().len(), 2);
        seen.push(runtime.identifier.clone());
    }
    println!("{seen:?}");
    assert!(seen.iter().any(|identifier| identifier.starts_with("python3.")), "no Python on this host");
}
