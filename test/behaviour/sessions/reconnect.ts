/** Reconnects (RUN-6, RUN-8; worker.proto, Hello): a broken connection ends nothing; a hello sorts out what each side knows. */
import test from "ava";
import { AttemptOutcome } from "#proto/hairtrigger/v1/run_pb.js";
import { refusal, startApi } from "../../support/api.js";
import { hex, WireWorker } from "../../support/wire-worker.js";

const SECOND = 1_000;
const MINUTE = 60 * SECOND;

test("RUN-6: a closed stream alone ends nothing: a worker that reconnects in time goes on", async (t) => {
  const api = await startApi(t);
  const worker = await api.worker({ tasks: ["work"] });
  const runId = await api.triggered("work");
  const { lease } = await worker.begin();
  worker.disconnect();
  await api.advance(25 * SECOND);
  t.is(await api.status(runId), "EXECUTING");
  const back = await worker.reconnect();
  t.teardown(() => back.disconnect());
  const answer = await back.held.take();
  t.deepEqual([hex(answer.lease), answer.instruction.case], [hex(lease), "goOn"]);
  await api.pass(MINUTE, back);
  t.is((await back.completed(lease)).case, "finished");
  t.is((await api.run(runId)).attemptCount, 1);
});

test("RUN-8: a hello is answered for every lease held, from the record", async (t) => {
  const api = await startApi(t);
  const worker = await api.worker({ tasks: ["work"], credit: 20 });
  const begun = async (): Promise<{ readonly runId: string; readonly lease: Uint8Array }> => {
    await api.triggered("work", { maxAttempts: 3 });
    return worker.begin();
  };
  const [going, completed, retried, cancelled, released] = [
    await begun(),
    await begun(),
    await begun(),
    await begun(),
    await begun(),
  ];
  // Reports whose answers the worker never saw: it lists the leases as before.
  worker.credit(0);
  await worker.completed(completed.lease);
  await worker.failed(retried.lease, {}, 20 * SECOND);
  await worker.failed(released.lease, {}, MINUTE);
  await api.runs.cancelRun({ runId: cancelled.runId, reason: "meanwhile" });
  worker.disconnect();
  const unknown = new Uint8Array(20);
  const listed = [going, completed, retried, cancelled, released].map(({ lease }) => lease);
  const back = await worker.reconnect({ held: [...listed, unknown].map((lease) => ({ lease })), credit: 0 });
  t.teardown(() => back.disconnect());
  const answers = [];
  for (let count = 0; count < 6; count += 1) answers.push(await back.held.take());
  t.deepEqual(
    answers.map(({ lease, instruction }) => [hex(lease), instruction.case]),
    [
      [hex(going.lease), "goOn"],
      [hex(completed.lease), "finished"],
      [hex(retried.lease), "retry"],
      [hex(cancelled.lease), "cancel"],
      [hex(released.lease), "released"],
      [hex(unknown), "lost"],
    ],
  );
  const [, , retry, cancel] = answers.map(({ instruction }) => instruction);
  if (retry?.case !== "retry" || cancel?.case !== "cancel") return t.fail();
  t.is(retry.value.attempt, 2);
  t.is(Number(retry.value.delay?.seconds), 20);
  t.is(cancel.value.reason, "meanwhile");
  await back.heartbeat();
  t.is(back.resyncs.size, 0, "both sides count the same leases");
  t.is((await back.completed(retry.value.lease)).case, "finished");
  t.is((await back.ended(cancelled.lease)).case, "finished");
});

test("RUN-8: of the session's runs that a hello does not list, unconfirmed ones are given back and confirmed ones are lost", async (t) => {
  const api = await startApi(t);
  const worker = await api.worker({ tasks: ["work"], credit: 2 });
  const confirmed = await api.triggered("work", { maxAttempts: 3 });
  await worker.begin();
  const unconfirmed = await api.triggered("work", { maxAttempts: 3 });
  await worker.assigned();
  const back = await worker.reconnect({ held: [], credit: 0 });
  t.teardown(() => back.disconnect());
  const [lost, given] = [await api.run(confirmed), await api.run(unconfirmed)];
  t.is(await api.status(unconfirmed), "QUEUED");
  t.is(given.attemptCount, 0);
  t.is(given.nextAttemptTime, undefined);
  t.is(await api.status(confirmed), "QUEUED");
  t.is(lost.attemptCount, 1);
  t.is(lost.attempts[0]?.error?.code, "TASK_RUN_STALLED_EXECUTING");
  t.not(lost.nextAttemptTime, undefined, "after the back-off");
  back.credit(5);
  t.is((await back.begin()).runId, unconfirmed);
  await api.pass(5 * SECOND, back);
  t.is((await back.begin()).attempt, 2);
});

