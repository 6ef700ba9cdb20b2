/** Which queue a run waits in (section 14.2), and who sets its limit. */
import test from "ava";
import { refusal, startApi } from "../../support/api.js";

test("QUE-2: tasks share a declared queue and its limit, or name one inline", async (t) => {
  const api = await startApi(t);
  const worker = await api.worker({
    queues: [{ name: "shared", concurrencyLimit: 2 }],
    tasks: [
      { id: "a", queue: { name: "shared" } },
      { id: "b", queue: { name: "shared" } },
      { id: "c", queue: { name: "inline", concurrencyLimit: 7 } },
    ],
  });
  await api.triggered("a");
  await api.triggered("b");
  const third = await api.triggered("a");
  await api.triggered("c");
  const started = [await worker.begin(), await worker.begin(), await worker.begin()];
  t.deepEqual(
    started.map(({ queueName }) => queueName),
    ["shared", "shared", "inline"],
  );
  t.is(await api.status(third), "QUEUED");
  t.is((await api.queue("shared")).concurrencyLimit, 2);
  t.is((await api.queue("inline")).concurrencyLimit, 7);
});

test("QUE-3: names keep letters, digits, _, - and /; without any the task's queue is meant; 129 characters are refused", async (t) => {
  const api = await startApi(t);
  const nameOf = async (name: string): Promise<string> =>
    (await api.run(await api.triggered("work", { queue: { name } }))).queueName;
  t.is(await nameOf("My queue: no. 1!"), "Myqueueno1");
  t.is(await nameOf("a_b-c/d"), "a_b-c/d");
  t.is(await nameOf("naïve"), "naïve");
  t.is(await nameOf("***"), "task/work");
  t.is(await nameOf("x".repeat(128)), "x".repeat(128));
  t.is(await nameOf(`${"x".repeat(128)}!`), "x".repeat(128));
  const refused = await refusal(nameOf("x".repeat(129)));
  t.is(refused.code, "INVALID_ARGUMENT");
  t.is(refused.reason, "INVALID_QUEUE_NAME");
  t.true(refused.message.includes("Queue name must be 128 characters or less"));
});

test("QUE-11: a trigger's limit becomes the base of a queue that no registration declares, and the last one wins", async (t) => {
  const api = await startApi(t);
  const limitAfter = async (queue: Record<string, string | number>): Promise<number | undefined> => {
    t.deepEqual((await api.trigger("work", { options: { queue } })).warnings, []);
    return (await api.queue("named")).concurrency?.base;
  };
  t.is(await limitAfter({ name: "named" }), undefined, "a new queue has none");
  t.is(await limitAfter({ name: "named", concurrencyLimit: 4 }), 4);
  t.is(await limitAfter({ name: "named" }), 4, "an existing one keeps its own");
  t.is(await limitAfter({ name: "named", concurrencyLimit: 0 }), 0);
  t.is(await limitAfter({ name: "named", concurrencyLimit: 100_000 }), 100_000);
  await api.trigger("work", { options: { queue: { concurrencyLimit: 3 } } });
  t.is((await api.queue("task/work")).concurrencyLimit, 3, "without a name: the task's own queue");
  for (const concurrencyLimit of [-1, 1.5, 100_001, "NaN"]) {
    const refused = await refusal(api.trigger("work", { options: { queue: { name: "fresh", concurrencyLimit } } }));
    t.is(refused.reason, "INVALID_CONCURRENCY_LIMIT", String(concurrencyLimit));
  }
  t.is((await refusal(api.queue("fresh"))).reason, "QUEUE_NOT_FOUND");
});

test("QUE-11: for a declared queue a trigger's limit is ignored, with a warning", async (t) => {
  const api = await startApi(t);
  await api.worker({ tasks: [{ id: "work", queue: { name: "named", concurrencyLimit: 2 } }], credit: 0 });
  const { warnings } = await api.trigger("work", { options: { queue: { name: "named", concurrencyLimit: 9 } } });
  t.is(warnings.length, 1);
  t.true(warnings[0]?.includes("overrideConcurrencyLimit"));
  t.is((await api.queue("named")).concurrencyLimit, 2);
});

test("QUE-13: the queue of a run is its own, through retries and in its replay", async (t) => {
  const api = await startApi(t);
  const worker = await api.worker({ tasks: ["work"], credit: 2 });
  const runId = await api.triggered("work", { queue: { name: "named" } });
  const other = await api.triggered("work");
  const { lease } = await worker.begin();
  t.is((await worker.begin()).queueName, "task/work", "only this run");
  await worker.failed(lease, {}, 60_000);
  t.is((await api.run(runId)).queueName, "named");
  t.is((await api.queue("named")).queued, 1);
  await api.pass(61_000, worker);
  worker.credit(1);
  t.is((await worker.begin()).queueName, "named");
  t.is((await api.run((await api.runs.replayRun({ runId })).runId)).queueName, "named");
  t.is((await api.run(other)).queueName, "task/work");
});

test("QUE-14: the limit of a task's own queue does not restrict its runs elsewhere", async (t) => {
  const api = await startApi(t);
  const worker = await api.worker({ tasks: [{ id: "work", queue: { concurrencyLimit: 1 } }] });
  await api.triggered("work");
  const blocked = await api.triggered("work");
  const elsewhere = await api.triggered("work", { queue: { name: "elsewhere" } });
  await worker.begin();
  t.is((await worker.begin()).runId, elsewhere);
  t.is(await api.status(blocked), "QUEUED");
});

test("QUE-15: of several registrations of one queue the last limit wins, and holds at once", async (t) => {
  const api = await startApi(t);
  const first = await api.worker({ tasks: [{ id: "work", queue: { name: "named", concurrencyLimit: 1 } }] });
  for (let count = 0; count < 3; count += 1) await api.triggered("work");
  await first.begin();
  await first.heartbeat();
  t.is(first.assignments.size, 0);
  await api.worker({ tasks: [{ id: "other", queue: { name: "named", concurrencyLimit: 2 } }] });
  t.is((await api.queue("named")).concurrencyLimit, 2);
  await first.begin();
  await first.heartbeat();
  t.is(first.assignments.size, 0);
});
