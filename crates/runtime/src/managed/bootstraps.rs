//! Our bootstraps, embedded so that the binary is self-contained.

use lamplight_model::managed_runtime::RuntimeFamily;

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

/// All files. Each family's directory is mounted at `/var/runtime`.
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
            family: RuntimeFamily::Node,
            directory: "node",
            name: "bootstrap.cjs",
            content: include_bytes!("../../bootstraps/node/bootstrap.cjs"),
        },
    ]
}
