/** How long a run waits for its first start (section 6.2). */
import test from "ava";
import { type JsonObject, refusal, selector, startApi, statusName } from "../../support/api.js";

const SECOND = 1_000;
const MINUTE = 60 * SECOND;
const HOUR = 60 * MINUTE;

test("TTL-1: a ttl reads back as written, numbers with units, largest first and without zero parts", async (t) => {
  const api = await startApi(t);
  const cases: readonly (readonly [options: Record<string, string | number>, shown: string])[] = [
    [{ ttl: "90m" }, "90m"],
    [{ ttl: "1h" }, "1h"],
    [{ ttlSeconds: 3_600 }, "1h"],
    [{ ttlSeconds: 5_400 }, "1h30m"],
    [{ ttlSeconds: 694_861 }, "1w1d1h1m1s"],
    [{ ttlFor: "60s" }, "1m"],
    [{ ttl: "0s" }, ""],
    [{ ttlSeconds: 0 }, ""],
  ];
  for (const [options, shown] of cases) {
    t.is((await api.run(await api.triggered("work", options))).ttl, shown, JSON.stringify(options));
  }
});

test("TTL-2, TTL-9: a ttl that is absolute, malformed, negative or fractional is refused", async (t) => {
  const api = await startApi(t);
  for (const ttl of ["2026-12-01", "2026-12-01T00:00:00Z", "1.5h", "-5s", "abc", "10", "36501d", "1h2h"]) {
    const refused = await refusal(api.trigger("work", { options: { ttl } }));
    t.is(refused.reason, "INVALID_TTL", ttl);
    t.true(refused.message.includes(`Invalid ttl: ${ttl}`), refused.message);
    t.deepEqual(
      refused.violations.map(({ field }) => field),
      ["options.ttl"],
    );
  }
  const typed: readonly JsonObject[] = [{ ttlSeconds: 1.5 }, { ttlSeconds: -1 }, { ttlFor: "1.5s" }, { ttlFor: "-1s" }];
  for (const options of typed) {
    t.is((await refusal(api.trigger("work", { options }))).reason, "INVALID_TTL", JSON.stringify(options));
  }
  t.is(await api.count(), 0);
});

test("TTL-3, TTL-10: a ttl counts from the due time, and expires within a second without anyone looking", async (t) => {
  const api = await startApi(t);
  const runId = await api.triggered("work", { delay: "10m", ttl: "1h" });
  await api.server.clock.jump(10 * MINUTE);
  await api.advance(SECOND);
  t.is(await api.status(runId), "QUEUED");
  await api.server.clock.jump(HOUR - 2 * SECOND);
  await api.advance(900);
  t.is(await api.status(runId), "QUEUED", "59:59.9 after the due time");
  await api.advance(1_100);
  const run = await api.run(runId);
  t.is(statusName(run.status), "EXPIRED");
});

test("TTL-5: an expired run says so: EXPIRED, its times, its error; no attempt was made", async (t) => {
  const api = await startApi(t);
  const runId = await api.triggered("work", { ttl: "90s" });
  await api.advance(91 * SECOND);
  const run = await api.run(runId);
  t.is(await api.status(runId), "EXPIRED");
  t.is(run.error?.code, "TASK_RUN_EXPIRED");
  t.is(run.error?.name, "TASK_RUN_EXPIRED");
  t.is(run.error?.message, "Run expired because the TTL (90s) was reached");
  t.not(run.expiredTime, undefined);
  t.deepEqual(run.expiredTime, run.finishTime);
  t.is(run.startTime, undefined);
  t.is(run.attemptCount, 0);
  t.deepEqual(run.attempts, []);
  const worker = await api.worker({ tasks: ["work"] });
  await worker.heartbeat();
  t.is(worker.assignments.size, 0);
});

test("TTL-4: a run that has started once never expires, however often it is queued again", async (t) => {
  const api = await startApi(t);
  const worker = await api.worker({ tasks: ["work"], credit: 1 });
  const runId = await api.triggered("work", { ttl: "60s", maxAttempts: 3 });
  const { lease } = await worker.begin();
  t.is((await worker.failed(lease, {}, 10 * MINUTE)).case, "released");
  t.is(await api.status(runId), "QUEUED");
  await api.pass(5 * MINUTE, worker);
  t.is(await api.status(runId), "QUEUED", "in its retry pause");
  await api.pass(6 * MINUTE, worker);
  t.is(await api.status(runId), "QUEUED", "waiting for a worker again");
  worker.credit(1);
  t.is((await worker.begin()).attempt, 2);
});

