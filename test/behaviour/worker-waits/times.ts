/** wait.for, wait.until and wait.forToken in task code (section 15). */
import { ApiError, TokenPromise, task, WaitpointTimeoutError, wait } from "@hairtrigger/sdk";
import test from "ava";
import { gate, startSdkWorld } from "../../support/sdk-world.js";

const SECOND = 1_000;
const HOUR = 3_600 * SECOND;

test("WAI-1, QUE-24: wait.for makes the run WAITING however short, and goes on at its time; zero and less return at once", async (t) => {
  const world = await startSdkWorld(t);
  const seen: unknown[] = [];
  const sleeper = task({
    id: "sleeper",
    onWait: ({ wait: what }) => void seen.push(what),
    run: async () => {
      await wait.for({ seconds: 0 });
      await wait.for({ days: -1 });
      await wait.for({ minutes: 0.5 });
      await wait.for({ seconds: 0.25 });
      return "awake";
    },
  });
  await world.worker({ tasks: [sleeper], concurrency: 1 });
  const handle = await world.as(() => sleeper.trigger());
  const { waitingFor } = await world.runWhen(handle, ({ isWaiting }) => isWaiting);
  const date = new Date(world.server.clock.nowMs() + 30 * SECOND);
  t.deepEqual(waitingFor, { type: "duration", date });
  await world.pass(29 * SECOND);
  t.is((await world.run(handle)).status, "WAITING");
  await world.pass(3 * SECOND);
  const run = await world.runWhen(handle, ({ isCompleted }) => isCompleted);
  t.is(run.output, "awake");
  t.is(run.attemptCount, 1);
  t.is(seen.length, 2);
  t.deepEqual(seen[0], { type: "duration", date });
});

test("DUR-G6: wait.for takes exactly one unit, a finite number", async (t) => {
  const world = await startSdkWorld(t);
  const caught: string[] = [];
  const bad: readonly unknown[] = [
    {},
    { seconds: 1, minutes: 1 },
    { hours: Number.NaN },
    { days: Number.POSITIVE_INFINITY },
    { years: "1" },
  ];
  const sleeper = task({
    id: "sleeper",
    run: async () => {
      for (const options of bad) {
        // What JavaScript lets through.
        await Reflect.apply(wait.for, wait, [options]).catch((error: unknown) => {
          caught.push(error instanceof Error ? error.name : "");
        });
      }
    },
  });
  await world.worker({ tasks: [sleeper] });
  const handle = await world.as(() => sleeper.trigger());
  await world.runWhen(handle, ({ isCompleted }) => isCompleted);
  t.deepEqual(
    caught,
    bad.map(() => "TypeError"),
  );
});

test("WAI-2: wait.until waits until a date; a past one returns at once, or throws if asked to", async (t) => {
  const world = await startSdkWorld(t);
  const date = new Date(world.server.clock.nowMs() + 10 * SECOND);
  const past = new Date(0);
  const sleeper = task({
    id: "sleeper",
    run: async () => {
      await wait.until({ date: past });
      const thrown = await wait.until({ date: past, throwIfInThePast: true }).catch((error: unknown) => error);
      await wait.until({ date, throwIfInThePast: true });
      return thrown instanceof Error && thrown.message;
    },
  });
  await world.worker({ tasks: [sleeper] });
  const handle = await world.as(() => sleeper.trigger());
  const { waitingFor } = await world.runWhen(handle, ({ isWaiting }) => isWaiting);
  t.deepEqual(waitingFor, { type: "duration", date });
  await world.pass(10 * SECOND);
  const run = await world.runWhen(handle, ({ isCompleted }) => isCompleted);
  t.is(run.output, "Date is in the past");
});

