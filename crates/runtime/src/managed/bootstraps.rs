//! Our bootstraps, embedded so that the binary is self-contained.

use super::InstalledRuntime;
use lamplight_model::managed_runtime::{RuntimeFamily, family};

/// A Python program that makes byte code of the Python bootstrap; what it takes and gives is written at its beginning.
pub const COMPILE_BOOTSTRAP: &str = include_str!("../../bootstraps/compile/bootstrap.py");

/// One file of a bootstrap directory.
#[derive(Debug, Clone, Copy)]
pub struct Bootstrap {
    /// Which family's directory it belongs to.
    pub family: RuntimeFamily,
    /// Name of that directory, e.g. `python`.
    pub directory: &'static str,
    /// File name; it is found inside at `/var/runtime/<name>`.
    pub name: &'static str,
    /// Content.
    pub content: &'static [u8],
}

/// What a program that compiles is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compiled {
    /// A function's package, at `/var/task`.
    Package,
    /// A layer, at `/opt`.
    Layer,
}

/// The command that compiles a package or a layer and writes a ZIP of what to mount at `/var/compiled` to standard output.
/// `command` is that of the instances. `None` for what is used as it is.
pub fn compile_command(family: RuntimeFamily, command: &[String], what: Compiled) -> Option<Vec<String>> {
    let (program, rest) = command.split_first()?;
    let mut compile = vec![program.clone()];
    let mut add = |arguments: &[&str]| compile.extend(arguments.iter().map(|text| (*text).to_owned()));
    match family {
        RuntimeFamily::Python => add(&["-I", "-S", "-B", "-W", "ignore", "/var/runtime/compile_package.py"]),
        RuntimeFamily::Node if what == Compiled::Layer => return None,
        RuntimeFamily::Node => {
            // The same options: V8 takes code only from a V8 that has them.
            add(&rest[..rest.len().saturating_sub(1)].iter().map(String::as_str).collect::<Vec<_>>());
            add(&["/var/runtime/compile_package.cjs"]);
        }
        RuntimeFamily::Provided | RuntimeFamily::Unserved => return None,
    }
    compile.push(if what == Compiled::Package { "/var/task" } else { "/opt" }.to_owned());
    Some(compile)
}

impl InstalledRuntime {
    /// The same with the bootstrap this program has: `byte_code` is a directory beneath `bootstraps/` that holds one made for
    /// this interpreter, without it the source is run.
    #[must_use]
    pub fn with_bootstrap(&self, byte_code: Option<&str>) -> Self {
        let mut runtime = self.clone();
        // The first file of a family is the one that is run.
        let Some(main) = bootstraps().iter().find(|file| file.family == family(&self.identifier)) else {
            return runtime;
        };
        byte_code.unwrap_or(main.directory).clone_into(&mut runtime.bootstrap);
        let compiled = if byte_code.is_some() { "c" } else { "" };
        if let Some(script) = runtime.command.last_mut() {
            *script = format!("/var/runtime/{}{compiled}", main.name);
        }
        runtime
    }
}

