/** Errors of calls, tries, credentials and their precedence. Serial where the process's own settings are changed. */
import { create } from "@bufbuild/protobuf";
import { anyPack, durationFromMs } from "@bufbuild/protobuf/wkt";
import { Code, ConnectError } from "@connectrpc/connect";
import {
  AbortError,
  AbortTaskRunError,
  ApiClientMissingError,
  ApiConnectionError,
  ApiError,
  AuthenticationError,
  auth,
  BadRequestError,
  ConflictError,
  configure,
  heartbeats,
  InternalServerError,
  NotFoundError,
  PermissionDeniedError,
  queues,
  RateLimitError,
  runs,
  tags,
  tasks,
  UnprocessableEntityError,
} from "@hairtrigger/sdk";
import test from "ava";
import { ErrorInfoSchema, RetryInfoSchema } from "#proto/google/rpc/error_details_pb.js";
import { StatusSchema } from "#proto/google/rpc/status_pb.js";
import { RunService } from "#proto/hairtrigger/v1/run_service_pb.js";
import { callSettings } from "#sdk/configuration.js";
import { callError, isWorthAnotherTry, statusError } from "#sdk/convert/error.js";
import { requestPauseMs, requestRetryPolicy, withRetries } from "#sdk/request-retry.js";
import { enterRun } from "#sdk/run-context.js";
import { RUN_ID, runContext } from "./run-fixture.js";
import { startWireServer } from "./wire-server.js";

const URL_OF_TESTS = "https://tasks.example";

interface Refusal {
  readonly code: Code;
  readonly reason?: string;
  readonly retryAfterMs?: number;
}

function details({ reason, retryAfterMs }: Refusal) {
  const info = { desc: ErrorInfoSchema, value: { reason, domain: "hairtrigger", metadata: { got: "x" } } };
  const retry = { desc: RetryInfoSchema, value: { retryDelay: durationFromMs(retryAfterMs ?? 0) } };
  return [...(reason === undefined ? [] : [info]), ...(retryAfterMs === undefined ? [] : [retry])];
}

/** RES-9 with the column of RES-10. */
const TABLE = [
  [{ code: Code.InvalidArgument, reason: "INVALID_DELAY" }, BadRequestError, false],
  [{ code: Code.OutOfRange, reason: "X" }, BadRequestError, false],
  [{ code: Code.Unauthenticated, reason: "TOKEN_EXPIRED" }, AuthenticationError, false],
  [{ code: Code.PermissionDenied, reason: "SCOPE_MISSING" }, PermissionDeniedError, false],
  [{ code: Code.NotFound, reason: "RUN_NOT_FOUND" }, NotFoundError, false],
  [{ code: Code.AlreadyExists, reason: "X" }, ConflictError, false],
  [{ code: Code.Aborted, reason: "CREATE_RACE_LOST" }, ConflictError, true],
  [{ code: Code.FailedPrecondition, reason: "RUN_NOT_DELAYED" }, UnprocessableEntityError, false],
  [{ code: Code.ResourceExhausted, reason: "PAYLOAD_TOO_LARGE" }, UnprocessableEntityError, false],
  [{ code: Code.ResourceExhausted, reason: "QUEUE_FULL", retryAfterMs: 1_000 }, UnprocessableEntityError, true],
  [{ code: Code.ResourceExhausted, reason: "RATE_LIMITED", retryAfterMs: 2_500 }, RateLimitError, true],
  [{ code: Code.Internal, reason: "INTERNAL" }, InternalServerError, false],
  [{ code: Code.Internal }, InternalServerError, true],
  [{ code: Code.Unknown }, InternalServerError, false],
  [{ code: Code.DataLoss }, InternalServerError, false],
  [{ code: Code.Unimplemented }, InternalServerError, false],
  [{ code: Code.Unavailable, reason: "STORE_UNAVAILABLE", retryAfterMs: 1_000 }, InternalServerError, true],
  [{ code: Code.Unavailable }, ApiConnectionError, true],
  [{ code: Code.DeadlineExceeded, reason: "DEADLINE_EXCEEDED" }, ApiConnectionError, true],
  [{ code: Code.DeadlineExceeded }, ApiConnectionError, true],
  // A connection that broke in the middle: no answer of the service.
  [{ code: Code.Aborted }, ApiConnectionError, true],
] as const satisfies readonly (readonly [Refusal, new (...args: never[]) => ApiError, boolean])[];

