//! The command line: what can be typed, with help that teaches. Turned into work by `commands`.

use clap::{Args, Parser, Subcommand};
use std::path::PathBuf;

/// Own your serverless: run AWS Lambda functions on this machine, behind a real wall, without Docker.
///
/// One program: `serve` is the platform; the other commands talk to it, as does any AWS client through
/// AWS_ENDPOINT_URL.
#[derive(Debug, Parser)]
#[command(
    name = "lamplight",
    version,
    propagate_version = true,
    after_help = "Start here:\n  \
        sudo lamplight quickstart           see it work in a minute\n  \
        sudo lamplight serve                run the platform\n  \
        lamplight deploy ./my-function      put a folder or ZIP on it\n  \
        lamplight invoke my-function '{}'   call it\n\n\
        Exit status: 0 done, 1 the function failed, 2 usage or host, 3 no server answers."
)]
pub struct Arguments {
    #[command(flatten)]
    pub global: Global,
    #[command(subcommand)]
    pub command: Option<Command>,
}

/// Flags every command takes.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Common options")]
pub struct Global {
    /// Write JSON for programs instead of text for people.
    #[arg(long, global = true)]
    pub json: bool,
    /// Server to talk to [default: $LAMPLIGHT_ENDPOINT, $AWS_ENDPOINT_URL, http://127.0.0.1:9000].
    #[arg(long, global = true, value_name = "URL")]
    pub endpoint: Option<String>,
    /// Region whose functions are meant [default: $LAMPLIGHT_REGION, $AWS_REGION, $AWS_DEFAULT_REGION, us-east-1].
    #[arg(long, global = true, value_name = "NAME")]
    pub region: Option<String>,
    /// Configuration file of the server [default: /etc/lamplight/config.toml, $XDG_CONFIG_HOME/lamplight/config.toml].
    #[arg(long, global = true, value_name = "FILE", env = "LAMPLIGHT_CONFIG")]
    pub config: Option<PathBuf>,
    /// Where the server keeps everything [default: /var/lib/lamplight as root, else $XDG_DATA_HOME/lamplight].
    #[arg(long, global = true, value_name = "DIRECTORY")]
    pub data_dir: Option<PathBuf>,
    /// Print the configuration that results from defaults, file, LAMPLIGHT_* variables and flags, and stop.
    #[arg(long, global = true)]
    pub dump_config: bool,
}

#[derive(Debug, Clone, Subcommand)]
pub enum Command {
    /// Run the platform on this machine (as root).
    Serve(Serve),
    /// Check this host, start a server, deploy the example, call it, show the bill (as root).
    Quickstart(Quickstart),
    /// Create or update a function from a folder or ZIP.
    Deploy(Deploy),
    /// Copy a function with its layers, versions and aliases from AWS, or from any endpoint that answers like it.
    Import(Import),
    /// Call a function.
    Invoke(Invoke),
    /// Show what a function wrote.
    Logs(Logs),
    /// List the functions of the region.
    List,
    /// Show one function.
    Get(Named),
    /// Delete a function, or one version of it.
    Delete(Delete),
    /// Show the last calls of a function: how each found its instance, and where the time of a cold start went.
    Invocations(Invocations),
    /// Show where asynchronous events are, and send those again that were given up.
    #[command(subcommand)]
    Events(Events),
    /// Show what the functions used and what it cost.
    Usage(Usage),
    /// Make and manage access keys: who signs requests to function URLs and APIs that ask for AWS_IAM.
    #[command(subcommand)]
    Key(Key),
    /// Say which interpreters run which runtimes.
    #[command(subcommand)]
    Runtime(Runtime),
    /// Make Lamplight a service of systemd on this machine, and start it (as root).
    Install(Install),
    /// Take the service away again; the data stays unless --data is given (as root).
    Uninstall(Uninstall),
    /// Write everything the server keeps to one file, while it runs (as root).
    Backup(Backup),
    /// Make an empty data directory what it was when a backup was made (as root).
    Restore(Restore),
    /// The part of backup and restore that runs as the server's user.
    #[command(hide = true)]
    AsDaemon {
        /// Which way.
        direction: crate::backup::Direction,
    },
    /// Show what this host offers, and the command that gets what is missing.
    Doctor,
    /// Print a completion script for a shell.
    ///
    /// For example: lamplight completion bash > /etc/bash_completion.d/lamplight
    Completion {
        /// The shell.
        shell: clap_complete::Shell,
    },
}

