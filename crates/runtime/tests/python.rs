//! The real Python bootstrap under the real interpreter, driven through the real conversation.
#![allow(clippy::unwrap_used)] // Helpers of tests are tests, too.

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

/// What runs where an interpreter could not make byte code, and that functions cannot tell which it is.
#[tokio::test]
async fn source_and_byte_code_are_the_same_to_a_function() {
    let code = "import sys, logging\ndef handler(event, context):\n    main = sys.modules['__main__']\n    name = sys.argv[0].rsplit('/', 1)[1]\n    logging.warning('logged')\n    raise ValueError(main.COMPILED is event, name, main.__file__ == sys.argv[0])\n";
    let both = [(RUNTIME, "true"), ("python without byte code", "false")];
    for (runtime, compiled) in both {
        let mut bootstrap = Bootstrap::start(runtime, code, "app.handler");
        bootstrap.ready().await;
        let (answer, logs) = bootstrap.invoke_and_log(compiled).await;
        assert!(answer.contains(r#""errorMessage": "(True, 'bootstrap.py', True)""#), "{runtime}: {answer}");
        assert_eq!(answer.matches("File").count(), 1, "{runtime}: {answer}");
        assert!(logs.concat().contains("logged"), "{runtime}: {logs:?}");
    }
}

#[tokio::test]
async fn what_cannot_be_read_or_written_as_json() {
    let code = "def handler(event, context):\n    return {1, 2}\n";
    check_invoke(RUNTIME, code, "app.handler", "{}", r#"error Runtime.MarshalError {"errorMessage": "Unable to marshal response: Object of type set is not JSON serializable", "errorType": "Runtime.MarshalError", "requestId": "00000000-0000-0000-0000-000000000001", "stackTrace": []}"#).await;
    check_invoke(RUNTIME, code, "app.handler", "{nonsense", r#"error Runtime.UnmarshalError {"errorMessage": "Unable to unmarshal input: Expecting property name enclosed in double quotes: line 1 column 2 (char 1)", "errorType": "Runtime.UnmarshalError", "requestId": "00000000-0000-0000-0000-000000000001", "stackTrace": []}"#).await;
}

/// Decimals keep their digits (a DynamoDB item would otherwise change its numbers), bytes become text.
#[tokio::test]
async fn decimals_and_bytes_are_written_as_awss_runtime_does() {
    let code = "from decimal import Decimal\ndef handler(event, context):\n    if event: return b'\\x00raw\\xff'[1:4]\n    return {'n': [Decimal('5'), Decimal('5.10'), Decimal('12345678901234567890.123456789'), 7], 'b': b'text', 's': 'exact-0-'}\n";
    check_invoke(
        RUNTIME,
        code,
        "app.handler",
        "null",
        r#"response {"n": [5, 5.10, 12345678901234567890.123456789, 7], "b": "text", "s": "exact-0-"}"#,
    )
    .await;
    check_invoke(RUNTIME, code, "app.handler", "1", "response raw").await;
}

#[tokio::test]
async fn failed_inits_are_named() {
    let good = "def handler(event, context):\n    pass\n";
    for (code, handler, expected) in [
        (
            "raise RuntimeError('at import')\n",
            "app.handler",
            r#"RuntimeError {"errorMessage": "at import", "errorType": "RuntimeError", "requestId": "", "stackTrace": ["  File \"CODE/app.py\", line 1, in <module>\n    raise RuntimeError('at import')\n"]}"#,
        ),
        (
            good,
            "nope.handler",
            r#"Runtime.ImportModuleError {"errorMessage": "Unable to import module 'nope': No module named 'nope'", "errorType": "Runtime.ImportModuleError", "requestId": "", "stackTrace": []}"#,
        ),
        (
            "import nowhere\n",
            "app.handler",
            r#"Runtime.ImportModuleError {"errorMessage": "Unable to import module 'app': No module named 'nowhere'", "errorType": "Runtime.ImportModuleError", "requestId": "", "stackTrace": []}"#,
        ),
        (
            good,
            "app.nope",
            r#"Runtime.HandlerNotFound {"errorMessage": "Handler 'nope' missing on module 'app'", "errorType": "Runtime.HandlerNotFound", "requestId": "", "stackTrace": []}"#,
        ),
        (
            good,
            "handler",
            r#"Runtime.MalformedHandlerName {"errorMessage": "Bad handler 'handler': not enough values to unpack (expected 2, got 1)", "errorType": "Runtime.MalformedHandlerName", "requestId": "", "stackTrace": []}"#,
        ),
        (
            good,
            "sys.exit",
            r#"Runtime.BuiltInModuleConflict {"errorMessage": "Cannot use built-in module sys as a handler module", "errorType": "Runtime.BuiltInModuleConflict", "requestId": "", "stackTrace": []}"#,
        ),
        (
            "def handler(:\n",
            "app.handler",
            r#"Runtime.UserCodeSyntaxError {"errorMessage": "Syntax error in module 'app': invalid syntax (app.py, line 1)", "errorType": "Runtime.UserCodeSyntaxError", "requestId": "", "stackTrace": ["  File \"CODE/app.py\" Line 1\n    def handler(:\n"]}"#,
        ),
    ] {
        let mut bootstrap = Bootstrap::start(RUNTIME, code, handler);
        assert_eq!(bootstrap.init_failure().await, expected);
        assert_eq!(bootstrap.exit_code().await, Some(1));
        let logs = bootstrap.logs().concat();
        assert!(
            logs.starts_with("[ERROR] ") && logs.contains("\nTraceback (most recent call last):\n"),
            "{logs}"
        );
    }
}

#[tokio::test]
async fn an_error_larger_than_a_frame_is_cut_not_fatal() {
    let code =
        "def handler(event, context):\n    if event: raise ValueError('x' * 3000000)\n    return 'alive'\n";
    let mut bootstrap = Bootstrap::start(RUNTIME, code, "app.handler");
    bootstrap.ready().await;
    let answer = bootstrap.invoke("1").await;
    assert!(answer.starts_with("error ValueError {\"errorMessage\": \"xxxx") && answer.len() < 200_000);
    assert_eq!(bootstrap.invoke("0").await, r#"response "alive""#);
}

#[tokio::test]
async fn json_logs_are_one_object_a_record() {
    let code = "import logging\ndef handler(event, context):\n    log = logging.getLogger('my')\n    log.info({'a': 1}); log.debug('hidden'); log.warning('w', extra={'order': 5, 'who': object})\n    try: 1 / 0\n    except ZeroDivisionError: log.exception('bad')\n    raise KeyError('k')\n";
    let environment = [("AWS_LAMBDA_LOG_FORMAT", "JSON"), ("AWS_LAMBDA_LOG_LEVEL", "INFO")];
    let mut bootstrap = Bootstrap::start_with(RUNTIME, &[("app.py", code)], "app.handler", &environment);
    bootstrap.ready().await;
    bootstrap.invoke("{}").await;
    let logs: Vec<serde_json::Value> =
        bootstrap.logs().iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(logs.len(), 4, "{logs:?}");
    assert_eq!(logs[0]["message"], serde_json::json!({"a": 1}));
    assert_eq!(logs[0]["level"], "INFO");
    assert_eq!(logs[0]["logger"], "my");
    assert_eq!(logs[0]["requestId"], "00000000-0000-0000-0000-000000000001");
    assert_eq!((&logs[1]["order"], &logs[1]["who"]), (&5.into(), &"<class 'object'>".into()));
    assert_eq!(
        (&logs[2]["errorType"], &logs[2]["errorMessage"]),
        (&"ZeroDivisionError".into(), &"division by zero".into())
    );
    assert!(logs[2]["stackTrace"][0].as_str().unwrap().contains("1 / 0"));
    assert_eq!((&logs[3]["level"], &logs[3]["errorType"]), (&"ERROR".into(), &"KeyError".into()));
}

/// More than the queue holds: the function waits for its owner, and no line is lost.
#[tokio::test]
async fn a_function_that_prints_a_lot_loses_nothing() {
    let code = "def handler(event, context):\n    for i in range(50000): print(i, 'x' * 100)\n";
    let mut bootstrap = Bootstrap::start(RUNTIME, code, "app.handler");
    bootstrap.ready().await;
    let (answer, logs) = bootstrap.invoke_and_log("{}").await;
    assert_eq!(answer, "response null");
    assert_eq!(logs.len(), 50000);
    assert!(logs[49_999].starts_with("49999 xxx"), "{}", logs[49_999]);
}

#[tokio::test]
async fn threads_that_log_do_not_cut_into_a_large_answer() {
    let code = "import threading\nstop = False\ndef talk():\n    while not stop: print('t' * 5000)\ndef handler(event, context):\n    global stop\n    stop = False\n    threads = [threading.Thread(target=talk) for _ in range(3)]\n    for t in threads: t.start()\n    def end():\n        global stop\n        stop = True\n    threading.Timer(0.2, end).start()\n    return 'x' * 5000000\n";
    let mut bootstrap = Bootstrap::start(RUNTIME, code, "app.handler");
    bootstrap.ready().await;
    for _ in 0..3 {
        let (answer, _) = bootstrap.invoke_and_log("{}").await;
        assert_eq!(answer.len(), "response \"\"".len() + 5_000_000);
    }
}

/// A blank interpreter knows nothing of the function until it is told.
#[tokio::test]
async fn a_blank_becomes_the_function_it_is_told() {
    let code = "import os, time\ndef handler(event, context):\n    return [os.environ['MINE'], context.function_name, time.tzname[0]]\n";
    let mut bootstrap = Bootstrap::blank(RUNTIME, &[("app.py", code)]);
    bootstrap
        .specialise(&[
            ("_HANDLER", "app.handler"),
            ("MINE", "é"),
            ("AWS_LAMBDA_FUNCTION_NAME", "late"),
            ("TZ", "XYZ3"),
        ])
        .await;
    bootstrap.ready().await;
    assert_eq!(bootstrap.invoke("{}").await, r#"response ["\u00e9", "late", "XYZ"]"#);
}

#[tokio::test]
async fn children_do_not_inherit_the_conversation() {
    let code = "import subprocess\ndef handler(event, context):\n    return subprocess.run(['/bin/sh', '-c', 'test -e /proc/self/fd/3 && echo open || echo closed'], capture_output=True, close_fds=False, text=True).stdout\n";
    check_invoke(RUNTIME, code, "app.handler", "{}", r#"response "closed\n""#).await;
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
        bootstrap.invoke("7000000").await.starts_with(
            "error Function.ResponseSizeTooLarge {\"errorType\":\"Function.ResponseSizeTooLarge\""
        )
    );
    assert_eq!(bootstrap.invoke("\"c\"").await, "response [4, 1]");
}

#[tokio::test]
async fn a_forked_child_does_not_disturb_the_frames() {
    let code = "import os\ndef handler(event, context):\n    pid = os.fork()\n    if pid == 0:\n        import logging; open('/dev/null'); logging.error('of the child'); print('child'); os._exit(0)\n    os.waitpid(pid, 0)\n    return 'parent'\n";
    check_invoke(RUNTIME, code, "app.handler", "{}", r#"response "parent""#).await;
}

const SNAP_START: &[(&str, &str)] = &[("AWS_LAMBDA_INITIALIZATION_TYPE", "snap-start")];
const HOOKS: &str = "from snapshot_restore_py import register_before_snapshot, register_after_restore\nseen = ['import']\n@register_before_snapshot\ndef first(): seen.append('before 1')\nregister_before_snapshot(lambda name, suffix: seen.append(name + suffix), 'before', suffix=' 2')\n@register_after_restore\ndef after(): seen.append('after 1')\nregister_after_restore(seen.append, 'after 2')\ndef handler(event, context):\n    return seen\n";

/// Source of the order: AWS Lambda developer guide, "Implement code before or after Lambda function snapshots".
#[tokio::test]
async fn hooks_of_snap_start_run_once_in_their_order() {
    let check = async |environment: &[(&str, &str)], files: &[(&str, &str)], expected: &str| {
        let mut bootstrap = Bootstrap::start_with(RUNTIME, files, "app.handler", environment);
        bootstrap.ready().await;
        assert_eq!(bootstrap.invoke("{}").await, format!("response {expected}"));
        assert_eq!(bootstrap.invoke("{}").await, format!("response {expected}"));
    };
    let run = r#"["import", "before 2", "before 1", "after 1", "after 2"]"#;
    check(SNAP_START, &[("app.py", HOOKS)], run).await;
    check(&[("AWS_LAMBDA_INITIALIZATION_TYPE", "on-demand")], &[("app.py", HOOKS)], r#"["import"]"#).await;
    check(SNAP_START, &[("app.py", "def handler(event, context): return 'none'\n")], "\"none\"").await;
    // A package may bring the module, as AWS's client for Python does: its own is the one that counts.
    let own = "B, A = [], []\ndef register_before_snapshot(f, *a, **k):\n    B.append((f, a, k)); return f\ndef register_after_restore(f, *a, **k):\n    A.append((f, a, k)); return f\nget_before_snapshot = lambda: B\nget_after_restore = lambda: A\n";
    check(SNAP_START, &[("app.py", HOOKS), ("snapshot_restore_py.py", own)], run).await;
}

#[tokio::test]
async fn a_hook_of_snap_start_that_fails_ends_the_init() {
    for (which, error_type) in
        [("before_snapshot", "Runtime.BeforeSnapshotError"), ("after_restore", "Runtime.AfterRestoreError")]
    {
        let code = format!(
            "import snapshot_restore_py\n@snapshot_restore_py.register_{which}\ndef hook():\n    raise ValueError('boom')\ndef handler(event, context): pass\n"
        );
        let mut bootstrap = Bootstrap::start_with(RUNTIME, &[("app.py", &code)], "app.handler", SNAP_START);
        let failure = bootstrap.init_failure().await;
        assert!(
            failure.starts_with(&format!(
                "{error_type} {{\"errorMessage\": \"boom\", \"errorType\": \"ValueError\", "
            )),
            "{failure}"
        );
        assert!(bootstrap.logs().concat().starts_with("[ERROR] ValueError: boom\nTraceback"));
    }
}
