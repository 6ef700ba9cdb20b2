/** Public tokens of the SDK: made without a request, used by a browser's calls (section 20.1). */
import {
  auth,
  type BadRequestError,
  PermissionDeniedError,
  runs,
  task,
  tasks,
  UnprocessableEntityError,
} from "@hairtrigger/sdk";
import test from "ava";
import { startSdkWorld } from "../support/sdk-world.js";

interface Claims {
  readonly scopes: readonly string[];
  readonly iat: number;
  readonly exp: number;
  readonly jti: string;
  readonly [name: string]: unknown;
}

function claimsOf(token: string): Claims {
  return JSON.parse(Buffer.from(token.split(".")[1] ?? "", "base64url").toString());
}

/** Nothing listens there: whoever makes a request fails. */
const OFFLINE = { accessToken: "tr_dev_0123456789abcdefghij", baseURL: "http://127.0.0.1:1" };

function offline<R>(fn: () => R): R {
  return auth.withAuth(OFFLINE, fn);
}

test("AUT-1, AUT-2: a token is made without a request, with the scopes as they are written", async (t) => {
  const token = await offline(() =>
    auth.createPublicToken({
      scopes: {
        read: { runs: ["run_1", "run_2"], tasks: "a", tags: "x:y", batch: "batch_1" },
        write: { runs: true, waitpoints: "waitpoint_1" },
        trigger: { tasks: ["a", "b"] },
        batchTrigger: { tasks: "c" },
      },
    }),
  );
  const claims = claimsOf(token);
  t.deepEqual(claims.scopes, [
    "read:runs:run_1",
    "read:runs:run_2",
    "read:tasks:a",
    "read:tags:x:y",
    "read:batch:batch_1",
    "write:runs",
    "write:waitpoints:waitpoint_1",
    "trigger:tasks:a",
    "trigger:tasks:b",
    "batchTrigger:tasks:c",
  ]);
  t.like(claims, { iss: "hairtrigger", aud: "hairtrigger", sub: "dev", pub: true, otu: undefined });
  t.is(claims.exp - claims.iat, 15 * 60);
  t.deepEqual(claimsOf(await offline(() => auth.createPublicToken())).scopes, []);
});

test("DUR-G7: a token's end is a duration, Unix seconds, or a Date", async (t) => {
  const end = async (expirationTime: string | number | Date): Promise<Claims> =>
    claimsOf(await offline(() => auth.createPublicToken({ expirationTime })));
  for (const [duration, seconds] of [
    ["1h", 3_600],
    ["24hr", 86_400],
    ["15m", 900],
  ] as const) {
    const { exp, iat } = await end(duration);
    t.is(exp - iat, seconds, duration);
  }
  t.is((await end(2_000_000_000)).exp, 2_000_000_000);
  t.is((await end(new Date(2_000_000_000_000))).exp, 2_000_000_000);
  for (const bad of ["soon", "1.5h", Number.NaN, new Date("never")]) {
    const error = await t.throwsAsync<BadRequestError>(end(bad));
    t.is(error.reason, "INVALID_DURATION", String(bad));
  }
});

test("AUT-3, AUT-8: a trigger token is for one use unless it is not, and carries subject and options", async (t) => {
  const options = { tags: ["a"], queue: "q", delay: "1h", ttl: 60 };
  const once = await offline(() => auth.createTriggerPublicToken("a", { subject: "user-1", options }));
  t.like(claimsOf(once), { scopes: ["trigger:tasks:a"], otu: true, subject: "user-1" });
  t.deepEqual(claimsOf(once).options, { tags: ["a"], queue: { name: "q" }, delay: "1h", ttlSeconds: 60 });
  const many = await offline(() => auth.createTriggerPublicToken(["a", "b"], { multipleUse: true }));
  t.like(claimsOf(many), { scopes: ["trigger:tasks:a", "trigger:tasks:b"], otu: undefined, options: undefined });
  const batch = await offline(() => auth.createBatchTriggerPublicToken("a", { expirationTime: "1h" }));
  t.like(claimsOf(batch), { scopes: ["batchTrigger:tasks:a"], otu: true });
  t.is(claimsOf(batch).exp - claimsOf(batch).iat, 3_600);
  t.not(claimsOf(once).jti, claimsOf(many).jti);
  await t.throwsAsync(async () => offline(() => auth.createTriggerPublicToken("a", { subject: "" })), {
    instanceOf: TypeError,
  });
  await t.throwsAsync(async () => offline(() => auth.createTriggerPublicToken("")), { instanceOf: TypeError });
});