test("RUN-6: a worker that fenced itself reports its runs as interrupted, which counts no attempt while its session stands", async (t) => {
  const api = await startApi(t);
  const tasks = [{ id: "work", queue: { concurrencyLimit: 2 } }];
  const worker = await api.worker({ tasks, credit: 2 });
  const [first, second] = [await api.triggered("work"), await api.triggered("work")];
  const [one, two] = [await worker.begin(), await worker.begin()];
  worker.disconnect();
  await api.advance(29 * SECOND);
  const held = [
    { lease: one.lease, interrupted: true },
    { lease: two.lease, interrupted: true, codeRunsOn: true },
  ];
  const back = await worker.reconnect({ held, credit: 0 });
  t.teardown(() => back.disconnect());
  t.deepEqual(
    [(await back.held.take()).instruction.case, (await back.held.take()).instruction.case],
    ["released", "released"],
  );
  for (const runId of [first, second]) {
    const run = await api.run(runId);
    t.is(await api.status(runId), "QUEUED");
    t.is(run.attemptCount, 0);
    t.is(run.attempts[0]?.outcome, AttemptOutcome.INTERRUPTED);
  }
  t.is((await api.queue("task/work")).running, 1, "code of the second goes on");
  back.credit(2);
  await back.begin();
  await back.heartbeat();
  t.is(back.assignments.size, 0);
  await back.ended(two.lease);
  await back.begin();
});

test("RUN-6: a session that has lapsed finds its runs lost when it comes back, and goes on under its id", async (t) => {
  const api = await startApi(t);
  const worker = await api.worker({ tasks: ["work"] });
  const runId = await api.triggered("work", { maxAttempts: 5 });
  const { lease } = await worker.begin();
  worker.disconnect();
  await api.advance(32 * SECOND);
  t.is(await api.status(runId), "QUEUED");
  const back = await worker.reconnect({ held: [{ lease, interrupted: true }] });
  t.teardown(() => back.disconnect());
  t.is((await back.held.take()).instruction.case, "lost");
  t.is((await api.run(runId)).attempts[0]?.outcome, AttemptOutcome.CRASHED);
  await api.pass(10 * SECOND, back);
  t.is((await back.begin()).attempt, 2);
});

test("RUN-6: a newer connection of a session ends the older one; an older epoch is refused", async (t) => {
  const api = await startApi(t);
  const worker = await api.worker({ tasks: ["work"] });
  const runId = await api.triggered("work");
  const { lease } = await worker.begin();
  const back = await worker.reconnect({ epoch: 5 });
  t.teardown(() => back.disconnect());
  t.is((await worker.end()).error, undefined, "with OK");
  t.is((await back.held.take()).instruction.case, "goOn");
  for (const epoch of [1, 4]) {
    const late = new WireWorker(api.workers, { tasks: ["work"], sessionId: worker.sessionId, epoch });
    t.teardown(() => late.disconnect());
    const refused = await refusal(late.open());
    t.is(refused.code, "FAILED_PRECONDITION");
    t.is(refused.reason, "STALE_LEASE");
  }
  await back.heartbeat();
  t.is((await back.completed(lease)).case, "finished");
  t.is(await api.status(runId), "COMPLETED");
});

test("RUN-8: a worker that holds something else than the record says is asked for a new hello, on the same stream", async (t) => {
  const api = await startApi(t);
  const worker = await api.worker({ tasks: ["work"], credit: 2 });
  await api.triggered("work");
  const { lease } = await worker.begin();
  await worker.heartbeat();
  t.is(worker.resyncs.size, 0);
  worker.send({
    heartbeat: { number: 100n, receivedSequence: worker.receivedSequence, heldCount: 0, heldChecksum: 0n },
  });
  t.true(await worker.resyncs.take());
  worker.send({ hello: { ...worker.hello(), held: [{ lease }] } });
  t.is((await worker.held.take()).instruction.case, "goOn");
  t.is((await worker.completed(lease)).case, "finished");
});

test("RUN-6: places of a worker are what it says, whatever it was given meanwhile", async (t) => {
  const api = await startApi(t);
  const worker = await api.worker({ tasks: ["work"], credit: 3 });
  for (let count = 0; count < 8; count += 1) await api.triggered("work");
  const started = [await worker.begin(), await worker.begin(), await worker.begin()];
  await worker.heartbeat();
  t.is(worker.assignments.size, 0);
  // Said before it had seen any of the three: they count against it.
  worker.send({ credit: { freePlaces: 3, receivedSequence: 1n } });
  await worker.heartbeat();
  t.is(worker.assignments.size, 0);
  for (const { lease } of started.slice(0, 1)) await worker.completed(lease);
  worker.credit(1);
  await worker.begin();
  await worker.heartbeat();
  t.is(worker.assignments.size, 0);
});
