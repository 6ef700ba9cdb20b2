/** The payload store as callers and workers meet it: when it is away, what its URLs are good for, and what becomes of its objects. */
import { createHash } from "node:crypto";
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import test, { type ExecutionContext } from "ava";
import { PayloadForm, type PayloadReference } from "#proto/hairtrigger/v1/payload_pb.js";
import { refusal, startApi, statusName, type TestApi } from "../support/api.js";
import type { TestAppOptions } from "../support/harness.js";

const LARGE = { json: JSON.stringify({ text: "x".repeat(600_000) }) };
const DAY_MS = 86_400_000;

/** An app whose payloads are files, and what can be done to them. */
async function startOnFiles(t: ExecutionContext, options: TestAppOptions = {}) {
  const directory = mkdtempSync(join(tmpdir(), "payloads-"));
  t.teardown(() => rmSync(directory, { recursive: true, force: true }));
  const api = await startApi(t, { payloads: { kind: "file", directory }, ...options });
  return {
    api,
    objects: () =>
      readdirSync(directory, { recursive: true })
        .map(String)
        .filter((path) => path.includes("~")),
    /** A file where a folder has to be stops everybody, root included. */
    breakIt: () => {
      rmSync(join(directory, "parts"), { recursive: true, force: true });
      writeFileSync(join(directory, "parts"), "");
    },
    mend: () => rmSync(join(directory, "parts")),
  };
}

/** Plays time until it is settled; a disk takes its own time, which is none of the test's. @returns how long it took. */
async function played<T extends object>(
  api: TestApi,
  call: Promise<T>,
): Promise<{ readonly value: T; readonly tookMs: number }> {
  const sinceMs = api.nowMs();
  for (;;) {
    const value = await Promise.race([call, api.advance(100)]);
    if (value !== undefined) return { value, tookMs: api.nowMs() - sinceMs };
  }
}

test("PAY-10: a payload that cannot be stored is tried five times, then refused, and no run exists; no restart is needed", async (t) => {
  const { api, objects, breakIt, mend } = await startOnFiles(t, { areDutiesEnabled: false });
  let tries = 0;
  api.server.app.events.on("payloads.unavailable", () => {
    tries += 1;
  });
  breakIt();
  const { value, tookMs } = await played(api, refusal(api.trigger("hello", { payload: LARGE })));
  t.like(value, { code: "UNAVAILABLE", reason: "PAYLOAD_STORE_UNAVAILABLE", retryAfterMs: 1_000 });
  t.true(tookMs >= 7_500, `${tookMs} ms`);
  t.is(tries, 5);
  t.is(await api.count(), 0);
  t.is((await api.trigger("hello", { payload: { json: "1" } })).runId.slice(0, 4), "run_", "small ones go on");
  mend();
  await api.trigger("hello", { payload: LARGE });
  t.is(await api.count(), 2);
  t.is(objects().length, 1);
});

test("PAY-10: a store that comes back between two tries costs the caller nothing but time", async (t) => {
  const { api, breakIt, mend } = await startOnFiles(t);
  const failed = new Promise<void>((resolve) => api.server.app.events.on("payloads.unavailable", () => resolve()));
  breakIt();
  const call = api.trigger("hello", { payload: LARGE });
  await failed;
  mend();
  const { value } = await played(api, call);
  t.is(statusName((await api.run(value.runId)).status), "QUEUED");
});

test("PAY-6: what is refused leaves no object behind, nor does a hit", async (t) => {
  const { api, objects } = await startOnFiles(t);
  const over = await refusal(api.trigger("hello", { payload: { json: JSON.stringify("x".repeat(10_485_761)) } }));
  t.like(over, { code: "RESOURCE_EXHAUSTED", reason: "PAYLOAD_TOO_LARGE" });
  t.deepEqual(objects(), []);
  const keyed = { payload: LARGE, options: { idempotencyKey: "a".repeat(64) } };
  const first = await api.trigger("hello", keyed);
  t.is((await api.trigger("hello", keyed)).runId, first.runId);
  t.is(objects().length, 1);
});

