//! Finds interpreters on the host by looking at files.

use super::{InstalledRuntime, ManagedRuntimes};
use std::fs;
use std::path::{Path, PathBuf};

/// Where to look.
#[derive(Debug, Clone)]
pub struct SearchPaths {
    /// Home directories that may hold `.pyenv` and `.nvm`.
    pub homes: Vec<PathBuf>,
    /// Directories of programs of the distribution, mounted as they are (`/usr/bin`).
    pub system: Vec<PathBuf>,
    /// Installation prefixes, or directories of such (`/usr/local`, `/opt/*`).
    pub prefixes: Vec<PathBuf>,
}

impl SearchPaths {
    /// The usual places of a host, and the homes of root and of whoever called `sudo`.
    pub fn of_host() -> Self {
        let mut homes: Vec<PathBuf> = std::env::var_os("HOME").map(PathBuf::from).into_iter().collect();
        homes.push("/root".into());
        if let Some(user) = std::env::var_os("SUDO_USER") {
            homes.push(Path::new("/home").join(user));
        }
        homes.dedup();
        let mut prefixes = vec![PathBuf::from("/usr/local")];
        prefixes.extend(children(Path::new("/opt")));
        Self { homes, system: vec!["/usr/bin".into()], prefixes }
    }
}

/// Looks everywhere. The distribution's interpreter wins over another installation of the same identifier, and
/// of those the newest wins. `probe` is asked for what files do not tell (see [`ManagedRuntimes::add`]).
pub fn discover(search: &SearchPaths, probe: &dyn Fn(&Path) -> Option<String>) -> ManagedRuntimes {
    let mut found: Vec<InstalledRuntime> = Vec::new();
    for directory in &search.system {
        found.extend(programs(directory).filter_map(|program| examine(&program, probe)));
    }
    let mut others = Vec::new();
    let installations = search
        .homes
        .iter()
        .flat_map(|home| [home.join(".pyenv/versions"), home.join(".nvm/versions/node")])
        .flat_map(|directory| children(&directory));
    for prefix in installations.chain(search.prefixes.iter().cloned()) {
        others.extend(programs(&prefix.join("bin")).filter_map(|program| examine(&program, probe)));
    }
    others.sort_by_key(|runtime| std::cmp::Reverse(numbers(&runtime.version)));
    found.extend(others);
    let mut table = ManagedRuntimes::default();
    for runtime in found {
        table.installed.entry(runtime.identifier.clone()).or_insert(runtime);
    }
    table
}

fn children(directory: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(directory) else { return Vec::new() };
    let mut children: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    children.sort();
    children
}

/// Interpreters in a directory of programs: `python3.N` and `node`, links followed.
fn programs(directory: &Path) -> impl Iterator<Item = PathBuf> {
    children(directory).into_iter().filter_map(|path| {
        let name = path.file_name()?.to_str()?;
        let minor = name.strip_prefix("python3.");
        let wanted =
            name == "node" || minor.is_some_and(|minor| minor.bytes().all(|byte| byte.is_ascii_digit()));
        if wanted { fs::canonicalize(&path).ok() } else { None }
    })
}

/// What an interpreter is. `None` for what is neither Python 3 nor Node.js, or is only a shell script (a version
/// manager's shim).
pub fn examine(program: &Path, probe: &dyn Fn(&Path) -> Option<String>) -> Option<InstalledRuntime> {
    use std::io::Read as _;
    use std::os::unix::fs::PermissionsExt as _;
    let mode = fs::metadata(program).ok()?.permissions().mode();
    let mut magic = [0_u8; 4];
    fs::File::open(program).ok()?.read_exact(&mut magic).ok()?;
    if mode & 0o111 == 0 || &magic != b"\x7fELF" {
        return None;
    }
    let name = program.file_name()?.to_str()?;
    match name {
        name if name.starts_with("python") => python(program, name, probe),
        // Also Debian's `nodejs`. Any other program beside Node's headers is not Node.
        name if name.starts_with("node") => node(program, probe),
        _ => None,
    }
}

fn python(program: &Path, name: &str, probe: &dyn Fn(&Path) -> Option<String>) -> Option<InstalledRuntime> {
    let prefix = program.parent()?.parent()?;
    let minor = match name.strip_prefix("python3.") {
        Some(minor) => minor.parse::<u32>().ok()?,
        None => numbers(&probe(program)?).get(1).copied()?,
    };
    // A virtual environment's interpreter is a link that was followed, so the library is beside the program.
    if !prefix.join(format!("lib/python3.{minor}/os.py")).exists() {
        return None;
    }
    let header = prefix.join(format!("include/python3.{minor}/patchlevel.h"));
    let version = fs::read_to_string(header)
        .ok()
        .and_then(|text| {
            let line = text.lines().find_map(|line| line.trim().strip_prefix("#define PY_VERSION "))?;
            Some(line.trim().trim_matches('"').to_owned())
        })
        .or_else(|| probe(program).map(|text| text.trim_start_matches("Python").trim().to_owned()))
        .unwrap_or_else(|| format!("3.{minor}"));
    let inside = inside(program, prefix);
    Some(InstalledRuntime {
        identifier: format!("python3.{minor}"),
        version,
        // -S skips `site`, which costs up to 20 ms; the bootstrap does what Lambda's functions see of it.
        command: vec![inside.program, "-S".to_owned(), "/var/runtime/bootstrap.py".to_owned()],
        prefix: inside.prefix,
        interpreter: program.to_owned(),
        bootstrap: String::new(),
    })
}