test("RES-9, RES-10: every code has its class, and only what may succeed later is tried again", (t) => {
  for (const [refusal, expected, isRetried] of TABLE) {
    const row: Refusal = refusal;
    const name = `${Code[row.code]} ${row.reason ?? ""}`;
    const wire = new ConnectError("the text", row.code, undefined, details(row));
    const status = create(StatusSchema, {
      code: row.code,
      message: "the text",
      details: details(row).map((detail) =>
        detail.desc === ErrorInfoSchema
          ? anyPack(ErrorInfoSchema, create(ErrorInfoSchema, { reason: row.reason, metadata: { got: "x" } }))
          : anyPack(RetryInfoSchema, create(RetryInfoSchema, { retryDelay: durationFromMs(row.retryAfterMs ?? 0) })),
      ),
    });
    for (const error of [callError(wire, URL_OF_TESTS), statusError(status, URL_OF_TESTS)]) {
      t.is(error.constructor, expected, name);
      if (!(error instanceof ApiError)) return t.fail(name);
      t.is(error.name, "TriggerApiError");
      t.is(error.reason, row.reason, name);
      t.deepEqual(error.metadata, row.reason === undefined ? {} : { got: "x" }, name);
      t.regex(error.message, /the text/);
      t.is(isWorthAnotherTry(error), isRetried, name);
      t.is(error.retryAfterMs, row.retryAfterMs, name);
    }
  }
  t.is(callError(new ConnectError("x", Code.InvalidArgument), URL_OF_TESTS) instanceof ApiError, true);
});

test("RES-9: a call that the caller's signal ended rejects with an AbortError, which is no ApiError", (t) => {
  const reason = new Error("enough");
  const error = callError(new ConnectError("x", Code.Canceled), URL_OF_TESTS, AbortSignal.abort(reason));
  t.true(error instanceof AbortError);
  t.false(error instanceof ApiError);
  t.is(error.name, "AbortError");
  t.is(error.cause, reason);
});

test("CFG-1: an address of this machine comes with how to start a server, another one does not", (t) => {
  const at = (url: string): string => callError(new ConnectError("refused", Code.Unavailable), url).message;
  for (const url of ["http://127.0.0.1:7470", "http://localhost:7470", "http://[::1]:7470"]) {
    t.true(at(url).includes(url));
    t.regex(at(url), /hairtrigger dev/);
  }
  t.true(at(URL_OF_TESTS).includes(URL_OF_TESTS));
  t.notRegex(at(URL_OF_TESTS), /hairtrigger dev/);
});

/** A clock that never waits and remembers for how long it should have. */
function pauses(random: number) {
  const slept: number[] = [];
  return { slept, random: () => random, sleep: async (delayMs: number) => void slept.push(delayMs) };
}

const failure = (retryAfterMs?: number) =>
  new InternalServerError({ code: "unavailable", reason: "STORE_UNAVAILABLE", message: "x", retryAfterMs });

test("RES-10: five tries, with pauses up to 1 s × 1.6^(n−1)", async (t) => {
  const clock = pauses(0.5);
  let tries = 0;
  const sending = withRetries(
    () => {
      tries += 1;
      return Promise.reject(failure());
    },
    undefined,
    clock,
  );
  await t.throwsAsync(sending, { instanceOf: InternalServerError });
  t.is(tries, 5);
  t.deepEqual(
    clock.slept.map((ms) => Math.round(ms)),
    [500, 800, 1_280, 2_048],
  );
});

test("RES-10: no pause is above 30 s, all are uniform from 0, and RetryInfo's delay is kept plus up to 2 s", (t) => {
  const policy = requestRetryPolicy();
  t.is(requestPauseMs(policy, 30, failure(), 1), 30_000);
  t.is(requestPauseMs(policy, 30, failure(), 0), 0);
  t.is(requestPauseMs(policy, 1, failure(7_000), 0), 7_000);
  t.is(requestPauseMs(policy, 9, failure(7_000), 0.5), 8_000);
});

test("CFG-2: requestOptions.retry changes count and times, and nonsense in it is refused", async (t) => {
  const clock = pauses(1);
  const retry = { maxAttempts: 3, minTimeoutInMs: 10, factor: 10, maxTimeoutInMs: 50 };
  await t.throwsAsync(withRetries(() => Promise.reject(failure()), retry, clock));
  t.deepEqual(clock.slept, [10, 50]);
  for (const bad of [{ maxAttempts: 0 }, { maxAttempts: 1.5 }, { factor: Number.NaN }, { minTimeoutInMs: -1 }]) {
    t.throws(() => requestRetryPolicy(bad), { instanceOf: TypeError, message: /requestOptions\.retry/ });
  }
});

test("RES-10: what cannot succeed is tried once, and a success ends the tries", async (t) => {
  const clock = pauses(0);
  let tries = 0;
  const send = (outcomes: readonly (Error | string)[]) => () => {
    const outcome = outcomes[tries];
    tries += 1;
    return typeof outcome === "string" ? Promise.resolve(outcome) : Promise.reject(outcome ?? new Error("too many"));
  };
  const refusal = new NotFoundError({ code: "not_found", message: "x" });
  await t.throwsAsync(withRetries(send([refusal, "late"]), undefined, clock), { is: refusal });
  t.is(tries, 1);
  tries = 0;
  t.is(await withRetries(send([failure(), failure(), "answer"]), undefined, clock), "answer");
  t.is(tries, 3);
});