test("PAY-4: a URL is good for one object and five minutes, for nothing else and nobody's else", async (t) => {
  const { api } = await startOnFiles(t);
  const { runId } = await api.trigger("hello", { payload: LARGE });
  const other = await api.trigger("hello", { payload: { json: JSON.stringify({ text: "y".repeat(600_000) }) } });
  const url = (await api.run(runId)).payloadPresignedUrl;
  const otherUrl = (await api.run(other.runId)).payloadPresignedUrl;
  t.true((await (await fetch(url)).text()) === LARGE.json);
  const head = await fetch(url, { method: "HEAD" });
  t.is(head.headers.get("content-length"), String(LARGE.json.length));
  t.is(head.headers.get("x-content-type-options"), "nosniff");

  const [mine = "", signed = ""] = url.split("?");
  const foreign = await startApi(t);
  for (const [what, forged] of [
    ["unsigned", mine],
    ["another object", `${otherUrl.split("?")[0] ?? ""}?${signed}`],
    ["longer", url.replace(/expires=\d/, "expires=9")],
    ["another media type", url.replace(/type=[^&]*/, "type=text%2Fhtml")],
    ["another signature", url.replace(/signature=..../, "signature=AAAA")],
    ["another server", url.replace(api.server.url, foreign.server.url)],
  ] as const) {
    const answer = await fetch(forged);
    t.is(answer.status, 403, what);
    t.like(await answer.json(), { code: "permission_denied" }, what);
  }
  t.is((await fetch(url, { method: "PUT", body: "x" })).status, 403);
  t.is((await fetch(url, { method: "DELETE" })).status, 405);

  await api.server.clock.jump(300_001);
  const late = await fetch(url);
  t.is(late.status, 403);
  t.regex(String(Reflect.get(Object(await late.json()), "message")), /expired/);
  const again = await fetch((await api.run(runId)).payloadPresignedUrl);
  t.true((await again.text()) === LARGE.json, "another is to be had");
});