fn node(program: &Path, probe: &dyn Fn(&Path) -> Option<String>) -> Option<InstalledRuntime> {
    let prefix = program.parent()?.parent()?;
    let from_header = fs::read_to_string(prefix.join("include/node/node_version.h")).ok().and_then(|text| {
        let number = |what: &str| {
            let line =
                text.lines().find_map(|line| line.strip_prefix(&format!("#define NODE_{what}_VERSION ")))?;
            line.trim().parse::<u32>().ok()
        };
        Some(format!("{}.{}.{}", number("MAJOR")?, number("MINOR")?, number("PATCH")?))
    });
    let version =
        from_header.or_else(|| probe(program).map(|text| text.trim().trim_start_matches('v').to_owned()))?;
    let major = numbers(&version).first().copied()?;
    // Lambda's identifiers: nodejs16.x and later have even numbers; older ones are of no use here.
    if major < 16 {
        return None;
    }
    let inside = inside(program, prefix);
    Some(InstalledRuntime {
        identifier: format!("nodejs{major}.x"),
        version,
        command: vec![inside.program, "/var/runtime/bootstrap.cjs".to_owned()],
        prefix: inside.prefix,
        interpreter: program.to_owned(),
        bootstrap: String::new(),
    })
}

struct Inside {
    program: String,
    prefix: Option<PathBuf>,
}

/// Where a program is found inside: below `/usr` as outside, anything else with its prefix at `/var/lang`.
fn inside(program: &Path, prefix: &Path) -> Inside {
    if prefix == Path::new("/usr") {
        return Inside { program: program.display().to_string(), prefix: None };
    }
    let name = program.file_name().unwrap_or_default().to_string_lossy();
    Inside { program: format!("/var/lang/bin/{name}"), prefix: Some(prefix.to_owned()) }
}

/// The numbers in a version text, for comparing: `Python 3.11.7` is `[3, 11, 7]`.
fn numbers(text: &str) -> Vec<u32> {
    text.split(|character: char| !character.is_ascii_digit()).filter_map(|part| part.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Lays out a file tree as an installation has it.
    fn install(prefix: &Path, program: &str, content: &[u8], files: &[(&str, &str)]) {
        use std::os::unix::fs::PermissionsExt as _;
        fs::create_dir_all(prefix.join("bin")).unwrap();
        let path = prefix.join("bin").join(program);
        fs::write(&path, content).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        for (name, text) in files {
            let path = prefix.join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
    }

    #[test]
    fn finds_the_newest_of_each_and_skips_shims() {
        let root = tempfile::tempdir().unwrap();
        let home = fs::canonicalize(root.path()).unwrap();
        let versions = home.join(".pyenv/versions");
        for (version, minor) in [("3.11.4", "3.11"), ("3.11.12", "3.11"), ("3.9.1", "3.9")] {
            install(
                &versions.join(version),
                &format!("python{minor}"),
                b"\x7fELF...",
                &[
                    (&format!("lib/python{minor}/os.py"), ""),
                    (
                        &format!("include/python{minor}/patchlevel.h"),
                        &format!("#define PY_VERSION      \"{version}\"\n"),
                    ),
                ],
            );
        }
        install(&home.join(".nvm/versions/node/v22.1.0"), "node", b"\x7fELF...", &[]);
        let system = home.join("shims");
        install(&system, "python3.8", b"#!/bin/sh\n", &[]);
        let search =
            SearchPaths { homes: vec![home.clone()], system: vec![system.join("bin")], prefixes: vec![] };
        let probe = |program: &Path| program.ends_with("node").then(|| "v22.1.0\n".to_owned());
        let table = discover(&search, &probe);
        let found: Vec<(&str, &str, &str)> = table
            .installed
            .values()
            .map(|runtime| {
                (runtime.identifier.as_str(), runtime.version.as_str(), runtime.command[0].as_str())
            })
            .collect();
        assert_eq!(
            found,
            [
                ("nodejs22.x", "22.1.0", "/var/lang/bin/node"),
                ("python3.11", "3.11.12", "/var/lang/bin/python3.11"),
                ("python3.9", "3.9.1", "/var/lang/bin/python3.9"),
            ]
        );
        assert_eq!(table.installed["python3.11"].prefix, Some(versions.join("3.11.12")));
    }
}
