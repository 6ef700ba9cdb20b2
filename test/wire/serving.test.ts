/** What answers on the port, in every protocol (design 14). */
import { execFile } from "node:child_process";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import { FileDescriptorProtoSchema } from "@bufbuild/protobuf/wkt";
import { Code, ConnectError, createClient, type Transport } from "@connectrpc/connect";
import { createConnectTransport, createGrpcTransport, createGrpcWebTransport } from "@connectrpc/connect-node";
import * as grpc from "@grpc/grpc-js";
import test, { type ExecutionContext } from "ava";
import fc from "fast-check";
import { ErrorInfoSchema } from "#proto/google/rpc/error_details_pb.js";
import { StatusSchema } from "#proto/google/rpc/status_pb.js";
import { Health, HealthCheckResponse_ServingStatus as ServingStatus } from "#proto/grpc/health/v1/health_pb.js";
import { ServerReflection } from "#proto/grpc/reflection/v1/reflection_pb.js";
import { ServerReflection as ServerReflectionAlpha } from "#proto/grpc/reflection/v1alpha/reflection_pb.js";
import {
  CancelRunRequestSchema,
  CancelRunResponseSchema,
  RetrieveRunRequestSchema,
  RunService,
  TriggerTaskRequestSchema,
  TriggerTaskResponseSchema,
} from "#proto/hairtrigger/v1/run_service_pb.js";
import { type Clients, refusal, refusalOf, startApi } from "../support/api.js";
import { findProgram, testIf } from "../support/available.js";
import { encodeGrpcMessage, startWire, storeUnavailable, WIRE_KEY } from "../support/wire-parts.js";
import { rawGrpc } from "./raw-grpc.js";

const run = promisify(execFile);
const METHOD = "hairtrigger.v1.RunService/TriggerTask";

/** Every way to speak, by name. */
const PROTOCOLS: Readonly<Record<string, (baseUrl: string) => Transport>> = {
  "gRPC over HTTP/2": (baseUrl) => createGrpcTransport({ baseUrl }),
  "gRPC-Web over HTTP/1.1": (baseUrl) => createGrpcWebTransport({ baseUrl, httpVersion: "1.1" }),
  "gRPC-Web over HTTP/2, JSON": (baseUrl) =>
    createGrpcWebTransport({ baseUrl, httpVersion: "2", useBinaryFormat: false }),
  "Connect over HTTP/1.1, JSON": (baseUrl) =>
    createConnectTransport({ baseUrl, httpVersion: "1.1", useBinaryFormat: false }),
  "Connect over HTTP/2, binary": (baseUrl) =>
    createConnectTransport({ baseUrl, httpVersion: "2", useBinaryFormat: true }),
  "Connect over HTTP/1.1, GET": (baseUrl) => createConnectTransport({ baseUrl, httpVersion: "1.1", useHttpGet: true }),
};

for (const [name, transportOf] of Object.entries(PROTOCOLS)) {
  test(`one port answers ${name}: trigger, retrieve, watch, and a refusal with its details`, async (t) => {
    const { server } = await startApi(t);
    const runs = createClient(RunService, transportOf(server.url));
    const headers = { authorization: `Bearer ${server.key}` };

    const { runId } = await runs.triggerTask(
      { taskId: "hello", payload: { data: { case: "json", value: '{"to":"a@b.c"}' } } },
      { headers },
    );
    const { run: found } = await runs.retrieveRun({ runId }, { headers });
    t.deepEqual(found?.payload?.data, { case: "json", value: '{"to":"a@b.c"}' });

    await runs.cancelRun({ runId }, { headers });
    const states: string[] = [];
    for await (const { run: state } of runs.watchRun({ runId }, { headers })) states.push(state?.id ?? "");
    t.deepEqual(states, [runId]);

    const unknown = await refusal(runs.retrieveRun({ runId: "run_00000000000000000000000000" }, { headers }));
    t.like(unknown, { code: "NOT_FOUND", reason: "RUN_NOT_FOUND", domain: "hairtrigger" });
    const watched = await refusal(all(runs.watchRun({ runId: "run_00000000000000000000000000" }, { headers })));
    t.like(watched, { code: "NOT_FOUND", reason: "RUN_NOT_FOUND" });
  });
}