#[derive(Debug, Clone, Args, Default)]
pub struct Serve {
    /// Loopback address and port of the API [default: 127.0.0.1:9000]. Port 0 takes a free one.
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub listen: Option<String>,
    /// Address and port of a listener for function URLs and APIs only, which may be public; without it they share the API's.
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub gateway_listen: Option<String>,
    /// Filter of the server's own log, e.g. debug or lamplight_pool=debug,info.
    #[arg(long, value_name = "FILTER")]
    pub log: Option<String>,
    /// Write the server's own log as JSON.
    #[arg(long)]
    pub log_json: bool,
    /// On SIGTERM, let running invocations finish for so many seconds.
    #[arg(long, value_name = "SECONDS")]
    pub drain_seconds: Option<String>,
    /// Stop when the process that started this one ends, however it ends.
    #[arg(long, hide = true)]
    pub end_with_parent: bool,
}

#[derive(Debug, Clone, Args)]
pub struct Quickstart {
    /// Loopback address and port of the API; without it 127.0.0.1:9000 or, if that is taken, a free port.
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub listen: Option<String>,
    /// End after the calls; status 0 only if every answer was right.
    #[arg(long)]
    pub once: bool,
}

#[derive(Debug, Clone, Args)]
#[command(after_help = "Examples:\n  \
    lamplight deploy ./orders\n  \
    lamplight deploy ./orders --runtime python3.11 --handler app.handler --memory 256 --timeout 10\n  \
    lamplight deploy function.zip --name orders --env STAGE=test --env LIMIT=10\n  \
    lamplight deploy ./notes --file-system notes:/mnt/notes\n\n\
    With requirements.txt, pip installs into the package; with package.json, npm does. A handler is looked \
    for in lambda_function.py, app.py, main.py, index.mjs, index.js and the like; an executable named \
    bootstrap makes a custom runtime.")]
pub struct Deploy {
    /// Folder to pack, or a ZIP.
    pub path: PathBuf,
    /// Function name [default: the folder's or file's name].
    #[arg(long)]
    pub name: Option<String>,
    /// Runtime, e.g. python3.11, nodejs20.x, provided.al2023 [default: from the files].
    #[arg(long)]
    pub runtime: Option<String>,
    /// Handler, e.g. app.handler [default: from the files].
    #[arg(long)]
    pub handler: Option<String>,
    /// Memory, MiB: 128 to 10240; 1769 MiB buy one whole processor.
    #[arg(long, value_name = "MIB")]
    pub memory: Option<u32>,
    /// Longest run, seconds: 1 to 900.
    #[arg(long, value_name = "SECONDS")]
    pub timeout: Option<u32>,
    /// Size of /tmp, MiB: 512 to 10240.
    #[arg(long, value_name = "MIB")]
    pub ephemeral_storage: Option<u32>,
    /// Environment variable; repeat for more. Given at all, they replace those the function has.
    #[arg(long = "env", value_name = "KEY=VALUE")]
    pub environment: Vec<String>,
    /// Role ARN the function runs as.
    #[arg(long, value_name = "ARN")]
    pub role: Option<String>,
    /// Durable directory of the platform and where the function sees it, e.g. notes:/mnt/notes.
    #[arg(long, value_name = "NAME:/mnt/PATH")]
    pub file_system: Vec<String>,
    /// Layer, in order; repeat for more. Given at all, they replace those the function has.
    #[arg(long = "layer", value_name = "NAME|NAME:VERSION|ARN")]
    pub layers: Vec<String>,
    /// Whether instances reach the public internet.
    #[arg(long, value_name = "on|off")]
    pub egress: Option<String>,
    /// Free text.
    #[arg(long)]
    pub description: Option<String>,
    /// Publish a numbered version as well.
    #[arg(long)]
    pub publish: bool,
    /// Give it a URL that everybody may call; --url=stream passes its answer on as it is written.
    #[arg(long, value_name = "buffered|stream", num_args = 0..=1, require_equals = true, default_missing_value = "buffered",
        value_parser = ["buffered", "stream"])]
    pub url: Option<String>,
    /// Pack the folder as it is: no pip, no npm.
    #[arg(long)]
    pub no_install: bool,
}

