//! Lamplight, the program: reads the command line and the configuration, does the command, tells the end.
//!
//! `serve` opens the parts and wires them (`server`); the other commands are clients of a running server.

mod backup;
mod cli;
mod client;
mod commands;
mod config;
mod doctor;
mod failure;
mod import;
mod install;
mod output;
mod package;
mod quickstart;
mod server;

use clap::Parser as _;
use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments = cli::Arguments::parse();
    let json = arguments.global.json;
    match commands::run(arguments) {
        Ok(code) => ExitCode::from(code),
        Err(failure) => {
            if json {
                output::remark(failure.json().to_string());
            } else {
                output::remark(failure.text().trim_end());
            }
            ExitCode::from(failure.status.code())
        }
    }
}
