//! Cold calls of Python functions with heavy imports: generated packages of a known weight.

use super::cold::{Calls, compare};
use super::{Aim, Bench, EVENT, Row};
use crate::bench::limits::Launcher;
use crate::bench::server::{Function, Runtime, Server, function_folder};
use crate::paths;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

/// What the imports cost in the limit, milliseconds.
const WEIGHTS_MS: [u32; 3] = [20, 100, 350];
/// Modules of the package that the weight of one is measured with.
const TRIAL_MODULES: usize = 60;
/// Starts for one weighing.
const WEIGHINGS: usize = 9;

/// No instance outlives its call, so that each call is a cold one.
const NOT_KEPT: [(&str, &str); 1] = [("LAMPLIGHT_INSTANCES_KEEP_ALIVE_SECONDS", "0")];
/// Which calls, by name, the way they are to start, and what is aimed at.
const CALLS: [(Calls, &str, &str, Aim); 2] = [
    (Calls::Later, "", "version zygote", Aim::RatioAtMost(0.35)),
    // Nobody has imported anything yet.
    (Calls::First, ", first call of a function", "blank", Aim::None),
];

/// Two rows for each weight.
pub fn run(bench: &Bench) -> anyhow::Result<Vec<Row>> {
    let mut rows = Vec::new();
    let Some(runtime) = bench.runtimes.iter().find(|runtime| runtime.language == "python") else {
        return Ok(rows);
    };
    let bare_ms = weigh(runtime, &function_folder("echo", "python")?)?;
    let trial = generate("trial", TRIAL_MODULES)?;
    let module_ms = (weigh(runtime, &trial)? - bare_ms) / TRIAL_MODULES as f64;
    let server = Server::start(&bench.binary, &NOT_KEPT)?;
    for weight_ms in WEIGHTS_MS {
        let modules = (f64::from(weight_ms) / module_ms).round().max(1.0) as usize;
        let folder = generate(&format!("imports-{weight_ms}"), modules)?;
        let measured_ms = weigh(runtime, &folder)? - bare_ms;
        let mut effort = bench.effort;
        effort.cold_groups = effort.cold_groups.div_ceil(6);
        let lighter = Bench { binary: bench.binary.clone(), runtimes: Vec::new(), effort };
        let function = Function::of(&folder, runtime)?;
        for (calls, name, expected, aim) in CALLS {
            let (measured, ways) = compare(&lighter, &server, runtime, &folder, &function, calls)?;
            let title = format!("cold call, Python, imports of {weight_ms} ms{name}");
            let limit =
                format!("bare {} with the same imports, bytecode present", super::cold::bare(runtime));
            let mut row = Row::of(&title, &limit, aim, &measured, (1e3, "ms"));
            row.start = ways.describe();
            if ways.most() != expected {
                row = row.noting(&format!("this build does not start by {expected}"));
            }
            rows.push(row.noting(&format!("{modules} modules, {measured_ms:.0} ms measured")));
        }
    }
    Ok(rows)
}

/// The least time of a bare start with its answer, milliseconds: other load only adds. The first start writes the bytecode.
fn weigh(runtime: &Runtime, folder: &Path) -> anyhow::Result<f64> {
    let mut launcher = Launcher::cold(runtime, folder, EVENT)?;
    launcher.launch()?;
    let times = (0..WEIGHINGS).map(|_| launcher.launch()).collect::<anyhow::Result<Vec<_>>>()?;
    Ok(times.into_iter().fold(f64::INFINITY, f64::min) * 1e3)
}

/// Writes a function whose handler's module imports a package of `modules` modules.
fn generate(name: &str, modules: usize) -> anyhow::Result<PathBuf> {
    let folder = paths::cache().join("bench").join(name);
    let _ = std::fs::remove_dir_all(&folder);
    let package = folder.join("library");
    std::fs::create_dir_all(&package)?;
    let mut imports = String::from("\"\"\"A library of many modules.\"\"\"\n");
    for number in 0..modules {
        writeln!(imports, "from . import module_{number}")?;
        std::fs::write(package.join(format!("module_{number}.py")), module(number)?)?;
    }
    std::fs::write(package.join("__init__.py"), imports)?;
    std::fs::write(
        folder.join("index.py"),
        "import library\n\n\ndef handler(event, context):\n    return event\n",
    )?;
    Ok(folder)
}

/// A module as real ones are: constants, classes with methods, functions, and a table built from them.
fn module(number: usize) -> anyhow::Result<String> {
    let mut text = format!("\"\"\"Module {number} of a generated library.\"\"\"\n\n");
    writeln!(
        text,
        "LIMITS = {{{}}}\n",
        (0..30).map(|at| format!("'limit_{at}': {}", at * number)).collect::<Vec<_>>().join(", ")
    )?;
    for class in 0..6 {
        writeln!(
            text,
            "\nclass Record{class}:\n    \"\"\"Holds one record of kind {class}.\"\"\"\n\n    kind = {class}\n"
        )?;
        for method in 0..6 {
            writeln!(
                text,
                "    def step_{method}(self, value, factor={method}):\n        \"\"\"Step {method}.\"\"\"\n        total = 0\n        for item in range(value):\n            if item % 2 == 0 and item > factor:\n                total += item * self.kind\n            else:\n                total -= factor\n        return {{'total': total, 'name': 'record-{class}-{method}'}}\n"
            )?;
        }
    }
    for function in 0..12 {
        writeln!(
            text,
            "\ndef convert_{function}(values, *, scale={function}, prefix='value'):\n    \"\"\"Converts values.\"\"\"\n    found = []\n    for index, value in enumerate(values):\n        try:\n            found.append((f'{{prefix}}-{{index}}', int(value) * scale))\n        except ValueError as error:\n            found.append((prefix, str(error)))\n    return dict(found)\n"
        )?;
    }
    writeln!(
        text,
        "\nTABLE = {{name: value for name, value in globals().items() if not name.startswith('_')}}"
    )?;
    Ok(text)
}