async function all<T>(items: AsyncIterable<T>): Promise<readonly T[]> {
  const found: T[] = [];
  for await (const item of items) found.push(item);
  return found;
}

test("curl: plain JSON by POST and by GET, with the value form of a payload", async (t) => {
  const { server } = await startApi(t);
  const headers = { authorization: `Bearer ${server.key}`, "content-type": "application/json" };
  const body = '{"taskId":"hello","payload":{"value":{"to":"a@b.c"}},"options":{"delay":"10s"}}';
  const answer = await fetch(`${server.url}/${METHOD}`, { method: "POST", headers, body });
  t.is(answer.status, 200);
  const { runId } = objectOf(await answer.json());
  const message = encodeURIComponent(JSON.stringify({ runId }));
  const found = await fetch(
    `${server.url}/hairtrigger.v1.RunService/RetrieveRun?connect=v1&encoding=json&message=${message}`,
    {
      headers: { authorization: headers.authorization },
    },
  );
  t.like(await found.json(), { run: { id: runId, status: "RUN_STATUS_DELAYED", payload: { json: '{"to":"a@b.c"}' } } });
});

function objectOf(value: unknown): Readonly<Record<string, unknown>> {
  if (typeof value !== "object" || value === null) throw new Error("no JSON object");
  return Object.fromEntries(Object.entries(value));
}

// ── other people's clients ───────────────────────────────────────────────────────────────────────────────────────────────────────

/** A client of @grpc/grpc-js, which knows nothing of Connect. */
function grpcJsClient(t: ExecutionContext, url: string, options: grpc.ClientOptions = {}): grpc.Client {
  const client = new grpc.Client(new URL(url).host, grpc.credentials.createInsecure(), options);
  t.teardown(() => client.close());
  return client;
}

interface GrpcJsCall {
  readonly client: grpc.Client;
  readonly key: string;
  readonly taskId: string;
}

function triggerByGrpcJs({ client, key, taskId }: GrpcJsCall): Promise<string> {
  const metadata = new grpc.Metadata();
  metadata.set("authorization", `Bearer ${key}`);
  return new Promise((resolve, reject) => {
    client.makeUnaryRequest(
      `/${METHOD}`,
      (id: string) => Buffer.from(toBinary(TriggerTaskRequestSchema, create(TriggerTaskRequestSchema, { taskId: id }))),
      (bytes) => fromBinary(TriggerTaskResponseSchema, bytes).runId,
      taskId,
      metadata,
      (error, runId) => (error === null ? resolve(runId ?? "") : reject(error)),
    );
  });
}

test("@grpc/grpc-js triggers, and reads code, text and details of a refusal", async (t) => {
  const { server } = await startApi(t);
  const client = grpcJsClient(t, server.url);
  t.regex(await triggerByGrpcJs({ client, key: server.key, taskId: "hello" }), /^run_[0-9a-z]{26}$/);

  const refused = await t.throwsAsync<grpc.ServiceError>(triggerByGrpcJs({ client, key: "wrong", taskId: "hello" }));
  t.is(refused?.code, grpc.status.UNAUTHENTICATED);
  t.is(refused?.details, "Missing or invalid credentials");
  const [details] = refused?.metadata.get("grpc-status-details-bin") ?? [];
  const status = fromBinary(StatusSchema, Buffer.from(details ?? ""));
  const info = status.details.map(({ typeUrl, value }) =>
    typeUrl.endsWith("ErrorInfo") ? fromBinary(ErrorInfoSchema, value).reason : "",
  );
  t.deepEqual(info, ["INVALID_CREDENTIALS"]);
});

