/** The lean path of unary gRPC (design 14): taken by usual calls, and in nothing but speed different from Connect's. */
import { once } from "node:events";
import { connect, constants } from "node:http2";
import { gzipSync } from "node:zlib";
import { create, fromBinary, type MessageInitShape, toBinary } from "@bufbuild/protobuf";
import { Code, createClient } from "@connectrpc/connect";
import { compressionGzip, createGrpcTransport } from "@connectrpc/connect-node";
import * as grpc from "@grpc/grpc-js";
import test from "ava";
import {
  RunService,
  TriggerTaskRequestSchema,
  TriggerTaskResponseSchema,
} from "#proto/hairtrigger/v1/run_service_pb.js";
import { startApi } from "../support/api.js";
import { startWire, WIRE_KEY } from "../support/wire-parts.js";
import { envelope, type RawAnswer, rawGrpc } from "./raw-grpc.js";

const SERVICE = "/hairtrigger.v1.RunService";
const TRIGGER = `${SERVICE}/TriggerTask`;
const AUTHORIZED = { authorization: `Bearer ${WIRE_KEY}` };

function trigger(request: MessageInitShape<typeof TriggerTaskRequestSchema>): Uint8Array {
  return toBinary(TriggerTaskRequestSchema, create(TriggerTaskRequestSchema, request));
}

/** A header that makes a call unusual, so that it goes through Connect's router, and changes nothing else. */
const UNUSUAL = { origin: "https://app.example.com" };

/** What a caller sees of an answer; headers for browsers, and what differs by time, aside. */
function seen({ headers, isTrailersOnly, trailers, body }: RawAnswer): object {
  const plain = Object.entries(headers).filter(([name]) => !/^(?:access-control-.*|date|x-request-id)$/.test(name));
  return { headers: Object.fromEntries(plain), isTrailersOnly, trailers: { ...trailers }, body: body.toString("hex") };
}

interface Row {
  readonly path?: string;
  readonly message?: Uint8Array;
  readonly body?: Uint8Array;
  readonly headers?: Readonly<Record<string, string>>;
}

test("ERR-1: a refusal has the same bytes by the lean path and by Connect's", async (t) => {
  const { server } = await startApi(t, { limits: { bodyBinaryBytesMax: 4_096 } });
  const ok = trigger({ taskId: "hello" });
  const long = (length: number): string => "x".repeat(length);
  const whole = envelope(ok);
  const rows: Readonly<Record<string, Row>> = {
    "no task": { message: trigger({}) },
    "everything wrong": {
      message: trigger({
        requestId: long(257),
        payload: { data: { case: "json", value: "{" } },
        options: { delaySpec: { case: "delay", value: "néver" }, tags: [long(129)], prioritySeconds: Number.NaN },
      }),
    },
    "unknown run": {
      path: `${SERVICE}/RetrieveRun`,
      message: Buffer.concat([Buffer.from([0x0a, 30]), Buffer.from(`run_${"0".repeat(26)}`)]),
    },
    "run id of no form": {
      path: `${SERVICE}/CancelRun`,
      message: Buffer.concat([Buffer.from([0x0a, 1]), Buffer.from("x")]),
    },
    "no key": { message: ok, headers: { authorization: "" } },
    "wrong key": { message: ok, headers: { authorization: "Bearer wrong" } },
    "client of the future": { message: ok, headers: { "hairtrigger-client": "x/1 protocol/9.0" } },
    "no Protobuf": { message: Buffer.from([0x0a, 0x7f, 0x01]) },
    "no message": { body: Buffer.alloc(0) },
    "half an envelope": { body: Buffer.alloc(3) },
    "half a message": { body: whole.subarray(0, whole.length - 1) },
    "two messages": { body: Buffer.concat([whole, whole]) },
    "an envelope that promises too much": { body: Buffer.from([0, 0xff, 0xff, 0xff, 0xff]) },
    "too large": { message: trigger({ taskId: long(5_000) }) },
    "too large by its own word": { message: trigger({ taskId: long(5_000) }), headers: { "content-length": "5008" } },
    "a later version's method": { path: `${SERVICE}/WatchTags`, message: new Uint8Array() },
    "no time left": { message: ok, headers: { "grpc-timeout": "0S" } },
  };
  for (const [name, { path = TRIGGER, headers, ...sent }] of Object.entries(rows)) {
    const call = { url: server.url, path, ...sent };
    const given = { authorization: `Bearer ${server.key}`, ...headers };
    const lean = await rawGrpc({ ...call, headers: given });
    const connects = await rawGrpc({ ...call, headers: { ...given, ...UNUSUAL } });
    t.deepEqual(seen(lean), seen(connects), name);
    t.true(lean.isTrailersOnly, name);
    t.not(lean.headers["grpc-status"], "0", name);
  }
});