const NAMES = ["TRIGGER_SECRET_KEY", "TRIGGER_API_URL", "HAIRTRIGGER_SECRET_KEY", "HAIRTRIGGER_API_URL"] as const;

/** Runs with exactly these variables and no `configure`. */
async function withEnvironment<R>(
  values: Partial<Record<(typeof NAMES)[number], string>>,
  fn: () => R,
): Promise<Awaited<R>> {
  const before = NAMES.map((name) => [name, process.env[name]] as const);
  configure({});
  for (const name of NAMES) delete process.env[name];
  Object.assign(process.env, values);
  try {
    return await fn();
  } finally {
    configure({});
    for (const [name, value] of before) {
      if (value === undefined) delete process.env[name];
      else process.env[name] = value;
    }
  }
}

test.serial("CFG-4: without credentials a call rejects before any traffic, naming TRIGGER_SECRET_KEY", async (t) => {
  await withEnvironment({}, async () => {
    const calls = [
      () => tasks.trigger("x"),
      () => runs.retrieve("run_x"),
      () => runs.poll("run_x"),
      () => queues.list(),
      () => tasks.triggerAndPoll("x"),
      async () => {
        for await (const _ of runs.list()) t.fail();
      },
      async () => {
        for await (const _ of runs.subscribeToRun("run_x")) t.fail();
      },
    ];
    for (const call of calls) {
      await t.throwsAsync(async () => call(), { instanceOf: ApiClientMissingError, message: /TRIGGER_SECRET_KEY/ });
    }
  });
  await withEnvironment({ TRIGGER_SECRET_KEY: "" }, () =>
    t.throws(() => callSettings(), { instanceOf: ApiClientMissingError }),
  );
});

test.serial(
  "CFG-1: variables are read at each call; HAIRTRIGGER_ ones win, secretKey is a synonym that loses",
  async (t) => {
    await withEnvironment({ TRIGGER_SECRET_KEY: "a" }, () => {
      t.like(callSettings(), { accessToken: "a", baseURL: "http://127.0.0.1:7470" });
      Object.assign(process.env, { TRIGGER_API_URL: "http://t/", HAIRTRIGGER_SECRET_KEY: "b" });
      t.like(callSettings(), { accessToken: "b", baseURL: "http://t" });
      process.env.HAIRTRIGGER_API_URL = "http://h";
      t.like(callSettings(), { accessToken: "b", baseURL: "http://h" });
      configure({ secretKey: "c" });
      t.like(callSettings(), { accessToken: "c", baseURL: "http://h" });
      configure({ secretKey: "c", accessToken: "d", baseURL: "http://d" });
      t.like(callSettings(), { accessToken: "d", baseURL: "http://d" });
    });
  },
);

test.serial(
  "CFG-3: clientConfig wins over withAuth, withAuth over configure, configure over variables, member by member",
  async (t) => {
    await withEnvironment({ TRIGGER_SECRET_KEY: "env", TRIGGER_API_URL: "http://env" }, async () => {
      configure({ accessToken: "configured" });
      t.like(callSettings(), { accessToken: "configured", baseURL: "http://env" });
      await auth.withAuth({ accessToken: "scoped", baseURL: "http://scoped" }, async () => {
        await Promise.resolve();
        t.like(callSettings(), { accessToken: "scoped", baseURL: "http://scoped" });
        const clientConfig = { accessToken: "given" };
        t.like(callSettings({ clientConfig }), { accessToken: "given", baseURL: "http://scoped" });
        auth.withAuth({ secretKey: "inner" }, () => {
          t.like(callSettings(), { accessToken: "inner", baseURL: "http://scoped" });
        });
      });
      t.like(callSettings(), { accessToken: "configured" });
    });
  },
);

test.serial("CFG-3: parallel calls never see each other's credentials", async (t) => {
  const seen = new Map<string, string | null>();
  const server = await startWireServer((router) =>
    router.service(RunService, {
      async cancelRun({ runId }, { requestHeader }) {
        seen.set(runId, requestHeader.get("authorization"));
        return { runId };
      },
    }),
  );
  t.teardown(() => server.stop());
  await withEnvironment({ TRIGGER_API_URL: server.url }, async () => {
    const names = Array.from({ length: 20 }, (_, index) => `run-${index}`);
    await Promise.all(
      names.map((name, index) =>
        auth.withAuth({ accessToken: `key of ${name}` }, async () => {
          for (let turns = index % 5; turns > 0; turns -= 1) await heartbeats.yield();
          await runs.cancel(name);
        }),
      ),
    );
    t.deepEqual(Object.fromEntries(seen), Object.fromEntries(names.map((name) => [name, `Bearer key of ${name}`])));
  });
});

