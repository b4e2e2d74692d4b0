//! Starts one of our bootstraps as a plain process with a socket as descriptor 3, no wall around it.

#![allow(dead_code)] // Not every test file uses all of it.

use bytes::Bytes;
use lamplight_model::RequestId;
use lamplight_runtime::managed::{COMPILE_BOOTSTRAP, bootstraps};
use lamplight_runtime::{
    AnswerLimits, AnswerSink, Conversation, ConversationError, Event, Init, LogRecord, Reply, StreamLimits,
};
use rustix::fd::AsFd as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::sync::{mpsc, oneshot};

pub struct Bootstrap {
    child: Child,
    conversation: Conversation,
    logs: mpsc::Receiver<LogRecord>,
    code: tempfile::TempDir,
    _compiled: tempfile::TempDir,
}

impl Drop for Bootstrap {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Bootstrap {
    /// `files` is the source of the one module `app.py` or `index.mjs`.
    pub fn start(runtime: &str, source: &str, handler: &str) -> Self {
        Self::start_with(
            runtime,
            &[(if runtime.starts_with("python") { "app.py" } else { "index.mjs" }, source)],
            handler,
            &[],
        )
    }

    pub fn start_with(
        runtime: &str,
        files: &[(&str, &str)],
        handler: &str,
        environment: &[(&str, &str)],
    ) -> Self {
        let named = [
            ("_HANDLER", handler),
            ("AWS_LAMBDA_FUNCTION_NAME", "hello"),
            ("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST"),
            ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "128"),
            ("AWS_LAMBDA_LOG_GROUP_NAME", "/aws/lambda/hello"),
        ];
        Self::spawn(runtime, None, files, &[&named, environment].concat(), Conversation::frames)
    }

    /// One of the host's interpreters rather than the first on the path.
    pub fn with_interpreter(runtime: &str, program: &Path, files: &[(&str, &str)], handler: &str) -> Self {
        let environment = [("_HANDLER", handler), ("AWS_LAMBDA_FUNCTION_NAME", "hello")];
        Self::spawn(runtime, Some(program), files, &environment, Conversation::frames)
    }

    /// An interpreter that belongs to no function yet.
    pub fn blank(runtime: &str, files: &[(&str, &str)]) -> Self {
        Self::spawn(runtime, None, files, &[], Conversation::blank)
    }

    pub async fn specialise(&mut self, environment: &[(&str, &str)]) {
        self.conversation.first_word().await.unwrap();
        let environment =
            environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        self.conversation.tell(&Init { environment }).await.unwrap();
        self.conversation.begin().await.unwrap();
    }

