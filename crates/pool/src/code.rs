//! What a version runs, in the words of the sandbox: package, what was compiled of it, layers; and the command.

use crate::environment::EXEC_WRAPPER;
use crate::plan::{BOOTSTRAP, RuntimePlan};
use crate::pool::Pool;
use lamplight_model::FunctionVersion;
use lamplight_model::managed_runtime::RuntimeFamily;
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
        for layer in &version.layers {
            layers.push(self.code.unpacked(&layer.code).await?);
        }
        Ok(Code { package, compiled: self.compiled(version, plan), layers })
    }

    /// The command of an instance that is started from nothing, once its code is unpacked.
    pub(crate) fn command_of(&self, version: &FunctionVersion, plan: &RuntimePlan) -> Vec<String> {
        match plan.family {
            RuntimeFamily::Provided => {
                let brings_one = |digest| self.code.has_file(digest, BOOTSTRAP);
                let in_a_layer = || version.layers.iter().any(|layer| brings_one(&layer.code));
                if !brings_one(&version.code) && in_a_layer() {
                    return vec![format!("/opt/{BOOTSTRAP}")];
                }
                plan.command.clone()
            }
            // OS-only runtimes know no wrapper: their own program is the first that runs.
            RuntimeFamily::Python | RuntimeFamily::Node | RuntimeFamily::Unserved => {
                let command = sized_command(&plan.command, plan.family, version.memory_mib);
                let wrapper = version.environment.as_ref().and_then(|variables| variables.get(EXEC_WRAPPER));
                match wrapper.filter(|wrapper| !wrapper.is_empty() && !wrapper.contains('\0')) {
                    Some(wrapper) => RuntimePlan::wrapped(wrapper, command),
                    None => command,
                }
            }
        }
    }
}