test("a usual call takes the lean path, and an unusual one does not and is answered alike", async (t) => {
  const wire = await startWire(t, (router) =>
    router.service(RunService, {
      triggerTask: ({ taskId }, context) => {
        context.responseHeader.set("x-cost", "7");
        context.responseTrailer.set("x-left", "3");
        return { runId: `run of ${taskId}`, isCached: context.requestHeader.get("x-team") === "blue" };
      },
    }),
  );
  const message = trigger({ taskId: "hello" });
  const headers = { ...AUTHORIZED, "x-request-id": "mine-1", "x-team": "blue" };
  const ask = (change: object = {}): Promise<RawAnswer> =>
    rawGrpc({ url: wire.url, path: TRIGGER, message, headers: { ...headers, ...change } });

  const lean = await ask();
  t.like(lean.headers, { "content-type": "application/grpc+proto", "x-request-id": "mine-1", "x-cost": "7" });
  t.like(lean.trailers, { "grpc-status": "0", "x-left": "3" });
  t.like(fromBinary(TriggerTaskResponseSchema, lean.body.subarray(5)), { runId: "run of hello", isCached: true });
  await ask({ "content-type": "application/grpc+proto", "grpc-timeout": "10S", "grpc-encoding": "identity" });
  t.deepEqual(wire.requests, []);

  t.deepEqual(seen(await ask(UNUSUAL)), seen(lean));
  t.is(wire.requests.length, 1);
  t.deepEqual(
    wire.calls.map(({ requestId, method, protocol, code }) => [requestId, method, protocol, code]),
    Array.from({ length: 3 }, () => ["mine-1", TRIGGER, "grpc", "OK"]),
  );
});

test("JSON, compression and a malformed deadline are left to Connect's path", async (t) => {
  const wire = await startWire(t, (router) =>
    router.service(RunService, { triggerTask: ({ taskId }) => ({ runId: `run of ${taskId}` }) }),
  );
  const message = trigger({ taskId: "hello" });
  const zipped = envelope(gzipSync(message));
  zipped[0] = 1;
  const headers = { ...AUTHORIZED, "grpc-encoding": "gzip" };
  const unzipped = await rawGrpc({ url: wire.url, path: TRIGGER, body: zipped, headers });
  t.is(unzipped.trailers?.["grpc-status"], "0");
  const json = await rawGrpc({
    url: wire.url,
    path: TRIGGER,
    message: Buffer.from('{"taskId":"json"}'),
    headers: { ...AUTHORIZED, "content-type": "application/grpc+json" },
  });
  t.regex(json.body.toString(), /run of json/);
  const late = await rawGrpc({
    url: wire.url,
    path: TRIGGER,
    message,
    headers: { ...AUTHORIZED, "grpc-timeout": "soon" },
  });
  t.is(late.headers["grpc-status"], String(Code.InvalidArgument));
  t.is(wire.requests.length, 3);
});

test("TRG-10: without credentials the answer comes before the body does, which is broken off without an error", async (t) => {
  const wire = await startWire(t, (router) => router.service(RunService, {}));
  const session = connect(wire.url);
  t.teardown(() => session.destroy());
  const stream = session.request({
    ":method": "POST",
    ":path": TRIGGER,
    "content-type": "application/grpc",
    te: "trailers",
  });
  stream.write(Buffer.alloc(100));
  const [headers] = await once(stream, "response");
  t.is(headers["grpc-status"], String(grpc.status.UNAUTHENTICATED));
  stream.resume();
  await once(stream, "close");
  t.is(stream.rstCode, constants.NGHTTP2_NO_ERROR);
  t.is(wire.calls.at(-1)?.code, "UNAUTHENTICATED");
});

test("a caller that leaves in the middle of its body is logged as CANCELLED, and no handler runs", async (t) => {
  let handled = 0;
  const wire = await startWire(t, (router) =>
    router.service(RunService, {
      triggerTask: () => {
        handled += 1;
        return {};
      },
    }),
  );
  const session = connect(wire.url);
  t.teardown(() => session.destroy());
  const headers = { ":method": "POST", ":path": TRIGGER, "content-type": "application/grpc", te: "trailers" };
  const stream = session.request({ ...headers, ...AUTHORIZED });
  stream.on("error", () => undefined);
  stream.write(envelope(trigger({ taskId: "x" })).subarray(0, 4));
  await new Promise((resolve) => session.ping(resolve));
  stream.close(constants.NGHTTP2_CANCEL);
  // Answered after the server has seen the reset.
  await new Promise((resolve) => session.ping(resolve));
  await rawGrpc({ url: wire.url, path: TRIGGER, message: trigger({ taskId: "y" }), headers: AUTHORIZED });
  t.deepEqual(
    wire.calls.map(({ code }) => code),
    ["CANCELLED", "OK"],
  );
  t.is(handled, 1);
  t.deepEqual(wire.faults, []);
});

test("PAY-6: megabytes go both ways, and @grpc/grpc-js and a client that compresses are served side by side", async (t) => {
  const wire = await startWire(t, (router) =>
    router.service(RunService, { triggerTask: ({ payload }) => ({ warnings: [payload?.contentType ?? ""] }) }),
  );
  const text = "é".repeat(4_000_000);
  const request = { taskId: "x", payload: { contentType: text } };
  const zips = createGrpcTransport({ baseUrl: wire.url, sendCompression: compressionGzip });
  const zipped = await createClient(RunService, zips).triggerTask(request, { headers: AUTHORIZED });
  t.true(zipped.warnings[0] === text);

  const client = new grpc.Client(new URL(wire.url).host, grpc.credentials.createInsecure(), {
    "grpc.max_receive_message_length": -1,
  });
  t.teardown(() => client.close());
  const metadata = new grpc.Metadata();
  metadata.set("authorization", AUTHORIZED.authorization);
  const answer = await new Promise<Buffer | undefined>((resolve, reject) => {
    client.makeUnaryRequest(
      TRIGGER,
      (value: Buffer) => value,
      (value) => value,
      Buffer.from(trigger(request)),
      metadata,
      (error, value) => (error === null ? resolve(value) : reject(error)),
    );
  });
  t.true(fromBinary(TriggerTaskResponseSchema, answer ?? Buffer.alloc(0)).warnings[0] === text);
});
