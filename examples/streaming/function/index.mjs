// Answers line by line while it works: one JSON object for each step, as soon as the step is done.
//
// `awslambda.streamifyResponse` is AWS's: the handler gets a writable stream instead of returning a value. What is written
// is on its way to the caller at once; `write` says false when the caller reads slower than the function writes, and
// `drain` comes when there is room again.

import { once } from "node:events";

const MOST_STEPS = 1000;

export const handler = awslambda.streamifyResponse(async (event, stream) => {
  stream.setContentType("application/x-ndjson");
  const steps = Math.min(Number(event.steps ?? 5), MOST_STEPS);
  for (let step = 1; step <= steps; step++) {
    await work(Number(event.milliseconds ?? 200));
    if (step === event.failAt) throw new Error(`step ${step} failed`);
    if (!stream.write(JSON.stringify({ step, of: steps }) + "\n")) await once(stream, "drain");
  }
  stream.end();
});

const work = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));