    fn spawn(
        runtime: &str,
        program: Option<&Path>,
        files: &[(&str, &str)],
        environment: &[(&str, &str)],
        converse: fn(UnixStream) -> std::io::Result<Conversation>,
    ) -> Self {
        let code = tempfile::tempdir().unwrap();
        for (name, source) in files {
            let path = code.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, source).unwrap();
        }
        let (ours, theirs) = UnixStream::pair().unwrap();
        let bootstraps = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("bootstraps");
        let compiled = tempfile::tempdir().unwrap();
        let python = || interpreter("python3", &["-c", "import sys; print(sys.executable)"]);
        let (found, script) = match runtime {
            // As servers run it, with the interpreter's own byte code.
            "python" => {
                let found = python();
                compile_bootstrap(program.unwrap_or(Path::new(&found)), compiled.path());
                (found, compiled.path().join("bootstrap.pyc"))
            }
            "python without byte code" => (python(), bootstraps.join("python/bootstrap.py")),
            _ => (interpreter("node", &["-p", "process.execPath"]), bootstraps.join("node/bootstrap.cjs")),
        };
        let options: &[&str] = if runtime.starts_with("python") { &["-S"] } else { &[] };
        // A shell moves the socket to descriptor 3; the standard library has no safe way to name it.
        let mut command = Command::new("sh");
        command
            .args(["-c", "exec 3<&0 0</dev/null; exec \"$@\"", "sh"])
            .arg(program.unwrap_or(Path::new(&found)))
            .args(options)
            .arg(script)
            .stdin(theirs.as_fd().try_clone_to_owned().unwrap())
            .current_dir(code.path())
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .env("LAMBDA_TASK_ROOT", code.path())
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .envs(environment.iter().copied());
        let child = command.spawn().unwrap();
        drop(theirs);
        let mut conversation = converse(ours).unwrap();
        let logs = conversation.take_logs().unwrap();
        Self { child, conversation, logs, code, _compiled: compiled }
    }

    pub async fn ready(&mut self) {
        self.conversation.ready().await.unwrap();
    }

    /// The init failure as `<type> <document>`.
    pub async fn init_failure(&mut self) -> String {
        match self.conversation.ready().await {
            Err(ConversationError::Init(failure)) => {
                format!("{} {}", failure.error_type, self.plain(&failure.document))
            }
            other => panic!("{other:?}"),
        }
    }

    fn plain(&self, bytes: &[u8]) -> String {
        let code = std::fs::canonicalize(self.code.path()).unwrap();
        String::from_utf8_lossy(bytes).replace(code.to_str().unwrap(), "CODE")
    }

    /// What came of one event: `response <body>`, `stream [<content type>] <body>`, `[<body>]error <type> <document>`
    /// or `closed`.
    pub async fn invoke(&mut self, payload: &str) -> String {
        self.invoke_for(payload, Duration::ZERO).await
    }

    /// As [`invoke`](Self::invoke), for a caller that takes a piece of a stream only every 20 ms.
    pub async fn invoke_slowly(&mut self, payload: &str) -> String {
        self.invoke_for(payload, Duration::from_millis(20)).await
    }

    async fn invoke_for(&mut self, payload: &str, pause: Duration) -> String {
        let (body, mut pieces) = mpsc::channel::<Bytes>(4);
        let (content_type, named) = oneshot::channel::<Option<String>>();
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        let event = Event {
            request_id: RequestId(uuid::Uuid::from_u128(1)),
            deadline_ms: i64::try_from(now.as_millis()).unwrap() + 3000,
            invoked_arn: "arn:aws:lambda:us-east-1:000000000000:function:hello".to_owned(),
            trace_header: Some("Root=1-2-3".to_owned()),
            client_context: Some(r#"{"custom":{"x":"y"}}"#.to_owned()),
            tenant_id: None,
            payload: Bytes::copy_from_slice(payload.as_bytes()),
        };
        let collect = async {
            let mut collected = Vec::new();
            while let Some(piece) = pieces.recv().await {
                collected.extend_from_slice(&piece);
                tokio::time::sleep(pause).await;
            }
            collected
        };
        let invoke = self.conversation.invoke(event, AnswerSink { body, content_type }, limits());
        let (reply, body) = tokio::join!(invoke, collect);
        let body = self.plain(&body);
        match reply {
            Ok(Reply::Response { streamed: false }) => format!("response {body}"),
            Ok(Reply::Response { streamed: true }) => {
                format!("stream [{}] {body}", named.await.unwrap().unwrap_or_default())
            }
            Ok(Reply::Error { error_type, document }) => {
                format!("{body}error {error_type} {}", self.plain(&document))
            }
            Err(ConversationError::Closed) => "closed".to_owned(),
            Err(error) => panic!("{error}"),
        }
    }

    /// As [`invoke`](Self::invoke), reading log events meanwhile, as an owner does.
    pub async fn invoke_and_log(&mut self, payload: &str) -> (String, Vec<String>) {
        let (_, nothing) = mpsc::channel(1);
        let mut receiver = std::mem::replace(&mut self.logs, nothing);
        let mut texts = Vec::new();
        let answer = {
            let invoke = self.invoke(payload);
            tokio::pin!(invoke);
            loop {
                tokio::select! {
                    biased;
                    Some(record) = receiver.recv() => texts.push(record.text),
                    answer = &mut invoke => break answer,
                }
            }
        };
        self.logs = receiver;
        texts.extend(self.logs());
        (answer, texts)
    }

    /// The log events that have come so far.
    pub fn logs(&mut self) -> Vec<String> {
        std::iter::from_fn(|| self.logs.try_recv().ok()).map(|record| record.text).collect()
    }

    pub async fn exit_code(&mut self) -> Option<i32> {
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code();
            }
            tokio::task::yield_now().await;
        }
    }
}

/// Lambda's.
fn limits() -> AnswerLimits {
    AnswerLimits { buffered_bytes: 6_291_556, stream: StreamLimits::default() }
}

/// The real binary behind a version manager's shim.
fn interpreter(name: &str, arguments: &[&str]) -> String {
    let output = Command::new(name).args(arguments).output().unwrap();
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// What a server does with our bootstrap and an interpreter it finds.
fn compile_bootstrap(python: &Path, target: &Path) {
    use std::io::Write as _;
    let sources: Vec<_> = bootstraps().iter().filter(|file| file.directory == "python").collect();
    let mut child = Command::new(python)
        .args(["-I", "-S", "-c", COMPILE_BOOTSTRAP])
        .args(sources.iter().flat_map(|file| [file.name.to_owned(), file.content.len().to_string()]))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = child.stdin.take().unwrap();
    sources.iter().for_each(|file| input.write_all(file.content).unwrap());
    drop(input);
    let output = child.wait_with_output().unwrap().stdout;
    let mut rest = output.as_slice();
    for file in sources {
        let (length, after) = rest.split_first_chunk::<4>().unwrap();
        let (byte_code, after) = after.split_at(u32::from_be_bytes(*length) as usize);
        std::fs::write(target.join(format!("{}c", file.name)), byte_code).unwrap();
        rest = after;
    }
}

/// One event on a fresh runtime; `expected` in the form of [`Bootstrap::invoke`].
pub async fn check_invoke(runtime: &str, source: &str, handler: &str, payload: &str, expected: &str) {
    let mut bootstrap = Bootstrap::start(runtime, source, handler);
    bootstrap.ready().await;
    assert_eq!(bootstrap.invoke(payload).await, expected);
}