#[derive(Debug, Clone, Args)]
#[command(after_help = "Examples:\n  \
    lamplight invoke notes '{\"httpMethod\": \"GET\"}'\n  \
    lamplight invoke notes --file event.json --log\n  \
    cat event.json | lamplight invoke notes -\n  \
    lamplight invoke notes --event '{}'       (queued, answered at once, retried)")]
pub struct Invoke {
    /// Function: name, name:qualifier, or ARN.
    pub name: String,
    /// The event as JSON; - reads standard input [default: {}].
    pub payload: Option<String>,
    /// Read the event from a file.
    #[arg(long, value_name = "FILE", conflicts_with = "payload")]
    pub file: Option<PathBuf>,
    /// Version number or $LATEST.
    #[arg(long)]
    pub qualifier: Option<String>,
    /// Show the end of this call's log on standard error.
    #[arg(long)]
    pub log: bool,
    /// Queue the event and return at once.
    #[arg(long, conflicts_with_all = ["dry_run", "log"])]
    pub event: bool,
    /// Only check that the call would be allowed.
    #[arg(long, conflicts_with = "log")]
    pub dry_run: bool,
    /// Client context, JSON.
    #[arg(long, value_name = "JSON")]
    pub client_context: Option<String>,
}

#[derive(Debug, Clone, Args)]
#[command(after_help = "Examples:\n  \
    lamplight import --from-aws orders --from-region eu-west-1\n  \
    lamplight import --from-aws orders --endpoint-url http://127.0.0.1:9001 --name orders-copy\n\n\
    Credentials are taken from AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN. Versions that aliases name are \
    published anew and numbered anew; the aliases follow.")]
pub struct Import {
    /// Function there: name or ARN.
    #[arg(long, value_name = "NAME", required = true)]
    pub from_aws: String,
    /// Endpoint there [default: AWS's of the region].
    #[arg(long, value_name = "URL")]
    pub endpoint_url: Option<String>,
    /// Region there [default: the same as here].
    #[arg(long, value_name = "NAME")]
    pub from_region: Option<String>,
    /// Name here [default: the same].
    #[arg(long)]
    pub name: Option<String>,
}

#[derive(Debug, Clone, Args)]
pub struct Logs {
    /// Function name.
    pub name: String,
    /// Keep showing new lines until Ctrl-C.
    #[arg(long, short)]
    pub follow: bool,
    /// How far to look back: 30s, 10m, 2h, 7d.
    #[arg(long, value_name = "AGE", default_value = "1h")]
    pub since: String,
    /// Only lines that match a CloudWatch filter pattern.
    #[arg(long, value_name = "PATTERN")]
    pub filter: Option<String>,
}

#[derive(Debug, Clone, Args)]
pub struct Named {
    /// Function: name, name:qualifier, or ARN.
    pub name: String,
}

#[derive(Debug, Clone, Args)]
pub struct Delete {
    /// Function name.
    pub name: String,
    /// Delete only this published version.
    #[arg(long, value_name = "VERSION")]
    pub qualifier: Option<String>,
}

#[derive(Debug, Clone, Args)]
#[command(after_help = "Examples:\n  \
    lamplight invocations orders\n  \
    lamplight invocations orders --cold --limit 100\n\n\
    START says how the call found its instance: warm (an idle or provisioned one), blank (a waiting interpreter \
    became it), zygote (a fork of a prepared one), version-zygote (a fork of one that has imported the handler), \
    from-nothing. QUEUE is the wait for room, the rest the parts of \
    the start.")]
pub struct Invocations {
    /// Function name.
    pub name: String,
    /// Only calls that waited for a start.
    #[arg(long)]
    pub cold: bool,
    /// How many of the last calls to look at: 1 to 1000.
    #[arg(long, value_name = "NUMBER", default_value_t = 20, value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub limit: u16,
}

