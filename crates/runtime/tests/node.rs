//! The real Node.js bootstrap under the real interpreter, driven through the real conversation.
#![allow(clippy::unwrap_used)] // Helpers of tests are tests, too.

mod common;

use common::{Bootstrap, check_invoke};

const RUNTIME: &str = "node";

#[tokio::test]
async fn async_handlers_and_their_context() {
    let code = "export const handler = async (event, context) => ({ event, name: context.functionName, id: context.awsRequestId, left: context.getRemainingTimeInMillis() > 0, custom: context.clientContext.custom.x, trace: process.env._X_AMZN_TRACE_ID });";
    check_invoke(RUNTIME, code, "index.handler", r#"{"a":1}"#, r#"response {"event":{"a":1},"name":"hello","id":"00000000-0000-0000-0000-000000000001","left":true,"custom":"y","trace":"Root=1-2-3"}"#).await;
    check_invoke(RUNTIME, "export const handler = async () => {};", "index.handler", "{}", "response null")
        .await;
}

#[tokio::test]
async fn callback_handlers_wait_for_the_empty_loop() {
    let code = "let later = 'no'; export const handler = (event, context, callback) => { setTimeout(() => { later = 'yes'; }, 30); callback(null, { get when() { return later; } }); };";
    check_invoke(RUNTIME, code, "index.handler", "{}", r#"response {"when":"yes"}"#).await;
    let code = "export const handler = (event, context, callback) => { context.callbackWaitsForEmptyEventLoop = false; setTimeout(() => {}, 60000).unref(); callback(null, 'now'); };";
    check_invoke(RUNTIME, code, "index.handler", "{}", r#"response "now""#).await;
    let code = "export const handler = (event, context, callback) => { callback(new TypeError('no')); };";
    let mut bootstrap = Bootstrap::start(RUNTIME, code, "index.handler");
    bootstrap.ready().await;
    let answer = bootstrap.invoke("{}").await;
    assert!(answer.starts_with(r#"error TypeError {"errorType":"TypeError","errorMessage":"no","trace":["TypeError: no","    at "#), "{answer}");
    check_invoke(RUNTIME, "export const handler = () => {};", "index.handler", "{}", "response null").await;
}

#[tokio::test]
async fn commonjs_nested_and_dotted_handlers() {
    let files = [
        ("lib/deep.js", "exports.a = { b: async () => require('./other') };"),
        ("lib/other.js", "module.exports = 'other';"),
    ];
    let mut bootstrap = Bootstrap::start_with(RUNTIME, &files, "lib/deep.a.b", &[]);
    bootstrap.ready().await;
    assert_eq!(bootstrap.invoke("{}").await, r#"response "other""#);
    let files = [
        ("package.json", r#"{"type":"module"}"#),
        ("index.js", "export const handler = async () => import.meta.url.slice(0, 8);"),
    ];
    let mut bootstrap = Bootstrap::start_with(RUNTIME, &files, "index.handler", &[]);
    bootstrap.ready().await;
    assert_eq!(bootstrap.invoke("{}").await, r#"response "file:///""#);
}

#[tokio::test]
async fn errors_are_documents_and_lines() {
    let code = "export const handler = async () => { throw new RangeError('boom'); };";
    let mut bootstrap = Bootstrap::start(RUNTIME, code, "index.handler");
    bootstrap.ready().await;
    let answer = bootstrap.invoke("{}").await;
    assert!(answer.starts_with(r#"error RangeError {"errorType":"RangeError","errorMessage":"boom","trace":["RangeError: boom","    at "#), "{answer}");
    assert!(answer.contains("CODE/index.mjs:1:44") && !answer.contains("bootstrap.cjs"), "{answer}");
    let logs = bootstrap.logs();
    assert!(
        logs[0].contains(
            "\t00000000-0000-0000-0000-000000000001\tERROR\tInvoke Error \t{\"errorType\":\"RangeError\""
        ),
        "{logs:?}"
    );
    assert_eq!(bootstrap.invoke("{").await.split(' ').nth(1), Some("SyntaxError"));
}

#[tokio::test]
async fn failed_inits_are_named() {
    for (code, handler, expected) in [
        (
            "throw new Error('at import');",
            "index.handler",
            r#"Error {"errorType":"Error","errorMessage":"at import""#,
        ),
        (
            "export const other = 1;",
            "index.handler",
            r#"Runtime.HandlerNotFound {"errorType":"Runtime.HandlerNotFound","errorMessage":"index.handler is undefined or not exported""#,
        ),
        (
            "export const handler = 1;",
            "index.handler",
            r#"Runtime.HandlerNotFound {"errorType":"Runtime.HandlerNotFound","errorMessage":"index.handler is not a function""#,
        ),
        (
            "",
            "nope.handler",
            r#"Runtime.ImportModuleError {"errorType":"Runtime.ImportModuleError","errorMessage":"Error: Cannot find module 'nope'"#,
        ),
        (
            "import 'nowhere';",
            "index.handler",
            r#"Runtime.ImportModuleError {"errorType":"Runtime.ImportModuleError","errorMessage":"Error [ERR_MODULE_NOT_FOUND]: Cannot find package 'nowhere'"#,
        ),
        (
            "const = ;",
            "index.handler",
            r#"Runtime.UserCodeSyntaxError {"errorType":"Runtime.UserCodeSyntaxError","errorMessage":"SyntaxError: "#,
        ),
        (
            "",
            "handler",
            r#"Runtime.MalformedHandlerName {"errorType":"Runtime.MalformedHandlerName","errorMessage":"Bad handler""#,
        ),
    ] {
        let mut bootstrap = Bootstrap::start(RUNTIME, code, handler);
        let failure = bootstrap.init_failure().await;
        assert!(failure.starts_with(expected), "{failure}");
        assert_eq!(bootstrap.exit_code().await, Some(129));
    }
}

#[tokio::test]
async fn unhandled_rejections_and_exceptions_end_the_process() {
    let code = "export const handler = () => new Promise(() => { Promise.reject(new Error('lost')); });";
    let mut bootstrap = Bootstrap::start(RUNTIME, code, "index.handler");
    bootstrap.ready().await;
    let answer = bootstrap.invoke("{}").await;
    assert!(answer.starts_with(r#"error Runtime.UnhandledPromiseRejection {"errorType":"Runtime.UnhandledPromiseRejection","errorMessage":"Error: lost""#), "{answer}");
    assert_eq!(bootstrap.exit_code().await, Some(128));
    let code = "export const handler = () => new Promise(() => { setTimeout(() => { throw new Error('late'); }, 1); });";
    let mut bootstrap = Bootstrap::start(RUNTIME, code, "index.handler");
    bootstrap.ready().await;
    assert!(
        bootstrap.invoke("{}").await.starts_with(r#"error Error {"errorType":"Error","errorMessage":"late""#)
    );
    assert_eq!(bootstrap.exit_code().await, Some(129));
    let mut bootstrap = Bootstrap::start(
        RUNTIME,
        "export const handler = async () => { process.exit(7); };",
        "index.handler",
    );
    bootstrap.ready().await;
    assert_eq!(bootstrap.invoke("{}").await, "closed");
    assert_eq!(bootstrap.exit_code().await, Some(7));
}

#[tokio::test]
async fn streams_are_sent_as_they_are_written() {
    let code = "export const handler = awslambda.streamifyResponse(async (event, stream) => { stream.setContentType('text/plain'); stream.write('one '); await new Promise((r) => setTimeout(r, 5)); stream.write('two'); stream.end(); });";
    check_invoke(RUNTIME, code, "index.handler", "{}", "stream [text/plain] one two").await;
    let code = "export const handler = awslambda.streamifyResponse(async (event, stream) => { stream = awslambda.HttpResponseStream.from(stream, { statusCode: 201 }); stream.write('body'); stream.end(); });";
    check_invoke(RUNTIME, code, "index.handler", "{}", "stream [application/vnd.awslambda.http-integration-response] {\"statusCode\":201}\0\0\0\0\0\0\0\0body").await;
    let code = "export const handler = awslambda.streamifyResponse(async (event, stream) => { stream.write('some'); await new Promise((r) => setTimeout(r, 5)); throw new Error('middle'); });";
    check_broken(code, "someerror Error {\"errorType\":\"Error\",\"errorMessage\":\"middle\"").await;
    // What was written before the failure comes before it, however much still waits.
    let code = "export const handler = awslambda.streamifyResponse(async (event, stream) => { for (let i = 0; i < 40; i++) stream.write('x'.repeat(65536)); throw new Error('at once'); });";
    check_broken(
        code,
        &("x".repeat(40 * 65_536) + "error Error {\"errorType\":\"Error\",\"errorMessage\":\"at once\""),
    )
    .await;
    let code =
        "export const handler = awslambda.streamifyResponse(async () => { throw new Error('before'); });";
    check_broken(code, "error Error {\"errorType\":\"Error\",\"errorMessage\":\"before\"").await;
}

async fn check_broken(code: &str, expected: &str) {
    let mut bootstrap = Bootstrap::start(RUNTIME, code, "index.handler");
    bootstrap.ready().await;
    for _ in 0..2 {
        let answer = bootstrap.invoke("{}").await;
        let beginning: String = answer.chars().take(expected.len()).collect();
        assert!(beginning == expected, "{} characters: ...{}", answer.len(), &answer[answer.len() - 300..]);
    }
}

/// A caller that reads slowly makes `write` return false and `drain` wait; the event loop goes on meanwhile, and what
/// is logged in between does not get into the middle of a piece.
#[tokio::test]
async fn a_slow_caller_holds_the_stream_up_and_not_the_process() {
    let code = "export const handler = awslambda.streamifyResponse(async (event, stream) => { let turns = 0; const timer = setInterval(() => { turns++; console.log('turn'); }, 1); let waited = 0; for (let i = 0; i < 64; i++) { if (!stream.write('x'.repeat(65536))) { const before = turns; await new Promise((resolve) => stream.once('drain', resolve)); if (turns > before + 5) waited++; } } clearInterval(timer); stream.end(waited > 0 ? ' went on' : ' stood still'); });";
    let mut bootstrap = Bootstrap::start(RUNTIME, code, "index.handler");
    bootstrap.ready().await;
    for _ in 0..2 {
        let answer = bootstrap.invoke_slowly("{}").await;
        assert!(answer.ends_with("xx went on"), "...{}", &answer[answer.len() - 100..]);
        assert_eq!(answer.matches('x').count(), 64 * 65_536);
        assert!(bootstrap.logs().iter().all(|line| line.ends_with("\tINFO\tturn\n")));
    }
}

#[tokio::test]
async fn console_lines_carry_time_id_and_level() {
    let code = "console.log('init'); export const handler = async () => { console.log('a %d', 1, { b: 2 }); console.error('two\\nlines'); return 'x'.repeat(3000000).length; };";
    let mut bootstrap = Bootstrap::start(RUNTIME, code, "index.handler");
    bootstrap.ready().await;
    assert_eq!(bootstrap.invoke("{}").await, "response 3000000");
    assert_eq!(bootstrap.invoke(&format!("\"{}\"", "x".repeat(5_000_000))).await, "response 3000000");
    let logs = bootstrap.logs();
    assert!(logs[0].ends_with("Z\tundefined\tINFO\tinit\n"), "{logs:?}");
    assert!(logs[1].ends_with("Z\t00000000-0000-0000-0000-000000000001\tINFO\ta 1 { b: 2 }\n"), "{logs:?}");
    assert!(logs[2].ends_with("\tERROR\ttwo\nlines\n"), "{logs:?}");
}

#[tokio::test]
async fn children_do_not_inherit_the_conversation() {
    let code = "import { execFileSync } from 'node:child_process'; export const handler = async () => execFileSync('/bin/sh', ['-c', 'test -e /proc/self/fd/3 && echo open || echo closed']).toString();";
    check_invoke(RUNTIME, code, "index.handler", "{}", r#"response "closed\n""#).await;
}

#[tokio::test]
async fn a_blank_becomes_the_function_it_is_told() {
    let code = "export const handler = async (event, context) => [process.env.MINE, context.functionName];";
    let mut bootstrap = Bootstrap::blank(RUNTIME, &[("index.mjs", code)]);
    bootstrap
        .specialise(&[("_HANDLER", "index.handler"), ("MINE", "é"), ("AWS_LAMBDA_FUNCTION_NAME", "late")])
        .await;
    bootstrap.ready().await;
    assert_eq!(bootstrap.invoke("{}").await, r#"response ["é","late"]"#);
}

#[tokio::test]
async fn json_logs_are_one_object_a_record() {
    let code = "export const handler = async () => { console.info({ a: 1 }); console.debug('hidden'); console.error(new TypeError('bad')); };";
    let environment = [("AWS_LAMBDA_LOG_FORMAT", "JSON"), ("AWS_LAMBDA_LOG_LEVEL", "INFO")];
    let mut bootstrap = Bootstrap::start_with(RUNTIME, &[("index.mjs", code)], "index.handler", &environment);
    bootstrap.ready().await;
    assert_eq!(bootstrap.invoke("{}").await, "response null");
    let logs: Vec<serde_json::Value> =
        bootstrap.logs().iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(logs.len(), 2, "{logs:?}");
    assert_eq!(logs[0]["message"], serde_json::json!({"a": 1}));
    assert_eq!(
        (&logs[0]["level"], &logs[0]["requestId"]),
        (&"INFO".into(), &"00000000-0000-0000-0000-000000000001".into())
    );
    assert_eq!((&logs[1]["level"], &logs[1]["message"]["errorType"]), (&"ERROR".into(), &"TypeError".into()));
}

#[tokio::test]
async fn an_error_larger_than_a_frame_is_cut_not_fatal() {
    let code = "export const handler = async (event) => { if (event) throw new Error('x'.repeat(3000000)); return 'alive'; };";
    let mut bootstrap = Bootstrap::start(RUNTIME, code, "index.handler");
    bootstrap.ready().await;
    let answer = bootstrap.invoke("1").await;
    assert!(answer.starts_with("error Error {\"errorType\":\"Error\",\"errorMessage\":\"xxxx"));
    assert!(answer.len() < 300_000);
    assert_eq!(bootstrap.invoke("0").await, r#"response "alive""#);
}

/// More than the socket and the queue hold: the function waits for its owner, and no line is lost.
#[tokio::test]
async fn a_function_that_logs_a_lot_loses_nothing() {
    let code = "export const handler = async () => { for (let i = 0; i < 20000; i++) console.log(i, 'x'.repeat(100)); };";
    let mut bootstrap = Bootstrap::start(RUNTIME, code, "index.handler");
    bootstrap.ready().await;
    let (answer, logs) = bootstrap.invoke_and_log("{}").await;
    assert_eq!(answer, "response null");
    assert_eq!(logs.len(), 20000);
    assert!(logs[19_999].contains("\tINFO\t19999 xxx"), "{}", logs[19_999]);
}
