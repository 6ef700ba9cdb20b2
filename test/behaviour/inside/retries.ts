/** Retries in place: `retry.onThrow` and `retry.fetch` (RTY-12, RTY-13). */
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import { AbortTaskRunError, type FetchRetryOptions, retry, runs, task } from "@hairtrigger/sdk";
import test, { type ExecutionContext } from "ava";
import { fetchWithRetries } from "#sdk/retry-fetch.js";
import { startSdkWorld } from "../../support/sdk-world.js";

type Handler = (request: IncomingMessage, response: ServerResponse, call: number) => void;

/** A server that answers its nth call as told. */
async function serve(t: ExecutionContext, handle: Handler): Promise<{ readonly url: string; calls: () => number }> {
  let calls = 0;
  const server = createServer((request, response) => {
    calls += 1;
    handle(request, response, calls);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  t.teardown(() => {
    server.closeAllConnections();
    server.close();
  });
  const address = server.address();
  if (address === null || typeof address === "string") throw new Error("a TCP server has an address");
  return { url: `http://127.0.0.1:${address.port}/`, calls: () => calls };
}

const NOW_MS = Date.UTC(2026, 0, 1);

/** The pauses of one fetch, in ms, and how it ended. */
async function pausesOf(url: string | URL | Request, options: FetchRetryOptions) {
  const pauses: number[] = [];
  const world = {
    pauseFor: async (pauseMs: number) => void pauses.push(pauseMs),
    nowMs: () => NOW_MS,
    random: () => 0,
  };
  const ended = await fetchWithRetries(url, options, world).then(
    (response) => response.status,
    (error: unknown) => (error instanceof Error ? error.name : String(error)),
  );
  return { pauses, ended };
}

export function registerRetries(): void {
  test("RTY-12: retry.onThrow calls again in place, in the same attempt, waiting in between", async (t) => {
    const world = await startSdkWorld(t);
    const tries: unknown[] = [];
    const stubborn = task({
      id: "stubborn",
      run: (_: undefined, { ctx }) =>
        retry.onThrow(
          (params) => {
            tries.push([params.attempt, params.maxAttempts, ctx.attempt.number]);
            if (params.attempt < 3) throw new Error("again");
            return "worked";
          },
          { maxAttempts: 4, minTimeoutInMs: 5_000, randomize: false },
        ),
    });
    await world.worker({ tasks: [stubborn] });
    const handle = await world.as(() => stubborn.trigger());
    await world.runWhen(handle, ({ status }) => status === "WAITING");
    await world.pass(20_000);
    const run = await world.runWhen(handle, ({ isCompleted }) => isCompleted);
    t.deepEqual([run.output, run.attemptCount], ["worked", 1]);
    t.deepEqual(tries, [
      [1, 4, 1],
      [2, 4, 1],
      [3, 4, 1],
    ]);
  });

  test("RTY-12: out of tries the last error is thrown; AbortTaskRunError is, at once", async (t) => {
    const world = await startSdkWorld(t);
    let tries = 0;
    const failing = task({
      id: "failing",
      retry: { maxAttempts: 1 },
      run: (isAborting: boolean) =>
        retry.onThrow(
          () => {
            tries += 1;
            throw isAborting ? new AbortTaskRunError(`stop ${tries}`) : new Error(`try ${tries}`);
          },
          { maxAttempts: 2, minTimeoutInMs: 0 },
        ),
    });
    await world.worker({ tasks: [failing] });
    const first = await world.as(() => failing.trigger(false));
    t.is((await world.runWhen(first, ({ isCompleted }) => isCompleted)).error?.message, "try 2");
    tries = 0;
    const second = await world.as(() => failing.trigger(true));
    t.is((await world.runWhen(second, ({ isCompleted }) => isCompleted)).error?.message, "stop 1");
    await t.throwsAsync(
      retry.onThrow(() => undefined, { maxAttempts: 1.5 }),
      { instanceOf: TypeError, message: /maxAttempts must be an integer, got 1\.5/ },
    );
  });

  test("RTY-13: retry.fetch repeats inside a run what a server answers for the moment, waiting in between", async (t) => {
    const world = await startSdkWorld(t);
    const { url, calls } = await serve(t, (_, response, call) => {
      response.statusCode = call < 3 ? 503 : 200;
      response.end(`call ${call}`);
    });
    const fetching = task({ id: "fetching", run: async () => (await retry.fetch(url)).text() });
    await world.worker({ tasks: [fetching] });
    const handle = await world.as(() => fetching.trigger());
    await world.runWhen(handle, ({ status }) => status === "WAITING");
    while (!(await world.as(() => runs.retrieve(handle))).isCompleted) await world.pass(1_000);
    const run = await world.run(handle);
    t.deepEqual([run.output, run.attemptCount, calls()], ["call 3", 1, 3]);
  });

  test("RTY-13: by default 408, 409, 429 and 5xx are repeated, three times in all; the last answer is given", async (t) => {
    for (const [status, tries] of [
      [200, 1],
      [404, 1],
      [408, 3],
      [409, 3],
      [429, 3],
      [500, 3],
      [599, 3],
    ] as const) {
      const { url, calls } = await serve(t, (_, response) => void response.writeHead(status).end());
      const { ended } = await pausesOf(url, {});
      t.deepEqual([ended, calls()], [status, tries], String(status));
    }
  });

  test("RTY-13: back-off by status, and none for statuses without a strategy", async (t) => {
    const { url } = await serve(t, (_, response) => void response.writeHead(418).end());
    const backoff = { strategy: "backoff", maxAttempts: 4, minTimeoutInMs: 100, factor: 3, randomize: false } as const;
    t.deepEqual(await pausesOf(url, { retry: { byStatus: { "500-599,418": backoff } } }), {
      pauses: [100, 300, 900],
      ended: 418,
    });
    t.deepEqual(await pausesOf(url, { retry: { byStatus: { "419-599": backoff } } }), { pauses: [], ended: 418 });
    await t.throwsAsync(
      fetchWithRetries(
        url,
        { retry: { byStatus: { "4xx": backoff } } },
        { pauseFor: async () => t.fail(), nowMs: () => 0, random: () => 0 },
      ),
      { instanceOf: TypeError, message: /byStatus\["4xx"\]/ },
    );
  });

  for (const { resetFormat, reset, pauseMs } of [
    { resetFormat: "unix_timestamp", reset: String(NOW_MS / 1_000 + 7), pauseMs: 7_000 },
    { resetFormat: "unix_timestamp_in_ms", reset: String(NOW_MS + 1_234), pauseMs: 1_234 },
    { resetFormat: "iso_8601", reset: "2026-01-01T00:01:00Z", pauseMs: 60_000 },
    { resetFormat: "iso_8601_duration_openai_variant", reset: "1m30s", pauseMs: 90_000 },
    { resetFormat: "iso_8601_duration_openai_variant", reset: "250ms", pauseMs: 250 },
    { resetFormat: "unix_timestamp", reset: "soon", pauseMs: 1_000 },
  ] as const) {
    test(`RTY-13: the headers' own time is waited for: ${resetFormat} "${reset}"`, async (t) => {
      const { url } = await serve(t, (_, response, call) => {
        response.setHeader("x-reset", reset);
        response.setHeader("x-remaining", "0");
        response.writeHead(call === 1 ? 429 : 200).end();
      });
      const strategy = {
        strategy: "headers",
        limitHeader: "x-limit",
        remainingHeader: "x-remaining",
        resetHeader: "x-reset",
        resetFormat,
      } as const;
      t.deepEqual(await pausesOf(url, { retry: { byStatus: { "429": strategy } } }), { pauses: [pauseMs], ended: 200 });
    });
  }

  test("RTY-13: connection errors and timeouts are repeated and then thrown; the caller's signal is obeyed at once", async (t) => {
    const { url } = await serve(t, (request) => void request.socket.destroy());
    const quick = { maxAttempts: 2, minTimeoutInMs: 10, randomize: false };
    t.deepEqual(await pausesOf(url, { retry: { connectionError: quick } }), { pauses: [10], ended: "TypeError" });
    const silent = await serve(t, () => undefined);
    t.deepEqual(await pausesOf(silent.url, { timeoutInMs: 1_000, retry: { timeout: quick } }), {
      pauses: [10],
      ended: "TimeoutError",
    });
    t.is(silent.calls(), 2);
    const ended = await pausesOf(silent.url, { signal: AbortSignal.abort(), retry: { connectionError: quick } });
    t.deepEqual(ended, { pauses: [], ended: "AbortError" });
  });

  test("RTY-13: a body is sent again with every try, a stream once", async (t) => {
    const bodies: string[] = [];
    const { url } = await serve(t, (request, response) => {
      let body = "";
      request.on("data", (chunk) => {
        body += String(chunk);
      });
      request.on("end", () => {
        bodies.push(body);
        response.writeHead(500).end();
      });
    });
    await pausesOf(new Request(url, { method: "POST", body: "asked" }), {});
    t.deepEqual(bodies.splice(0), ["asked", "asked", "asked"]);
    const stream = new Blob(["once"]).stream();
    const streamed = { method: "POST", body: stream, duplex: "half" } as const;
    t.deepEqual(await pausesOf(url, streamed), { pauses: [], ended: 500 });
    t.deepEqual(bodies, ["once"]);
  });
}
