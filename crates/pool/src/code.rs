//! What a version runs, in the words of the sandbox: package, what was compiled of it, layers; and the command.

use crate::environment::EXEC_WRAPPER;
use crate::external;
use crate::plan::{BOOTSTRAP, RuntimePlan};
use crate::pool::Pool;
use lamplight_model::managed_runtime::RuntimeFamily;
use lamplight_model::{CodeDigest, FunctionVersion};
use lamplight_runtime::managed::sized_command;
use lamplight_sandbox::Code;
use lamplight_store::StoreError;
use std::sync::Arc;

impl Pool {
    /// A version's package and layers, unpacked; and what was compiled of the package, if it was.
    ///
    /// Fails when one of them is not to be had.
    pub(crate) async fn code_of(
        self: &Arc<Self>,
        version: &FunctionVersion,
        plan: &RuntimePlan,
    ) -> Result<Code, StoreError> {
        let package = self.code.unpacked(&version.code).await?;
        let mut layers = Vec::with_capacity(version.layers.len());
        for layer in layers_of(version) {
            layers.push(self.code.unpacked(layer).await?);
        }
        Ok(Code { package, compiled: self.compiled(version, plan), layers })
    }

    /// The external extensions of a version whose layers are unpacked, by name. Nothing is looked for without layers.
    pub(crate) fn external_extensions(&self, version: &FunctionVersion) -> Vec<String> {
        external::names(layers_of(version).map(|layer| self.code.file_names(layer, external::DIRECTORY)))
    }

    /// The command of an instance that is started from nothing, once its code is unpacked.
    pub(crate) fn command_of(&self, version: &FunctionVersion, plan: &RuntimePlan) -> Vec<String> {
        command(version, plan, |package| self.code.has_file(package, BOOTSTRAP))
    }
}

/// A version's layers in order, without those that one of the same archive covers: the kernel refuses to lay a directory over
/// itself.
pub(crate) fn layers_of(version: &FunctionVersion) -> impl Iterator<Item = &CodeDigest> {
    version.layers.iter().enumerate().filter_map(|(at, layer)| {
        let covered = version.layers[at + 1..].iter().any(|above| above.code == layer.code);
        (!covered).then_some(&layer.code)
    })
}

/// The bootstrap of a package or else of a layer; or the interpreter, behind the wrapper that the function names.
fn command(
    version: &FunctionVersion,
    plan: &RuntimePlan,
    brings_bootstrap: impl Fn(&CodeDigest) -> bool,
) -> Vec<String> {
    if plan.family == RuntimeFamily::Provided {
        // A wrapper is nothing to it: its own program is the first that runs.
        let in_a_layer = || version.layers.iter().any(|layer| brings_bootstrap(&layer.code));
        if !brings_bootstrap(&version.code) && in_a_layer() {
            return vec![format!("/opt/{BOOTSTRAP}")];
        }
        return plan.command.clone();
    }
    let command = sized_command(&plan.command, plan.family, version.memory_mib);
    let wrapper = version.environment.as_ref().and_then(|variables| variables.get(EXEC_WRAPPER));
    match wrapper.filter(|wrapper| !wrapper.is_empty()) {
        Some(wrapper) => RuntimePlan::wrapped(wrapper, command),
        None => command,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::version;
    use lamplight_model::AttachedLayer;

    fn layer(byte: u8) -> AttachedLayer {
        AttachedLayer { arn: String::new(), code: CodeDigest::from_bytes(&[byte; 32]), code_size_bytes: 1 }
    }

    #[test]
    fn one_archive_is_mounted_once() {
        let mut version = version("hello", "python3.13");
        let check = |version: &FunctionVersion, expected: &[u8]| {
            let expected: Vec<_> = expected.iter().map(|byte| CodeDigest::from_bytes(&[*byte; 32])).collect();
            assert!(layers_of(version).eq(&expected), "{:?}", version.layers);
        };
        check(&version, &[]);
        version.layers = [1, 2, 3].map(layer).into();
        check(&version, &[1, 2, 3]);
        version.layers = [1, 2, 1, 3, 3].map(layer).into();
        check(&version, &[2, 1, 3]);
    }

    fn check(version: &FunctionVersion, plan: &RuntimePlan, with_bootstrap: &[u8], expected: &[&str]) {
        let with_bootstrap: Vec<_> =
            with_bootstrap.iter().map(|byte| CodeDigest::from_bytes(&[*byte; 32])).collect();
        assert_eq!(command(version, plan, |package| with_bootstrap.contains(package)), expected);
    }

    #[test]
    fn where_a_bootstrap_is() {
        let mut version = version("hello", "provided.al2023");
        version.code = CodeDigest::from_bytes(&[1; 32]);
        version.environment = Some([(EXEC_WRAPPER.to_owned(), "/opt/wrapper".to_owned())].into());
        version.layers = vec![layer(2), layer(3)];
        let plan = RuntimePlan::provided("provided.al2023");
        check(&version, &plan, &[1, 2], &["/var/task/bootstrap"]);
        check(&version, &plan, &[2], &["/opt/bootstrap"]);
        check(&version, &plan, &[3], &["/opt/bootstrap"]);
        check(&version, &plan, &[], &["/var/task/bootstrap"]);
    }

    #[test]
    fn what_is_wrapped() {
        let mut version = version("hello", "python3.13");
        let interpreter = ["/var/lang/bin/python3.13", "/var/runtime/bootstrap.py"];
        let plan = RuntimePlan::managed("python3.13", interpreter.map(str::to_owned).into(), "3.13.1");
        check(&version, &plan, &[], &interpreter);
        version.environment = Some([(EXEC_WRAPPER.to_owned(), String::new())].into());
        check(&version, &plan, &[], &interpreter);
        version.environment = Some([(EXEC_WRAPPER.to_owned(), "/opt/wrapper".to_owned())].into());
        let wrapped = command(&version, &plan, |_| false);
        assert_eq!(wrapped[..2], ["/bin/sh", "-c"]);
        assert_eq!(wrapped[3..], ["/opt/wrapper", interpreter[0], interpreter[1]]);
    }
}
