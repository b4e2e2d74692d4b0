//! One command, one file. `run` turns parsed arguments into work and gives the exit status.

mod deploy;
mod events;
mod functions;
mod invocations;
mod invoke;
mod key;
mod logs;
mod runtime;
mod usage;

pub use deploy::{FunctionSettings, deploy_package};

use crate::cli::{Arguments, Command, Global};
use crate::client::Client;
use crate::config::{self, Config, Layers};
use crate::failure::Failure;
use crate::{backup, doctor, import, install, output, quickstart, server};
use clap::CommandFactory as _;

/// Does what was asked. The exit status of a success is 0, of a function that failed 1.
pub fn run(arguments: Arguments) -> Result<u8, Failure> {
    let Arguments { global, command } = arguments;
    if global.dump_config {
        let config = configuration(&global, command.as_ref())?;
        output::raw(config.to_toml()?.as_bytes());
        return Ok(0);
    }
    let Some(command) = command else {
        output::raw(Arguments::command().render_help().to_string().as_bytes());
        return Ok(2);
    };
    match &command {
        Command::Serve(flags) => {
            if flags.end_with_parent {
                server::end_with_parent()?;
            }
            let config = configuration(&global, Some(&command))?;
            let (global, again) = (global.clone(), command.clone());
            server::serve(config, Box::new(move || configuration(&global, Some(&again))))
        }
        Command::Quickstart(flags) => {
            quickstart::run(&global, flags, configuration(&global, Some(&command))?)
        }
        Command::Install(flags) => install::install(&global, flags, &configuration(&global, None)?),
        Command::Uninstall(flags) => install::uninstall(&global, flags, &configuration(&global, None)?),
        Command::Backup(flags) => {
            backup::backup(global.json, &configuration(&global, None)?.data_dir, &flags.file)
        }
        Command::Restore(flags) => {
            let config = configuration(&global, None)?;
            backup::restore(global.json, &config.data_dir, config.first_uid, &flags.file)
        }
        Command::AsDaemon { direction } => match &global.data_dir {
            // It reads no configuration: its user may not.
            Some(directory) => backup::run_as_daemon(*direction, directory),
            None => Err(Failure::usage("as-daemon is a part of backup and restore")),
        },
        Command::Doctor => doctor::run(&global, &configuration(&global, None)?),
        Command::Completion { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(*shell, &mut Arguments::command(), "lamplight", &mut script);
            output::raw(&script);
            Ok(0)
        }
        Command::Key(flags) => with_client(&global, async |client| key::run(&global, client, flags).await),
        Command::Runtime(flags) => runtime::run(&global, flags),
        Command::Deploy(flags) => {
            with_client(&global, async |client| deploy::run(&global, client, flags).await)
        }
        Command::Import(flags) => {
            with_client(&global, async |client| import::run(&global, client, flags).await)
        }
        Command::Invoke(flags) => {
            with_client(&global, async |client| invoke::run(&global, client, flags).await)
        }
        Command::Logs(flags) => with_client(&global, async |client| logs::run(&global, client, flags).await),
        Command::List => with_client(&global, async |client| functions::list(&global, client).await),
        Command::Get(flags) => {
            with_client(&global, async |client| functions::get(&global, client, flags).await)
        }
        Command::Delete(flags) => with_client(&global, async |client| functions::delete(client, flags).await),
        Command::Invocations(flags) => {
            with_client(&global, async |client| invocations::run(&global, client, flags).await)
        }
        Command::Events(flags) => {
            with_client(&global, async |client| events::run(&global, client, flags).await)
        }
        Command::Usage(flags) => {
            with_client(&global, async |client| usage::run(&global, client, flags).await)
        }
    }
}

/// The server's configuration from file, environment and the flags of `command`.
pub fn configuration(global: &Global, command: Option<&Command>) -> Result<Config, Failure> {
    let mut flags = Vec::new();
    let mut add = |key: &'static str, value: Option<String>| flags.extend(value.map(|value| (key, value)));
    add("data_dir", global.data_dir.as_ref().map(|path| path.display().to_string()));
    match command {
        Some(Command::Serve(serve)) => {
            add("listen", serve.listen.clone());
            add("gateway.listen", serve.gateway_listen.clone());
            add("log", serve.log.clone());
            add("log_json", serve.log_json.then(|| "true".to_owned()));
            add("drain_seconds", serve.drain_seconds.clone());
        }
        Some(Command::Quickstart(quickstart)) => add("listen", quickstart.listen.clone()),
        _ => {}
    }
    let mut config = config::load(&Layers::collect(global.config.as_deref(), flags)?)?;
    if let Ok(absolute) = std::path::absolute(&config.data_dir) {
        config.data_dir = absolute;
    }
    Ok(config)
}

/// Runs a client command.
fn with_client(
    global: &Global,
    command: impl AsyncFnOnce(&Client) -> Result<u8, Failure>,
) -> Result<u8, Failure> {
    with_answer(global, command)
}

/// Runs work with a client, on a small runtime of its own.
fn with_answer<T>(
    global: &Global,
    command: impl AsyncFnOnce(&Client) -> Result<T, Failure>,
) -> Result<T, Failure> {
    let client = Client::from_flags(global)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::usage("failed to start").because(error))?;
    runtime.block_on(command(&client))
}