test("AUT-6: only who has the secret key makes tokens, and says so before anything is sent", async (t) => {
  const token = await offline(() => auth.createPublicToken({ scopes: { read: { runs: true } } }));
  await t.throwsAsync(async () => auth.withAuth({ accessToken: token }, () => auth.createPublicToken()), {
    message: /signed with a secret key/,
  });
});

test("AUT-2, AUT-6, TRG-3: a token triggers, and its handle reads the run and nothing else", async (t) => {
  const w = await startSdkWorld(t);
  const as = <R>(fn: () => R): R => w.as(fn);
  const token = await as(() => auth.createTriggerPublicToken("hello", { multipleUse: true }));
  const other = await as(() => tasks.trigger("hello", 1));
  const clientConfig = { accessToken: token };
  // Together, as a page that does several things at once.
  const handles = await as(() => Promise.all([1, 2, 3].map((n) => tasks.trigger("hello", n, {}, { clientConfig }))));
  t.is(new Set(handles.map(({ id }) => id)).size, 3);
  const [handle] = handles;
  if (handle === undefined) return t.fail();
  const reader = { clientConfig: { accessToken: handle.publicAccessToken } };
  t.is((await as(() => runs.retrieve(handle.id, reader))).id, handle.id);
  await t.throwsAsync(
    as(() => runs.retrieve(other.id, reader)),
    { instanceOf: PermissionDeniedError },
  );
  await t.throwsAsync(
    as(() => tasks.trigger("another", 1, {}, { clientConfig })),
    { instanceOf: PermissionDeniedError },
  );
  await t.throwsAsync(
    as(() => tasks.trigger("hello", 1, { queue: "vip" }, { clientConfig })),
    {
      instanceOf: PermissionDeniedError,
    },
  );
});

test("AUT-3: a one-time token used again is an UnprocessableEntityError that names the task", async (t) => {
  const w = await startSdkWorld(t);
  const as = <R>(fn: () => R): R => w.as(fn);
  await as(() =>
    auth.withTriggerPublicToken("hello", {}, async () => {
      await tasks.trigger("hello", 1);
      const error = await t.throwsAsync(tasks.trigger("hello", 1), { instanceOf: UnprocessableEntityError });
      t.is(error.reason, "TOKEN_ALREADY_USED");
      t.is(error.message, "Cannot trigger hello with a one-time use token as it has already been used.");
    }),
  );
});

test("CFG-3: what runs with a token is not seen by what runs beside it", async (t) => {
  const w = await startSdkWorld(t);
  const as = <R>(fn: () => R): R => w.as(fn);
  await as(async () => {
    const [denied, allowed] = await Promise.all([
      auth.withPublicToken({ scopes: {} }, async () => {
        await Promise.resolve();
        return t.throwsAsync(async () => runs.list(), { instanceOf: PermissionDeniedError });
      }),
      (async () => (await runs.list()).data.length)(),
    ]);
    t.is(denied?.reason, "SCOPE_MISSING");
    t.is(allowed, 0);
    t.is(
      await auth.withPublicToken({ scopes: { read: { runs: true } } }, async () => (await runs.list()).data.length),
      0,
    );
    await t.throwsAsync(
      auth.withBatchTriggerPublicToken("hello", {}, () => tasks.trigger("hello", 1)),
      {
        instanceOf: PermissionDeniedError,
      },
    );
    // Outside again.
    t.regex((await tasks.trigger("hello", 1)).id, /^run_/);
  });
});

test("AUT-6: a task that triggers with a token does so as a browser would: its run is no child", async (t) => {
  const w = await startSdkWorld(t);
  const parent = task({
    id: "parent",
    run: async () => (await auth.withTriggerPublicToken("hello", {}, () => tasks.trigger("hello", 1))).id,
  });
  await w.worker({ tasks: [parent] });
  const handle = await w.as(() => parent.trigger());
  const run = await w.runWhen(handle, ({ isCompleted }) => isCompleted);
  t.is(run.status, "COMPLETED", JSON.stringify(run.error));
  const child = await w.run(String(run.output));
  t.is(child.depth, 0);
});