test("CFG-2: additional headers are sent, but not those of the protocol itself", async (t) => {
  const tenants: (string | null)[] = [];
  const server = await startWireServer((router) =>
    router.service(RunService, {
      async cancelRun({ runId }, { requestHeader }) {
        tenants.push(requestHeader.get("x-tenant"));
        return { runId };
      },
    }),
  );
  t.teardown(() => server.stop());
  const { clientConfig } = server;
  t.deepEqual(await runs.cancel("run", {}, { clientConfig, additionalHeaders: { "X-Tenant": "acme" } }), { id: "run" });
  t.deepEqual(tenants, ["acme"]);
  for (const name of ["Authorization", "grpc-timeout", "Connect-Protocol-Version", "hairtrigger-client"]) {
    const refused = runs.cancel("run", {}, { clientConfig, additionalHeaders: { [name]: "x" } });
    await t.throwsAsync(refused, { instanceOf: TypeError, message: new RegExp(name) });
  }
});

test("RES-12: withResponse and asResponse reject as the promise does, without an unhandled rejection", async (t) => {
  const server = await startWireServer((router) =>
    router.service(RunService, {
      async retrieveRun() {
        throw new ConnectError(
          "gone",
          Code.NotFound,
          undefined,
          details({ code: Code.NotFound, reason: "RUN_NOT_FOUND" }),
        );
      },
      async cancelRun({ runId }, { responseHeader, responseTrailer }) {
        responseHeader.set("x-header", "h");
        responseTrailer.set("x-trailer", "t");
        return { runId };
      },
    }),
  );
  t.teardown(() => server.stop());
  const { clientConfig } = server;
  await t.throwsAsync(runs.retrieve("run", { clientConfig }).withResponse(), { instanceOf: NotFoundError });
  await t.throwsAsync(runs.retrieve("run", { clientConfig }).asResponse(), { instanceOf: NotFoundError });
  const { data, response } = await runs.cancel("run", {}, { clientConfig }).withResponse();
  t.deepEqual(data, { id: "run" });
  t.is(response.headers.get("x-header"), "h");
  t.is(response.trailers.get("x-trailer"), "t");
  t.false(
    runs.cancel("run", {}, { clientConfig }).then(() => 1) instanceof
      runs.cancel("run", {}, { clientConfig }).constructor,
  );
});

test("TAG-2: tags.add outside of a run throws and sends nothing", async (t) => {
  await t.throwsAsync(tags.add("x"), { message: "Can't set tags outside of a run" });
});

test("TAG-2: inside a run tags are added in its attempt's name; too many are logged and the run goes on", async (t) => {
  const sent: unknown[] = [];
  const server = await startWireServer((router) =>
    router.service(RunService, {
      async addRunTags({ runId, tags: added, attempt }) {
        sent.push([runId, added, attempt?.sessionId, attempt?.attempt]);
        if (added.length > 1) {
          throw new ConnectError(
            "no",
            Code.InvalidArgument,
            undefined,
            details({ code: Code.InvalidArgument, reason: "TOO_MANY_TAGS" }),
          );
        }
        return { tags: added };
      },
    }),
  );
  t.teardown(() => server.stop());
  const lines: { readonly level: string }[] = [];
  await enterRun(runContext({ attempt: 2, lines: [] }), () => tags.add("a", { clientConfig: server.clientConfig }));
  const context = { ...runContext({ attempt: 2 }), log: (line: { readonly level: string }) => void lines.push(line) };
  await enterRun(context, () => tags.add(["a", "b"], { clientConfig: server.clientConfig }));
  t.deepEqual(sent, [
    [RUN_ID, ["a"], "session_00000000000000000000000000", 2],
    [RUN_ID, ["a", "b"], "session_00000000000000000000000000", 2],
  ]);
  t.deepEqual(
    lines.map(({ level }) => level),
    ["error"],
  );
});

test("CFG-5: heartbeats.yield() lets the event loop turn once", async (t) => {
  const order: string[] = [];
  setImmediate(() => order.push("others"));
  const yielded = heartbeats.yield().then(() => order.push("yielded"));
  await Promise.resolve();
  order.push("microtasks");
  await yielded;
  t.deepEqual(order, ["microtasks", "others", "yielded"]);
});

test("RTY-10: AbortTaskRunError is known by its name", (t) => {
  const error = new AbortTaskRunError("no use");
  t.is(error.name, "AbortTaskRunError");
  t.is(error.message, "no use");
});