test("PAY-4: HAIRTRIGGER_PUBLIC_URL is what URLs begin with", async (t) => {
  const { api } = await startOnFiles(t, { publicUrl: "https://tasks.example.com/base" });
  const { runId } = await api.trigger("hello", { payload: LARGE });
  t.regex((await api.run(runId)).payloadPresignedUrl, /^https:\/\/tasks\.example\.com\/base\/payloads\/dev\//);
});

// ── outputs ──────────────────────────────────────────────────────────────────────────────────────────────────────────────────────

const OUTPUT = Buffer.from(JSON.stringify(["z".repeat(700_000)]));
const digest = (bytes: Uint8Array): Buffer => createHash("sha256").update(bytes).digest();

let tasks = 0;

/** A run of a task of its own, begun by a worker of its own. */
async function beginOne(api: TestApi) {
  tasks += 1;
  const taskId = `task-${tasks}`;
  const worker = await api.worker({ tasks: [taskId] });
  const { runId } = await api.trigger(taskId);
  const { lease } = await worker.begin();
  const askFor = (bytes: Uint8Array) =>
    api.workers.createUploadUrl({ lease, sizeBytes: BigInt(bytes.length), sha256: digest(bytes) });
  return { worker, runId, lease, askFor };
}

function put(url: string, headers: Readonly<Record<string, string>>, body: Uint8Array<ArrayBuffer>): Promise<Response> {
  return fetch(url, { method: "PUT", headers, body });
}

test("PAY-5: an output is put by its URL, reported by its reference, and read by another URL", async (t) => {
  const { api, objects } = await startOnFiles(t);
  const { worker, runId, lease, askFor } = await beginOne(api);
  const { url, headers, reference } = await askFor(OUTPUT);
  const wrong = Buffer.from(OUTPUT);
  wrong[5] = 65;
  t.is((await put(url, headers, wrong)).status, 400, "other bytes");
  t.is((await put(url, headers, OUTPUT.subarray(1))).status, 400, "fewer bytes");
  t.is((await put(url.replace(/size=\d+/, "size=9"), headers, Buffer.from("123456789"))).status, 403);
  t.deepEqual(objects(), []);
  t.is((await put(url, headers, OUTPUT)).status, 204);
  if (reference === undefined) throw new Error("there is a reference");
  await worker.completed(lease, { data: { case: "reference", value: reference } });
  const run = await api.run(runId);
  t.is(statusName(run.status), "COMPLETED");
  const answer = await fetch(run.outputPresignedUrl);
  t.is(answer.headers.get("content-type"), "application/json");
  t.true(OUTPUT.equals(Buffer.from(await answer.arrayBuffer())));
});

test("PAY-5: a reference that names no upload of the run fails it, whatever it names", async (t) => {
  const { api } = await startOnFiles(t);
  const stranger = await beginOne(api);
  const uploaded = await stranger.askFor(OUTPUT);
  await put(uploaded.url, uploaded.headers, OUTPUT);
  const report = async (change: (reference: PayloadReference) => PayloadReference | undefined): Promise<void> => {
    const { worker, runId, lease, askFor } = await beginOne(api);
    const { reference } = await askFor(OUTPUT);
    const value = reference === undefined ? undefined : change(reference);
    if (value === undefined) throw new Error("there is a reference");
    await worker.completed(lease, { data: { case: "reference", value } });
    const run = await api.run(runId);
    t.is(statusName(run.status), "FAILED");
    t.is(run.error?.code, "TASK_OUTPUT_ERROR");
  };
  await report((reference) => reference);
  await report(() => uploaded.reference);
  await report((reference) => ({ ...reference, key: "../../etc/passwd" }));
});

test("PAY-7: no URL for an output above the limit, nor for a run that the worker does not hold", async (t) => {
  const { api } = await startOnFiles(t);
  const { worker, lease, askFor } = await beginOne(api);
  const sha256 = digest(OUTPUT);
  const tooLarge = await refusal(api.workers.createUploadUrl({ lease, sizeBytes: 104_857_601n, sha256 }));
  t.like(tooLarge, { code: "RESOURCE_EXHAUSTED", reason: "PAYLOAD_TOO_LARGE", metadata: { allowed: "104857600" } });
  const elsewhere = api.as(api.server.prodKey).workers;
  t.like(await refusal(elsewhere.createUploadUrl({ lease, sizeBytes: 5n, sha256 })), { reason: "STALE_LEASE" });
  await worker.completed(lease);
  t.like(await refusal(askFor(OUTPUT)), { code: "FAILED_PRECONDITION", reason: "STALE_LEASE" });
});

test("PAY-3: a large output that came with its report is put there by the server", async (t) => {
  const { api, objects } = await startOnFiles(t);
  const { worker, runId, lease } = await beginOne(api);
  await worker.completed(lease, { data: { case: "json", value: OUTPUT.toString() } });
  const run = await api.run(runId);
  t.like(run.output?.data.value, { form: PayloadForm.JSON, sizeBytes: BigInt(OUTPUT.length) });
  t.true(OUTPUT.equals(Buffer.from(await (await fetch(run.outputPresignedUrl)).arrayBuffer())));
  t.is(objects().length, 1);
});

// ── what is kept ─────────────────────────────────────────────────────────────────────────────────────────────────────────────────

test("PAY-11: a purge takes the objects of its runs, and a replay keeps its own", async (t) => {
  const { api, objects } = await startOnFiles(t, { limits: { finishedRunsKeptMs: DAY_MS } });
  const worker = await api.worker({ tasks: ["hello"] });
  const { runId } = await api.trigger("hello", { payload: LARGE });
  await worker.finish({ data: { case: "json", value: OUTPUT.toString() } });
  t.is(objects().length, 2);
  const replay = await api.runs.replayRun({ runId });
  t.is(objects().length, 3);
  await worker.begin();
  await api.pass(60_000, worker);
  await api.server.clock.jump(DAY_MS);
  await api.server.app.engine.duties.purge(100);
  t.like(await refusal(api.runs.retrieveRun({ runId })), { reason: "RUN_NOT_FOUND" });
  t.is(objects().length, 1);
  const url = (await api.run(replay.runId)).payloadPresignedUrl;
  t.true((await (await fetch(url)).text()) === LARGE.json);
});

test("PAY-11: objects that no run names go when they are a day old, all others stay", async (t) => {
  const { api, objects } = await startOnFiles(t);
  const { askFor } = await beginOne(api);
  const { runId } = await api.trigger("other", { payload: LARGE });
  const { url, headers, reference } = await askFor(OUTPUT);
  t.is((await put(url, headers, OUTPUT)).status, 204);
  const { orphans } = api.server.app.engine.duties;
  // Files have the machine's time.
  await api.server.clock.jump(Date.now() + DAY_MS - 60_000 - api.nowMs());
  await orphans(100);
  t.is(objects().length, 2);
  await api.server.clock.jump(180_000);
  await orphans(100);
  t.is(objects().length, 1);
  t.false(objects()[0]?.includes(reference?.key.slice(-64) ?? "") ?? true);
  t.true((await (await fetch((await api.run(runId)).payloadPresignedUrl)).text()) === LARGE.json);
});