test("a refused unary gRPC call is Trailers-Only, so that a client's retry policy fires", async (t) => {
  let tries = 0;
  const wire = await startWire(t, (router) =>
    router.service(RunService, {
      triggerTask: ({ taskId }) => {
        tries += 1;
        if (tries < 3) throw storeUnavailable();
        return { runId: `run of ${taskId}` };
      },
    }),
  );
  const retryPolicy = {
    maxAttempts: 4,
    initialBackoff: "0.01s",
    maxBackoff: "0.01s",
    backoffMultiplier: 1,
    retryableStatusCodes: ["UNAVAILABLE"],
  };
  const client = grpcJsClient(t, wire.url, {
    "grpc.service_config": JSON.stringify({ methodConfig: [{ name: [{}], retryPolicy }] }),
  });
  t.is(await triggerByGrpcJs({ client, key: WIRE_KEY, taskId: "again" }), "run of again");
  t.is(tries, 3);
});

test("the frames of a refusal: HEADERS that end the stream, and nothing else", async (t) => {
  const { server } = await startApi(t);
  const path = "/hairtrigger.v1.RunService/RetrieveRun";
  const message = toBinary(
    RetrieveRunRequestSchema,
    create(RetrieveRunRequestSchema, { runId: "run_00000000000000000000000000" }),
  );
  const headers = { authorization: `Bearer ${server.key}` };

  const refused = await rawGrpc({ url: server.url, path, message, headers });
  t.true(refused.isTrailersOnly);
  t.is(Number(refused.headers[":status"]), 200);
  t.is(refused.headers["content-type"], "application/grpc+proto");
  t.is(refused.headers["grpc-status"], "5");
  t.is(refused.headers["grpc-message"], "Run run_00000000000000000000000000 not found");
  t.is(refused.body.length, 0);

  const cancel = toBinary(CancelRunRequestSchema, create(CancelRunRequestSchema, { runId: await triggered(server) }));
  const done = await rawGrpc({
    url: server.url,
    path: "/hairtrigger.v1.RunService/CancelRun",
    message: cancel,
    headers,
  });
  t.false(done.isTrailersOnly);
  t.is(done.trailers?.["grpc-status"], "0");
  t.truthy(fromBinary(CancelRunResponseSchema, done.body.subarray(5)).runId);
});

async function triggered({ url, key }: { readonly url: string; readonly key: string }): Promise<string> {
  const runs = createClient(RunService, createGrpcTransport({ baseUrl: url }));
  const { runId } = await runs.triggerTask({ taskId: "hello" }, { headers: { authorization: `Bearer ${key}` } });
  return runId;
}

test("grpc-message keeps printable ASCII but %, escapes the rest, and reads back as it was", (t) => {
  t.is(encodeGrpcMessage('Run "x" not found, 100 %'), 'Run "x" not found, 100 %25');
  t.is(encodeGrpcMessage("é\n"), "%C3%A9%0A");
  fc.assert(
    fc.property(fc.string({ unit: "binary" }), (text) => {
      const encoded = encodeGrpcMessage(text);
      t.regex(encoded, /^[\x20-\x7e]*$/);
      t.is(
        Buffer.from(
          encoded.replace(/%([0-9A-F]{2})/g, (_, hex: string) => String.fromCharCode(Number.parseInt(hex, 16))),
          "latin1",
        ).toString(),
        Buffer.from(text).toString(),
      );
    }),
  );
});

const grpcurl = findProgram("grpcurl");

