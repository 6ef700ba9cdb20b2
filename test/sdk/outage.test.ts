/** Polls and subscriptions while the server is away. */
import { once } from "node:events";
import { constants, createServer } from "node:http2";
import { create } from "@bufbuild/protobuf";
import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import { Code, ConnectError } from "@connectrpc/connect";
import { AbortError, ApiConnectionError, runs } from "@hairtrigger/sdk";
import test from "ava";
import { type Run, RunSchema, RunStatus } from "#proto/hairtrigger/v1/run_pb.js";
import { RunService } from "#proto/hairtrigger/v1/run_service_pb.js";
import { enterRun } from "#sdk/run-context.js";
import { RUN_ID, runContext } from "./run-fixture.js";
import { startWireServer } from "./wire-server.js";

function runAt(status: RunStatus, updatedMs: number): Run {
  return create(RunSchema, {
    id: RUN_ID,
    status,
    taskId: "task",
    createTime: timestampFromMs(0),
    updateTime: timestampFromMs(updatedMs),
  });
}

const away = () => new ConnectError("away", Code.Unavailable);
const retry = { minTimeoutInMs: 1, maxTimeoutInMs: 1 };

test("RES-10: a poll that fails because the server is away counts as a poll, and polling goes on", async (t) => {
  let polls = 0;
  const server = await startWireServer((router) =>
    router.service(RunService, {
      async retrieveRun() {
        polls += 1;
        if (polls < 8) throw away();
        return { run: runAt(RunStatus.COMPLETED, 1) };
      },
    }),
  );
  t.teardown(() => server.stop());
  const { clientConfig } = server;
  const options = { pollIntervalMs: 1 };
  t.is((await runs.poll(RUN_ID, { ...options, maxPolls: 8 }, { clientConfig })).status, "COMPLETED");
  t.is(polls, 8);
  polls = 0;
  const gaveUp = runs.poll(RUN_ID, { ...options, maxPolls: 7 }, { clientConfig });
  await t.throwsAsync(gaveUp, { message: `Run ${RUN_ID} did not complete after 7 attempts` });
});

test("RES-10: a single call gives up after its tries with ApiConnectionError", async (t) => {
  let tries = 0;
  const server = await startWireServer((router) =>
    router.service(RunService, {
      async retrieveRun() {
        tries += 1;
        throw away();
      },
    }),
  );
  t.teardown(() => server.stop());
  const { clientConfig } = server;
  await t.throwsAsync(runs.retrieve(RUN_ID, { clientConfig, retry }), { instanceOf: ApiConnectionError });
  t.is(tries, 5);
});

test("RES-10: a call that crossed the good-bye of a server on its way is one that nobody answered", async (t) => {
  const server = createServer();
  // The good-bye is on its way before the call arrives, and says that no call was looked at; so the caller's side ends its own.
  server.on("session", (session) => session.goaway(constants.NGHTTP2_NO_ERROR));
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  t.teardown(() => server.close());
  const address = server.address();
  if (address === null || typeof address === "string") throw new Error("the server has no port");
  const clientConfig = { accessToken: "tr_dev_0123456789abcdefghij", baseURL: `http://127.0.0.1:${address.port}` };
  const error = await t.throwsAsync(runs.retrieve(RUN_ID, { clientConfig, retry: { maxAttempts: 1 } }));
  t.true(error instanceof ApiConnectionError && error.code === "unavailable", String(error));
});

test("RUN-26: a subscription reconnects, shows no state twice and none out of order, and ends with the final one", async (t) => {
  let streams = 0;
  const server = await startWireServer((router) =>
    router.service(RunService, {
      async *watchRun() {
        streams += 1;
        switch (streams) {
          case 1:
            yield { run: runAt(RunStatus.QUEUED, 1) };
            yield {};
            throw away();
          case 2:
            throw away();
          case 3:
            yield { run: runAt(RunStatus.QUEUED, 1) };
            yield { run: runAt(RunStatus.EXECUTING, 2) };
            // An orderly end without a final state is a server that stops.
            return;
          default:
            yield { run: runAt(RunStatus.COMPLETED, 3) };
        }
      },
    }),
  );
  t.teardown(() => server.stop());
  const seen: string[] = [];
  for await (const { status } of runs.subscribeToRun(RUN_ID, {}, { clientConfig: server.clientConfig, retry })) {
    seen.push(status);
  }
  t.deepEqual(seen, ["QUEUED", "EXECUTING", "COMPLETED"]);
  t.is(streams, 4);
});

test("RUN-26: a subscription survives the loss of its connection", async (t) => {
  const pending = new Promise<never>(() => undefined);
  const first = await startWireServer((router) =>
    router.service(RunService, {
      async *watchRun() {
        yield { run: runAt(RunStatus.QUEUED, 1) };
        await pending;
      },
    }),
  );
  const { clientConfig } = first;
  const states = runs.subscribeToRun(RUN_ID, {}, { clientConfig, retry })[Symbol.asyncIterator]();
  t.is((await states.next()).value?.status, "QUEUED");
  await first.stop();
  const next = states.next();
  const second = await startWireServer(
    (router) =>
      router.service(RunService, {
        async *watchRun() {
          yield { run: runAt(RunStatus.COMPLETED, 2) };
        },
      }),
    Number(new URL(first.url).port),
  );
  t.teardown(() => second.stop());
  t.is((await next).value?.status, "COMPLETED");
  t.true((await states.next()).done);
});

test("RUN-6: polling ends with an AbortError when the run that polls is ended", async (t) => {
  const controller = new AbortController();
  const server = await startWireServer((router) =>
    router.service(RunService, {
      async retrieveRun() {
        controller.abort(new Error("cancelled"));
        return { run: runAt(RunStatus.QUEUED, 1) };
      },
    }),
  );
  t.teardown(() => server.stop());
  const { clientConfig } = server;
  const polling = enterRun(runContext({ signal: controller.signal }), () => runs.poll(RUN_ID, {}, { clientConfig }));
  await t.throwsAsync(polling, { instanceOf: AbortError });
});