#[derive(Debug, Clone, Subcommand)]
#[command(after_help = "Examples:\n  \
    lamplight events list\n  \
    lamplight events list import --state dead-lettered --since 1d\n  \
    lamplight events show 7f0b3a53-5f0c-4a55-9a52-0d9a6f7f1b11\n  \
    lamplight events redrive --function import --condition RetriesExhausted --dry-run\n  \
    lamplight events redrive --queue import-failures")]
pub enum Events {
    /// List events that wait, run or were given up, newest first.
    List(EventList),
    /// Show one request: where it is, its payload, and every attempt.
    Show {
        /// Request id, as in the answer's header and in the log.
        request_id: String,
    },
    /// List what runs on this node now, events and synchronous calls, with their instances; the longest first.
    Running {
        /// Only this function.
        name: Option<String>,
        /// How many: 1 to 1000.
        #[arg(long, value_name = "NUMBER", default_value_t = 50, value_parser = clap::value_parser!(u16).range(1..=1000))]
        limit: u16,
    },
    /// Count per function what was accepted, is done, was given up, and is pending.
    Counts {
        /// Only this function.
        name: Option<String>,
    },
    /// Send events again that were given up.
    #[command(after_help = "Examples:\n  \
        lamplight events redrive 7f0b3a53-5f0c-4a55-9a52-0d9a6f7f1b11\n  \
        lamplight events redrive --function import --since 2h\n  \
        lamplight events redrive --queue import-failures --dry-run\n\n\
        An event keeps its request id and its story, and is tried as a new one. From a queue, messages of a dead letter \
        queue and records of failures (OnFailure) are taken; a message is deleted when its event is durable. What is \
        neither stays in the queue and is named; the status is then 1.")]
    Redrive(Redrive),
}

#[derive(Debug, Clone, Args)]
pub struct EventList {
    /// Only events of this function.
    pub name: Option<String>,
    /// Only events in this state.
    #[arg(long, value_parser = ["waiting", "running", "dead-lettered"])]
    pub state: Option<String>,
    /// Only dead letters of this condition, e.g. RetriesExhausted.
    #[arg(long)]
    pub condition: Option<String>,
    /// Only events accepted since: an age (30m, 7d) or a date (2026-01-31).
    #[arg(long, value_name = "AGE|DATE")]
    pub since: Option<String>,
    /// Only events accepted until then.
    #[arg(long, value_name = "AGE|DATE")]
    pub until: Option<String>,
    /// How many: 1 to 1000.
    #[arg(long, value_name = "NUMBER", default_value_t = 50, value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub limit: u16,
}

#[derive(Debug, Clone, Args)]
pub struct Redrive {
    /// Request ids.
    #[arg(conflicts_with_all = ["function", "queue"])]
    pub request_ids: Vec<String>,
    /// All dead letters of this function; with --queue, whose event a message is that does not say it.
    #[arg(long, value_name = "NAME")]
    pub function: Option<String>,
    /// The letters in this queue: its name or ARN.
    #[arg(long, value_name = "NAME")]
    pub queue: Option<String>,
    /// Only dead letters of this condition.
    #[arg(long, conflicts_with_all = ["queue", "request_ids"])]
    pub condition: Option<String>,
    /// Only events accepted since: an age (30m, 7d) or a date (2026-01-31).
    #[arg(long, value_name = "AGE|DATE", conflicts_with_all = ["queue", "request_ids"])]
    pub since: Option<String>,
    /// Only events accepted until then.
    #[arg(long, value_name = "AGE|DATE", conflicts_with_all = ["queue", "request_ids"])]
    pub until: Option<String>,
    /// Only say what would be sent.
    #[arg(long)]
    pub dry_run: bool,
}

#[derive(Debug, Clone, Args)]
pub struct Usage {
    /// Only this function.
    pub name: Option<String>,
    /// How far to look back: 1h, 7d, 30d; or a date, 2026-01-31.
    #[arg(long, value_name = "AGE|DATE")]
    pub since: Option<String>,
    /// A row per calendar day (UTC).
    #[arg(long)]
    pub by_day: bool,
}