test("WAI-3: with a key a new attempt does not wait twice", async (t) => {
  const world = await startSdkWorld(t);
  let waits = 0;
  const sleeper = task({
    id: "sleeper",
    retry: { maxAttempts: 2, minTimeoutInMs: 1_000, randomize: false },
    onWait: () => void (waits += 1),
    run: async (_payload: undefined, { ctx }) => {
      await wait.for({ seconds: 20, idempotencyKey: "once" });
      if (ctx.attempt.number === 1) throw new Error("again");
    },
  });
  await world.worker({ tasks: [sleeper] });
  const handle = await world.as(() => sleeper.trigger());
  await world.runWhen(handle, ({ isWaiting }) => isWaiting);
  await world.pass(20 * SECOND);
  await world.runWhen(handle, ({ attempts }) => attempts[0]?.outcome === "FAILED");
  await world.pass(2 * SECOND);
  t.is((await world.runWhen(handle, ({ isCompleted }) => isCompleted)).status, "COMPLETED");
  t.is(waits, 1);
});

test("WAI-4: outside of a run each wait throws and names itself", async (t) => {
  const world = await startSdkWorld(t);
  const expected = (name: string) => ({ message: `${name} can only be used from inside a task.run()` });
  await t.throwsAsync(
    world.as(async () => wait.for({ seconds: 1 })),
    expected("wait.for"),
  );
  await t.throwsAsync(
    world.as(async () => wait.until({ date: new Date() })),
    expected("wait.until"),
  );
  await t.throwsAsync(
    world.as(async () => wait.forToken("waitpoint_00000000000000000000000000")),
    expected("wait.forToken"),
  );
});

test("WAI-6, WAI-7, WAI-8: a run waits for a token and gets what it is completed with", async (t) => {
  const world = await startSdkWorld(t);
  const made = gate<string>();
  const approval = task({
    id: "approval",
    run: async () => {
      const token = await wait.createToken({ timeout: "1h", tags: "approvals" });
      made.open(token.id);
      const promise = wait.forToken<{ at: Date }>(token);
      const result = await promise;
      return {
        isPromise: promise instanceof TokenPromise,
        result,
        again: await wait.forToken<{ at: Date }>(token.id).unwrap(),
      };
    },
  });
  await world.worker({ tasks: [approval] });
  const handle = await world.as(() => approval.trigger());
  const id = await made.promise;
  const { waitingFor } = await world.runWhen(handle, ({ isWaiting }) => isWaiting);
  t.deepEqual(waitingFor, { type: "token", id });
  const data = { at: new Date(7) };
  t.deepEqual(await world.as(() => wait.completeToken({ id }, data)), { success: true });
  t.deepEqual(await world.as(() => wait.completeToken(id, "late")), { success: true });
  const run = await world.runWhen(handle, ({ isCompleted }) => isCompleted);
  t.deepEqual(run.output, { isPromise: true, result: { ok: true, output: data }, again: data });
});

test("WAI-8, WAI-9: nobody completes it: forToken gives a WaitpointTimeoutError, unwrap throws it, also when asked again", async (t) => {
  const world = await startSdkWorld(t);
  const approval = task({
    id: "approval",
    run: async () => {
      const token = await wait.createToken({ timeout: "30s" });
      const result = await wait.forToken(token);
      const thrown = await wait
        .forToken(token)
        .unwrap()
        .catch((error: unknown) => error);
      if (result.ok || !(thrown instanceof WaitpointTimeoutError)) throw new Error("no timeout");
      return [result.error.name, result.error.message, thrown.message];
    },
  });
  await world.worker({ tasks: [approval] });
  const handle = await world.as(() => approval.trigger());
  await world.runWhen(handle, ({ isWaiting }) => isWaiting);
  const at = new Date(world.server.clock.nowMs() + 30 * SECOND).toISOString();
  await world.pass(31 * SECOND);
  const { output } = await world.runWhen(handle, ({ isCompleted }) => isCompleted);
  const message = `Waitpoint timed out at ${at}`;
  t.deepEqual(output, ["WaitpointTimeoutError", message, message]);
});

