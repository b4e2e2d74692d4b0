//! The real Python bootstrap under the real interpreter, driven through the real conversation.

mod common;

use common::{Bootstrap, check_invoke};

const RUNTIME: &str = "python";

#[tokio::test]
async fn returns_what_the_handler_returns() {
    let code = "def handler(event, context):\n    return {'got': event, 'é': [1, 2.5, None, True]}\n";
    check_invoke(
        RUNTIME,
        code,
        "app.handler",
        r#"{"a":1}"#,
        r#"response {"got": {"a": 1}, "\u00e9": [1, 2.5, null, true]}"#,
    )
    .await;
}

#[tokio::test]
async fn the_context_is_lambdas() {
    let code = "def handler(event, context):\n    left = context.get_remaining_time_in_millis()\n    return [context.function_name, context.function_version, context.memory_limit_in_mb, context.aws_request_id, context.invoked_function_arn, 0 < left <= 3000, context.client_context.custom['x'], context.log_group_name]\n";
    check_invoke(
        RUNTIME,
        code,
        "app.handler",
        "null",
        r#"response ["hello", "$LATEST", "128", "00000000-0000-0000-0000-000000000001", "arn:aws:lambda:us-east-1:000000000000:function:hello", true, "y", "/aws/lambda/hello"]"#,
    )
    .await;
}

#[tokio::test]
async fn an_exception_becomes_the_error_document() {
    let code = "def handler(event, context):\n    raise ValueError('boom')\n";
    check_invoke(
        RUNTIME,
        code,
        "app.handler",
        "{}",
        r#"error ValueError {"errorMessage": "boom", "errorType": "ValueError", "requestId": "00000000-0000-0000-0000-000000000001", "stackTrace": ["  File \"CODE/app.py\", line 2, in handler\n    raise ValueError('boom')\n"]}"#,
    )
    .await;
}

#[tokio::test]
async fn what_lambda_reports_per_invocation() {
    let good = "def handler(event, context):\n    return {1, 2}\n";
    check_invoke(RUNTIME, good, "nope.handler", "{}", r#"error Runtime.ImportModuleError {"errorMessage": "Unable to import module 'nope': No module named 'nope'", "errorType": "Runtime.ImportModuleError", "requestId": "00000000-0000-0000-0000-000000000001", "stackTrace": []}"#).await;
    check_invoke(RUNTIME, good, "app.nope", "{}", r#"error Runtime.HandlerNotFound {"errorMessage": "Handler 'nope' missing on module 'app'", "errorType": "Runtime.HandlerNotFound", "requestId": "00000000-0000-0000-0000-000000000001", "stackTrace": []}"#).await;
    check_invoke(RUNTIME, good, "handler", "{}", r#"error Runtime.MalformedHandlerName {"errorMessage": "Bad handler 'handler': not enough values to unpack (expected 2, got 1)", "errorType": "Runtime.MalformedHandlerName", "requestId": "00000000-0000-0000-0000-000000000001", "stackTrace": []}"#).await;
    check_invoke(RUNTIME, good, "app.handler", "{}", r#"error Runtime.MarshalError {"errorMessage": "Unable to marshal response: Object of type set is not JSON serializable", "errorType": "Runtime.MarshalError", "requestId": "00000000-0000-0000-0000-000000000001", "stackTrace": []}"#).await;
    check_invoke(RUNTIME, good, "app.handler", "{nonsense", r#"error Runtime.UnmarshalError {"errorMessage": "Unable to unmarshal input: Expecting property name enclosed in double quotes: line 1 column 2 (char 1)", "errorType": "Runtime.UnmarshalError", "requestId": "00000000-0000-0000-0000-000000000001", "stackTrace": []}"#).await;
    check_invoke(RUNTIME, "def handler(:\n", "app.handler", "{}", r#"error Runtime.UserCodeSyntaxError {"errorMessage": "Syntax error in module 'app': invalid syntax (app.py, line 1)", "errorType": "Runtime.UserCodeSyntaxError", "requestId": "00000000-0000-0000-0000-000000000001", "stackTrace": ["  File \"CODE/app.py\" Line 1\n    def handler(:\n"]}"#).await;
}

#[tokio::test]
async fn a_failing_import_is_a_failed_init() {
    let mut bootstrap = Bootstrap::start(RUNTIME, "raise RuntimeError('at import')\n", "app.handler");
    let text = bootstrap.init_failure().await;
    assert!(
        text.starts_with(
            r#"RuntimeError {"errorMessage": "at import", "errorType": "RuntimeError", "requestId": """#
        ),
        "{text}"
    );
    assert_eq!(bootstrap.exit_code().await, Some(1));
}

#[tokio::test]
async fn exit_in_the_handler_ends_the_process() {
    let mut bootstrap = Bootstrap::start(
        RUNTIME,
        "import sys\ndef handler(event, context):\n    print('bye'); sys.exit(3)\n",
        "app.handler",
    );
    bootstrap.ready().await;
    assert_eq!(bootstrap.invoke("{}").await, "closed");
    assert_eq!(bootstrap.exit_code().await, Some(3));
}

#[tokio::test]
async fn prints_and_log_records_come_in_order_and_whole() {
    let code = "import logging\nlogging.getLogger().setLevel('INFO')\ndef handler(event, context):\n    print('one'); logging.info('two\\nlines'); print('three', end='')\n    logging.getLogger('x').error('four')\n";
    let mut bootstrap = Bootstrap::start(RUNTIME, code, "app.handler");
    bootstrap.ready().await;
    assert_eq!(bootstrap.invoke("{}").await, "response null");
    let logs = bootstrap.logs();
    assert_eq!(logs.len(), 4, "{logs:?}");
    assert_eq!(logs[0], "one\n");
    assert!(
        logs[1].starts_with("[INFO]\t20")
            && logs[1].ends_with("Z\t00000000-0000-0000-0000-000000000001\ttwo\nlines\n"),
        "{logs:?}"
    );
    assert_eq!(logs[2], "three");
    assert!(logs[3].ends_with("\tfour\n"), "{logs:?}");
}

#[tokio::test]
async fn one_instance_serves_many_events_and_large_ones() {
    let code = "count = 0\ndef handler(event, context):\n    global count\n    count += 1\n    return [count, len(event)] if isinstance(event, str) else 'x' * event\n";
    let mut bootstrap = Bootstrap::start(RUNTIME, code, "app.handler");
    bootstrap.ready().await;
    let large = format!("\"{}\"", "a".repeat(5_000_000));
    assert_eq!(bootstrap.invoke(&large).await, "response [1, 5000000]");
    assert_eq!(bootstrap.invoke("\"b\"").await, "response [2, 1]");
    assert!(
        bootstrap
            .invoke("7000000")
            .await
            .starts_with("too large {\"errorType\":\"Function.ResponseSizeTooLarge\"")
    );
    assert_eq!(bootstrap.invoke("\"c\"").await, "response [4, 1]");
}

#[tokio::test]
async fn a_forked_child_does_not_disturb_the_frames() {
    let code = "import os\ndef handler(event, context):\n    pid = os.fork()\n    if pid == 0:\n        print('child'); os._exit(0)\n    os.waitpid(pid, 0)\n    return 'parent'\n";
    check_invoke(RUNTIME, code, "app.handler", "{}", r#"response "parent""#).await;
}
