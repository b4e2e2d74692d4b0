//! Pid 1 of a sandbox: starts the command and its companions, reaps everything, reports how they ended.
//!
//! It has no capability and the same system call filter as what it started. When it ends, the kernel kills
//! whatever is left in its pid namespace.

use super::message::{InitRequest, ShellNotice};
use super::mounts::{Doing, Failure};
use super::nest::CHILDREN_OF_A_ZYGOTE;
use super::shell::Command;
use super::{channel, sys};
use crate::spec::Limits;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use rustix::fs::{Mode, OFlags};
use rustix::net::{AddressFamily, SocketFlags, SocketType};
use rustix::process::{Pid, Signal, WaitOptions};

/// Descriptor of the frame socket in the command.
pub const FRAMES_DESCRIPTOR: i32 = 3;
/// What must not be overwritten while descriptors are put in place is moved here and beyond.
const FIRST_HIGH_DESCRIPTOR: i32 = 10;

/// Everything it takes to start the command.
pub struct Waiting {
    /// The command.
    pub command: Command,
    /// Its limits.
    pub limits: Limits,
    /// Its stdout and stderr.
    pub output: OwnedFd,
    /// Its descriptor 3.
    pub third: Option<OwnedFd>,
}

impl Waiting {
    /// Starts it. Fails when it cannot be executed, with the operating system's reason.
    pub fn start(self) -> Result<Pid, Failure> {
        start_command(&self.command, self.limits, self.output, self.third)
    }
}

/// What an init has started, or will.
#[derive(Default)]
pub struct Children {
    /// The process whose end is the end of the command, once it is there.
    command: Option<Pid>,
    /// The command, until it is let go.
    waiting: Option<Box<Waiting>>,
    /// What runs beside it; why, when it does not.
    companions: Vec<Result<Pid, String>>,
}

impl Children {
    /// A command that runs.
    pub fn of(command: Pid) -> Self {
        Self { command: Some(command), ..Self::default() }
    }

    /// Starts companions; the command waits.
    pub fn behind(waiting: Waiting, companions: &[Command], output: &OwnedFd) -> Result<Self, Failure> {
        let mut started = Vec::with_capacity(companions.len());
        for companion in companions {
            let output = output.try_clone().doing(|| "copy an output pipe".to_owned())?;
            let child = start_command(companion, waiting.limits, output, None);
            started.push(child.map_err(|failure| failure.message));
        }
        Ok(Self { command: None, waiting: Some(Box::new(waiting)), companions: started })
    }

    /// Descriptors that the command will need.
    pub fn descriptors(&self) -> impl Iterator<Item = i32> {
        let waiting = self.waiting.iter();
        waiting.flat_map(|waiting| {
            std::iter::once(waiting.output.as_raw_fd()).chain(waiting.third.as_ref().map(AsRawFd::as_raw_fd))
        })
    }
}

/// Forks and executes a program. Fails when it cannot be executed, with the operating system's reason.
fn start_command(
    command: &Command,
    limits: Limits,
    output: OwnedFd,
    frames: Option<OwnedFd>,
) -> Result<Pid, Failure> {
    let (failure_reader, writer) =
        rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).doing(|| "make a pipe".to_owned())?;
    // An init that has closed what is not its own is given low numbers, over which the child puts its own descriptors.
    let failure_writer = rustix::io::fcntl_dupfd_cloexec(&writer, FIRST_HIGH_DESCRIPTOR)
        .doing(|| "copy a descriptor".to_owned())?;
    // The reader sees the end only when every copy is gone.
    drop(writer);
    match sys::fork().doing(|| "start a process".to_owned())? {
        None => {
            let error = become_command(command, limits, &output, frames.as_ref());
            let code = error.raw_os_error().unwrap_or(libc::EIO);
            let _ = rustix::io::write(&failure_writer, &code.to_ne_bytes());
            sys::exit_now(127)
        }
        Some(pid) => {
            drop((failure_writer, output, frames));
            let mut code = [0_u8; 4];
            // Closed by a successful exec, written to by a failed one.
            match rustix::io::read(&failure_reader, &mut code) {
                Ok(4) => {
                    let _ = rustix::process::waitpid(Some(pid), WaitOptions::empty());
                    let error = std::io::Error::from_raw_os_error(i32::from_ne_bytes(code));
                    Err(Failure {
                        step: format!("start {}", command.program.to_string_lossy()),
                        message: error.to_string(),
                        invalid: true,
                    })
                }
                _ => Ok(pid),
            }
        }
    }
}

