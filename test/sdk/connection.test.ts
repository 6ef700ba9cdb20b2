/** The SDK's connection on Node, against servers of frames alone: what it sends, and what it makes of every way in which an answer can come or fail. */
import { execFile } from "node:child_process";
import { once } from "node:events";
import { constants, createServer, type ServerHttp2Session, type ServerHttp2Stream } from "node:http2";
import type { Socket } from "node:net";
import { promisify } from "node:util";
import { create, toBinary } from "@bufbuild/protobuf";
import { anyPack, timestampFromMs } from "@bufbuild/protobuf/wkt";
import { Code, ConnectError, createClient, encodeBinaryHeader } from "@connectrpc/connect";
import { ApiConnectionError, NotFoundError, runs } from "@hairtrigger/sdk";
import test, { type ExecutionContext } from "ava";
import { ErrorInfoSchema } from "#proto/google/rpc/error_details_pb.js";
import { StatusSchema } from "#proto/google/rpc/status_pb.js";
import { RunSchema, RunStatus } from "#proto/hairtrigger/v1/run_pb.js";
import { RetrieveRunResponseSchema, RunService } from "#proto/hairtrigger/v1/run_service_pb.js";
import { grpcTransport } from "#sdk/grpc-transport.js";
import { RUN_ID } from "./run-fixture.js";
import { gate, WIRE_KEY } from "./wire-server.js";

interface FrameServer {
  readonly url: string;
  /** Of a call that is tried once. */
  readonly options: { readonly clientConfig: object; readonly retry: { readonly maxAttempts: number } };
  readonly sessions: readonly ServerHttp2Session[];
  /** Cuts every connection, without a word of HTTP/2. */
  cut(): void;
}