testIf(grpcurl !== undefined, "grpcurl not found")(
  "grpcurl: list and describe show every service, and TriggerTask works as the README writes it",
  async (t) => {
    const { server } = await startApi(t);
    const { host } = new URL(server.url);
    const ask = async (...args: readonly string[]): Promise<string> =>
      (await run(grpcurl ?? "", ["-plaintext", ...args])).stdout;

    const services = (await ask(host, "list")).trim().split("\n");
    t.deepEqual(services, [
      "grpc.health.v1.Health",
      "grpc.reflection.v1.ServerReflection",
      "grpc.reflection.v1alpha.ServerReflection",
      "hairtrigger.v1.AuthService",
      "hairtrigger.v1.BatchService",
      "hairtrigger.v1.QueueService",
      "hairtrigger.v1.RunService",
      "hairtrigger.v1.TaskService",
      "hairtrigger.v1.WaitpointService",
      "hairtrigger.worker.v1.WorkerService",
    ]);
    for (const service of services) t.regex(await ask(host, "describe", service), /is a service/);

    const data = '{"taskId":"hello","payload":{"value":{"to":"a@b.c"}},"options":{"delay":"10s"}}';
    t.regex(await ask("-H", `authorization: Bearer ${server.key}`, "-d", data, host, METHOD), /"runId": "run_/);
    const failed = await t.throwsAsync<Error & { stderr: string }>(ask("-d", data, host, METHOD));
    t.regex(failed?.stderr ?? "", /Unauthenticated[\s\S]*INVALID_CREDENTIALS/);
  },
);

const buf = findProgram("buf") ?? "node_modules/.bin/buf";

for (const protocol of ["connect", "grpc", "grpcweb"]) {
  test(`buf curl --protocol ${protocol} needs no files`, async (t) => {
    const { server } = await startApi(t);
    const options = `curl --http2-prior-knowledge --protocol ${protocol}`.split(" ");
    const { stdout } = await run(
      buf,
      options.concat([
        "-H",
        `authorization: Bearer ${server.key}`,
        "-d",
        '{"taskId":"hello"}',
        `${server.url}/${METHOD}`,
      ]),
    );
    t.regex(stdout, /"runId":\s*"run_/);
  });
}

// ── discovery ────────────────────────────────────────────────────────────────────────────────────────────────────────────────────

test("health: Check, List and Watch tell SERVING without a key, and an unknown service apart", async (t) => {
  const { server } = await startApi(t);
  const health = createClient(Health, createGrpcTransport({ baseUrl: server.url }));
  t.is((await health.check({})).status, ServingStatus.SERVING);
  t.is((await health.check({ service: "hairtrigger.worker.v1.WorkerService" })).status, ServingStatus.SERVING);
  t.like(await refusal(health.check({ service: "nobody" })), { code: "NOT_FOUND", reason: "SERVICE_NOT_FOUND" });
  const { statuses } = await health.list({});
  t.deepEqual(Object.keys(statuses).toSorted(), [
    "",
    "hairtrigger.v1.AuthService",
    "hairtrigger.v1.BatchService",
    "hairtrigger.v1.QueueService",
    "hairtrigger.v1.RunService",
    "hairtrigger.v1.TaskService",
    "hairtrigger.v1.WaitpointService",
    "hairtrigger.worker.v1.WorkerService",
  ]);
  for await (const { status } of health.watch({ service: "nobody" })) {
    t.is(status, ServingStatus.SERVICE_UNKNOWN);
    break;
  }
});

test("health: a watcher learns NOT_SERVING when the server stops, and is let go", async (t) => {
  const { server } = await startApi(t);
  const health = createClient(Health, createGrpcTransport({ baseUrl: server.url }));
  const seen: ServingStatus[] = [];
  for await (const { status } of health.watch({})) {
    seen.push(status);
    if (seen.length === 1) void server.stop();
  }
  t.deepEqual(seen, [ServingStatus.SERVING, ServingStatus.NOT_SERVING]);
});

test("with discovery closed, health and reflection want a key like everything else", async (t) => {
  const { server } = await startApi(t, { isDiscoveryOpen: false });
  const health = createClient(Health, createGrpcTransport({ baseUrl: server.url }));
  t.like(await refusal(health.check({})), { code: "UNAUTHENTICATED", reason: "INVALID_CREDENTIALS" });
  t.is((await health.check({}, { headers: { authorization: `Bearer ${server.key}` } })).status, ServingStatus.SERVING);
});

for (const service of [ServerReflection, ServerReflectionAlpha]) {
  test(`${service.typeName} sends a file after all it imports, each once per stream`, async (t) => {
    const { server } = await startApi(t);
    // Both versions have the same messages; one client type serves.
    const methods = service.typeName === ServerReflection.typeName ? ServerReflection : ServerReflectionAlpha;
    const client = createClient(methods, createGrpcTransport({ baseUrl: server.url }));
    const questions = async function* () {
      for (const value of [
        "hairtrigger.v1.RunService",
        "hairtrigger.v1.RunService.TriggerTask",
        "google.rpc.ErrorInfo",
      ]) {
        yield { messageRequest: { case: "fileContainingSymbol", value } as const };
      }
      yield { messageRequest: { case: "fileByFilename", value: "none.proto" } as const };
    };
    const sent: string[] = [];
    const errors: number[] = [];
    for await (const { messageResponse } of client.serverReflectionInfo(questions())) {
      if (messageResponse.case === "errorResponse") errors.push(messageResponse.value.errorCode);
      if (messageResponse.case !== "fileDescriptorResponse") continue;
      for (const bytes of messageResponse.value.fileDescriptorProto) {
        const { name, dependency } = fromBinary(FileDescriptorProtoSchema, bytes);
        for (const needed of dependency) t.true(sent.includes(needed), `${needed} before ${name}`);
        sent.push(name);
      }
    }
    // The second question is about the same file, which is sent again because it is the answer; nothing else is.
    t.is(sent.filter((name) => name === "hairtrigger/v1/run_service.proto").length, 2);
    t.is(new Set(sent).size, sent.length - 1);
    t.deepEqual(errors, [Code.NotFound]);
  });
}

// ── plain HTTP and browsers ──────────────────────────────────────────────────────────────────────────────────────────────────────

test("/livez and /readyz answer plain HTTP; /readyz says why not", async (t) => {
  const wire = await startWire(t, () => {}, {
    readiness: { check: () => Promise.resolve({ ok: false, error: "disk full" }) },
  });
  const live = await fetch(`${wire.url}/livez`);
  t.is(live.status, 200);
  const ready = await fetch(`${wire.url}/readyz`);
  t.is(ready.status, 503);
  t.deepEqual(await ready.json(), { status: "not ready", error: "disk full" });
  t.is((await fetch(`${wire.url}/readyz`, { method: "POST" })).status, 405);
});

test("what nothing serves gets a clear answer: 404, 405 with Allow, 415, 505, and UNIMPLEMENTED for gRPC", async (t) => {
  const { server } = await startApi(t);
  const missing = await fetch(`${server.url}/nowhere`, { method: "POST" });
  t.is(missing.status, 404);
  t.like(await missing.json(), { code: "unimplemented", message: "No method /nowhere" });
  const wrongVerb = await fetch(`${server.url}/${METHOD}`, { method: "PUT", body: "{}" });
  t.is(wrongVerb.status, 405);
  t.is(wrongVerb.headers.get("allow"), "POST");
  t.regex(String(objectOf(await wrongVerb.json()).message), /is called with POST/);
  const wrongType = await fetch(`${server.url}/${METHOD}`, {
    method: "POST",
    body: "x",
    headers: { "content-type": "text/plain" },
  });
  t.is(wrongType.status, 415);
  t.regex(String(objectOf(await wrongType.json()).message), /takes JSON/);
  const stream = await fetch(`${server.url}/hairtrigger.worker.v1.WorkerService/OpenSession`, {
    method: "POST",
    body: "{}",
  });
  t.is(stream.status, 505);
  const unknown = await rawGrpc({
    url: server.url,
    path: "/hairtrigger.v1.NoService/BatchTrigger",
    message: new Uint8Array(),
  });
  t.true(unknown.isTrailersOnly);
  t.is(unknown.headers["grpc-status"], String(grpc.status.UNIMPLEMENTED));
  t.is(unknown.headers["grpc-message"], "No method /hairtrigger.v1.NoService/BatchTrigger");
});

test("AUT-7: a browser's preflight is answered from every origin, and the headers of Connect and gRPC-Web are exposed", async (t) => {
  const { server } = await startApi(t);
  const origin = "https://app.example.com";
  const preflight = await fetch(`${server.url}/${METHOD}`, {
    method: "OPTIONS",
    headers: { origin, "access-control-request-method": "POST", "access-control-request-headers": "authorization" },
  });
  t.is(preflight.status, 204);
  t.is(preflight.headers.get("access-control-allow-origin"), "*");
  t.regex(preflight.headers.get("access-control-allow-headers") ?? "", /connect-protocol-version.*authorization/i);
  const call = await fetch(`${server.url}/${METHOD}`, {
    method: "POST",
    headers: { origin, "content-type": "application/json" },
    body: "{}",
  });
  t.is(call.headers.get("access-control-allow-origin"), "*");
  t.regex(call.headers.get("access-control-expose-headers") ?? "", /grpc-status/i);
});

test("AUT-7: with a list of origins, others get no permission", async (t) => {
  const wire = await startWire(t, () => {}, { allowedOrigins: ["https://a.example"] });
  const allowed = async (origin: string): Promise<string | null> =>
    (await fetch(`${wire.url}/livez`, { headers: { origin } })).headers.get("access-control-allow-origin");
  t.is(await allowed("https://a.example"), "https://a.example");
  t.is(await allowed("https://b.example"), null);
});

const openssl = findProgram("openssl");

testIf(openssl !== undefined, "openssl not found")(
  "with TLS, ALPN gives HTTP/2 to gRPC and HTTP/1.1 to the rest",
  async (t) => {
    const folder = await mkdtemp(join(tmpdir(), "hairtrigger-tls-"));
    t.teardown(() => rm(folder, { recursive: true }));
    const [certPath, keyPath] = [join(folder, "cert.pem"), join(folder, "key.pem")];
    const request = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 1 -subj /CN=localhost";
    const files = ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", keyPath, "-out", certPath];
    await run(openssl ?? "", request.split(" ").concat(files));
    const tls = { cert: await readFile(certPath, "utf8"), key: await readFile(keyPath, "utf8") };
    const { server } = await startApi(t, { tls });
    const nodeOptions = { ca: tls.cert };
    for (const transport of [
      createGrpcTransport({ baseUrl: server.url, nodeOptions }),
      createConnectTransport({ baseUrl: server.url, httpVersion: "1.1", nodeOptions }),
    ]) {
      const health = createClient(Health, transport);
      t.is((await health.check({})).status, ServingStatus.SERVING);
    }
  },
);

// ── deadlines, faults, the end ───────────────────────────────────────────────────────────────────────────────────────────────────

/** A handler that answers when the test says so. */
function gate(): { readonly passed: Promise<void>; readonly reached: Promise<void>; open(): void; reach(): void } {
  let open = (): void => {};
  let reach = (): void => {};
  const passed = new Promise<void>((resolve) => {
    open = resolve;
  });
  const reached = new Promise<void>((resolve) => {
    reach = resolve;
  });
  return { passed, reached, open: () => open(), reach: () => reach() };
}

function wireRuns(url: string): Clients["runs"] {
  return createClient(
    RunService,
    createGrpcTransport({
      baseUrl: url,
      interceptors: [
        (next) => (request) => {
          request.header.set("authorization", `Bearer ${WIRE_KEY}`);
          return next(request);
        },
      ],
    }),
  );
}

test("a unary call is answered when its deadline passes, whatever its handler does, and its handler is told", async (t) => {
  const stuck = gate();
  let isAborted = false;
  const wire = await startWire(t, (router) =>
    router.service(RunService, {
      triggerTask: async (_, { signal }) => {
        await stuck.passed;
        isAborted = signal.aborted;
        return {};
      },
    }),
  );
  const path = `/${METHOD}`;
  const message = toBinary(TriggerTaskRequestSchema, create(TriggerTaskRequestSchema, { taskId: "slow" }));
  const headers = { authorization: `Bearer ${WIRE_KEY}`, "grpc-timeout": "50m" };
  const answer = await rawGrpc({ url: wire.url, path, message, headers });
  t.is(answer.headers["grpc-status"], String(grpc.status.DEADLINE_EXCEEDED));
  t.true(answer.isTrailersOnly);
  t.is(wire.calls.at(-1)?.code, "DEADLINE_EXCEEDED");
  stuck.open();
  await new Promise((resolve) => setImmediate(resolve));
  t.true(isAborted);
});

test("a mistake of ours is INTERNAL outside, with the request id under which the log has all of it", async (t) => {
  const wire = await startWire(t, (router) =>
    router.service(RunService, {
      triggerTask: () => {
        throw new TypeError("the secret inside");
      },
      async *watchRun() {
        yield {};
        throw new TypeError("the secret of streams");
      },
    }),
  );
  const runs = wireRuns(wire.url);
  const failed = await refusal(runs.triggerTask({ taskId: "x" }, { headers: { "x-request-id": "mine-1" } }));
  t.like(failed, { code: "INTERNAL", reason: "INTERNAL", metadata: { requestId: "mine-1" } });
  t.notRegex(failed.message, /secret/);
  await refusal(all(runs.watchRun({ runId: "run_00000000000000000000000000" })));
  t.deepEqual(
    wire.faults.map(({ error, method }) => [String(error), method]),
    [
      ["TypeError: the secret inside", "/hairtrigger.v1.RunService/TriggerTask"],
      ["TypeError: the secret of streams", "/hairtrigger.v1.RunService/WatchRun"],
    ],
  );
  t.is(wire.faults[0]?.requestId, "mine-1");
});

test("stopping finishes unary calls, ends streams with UNAVAILABLE and RetryInfo, and takes no new connection", async (t) => {
  const api = await startApi(t);
  const runId = await api.triggered("hello");
  const states: string[] = [];
  let stopped: Promise<void> | undefined;
  const watching = (async () => {
    for await (const { run: state } of api.runs.watchRun({ runId, keepOpen: true })) {
      states.push(state?.id ?? "");
      stopped ??= api.server.stop();
    }
  })();
  const ended = await refusal(watching);
  t.like(ended, { code: "UNAVAILABLE", reason: "SERVER_STOPPING", retryAfterMs: 1_000 });
  t.deepEqual(states, [runId]);
  await stopped;
  await t.throwsAsync(fetch(`${api.server.url}/livez`));
});

test("draining lets a call in flight finish, in both versions of HTTP, and then nothing is left open", async (t) => {
  const slow = gate();
  const wire = await startWire(t, (router) =>
    router.service(RunService, {
      triggerTask: async ({ taskId }) => {
        slow.reach();
        await slow.passed;
        return { runId: taskId };
      },
    }),
  );
  const overHttp2 = wireRuns(wire.url).triggerTask({ taskId: "two" });
  const overHttp1 = fetch(`${wire.url}/${METHOD}`, {
    method: "POST",
    headers: { authorization: `Bearer ${WIRE_KEY}`, "content-type": "application/json" },
    body: '{"taskId":"one"}',
  });
  await slow.reached;
  await fetch(`${wire.url}/livez`);
  const drained = wire.listener.drain();
  slow.open();
  t.is((await overHttp2).runId, "two");
  t.deepEqual(await (await overHttp1).json(), { runId: "one" });
  await drained;
  await t.throwsAsync(fetch(`${wire.url}/livez`));
});

test("a caller that leaves aborts its call", async (t) => {
  const entered = gate();
  const left = gate();
  const wire = await startWire(t, (router) =>
    router.service(RunService, {
      triggerTask: (_, { signal }) =>
        new Promise((resolve) => {
          signal.addEventListener("abort", () => {
            left.reach();
            resolve({});
          });
          entered.reach();
        }),
    }),
  );
  const controller = new AbortController();
  const call = wireRuns(wire.url).triggerTask({ taskId: "x" }, { signal: controller.signal });
  await entered.reached;
  controller.abort();
  t.is(refusalOf(ConnectError.from(await t.throwsAsync(call))).code, "CANCELED");
  await left.reached;
});
