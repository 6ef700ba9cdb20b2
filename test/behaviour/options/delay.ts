/** When a run may be queued (section 6.1). */
import test from "ava";
import { refusal, startApi, statusName, timeMs } from "../../support/api.js";

const SECOND = 1_000;
const MINUTE = 60 * SECOND;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;

test("DLY-1, DLY-2, DLY-3: durations, date-times with and without zone, spans and instants are delays", async (t) => {
  const api = await startApi(t);
  const nowMs = api.nowMs();
  const accepted: readonly (readonly [options: Record<string, string>, dueMs: number])[] = [
    [{ delay: "1h" }, nowMs + HOUR],
    [{ delay: "88s" }, nowMs + 88 * SECOND],
    [{ delay: "1h52m18s" }, nowMs + HOUR + 52 * MINUTE + 18 * SECOND],
    [{ delay: "2026-12-01T00:00:00" }, Date.UTC(2026, 11, 1)],
    [{ delay: "2026-12-01" }, Date.UTC(2026, 11, 1)],
    [{ delay: "2026-12-01T10:30" }, Date.UTC(2026, 11, 1, 10, 30)],
    [{ delay: "2026-12-01T10:30:15Z" }, Date.UTC(2026, 11, 1, 10, 30, 15)],
    [{ delay: "2026-12-01T10:30:15.250+02:00" }, Date.UTC(2026, 11, 1, 8, 30, 15, 250)],
    [{ delayFor: "90.500s" }, nowMs + 90_500],
    [{ delayUntil: "2026-12-01T00:00:00.001Z" }, Date.UTC(2026, 11, 1, 0, 0, 0, 1)],
  ];
  for (const [options, dueMs] of accepted) {
    const run = await api.run(await api.triggered("work", options));
    t.is(statusName(run.status), "DELAYED", JSON.stringify(options));
    t.is(timeMs(run.delayedUntilTime), dueMs);
  }
});

test("DLY-3, DLY-5: anything else, and an instant more than 100 years ahead, is refused with its value", async (t) => {
  const api = await startApi(t);
  const malformed = [
    "10",
    "2025",
    "2025-1-1",
    "1H",
    " 1h",
    "1 h",
    "-5s",
    "1.5h",
    "500ms",
    "1h2h",
    "1h1hr",
    "tomorrow",
    "",
  ];
  const impossible = ["2026-13-01", "2026-02-30", "2026-12-01 10:00", "2026-12-01T25:00", "2026-12-01T10:00:00CET"];
  for (const delay of [...malformed, ...impossible, "36501d", "2127-01-01"]) {
    const refused = await refusal(api.trigger("work", { options: { delay } }));
    t.is(refused.code, "INVALID_ARGUMENT", delay);
    t.is(refused.reason, "INVALID_DELAY", delay);
    t.true(refused.message.includes(`Invalid delay: ${delay}`), refused.message);
    t.is(refused.metadata["got"], delay);
    t.deepEqual(
      refused.violations.map(({ field, reason }) => [field, reason]),
      [["options.delay", "INVALID_DELAY"]],
    );
  }
  t.is((await refusal(api.trigger("work", { options: { delayFor: "-1s" } }))).reason, "INVALID_DELAY");
  t.is(
    (await refusal(api.trigger("work", { options: { delayUntil: "2200-01-01T00:00:00Z" } }))).reason,
    "INVALID_DELAY",
  );
  t.is(await api.count(), 0);
  t.is(await api.status(await api.triggered("work", { delay: "36500d" })), "DELAYED", "100 years pass");
});

test("DLY-4, DLY-6: an instant that is not in the future, and 0s, mean no delay", async (t) => {
  const api = await startApi(t);
  for (const options of [
    { delay: "2024-12-01T00:00:00" },
    { delay: "2026-01-01" },
    { delay: "0s" },
    { delayFor: "0s" },
  ]) {
    const run = await api.run(await api.triggered("work", options));
    t.is(statusName(run.status), "QUEUED", JSON.stringify(options));
    t.is(run.delayedUntilTime, undefined);
  }
});

test("DLY-7, DLY-8: a delayed run is in no queue figure, starts no earlier than due, and behind what was queued before", async (t) => {
  const api = await startApi(t);
  const worker = await api.worker({ tasks: ["work"], credit: 1 });
  const delayed = await api.triggered("work", { delay: "10s" });
  const run = await api.run(delayed);
  t.is(statusName(run.status), "DELAYED");
  t.is(timeMs(run.delayedUntilTime), api.nowMs() + 10 * SECOND);
  const { queued, running } = await api.queue("task/work");
  t.deepEqual([queued, running], [0, 0]);

  await api.advance(9_999);
  t.is(await api.status(delayed), "DELAYED");
  t.is(worker.assignments.size, 0);
  await api.advance(1);
  const assignment = await worker.begin();
  t.is(assignment.runId, delayed, "started at its due time, to the millisecond");
  t.is(timeMs((await api.run(delayed)).startTime), api.nowMs());

  const later = await api.triggered("work", { delay: "5s" });
  await api.advance(4 * SECOND);
  const before = await api.triggered("work");
  await api.advance(2 * SECOND);
  const after = await api.triggered("work");
  worker.credit(3);
  const order = [await worker.begin(), await worker.begin(), await worker.begin()].map(({ runId }) => runId);
  t.deepEqual(order, [before, later, after], "queued at its due time");
});

test("DLY-9: a run cancelled while DELAYED is CANCELED and never enqueued", async (t) => {
  const api = await startApi(t);
  const worker = await api.worker({ tasks: ["work"] });
  const runId = await api.triggered("work", { delay: "10s" });
  await api.runs.cancelRun({ runId });
  t.is(await api.status(runId), "CANCELED");
  await api.advance(11 * SECOND);
  t.is(await api.status(runId), "CANCELED");
  t.is(worker.assignments.size, 0);
});

test("DLY-12: a delay of 60 days or of 90 years does not overflow a timer", async (t) => {
  const warnings: Error[] = [];
  const note = (warning: Error): void => void warnings.push(warning);
  process.on("warning", note);
  t.teardown(() => process.off("warning", note));
  const real = await startApi(t, { isRealTime: true });
  const worker = await real.worker({ tasks: ["work"] });
  const far = await real.triggered("work", { delay: "60d" });
  const near = await real.triggered("work", { delayFor: "0.100s" });
  t.is((await worker.begin()).runId, near);
  t.is(await real.status(far), "DELAYED");
  t.deepEqual(
    warnings.filter(({ name }) => name === "TimeoutOverflowWarning"),
    [],
  );

  const api = await startApi(t);
  const runId = await api.triggered("work", { delay: "60d" });
  const farther = await api.triggered("work", { delay: "32850d" });
  await api.server.clock.jump(60 * DAY - SECOND);
  await api.advance(999);
  t.is(await api.status(runId), "DELAYED");
  await api.advance(SECOND);
  t.is(await api.status(runId), "QUEUED");
  t.is(await api.status(farther), "DELAYED");
});