test("WAI-11, WAI-12, WAI-7: tokens are retrieved and listed, completed with their own token, and unknown ones refused", async (t) => {
  const world = await startSdkWorld(t);
  await world.as(async () => {
    const token = await wait.createToken({ idempotencyKey: ["a", "b"], idempotencyKeyTTL: "1d", tags: ["x"] });
    const again = await wait.createToken({ idempotencyKey: ["a", "b"] });
    t.like(again, { id: token.id, url: token.url, isCached: true });
    t.true(token.url.startsWith(world.server.url));
    const retrieved = await wait.retrieveToken(token);
    t.like(retrieved, { id: token.id, status: "WAITING", tags: ["x"], idempotencyKey: "a-b" });
    t.is(retrieved.idempotencyKeyExpiresAt?.getTime(), world.server.clock.nowMs() + 24 * HOUR);
    t.is(retrieved.timeoutAt.getTime(), world.server.clock.nowMs() + 600 * SECOND);
    t.is((await wait.listTokens({ status: "WAITING", tags: "x" })).data[0]?.id, token.id);
    const other = await wait.createToken();
    const all: string[] = [];
    for await (const { id } of wait.listTokens({ limit: 1 })) all.push(id);
    t.deepEqual(all.toSorted(), [token.id, other.id].toSorted());
    const browser = { clientConfig: { accessToken: token.publicAccessToken, baseURL: world.server.url } };
    const refused = await t.throwsAsync(wait.completeToken(other, 1, browser), { instanceOf: ApiError });
    t.is(refused.reason, "SCOPE_MISSING");
    await wait.completeToken(token, { n: 1n }, browser);
    t.like(await wait.retrieveToken(token), { status: "COMPLETED", output: { n: 1n } });
    const unknown = wait.completeToken("waitpoint_00000000000000000000000000");
    t.is((await t.throwsAsync(unknown, { instanceOf: ApiError })).reason, "WAITPOINT_NOT_FOUND");
    const bad = wait.createToken({ timeout: "soon" });
    t.is((await t.throwsAsync(bad, { instanceOf: ApiError })).reason, "INVALID_DURATION");
    await t.throwsAsync(
      wait.completeToken(other, () => 1),
      { instanceOf: TypeError, message: /data/ },
    );
    // @ts-expect-error -- what JavaScript lets through
    await t.throwsAsync(wait.listTokens({ status: "DONE" }), { message: /Invalid status values/ });
  });
});

test("TAW-10a: a time and a token are re-joined after a deploy, and a finished wait answers at once", async (t) => {
  const world = await startSdkWorld(t);
  const waits: string[] = [];
  const made = gate<string>();
  const sleeper = task({
    id: "sleeper",
    retry: { maxAttempts: 1 },
    onWait: ({ wait: what }) => void waits.push(what.type),
    run: async () => {
      await wait.for({ seconds: 5 });
      const token = await wait.createToken({ idempotencyKey: "t" });
      made.open(token.id);
      const output = await wait.forToken(token).unwrap();
      await wait.for({ minutes: 1 });
      return output;
    },
  });
  let worker = await world.worker({ tasks: [sleeper] });
  const deploy = async (): Promise<void> => {
    const next = world.worker({ tasks: [sleeper] });
    await worker.stop();
    worker = await next;
  };
  const handle = await world.as(() => sleeper.trigger());
  await world.runWhen(handle, ({ waitingFor }) => waitingFor?.type === "duration");
  await deploy();
  await world.runWhen(handle, ({ waitingFor }) => waitingFor?.type === "duration");
  await world.pass(6 * SECOND);
  await world.runWhen(handle, ({ waitingFor }) => waitingFor?.type === "token");
  await deploy();
  await world.runWhen(handle, ({ waitingFor }) => waitingFor?.type === "token");
  await world.as(async () => wait.completeToken(await made.promise, "data"));
  await world.runWhen(handle, ({ waitingFor }) => waitingFor?.type === "duration");
  await world.pass(30 * SECOND);
  await deploy();
  const { waitingFor } = await world.runWhen(handle, ({ isWaiting }) => isWaiting);
  t.true(waitingFor?.type === "duration" && waitingFor.date.getTime() - world.server.clock.nowMs() <= 30 * SECOND);
  await world.pass(31 * SECOND);
  t.is((await world.runWhen(handle, ({ isCompleted }) => isCompleted)).output, "data");
  t.deepEqual(waits, ["duration", "duration", "token", "token", "duration", "duration"]);
});