/// In the child: descriptors, limits, directory, exec. Returns only when one of them failed.
fn become_command(
    command: &Command,
    limits: Limits,
    output: &OwnedFd,
    frames: Option<&OwnedFd>,
) -> std::io::Error {
    let prepare = || -> std::io::Result<()> {
        sys::reset_signals();
        let _ = rustix::process::setsid();
        // The frame socket first: copies that sit on 0 to 3 must not be overwritten before they are used.
        let high =
            |descriptor: BorrowedFd<'_>| rustix::io::fcntl_dupfd_cloexec(descriptor, FIRST_HIGH_DESCRIPTOR);
        // The first copy is closed at once: in an init without standard descriptors it is one of these, and closing it later
        // would close what was put there.
        let null = {
            let null = rustix::fs::open("/dev/null", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
            high(null.as_fd())?
        };
        let output = high(output.as_fd())?;
        let frames = frames.map(|frames| high(frames.as_fd())).transpose()?;
        sys::duplicate_onto(null.as_fd(), 0)?;
        sys::duplicate_onto(output.as_fd(), 1)?;
        sys::duplicate_onto(output.as_fd(), 2)?;
        if let Some(frames) = &frames {
            sys::duplicate_onto(frames.as_fd(), FRAMES_DESCRIPTOR)?;
        }
        sys::set_resource_limit(libc::RLIMIT_NOFILE, u64::from(limits.open_files))?;
        // 1 is the one value that also keeps a piped core_pattern from running a helper on the host (core(5)).
        sys::set_resource_limit(libc::RLIMIT_CORE, 1)?;
        sys::set_resource_limit(libc::RLIMIT_MEMLOCK, 64 * 1024)?;
        // Counted for the owner of the user namespace too, whom all children of a zygote share; it may have the whole.
        for (limit, resource) in [
            (libc::RLIMIT_SIGPENDING, rustix::process::Resource::Sigpending),
            (libc::RLIMIT_MSGQUEUE, rustix::process::Resource::Msgqueue),
        ] {
            let whole = rustix::process::getrlimit(resource).current.unwrap_or(u64::from(u32::MAX));
            sys::set_resource_limit(limit, whole / u64::from(CHILDREN_OF_A_ZYGOTE))?;
        }
        let _ = std::fs::write("/proc/self/oom_score_adj", "500");
        rustix::process::chdir(command.directory)?;
        // The failure pipe must live until the exec; nothing but the standard descriptors and the frame
        // socket may live beyond it.
        let last = if frames.is_some() { FRAMES_DESCRIPTOR } else { FRAMES_DESCRIPTOR - 1 };
        sys::close_on_exec_from(last.unsigned_abs() + 1)
    };
    if let Err(error) = prepare() {
        return error;
    }
    sys::exec(&command.program, &command.arguments, &command.environment)
}

/// Processes that may end before the daemon says which of them is the command: a nest's is adopted right after it came.
const EARLY_ENDS: usize = 16;

/// Reaps and obeys until the daemon lets go of the control socket. Gives the status to exit with.
///
/// Without a command one is adopted later.
pub fn reap_until_the_end(control: BorrowedFd<'_>, signals: BorrowedFd<'_>, mut children: Children) -> i32 {
    let mut early = Vec::new();
    // What cannot be told has no owner any more, which the next look at the socket finds.
    let tell = |notice: &ShellNotice| {
        let _ = channel::send(control, notice, &[]);
    };
    for (index, companion) in children.companions.iter().enumerate() {
        if let Err(message) = companion {
            tell(&ShellNotice::CompanionNotStarted { index, message: message.clone() });
        }
    }
    loop {
        let mut watched = [PollFd::new(&control, PollFlags::IN), PollFd::new(&signals, PollFlags::IN)];
        if poll(&mut watched, None).is_err() {
            continue;
        }
        let spoken_to = !watched[0].revents().is_empty();
        while let Some(signal) = sys::read_signal(signals) {
            if signal == libc::SIGTERM {
                terminate(children.command);
            }
        }
        while let Some((pid, status)) = sys::reap_one() {
            let companion = children.companions.iter().position(|companion| *companion == Ok(pid));
            if Some(pid) == children.command {
                // Its number may be another process's from now on.
                children.command = None;
                tell(&exited(status));
            } else if let Some(index) = companion {
                let (status, signal) = (status.exit_status(), status.terminating_signal());
                tell(&ShellNotice::CompanionExited { index, status, signal });
            } else if children.command.is_none() && early.len() < EARLY_ENDS {
                early.push((pid, status));
            }
        }
        if spoken_to {
            match channel::receive_now::<InitRequest>(control) {
                Ok(Some((InitRequest::Adopt { pid }, _))) => {
                    children.command = children.command.or(Pid::from_raw(pid));
                    let ended = early.drain(..).find(|(pid, _)| Some(*pid) == children.command);
                    ended.into_iter().for_each(|(_, status)| tell(&exited(status)));
                }
                Ok(Some((InitRequest::Begin, _))) => {
                    match children.waiting.take().map(|waiting| waiting.start()) {
                        Some(Ok(command)) => {
                            children.command = Some(command);
                            tell(&ShellNotice::Begun);
                        }
                        Some(Err(Failure { step, message, invalid })) => {
                            tell(&ShellNotice::NotBegun { step, message, invalid });
                        }
                        None => {}
                    }
                }
                Ok(Some((InitRequest::Terminate, _))) => terminate(children.command),
                Ok(Some((InitRequest::Socket, _))) => match stream_socket() {
                    Ok(socket) => {
                        let _ = channel::send(control, &ShellNotice::Socket, &[socket.as_fd()]);
                    }
                    Err(error) => tell(&ShellNotice::NoSocket { message: error.to_string() }),
                },
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                // Closed: the sandbox has no owner any more.
                Ok(None) | Err(_) => return 0,
            }
        }
    }
}

fn stream_socket() -> rustix::io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    rustix::net::socket_with(AddressFamily::INET, SocketType::STREAM, flags, None)
}

fn exited(status: rustix::process::WaitStatus) -> ShellNotice {
    ShellNotice::Exited { status: status.exit_status(), signal: status.terminating_signal() }
}

fn terminate(command: Option<Pid>) {
    if let Some(command) = command {
        let _ = rustix::process::kill_process(command, Signal::TERM);
    }
}