/// All files, of each family first the one that is run. Each family's directory is mounted at `/var/runtime`.
pub fn bootstraps() -> &'static [Bootstrap] {
    &[
        Bootstrap {
            family: RuntimeFamily::Python,
            directory: "python",
            name: "bootstrap.py",
            content: include_bytes!("../../bootstraps/python/bootstrap.py"),
        },
        Bootstrap {
            family: RuntimeFamily::Python,
            directory: "python",
            name: "faults_and_logs.py",
            content: include_bytes!("../../bootstraps/python/faults_and_logs.py"),
        },
        Bootstrap {
            family: RuntimeFamily::Python,
            directory: "python",
            name: "zygote.py",
            content: include_bytes!("../../bootstraps/python/zygote.py"),
        },
        Bootstrap {
            family: RuntimeFamily::Python,
            directory: "python",
            name: "warm.py",
            content: include_bytes!("../../bootstraps/python/warm.py"),
        },
        Bootstrap {
            family: RuntimeFamily::Python,
            directory: "python",
            name: "rehearsal.py",
            content: include_bytes!("../../bootstraps/python/rehearsal.py"),
        },
        Bootstrap {
            family: RuntimeFamily::Python,
            directory: "python",
            name: "version_zygote.py",
            content: include_bytes!("../../bootstraps/python/version_zygote.py"),
        },
        Bootstrap {
            family: RuntimeFamily::Python,
            directory: "python",
            name: "snapshot_restore_py.py",
            content: include_bytes!("../../bootstraps/python/snapshot_restore_py.py"),
        },
        Bootstrap {
            family: RuntimeFamily::Python,
            directory: "python",
            name: "compile_package.py",
            content: include_bytes!("../../bootstraps/python/compile_package.py"),
        },
        Bootstrap {
            family: RuntimeFamily::Node,
            directory: "node",
            name: "bootstrap.cjs",
            content: include_bytes!("../../bootstraps/node/bootstrap.cjs"),
        },
        Bootstrap {
            family: RuntimeFamily::Node,
            directory: "node",
            name: "rehearsal_module.mjs",
            content: include_bytes!("../../bootstraps/node/rehearsal_module.mjs"),
        },
        Bootstrap {
            family: RuntimeFamily::Node,
            directory: "node",
            name: "rehearsal_script.cjs",
            content: include_bytes!("../../bootstraps/node/rehearsal_script.cjs"),
        },
        Bootstrap {
            family: RuntimeFamily::Node,
            directory: "node",
            name: "compile_package.cjs",
            content: include_bytes!("../../bootstraps/node/compile_package.cjs"),
        },
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packages_are_compiled_by_what_runs_them() {
        let check_of = |what, family, command: &str, expected: &str| {
            let command: Vec<String> = command.split(' ').map(str::to_owned).collect();
            assert_eq!(
                compile_command(family, &command, what).map_or("nothing".to_owned(), |made| made.join(" ")),
                expected
            );
        };
        let check =
            |family, command: &str, expected: &str| check_of(Compiled::Package, family, command, expected);
        check_of(
            Compiled::Layer,
            RuntimeFamily::Python,
            "/usr/bin/python3.11 -S /var/runtime/bootstrap.pyc",
            "/usr/bin/python3.11 -I -S -B -W ignore /var/runtime/compile_package.py /opt",
        );
        check_of(Compiled::Layer, RuntimeFamily::Node, "/usr/bin/node /var/runtime/bootstrap.cjs", "nothing");
        check(
            RuntimeFamily::Python,
            "/usr/bin/python3.11 -S /var/runtime/bootstrap.pyc",
            "/usr/bin/python3.11 -I -S -B -W ignore /var/runtime/compile_package.py /var/task",
        );
        check(
            RuntimeFamily::Node,
            "/usr/bin/node --max-old-space-size=80 /var/runtime/bootstrap.cjs",
            "/usr/bin/node --max-old-space-size=80 /var/runtime/compile_package.cjs /var/task",
        );
        check(RuntimeFamily::Provided, "/var/task/bootstrap", "nothing");
    }

    #[test]
    fn a_bootstrap_is_run_as_source_or_as_byte_code() {
        let check = |identifier: &str, byte_code: Option<&str>, expected: &str| {
            let runtime = InstalledRuntime {
                identifier: identifier.to_owned(),
                version: String::new(),
                command: vec!["/usr/bin/x".to_owned(), "/var/runtime/of-an-older-release.js".to_owned()],
                prefix: None,
                interpreter: "/usr/bin/x".into(),
                bootstrap: "of-an-older-release".to_owned(),
            };
            let runtime = runtime.with_bootstrap(byte_code);
            assert_eq!(format!("{} {}", runtime.bootstrap, runtime.command.join(" ")), expected);
        };
        check("python3.11", None, "python /usr/bin/x /var/runtime/bootstrap.py");
        check("python3.11", Some("python3.11-00"), "python3.11-00 /usr/bin/x /var/runtime/bootstrap.pyc");
        check("nodejs20.x", None, "node /usr/bin/x /var/runtime/bootstrap.cjs");
    }
}
