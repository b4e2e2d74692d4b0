// The stock SDK for JavaScript against one server: the life of a function, a stream, and the errors as the SDK types them.
// Called by test_sdks.py as `node sdk.mjs ENDPOINT FUNCTION ZIP SECOND_ZIP STREAMING_FUNCTION`; prints one JSON document.
import { readFileSync } from "node:fs";
import * as lambda from "@aws-sdk/client-lambda";

const [endpoint, name, zip, secondZip, streaming] = process.argv.slice(2);
const client = new lambda.LambdaClient({ endpoint, region: "us-east-1", credentials: { accessKeyId: "test", secretAccessKey: "test" } });
const send = (command, input) => client.send(new lambda[`${command}Command`](input));
const settle = { client, maxWaitTime: 60, minDelay: 1 };

async function invoke(FunctionName, payload) {
    const answer = await send("Invoke", { FunctionName, Payload: JSON.stringify(payload) });
    return {
        status: answer.StatusCode, error: answer.FunctionError ?? null, version: answer.ExecutedVersion,
        payload: JSON.parse(answer.Payload.transformToString()),
    };
}

async function refused(command, input) {
    try {
        await send(command, input);
    } catch (error) {
        return error;
    }
    throw new Error(`${command} was not refused`);
}

const created = await send("CreateFunction", {
    FunctionName: name, Runtime: "python3.11", Handler: "app.handler", Role: "arn:aws:iam::000000000000:role/any",
    Code: { ZipFile: readFileSync(zip) }, Tags: { "made-by": "javascript" },
});
await lambda.waitUntilFunctionActiveV2(settle, { FunctionName: name });
const first = await invoke(name, { do: "answer" });
const failed = await invoke(name, { do: "fail" });
await send("UpdateFunctionCode", { FunctionName: name, ZipFile: readFileSync(secondZip), Publish: true });
await lambda.waitUntilFunctionUpdatedV2(settle, { FunctionName: name });
const second = await invoke(name, {});
await send("CreateAlias", { FunctionName: name, Name: "live", FunctionVersion: "1" });
const aliased = await invoke(`${created.FunctionArn}:live`, {});
const { Tags: tags } = await send("ListTags", { Resource: created.FunctionArn });
const names = [];
for await (const page of lambda.paginateListFunctions({ client, pageSize: 1 }, {})) {
    names.push(...page.Functions.map((each) => each.FunctionName));
}
const streamed = { text: "", complete: false };
const stream = await send("InvokeWithResponseStream", { FunctionName: streaming, Payload: "{}" });
for await (const event of stream.EventStream) {
    if (event.PayloadChunk) streamed.text += Buffer.from(event.PayloadChunk.Payload).toString();
    if (event.InvokeComplete) streamed.complete = true;
}
const missing = await refused("GetFunction", { FunctionName: "never-made" });
const conflict = await refused("CreateAlias", { FunctionName: name, Name: "live", FunctionVersion: "1" });
const invalid = await refused("UpdateFunctionConfiguration", { FunctionName: name, MemorySize: 1 });
await send("DeleteFunction", { FunctionName: name });
console.log(JSON.stringify({
    state: created.State, arn: created.FunctionArn, first, failed, second, aliased, tags, listed: names.includes(name), streamed,
    errors: {
        missing: missing.name, missing_is_typed: missing instanceof lambda.ResourceNotFoundException,
        conflict_is_typed: conflict instanceof lambda.ResourceConflictException, invalid: invalid.name,
    },
}));