test("TTL-4: an unconfirmed pick-up is no start: the ttl applies again", async (t) => {
  const api = await startApi(t);
  const worker = await api.worker({ tasks: ["work"], credit: 1 });
  const runId = await api.triggered("work", { ttl: "5s" });
  await worker.assigned();
  t.not((await api.run(runId)).startTime, undefined);
  await api.advance(9 * SECOND);
  t.is(await api.status(runId), "EXECUTING", "picked up, so it does not expire now");
  await api.advance(3 * SECOND);
  t.is(await api.status(runId), "EXPIRED", "the pick-up was never confirmed");
  t.is((await api.run(runId)).startTime, undefined);
});

test("TTL-10: of an expiry and a pick-up at one instant exactly one wins", async (t) => {
  const api = await startApi(t);
  const worker = await api.worker({ tasks: ["work"], credit: 0 });
  const ids = await Promise.all(Array.from({ length: 20 }, () => api.triggered("work", { ttl: "10s" })));
  await api.advance(9_999);
  const passed = api.advance(1);
  worker.credit(20);
  await passed;
  await worker.heartbeat();
  const assigned = new Set<string>();
  while (worker.assignments.size > 0) assigned.add((await worker.assigned()).runId);
  for (const runId of ids) t.is(await api.status(runId), assigned.has(runId) ? "EXECUTING" : "EXPIRED");
});

test("TTL-7: the trigger's ttl wins over the task's, also when it says none", async (t) => {
  const api = await startApi(t);
  await api.worker({ tasks: [{ id: "work", ttl: "1h" }], credit: 0 });
  t.is((await api.run(await api.triggered("work"))).ttl, "1h");
  t.is((await api.run(await api.triggered("work", { ttl: "5m" }))).ttl, "5m");
  t.is((await api.run(await api.triggered("work", { ttlSeconds: 0 }))).ttl, "");
  t.is((await api.run(await api.triggered("work", { ttl: "0s" }))).ttl, "");
  t.is((await api.run(await api.triggered("other"))).ttl, "");
});

test("TTL-8: under a maximum of the server a missing, zero or longer ttl becomes the maximum", async (t) => {
  const api = await startApi(t, { limits: { ttlMaxMs: 2 * HOUR } });
  const shown = async (options: Record<string, string | number>): Promise<string> =>
    (await api.run(await api.triggered("work", options))).ttl;
  t.is(await shown({}), "2h");
  t.is(await shown({ ttlSeconds: 0 }), "2h");
  t.is(await shown({ ttl: "3d" }), "2h");
  t.is(await shown({ ttl: "30m" }), "30m");
});

test("TTL-11: a paused queue, full concurrency and missing workers do not stop the clock", async (t) => {
  const api = await startApi(t);
  const worker = await api.worker({ tasks: [{ id: "full", queue: { concurrencyLimit: 1 } }, "paused"] });
  await api.triggered("full");
  await worker.begin();
  await api.triggered("paused", { delay: "1d" });
  await api.queues.pauseQueue({ queue: selector("task/paused") });
  const waiting = [
    await api.triggered("full", { ttl: "30s" }),
    await api.triggered("paused", { ttl: "30s" }),
    await api.triggered("unserved", { ttl: "30s" }),
  ];
  await api.pass(29 * SECOND, worker);
  for (const runId of waiting) t.is(await api.status(runId), "QUEUED");
  await api.pass(2 * SECOND, worker);
  for (const runId of waiting) t.is(await api.status(runId), "EXPIRED");
});

test("TTL-12: a replay has no ttl; a reschedule moves its start", async (t) => {
  const api = await startApi(t);
  const runId = await api.triggered("work", { delay: "1m", ttl: "1m" });
  const replay = await api.runs.replayRun({ runId });
  t.is((await api.run(replay.runId)).ttl, "");
  await api.runs.rescheduleRun({ runId, delaySpec: { case: "delay", value: "10m" } });
  await api.advance(3 * MINUTE);
  t.is(await api.status(runId), "DELAYED");
  await api.advance(7 * MINUTE + 30 * SECOND);
  t.is(await api.status(runId), "QUEUED");
  await api.advance(31 * SECOND);
  t.is(await api.status(runId), "EXPIRED");
});
