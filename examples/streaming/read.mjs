// As read.py, with AWS's SDK for JavaScript (npm install @aws-sdk/client-lambda): node read.mjs [EVENT AS JSON]

import { InvokeWithResponseStreamCommand, LambdaClient } from "@aws-sdk/client-lambda";

const begin = performance.now();
const command = new InvokeWithResponseStreamCommand({ FunctionName: "streaming", Payload: process.argv[2] ?? "{}" });
const answer = await new LambdaClient().send(command);
for await (const { PayloadChunk, InvokeComplete } of answer.EventStream) {
  if (PayloadChunk) {
    const seconds = ((performance.now() - begin) / 1000).toFixed(2);
    console.log(`${seconds} s  ${Buffer.from(PayloadChunk.Payload).toString().trimEnd()}`);
  } else if (InvokeComplete?.ErrorCode) {
    const { errorType, errorMessage } = JSON.parse(InvokeComplete.ErrorDetails);
    console.error(`${errorType}: ${errorMessage}`);
    process.exitCode = 1;
  }
}