/** A server that does with the n-th stream what a test says. */
async function startFrames(
  t: ExecutionContext,
  onStream: (stream: ServerHttp2Stream, headers: Readonly<Record<string, unknown>>, index: number) => void,
): Promise<FrameServer> {
  const sessions: ServerHttp2Session[] = [];
  const sockets: Socket[] = [];
  let streams = 0;
  const server = createServer();
  server.on("connection", (socket: Socket) => sockets.push(socket));
  server.on("session", (session) => {
    session.on("error", () => undefined);
    sessions.push(session);
  });
  server.on("stream", (stream, headers) => {
    stream.on("error", () => undefined);
    onStream(stream, headers, streams++);
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  t.teardown(() => {
    for (const session of sessions) session.destroy();
    server.close();
  });
  const address = server.address();
  if (address === null || typeof address === "string") throw new Error("the server has no port");
  const url = `http://127.0.0.1:${address.port}`;
  return {
    url,
    options: { clientConfig: { accessToken: WIRE_KEY, baseURL: url }, retry: { maxAttempts: 1 } },
    sessions,
    cut: () => {
      for (const socket of sockets) socket.destroy();
    },
  };
}

function frame(message: Uint8Array): Buffer {
  const framed = Buffer.alloc(5 + message.length);
  framed.writeUInt32BE(message.length, 1);
  framed.set(message, 5);
  return framed;
}

/** The answer of RetrieveRun. @param payload JSON text. */
function runFrame(payload = "1"): Buffer {
  const run = create(RunSchema, {
    id: RUN_ID,
    status: RunStatus.COMPLETED,
    taskId: "task",
    createTime: timestampFromMs(0),
    updateTime: timestampFromMs(0),
    payload: { data: { case: "json", value: payload } },
  });
  return frame(toBinary(RetrieveRunResponseSchema, create(RetrieveRunResponseSchema, { run })));
}

const OK_HEADERS = { ":status": 200, "content-type": "application/grpc+proto" };

/** Answers as a gRPC server does: headers, a message, trailers. */
function answer(
  stream: ServerHttp2Stream,
  body: Buffer,
  { headers = {}, trailers = {} }: { headers?: object; trailers?: object } = {},
): void {
  stream.respond({ ...OK_HEADERS, ...headers }, { waitForTrailers: true });
  stream.once("wantTrailers", () => stream.sendTrailers({ "grpc-status": "0", ...trailers }));
  stream.end(body);
}

test("RES-12: headers and trailers of an answer come with it, and additional headers go with the call", async (t) => {
  let seen: Readonly<Record<string, unknown>> = {};
  const { options } = await startFrames(t, (stream, headers) => {
    seen = headers;
    answer(stream, runFrame(), { headers: { "x-request-id": "r-1" }, trailers: { "x-cost": "7" } });
  });
  const { data, response } = await runs
    .retrieve(RUN_ID, { ...options, additionalHeaders: { "X-Team": "blue" } })
    .withResponse();
  t.is(data.id, RUN_ID);
  t.is(response.headers.get("x-request-id"), "r-1");
  t.is(response.trailers.get("x-cost"), "7");
  t.is(response.trailers.get("grpc-status"), "0");
  t.like(seen, {
    ":method": "POST",
    ":path": "/hairtrigger.v1.RunService/RetrieveRun",
    "content-type": "application/grpc+proto",
    te: "trailers",
    "grpc-timeout": "30000m",
    authorization: `Bearer ${WIRE_KEY}`,
    "x-team": "blue",
  });
  t.regex(String(seen["hairtrigger-client"]), /^hairtrigger-typescript\/\S+ protocol\/\d+\.\d+$/);
});

test("RES-9: a refusal is read from trailers and from Trailers-Only headers alike, details included", async (t) => {
  const info = create(ErrorInfoSchema, { reason: "RUN_NOT_FOUND", metadata: { got: "x" } });
  const status = create(StatusSchema, {
    code: Code.NotFound,
    message: "Run x is not here: 100 %",
    details: [anyPack(ErrorInfoSchema, info)],
  });
  const refusal = {
    "grpc-status": "5",
    "grpc-message": "Run x is not here: 100 %25",
    "grpc-status-details-bin": encodeBinaryHeader(status, StatusSchema),
  };
  const { options } = await startFrames(t, (stream, _, index) => {
    if (index === 0) stream.respond({ ...OK_HEADERS, ...refusal }, { endStream: true });
    else answer(stream, Buffer.alloc(0), { trailers: refusal });
  });
  for (const form of ["Trailers-Only", "trailers"]) {
    const error = await t.throwsAsync<NotFoundError>(runs.retrieve(RUN_ID, options), { instanceOf: NotFoundError });
    t.is(error?.message, "Run x is not here: 100 %", form);
    t.is(error?.reason, "RUN_NOT_FOUND", form);
    t.deepEqual(error?.metadata, { got: "x" }, form);
  }
});

test("PAY-9: an answer of megabytes arrives whole", async (t) => {
  const text = JSON.stringify("é".repeat(5_000_000));
  const { options } = await startFrames(t, (stream) => answer(stream, runFrame(text)));
  const { payload } = await runs.retrieve(RUN_ID, options);
  t.is(typeof payload === "string" ? payload.length : 0, 5_000_000);
});

test("RES-10: a connection that drops in the middle of a call is an ApiConnectionError, and the next call makes a new one", async (t) => {
  const server = await startFrames(t, (stream, _, index) => {
    if (index > 0) return answer(stream, runFrame());
    stream.respond(OK_HEADERS);
    stream.write(runFrame().subarray(0, 8));
    setImmediate(() => server.cut());
  });
  await t.throwsAsync(runs.retrieve(RUN_ID, server.options), { instanceOf: ApiConnectionError });
  t.is((await runs.retrieve(RUN_ID, server.options)).id, RUN_ID);
  t.is(server.sessions.length, 2);
});

test("RES-10: nobody listens: ApiConnectionError with the address", async (t) => {
  const closed = createServer();
  closed.listen(0, "127.0.0.1");
  await once(closed, "listening");
  const address = closed.address();
  closed.close();
  await once(closed, "close");
  if (address === null || typeof address === "string") throw new Error("the server has no port");
  const clientConfig = { accessToken: WIRE_KEY, baseURL: `http://127.0.0.1:${address.port}` };
  const error = await t.throwsAsync(runs.retrieve(RUN_ID, { clientConfig, retry: { maxAttempts: 1 } }));
  t.true(error instanceof ApiConnectionError && error.code === "unavailable", String(error));
});

test("RES-10: after a good-bye the call under way is answered, and the next goes over a new connection", async (t) => {
  const told = gate();
  const arrived = gate();
  const server = await startFrames(t, (stream, _, index) => {
    if (index > 0) return answer(stream, runFrame("2"));
    stream.session?.goaway(constants.NGHTTP2_NO_ERROR, stream.id);
    // What comes back after it was sent after it was read.
    stream.session?.ping(() => arrived.open());
    void told.promise.then(() => answer(stream, runFrame("1")));
  });
  const first = runs.retrieve(RUN_ID, server.options);
  await arrived.promise;
  const second = runs.retrieve(RUN_ID, server.options);
  t.is((await second).payload, 2);
  told.open();
  t.is((await first).payload, 1);
  t.is(server.sessions.length, 2);
});

test("RES-10: what a proxy says instead of an answer has a code", async (t) => {
  const { options } = await startFrames(t, (stream) => {
    stream.respond({ ":status": 503, "content-type": "text/html" });
    stream.end("<h1>come back later</h1>");
  });
  const error = await t.throwsAsync(runs.retrieve(RUN_ID, options), { instanceOf: ApiConnectionError });
  t.regex(error?.message ?? "", /HTTP 503/);
});

test("an answer that is cut short, doubled, compressed or empty is a failure and never half an answer", async (t) => {
  const whole = runFrame();
  const compressed = Buffer.from(whole);
  compressed[0] = 1;
  const bodies = [whole.subarray(0, whole.length - 1), Buffer.concat([whole, whole]), compressed, Buffer.alloc(0)];
  const { url } = await startFrames(t, (stream, _, index) => answer(stream, bodies[index] ?? whole));
  const client = createClient(RunService, grpcTransport(url));
  const codes: Code[] = [];
  for (const _ of bodies) {
    const error = await t.throwsAsync<ConnectError>(client.retrieveRun({ runId: RUN_ID }));
    codes.push(ConnectError.from(error).code);
  }
  t.deepEqual(codes, [Code.InvalidArgument, Code.Unimplemented, Code.Internal, Code.Unimplemented]);
});

test("a call whose time is over, or whose signal aborts, rejects at once and tells the server", async (t) => {
  const closes: number[] = [];
  const arrived = gate();
  const both = gate();
  const { url } = await startFrames(t, (stream, _, index) => {
    stream.resume();
    if (index === 1) arrived.open();
    stream.once("close", () => {
      closes.push(stream.rstCode ?? -1);
      if (closes.length === 2) both.open();
    });
  });
  const client = createClient(RunService, grpcTransport(url));
  const late = await t.throwsAsync(client.retrieveRun({ runId: RUN_ID }, { timeoutMs: 20 }));
  t.is(ConnectError.from(late).code, Code.DeadlineExceeded);
  const controller = new AbortController();
  const left = client.retrieveRun({ runId: RUN_ID }, { signal: controller.signal });
  await arrived.promise;
  controller.abort();
  t.is(ConnectError.from(await t.throwsAsync(left)).code, Code.Canceled);
  const never = client.retrieveRun({ runId: RUN_ID }, { signal: AbortSignal.abort() });
  t.is(ConnectError.from(await t.throwsAsync(never)).code, Code.Canceled);
  await both.promise;
  t.deepEqual(closes, [constants.NGHTTP2_CANCEL, constants.NGHTTP2_CANCEL]);
});

test("calls and streams to one address share one connection", async (t) => {
  const server = await startFrames(t, (stream) => answer(stream, runFrame()));
  const client = createClient(RunService, grpcTransport(server.url));
  await client.retrieveRun({ runId: RUN_ID });
  for await (const _ of client.watchRun({ runId: RUN_ID })) break;
  await Promise.all([client.retrieveRun({ runId: RUN_ID }), client.retrieveRun({ runId: RUN_ID })]);
  t.is(server.sessions.length, 1);
});

test("a base URL may have a path, for a server behind a proxy", async (t) => {
  let path: unknown;
  const server = await startFrames(t, (stream, headers) => {
    path = headers[":path"];
    answer(stream, runFrame());
  });
  const clientConfig = { accessToken: WIRE_KEY, baseURL: `${server.url}/tasks/` };
  await runs.retrieve(RUN_ID, { clientConfig });
  t.is(path, "/tasks/hairtrigger.v1.RunService/RetrieveRun");
});

test("an idle connection keeps no process alive", async (t) => {
  const { url } = await startFrames(t, (stream) => answer(stream, runFrame()));
  const program = `
    import { runs } from "@hairtrigger/sdk";
    const clientConfig = { accessToken: ${JSON.stringify(WIRE_KEY)}, baseURL: ${JSON.stringify(url)} };
    console.log((await runs.retrieve(${JSON.stringify(RUN_ID)}, { clientConfig })).id);
  `;
  const run = promisify(execFile);
  const { stdout } = await run(process.execPath, ["--input-type=module", "--eval", program]);
  t.is(stdout.trim(), RUN_ID);
});