#[derive(Debug, Clone, Args)]
#[command(after_help = "Examples:\n  \
    sudo lamplight install\n  \
    lamplight install --dry-run          what it would do\n  \
    lamplight install --print            the unit file\n\n\
    It can be given again, as after an upgrade: what is done already stays, the new program is started. The configuration \
    file is written once and is yours from then on.")]
pub struct Install {
    /// Only print the unit file.
    #[arg(long, conflicts_with = "dry_run")]
    pub print: bool,
    /// Only say what would be done.
    #[arg(long)]
    pub dry_run: bool,
    /// Do not start the service now.
    #[arg(long)]
    pub no_start: bool,
    /// Install into the file system of another machine, beneath this directory; nothing is started.
    #[arg(long, value_name = "DIRECTORY")]
    pub root: Option<PathBuf>,
}

#[derive(Debug, Clone, Args)]
pub struct Uninstall {
    /// Remove functions, logs, objects, the key and the configuration, too. There is no way back.
    #[arg(long)]
    pub data: bool,
    /// Only say what would be done.
    #[arg(long)]
    pub dry_run: bool,
    /// Uninstall from beneath this directory.
    #[arg(long, value_name = "DIRECTORY")]
    pub root: Option<PathBuf>,
}

#[derive(Debug, Clone, Args)]
#[command(after_help = "Example:\n  \
    sudo lamplight backup /var/backups/lamplight-$(date +%F).tar.gz\n\n\
    In it: functions, versions, layers, aliases and all other configuration, waiting events, objects, logs, the ledger, \
    and the key of the environment values: keep the file as you keep the server. Every database is copied at one moment, \
    with the files its rows name. Not in it: directories that functions mount at /mnt, and this host's table of runtimes.")]
pub struct Backup {
    /// File to write, e.g. lamplight.tar.gz; it must not be there yet.
    pub file: PathBuf,
}

#[derive(Debug, Clone, Args)]
#[command(after_help = "Example:\n  \
    sudo lamplight restore /var/backups/lamplight-2026-01-31.tar.gz --data-dir /var/lib/lamplight\n\n\
    Every file is compared with its checksum before the first one gets its place; when one is wrong, nothing is restored.")]
pub struct Restore {
    /// File that `lamplight backup` wrote.
    pub file: PathBuf,
}

#[derive(Debug, Clone, Subcommand)]
pub enum Key {
    /// Make a key. Its secret is shown this once.
    #[command(after_help = "Examples:\n  \
        lamplight key create --name ann\n  \
        lamplight key create --name web --policy invoke-only\n  \
        lamplight key create --name web --policy ./policy.json\n\n\
        Policies: all (manage and call everything; the default), invoke-only (call functions, their URLs and APIs), \
        none (only what the resource policy of a function allows the user), or a file with an IAM policy document.")]
    Create {
        /// User whom the key stands for; users are made by naming them.
        #[arg(long, default_value = "default")]
        name: String,
        /// What the key may: all, invoke-only, none, or a file.
        #[arg(long, default_value = "all", value_name = "POLICY")]
        policy: String,
    },
    /// List the keys, and when each was last used.
    List,
    /// Delete a key: what it signs is refused from now on.
    Delete {
        /// Id of the key, AKIA...
        id: String,
    },
    /// Refuse what a key signs, until it is enabled again.
    Disable {
        /// Id of the key, AKIA...
        id: String,
    },
    /// Let a key sign again.
    Enable {
        /// Id of the key, AKIA...
        id: String,
    },
}

#[derive(Debug, Clone, Subcommand)]
pub enum Runtime {
    /// List what runs here.
    List,
    /// Name an interpreter for a runtime (as root).
    #[command(after_help = "Example: sudo lamplight runtime add python3.13 /opt/python3.13/bin/python3.13")]
    Add {
        /// Runtime identifier, e.g. python3.13 or nodejs22.x.
        identifier: String,
        /// The interpreter.
        path: PathBuf,
    },
    /// Let a runtime that is absent run on another one, at your own risk (as root).
    #[command(after_help = "Example: sudo lamplight runtime alias python3.13=python3.11")]
    Alias {
        /// WANTED=INSTALLED
        pair: String,
    },
}
