/** The pool of task processes, with real processes in a time that stands still. */
import { type ChildProcess, fork } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";
import { task } from "@hairtrigger/sdk";
import test, { type ExecutionContext } from "ava";
import { createDeadlines } from "#sdk/worker/deadlines.js";
import type { FromProcess } from "#sdk/worker/isolation/messages.js";
import { type Occupant, ProcessPool } from "#sdk/worker/isolation/pool.js";
import { workerClock } from "../../clients/testing/worker-clock.js";
import { adopt } from "../support/children.js";
import { FakeClock } from "../support/clock.js";

const PROGRAM = fileURLToPath(new URL("../support/pooled-process.js", import.meta.url));

function world(t: ExecutionContext, mode: "ready" | "silent" | "stubborn") {
  const clock = new FakeClock();
  const children: ChildProcess[] = [];
  const pool = new ProcessPool({
    fork() {
      const child = adopt(fork(PROGRAM, [mode], { serialization: "advanced" }));
      children.push(child);
      return child;
    },
    deadlines: createDeadlines(workerClock(clock)),
    onStray: () => t.fail("nothing was said"),
  });
  t.teardown(() => pool.close());
  return { clock, children, pool };
}

interface Guest extends Occupant {
  readonly isReady: Promise<void>;
  readonly isGone: Promise<string>;
  readonly heard: readonly FromProcess[];
}

function guest(): Guest {
  const heard: FromProcess[] = [];
  let ready: () => void = () => undefined;
  let gone: (how: string) => void = () => undefined;
  const isReady = new Promise<void>((resolve) => {
    ready = resolve;
  });
  const isGone = new Promise<string>((resolve) => {
    gone = resolve;
  });
  return { isReady, isGone, heard, ready: () => ready(), gone, received: (message) => void heard.push(message) };
}

test("WRK-5: an idle process is used again within 60 s, and ended after", async (t) => {
  const { clock, children, pool } = world(t, "ready");
  const first = guest();
  const process = pool.take(first);
  await first.isReady;
  t.deepEqual(first.heard, [], "what user code sends is nobody's");
  t.not(pool.take(guest()), process, "each serves one attempt");
  pool.release(process);
  await clock.advance(59_999);
  t.is(pool.take(guest()), process);
  await clock.advance(120_000);
  t.is(children[0]?.connected, true, "it is not idle");
  pool.release(process);
  await clock.advance(59_999);
  t.is(children[0]?.connected, true);
  await clock.advance(1);
  t.is(children[0]?.connected, false);
  if (children[0]?.exitCode === null) await once(children[0], "exit");
  t.deepEqual([children[0]?.exitCode, children[0]?.signalCode], [0, null]);
  t.not(pool.take(guest()), process);
  t.is(children.length, 3);
});

test("WRK-5: a process that does not end when it should is killed", async (t) => {
  const { clock, children, pool } = world(t, "stubborn");
  const only = guest();
  const process = pool.take(only);
  await only.isReady;
  pool.release(process);
  await clock.advance(60_000);
  t.is(children[0]?.signalCode, null);
  await clock.advance(5_000);
  if (children[0]?.signalCode === null) await once(children[0], "exit");
  t.is(children[0]?.signalCode, "SIGKILL");
});

test("WRK-5: a program that never comes to startWorker is killed, and its attempt told", async (t) => {
  const { clock, children, pool } = world(t, "silent");
  const only = guest();
  pool.take(only);
  await clock.advance(59_999);
  t.is(children[0]?.signalCode, null);
  await clock.advance(1);
  t.is(await only.isGone, "was ended by SIGKILL");
});

test("WRK-5: a closed pool has no process left", async (t) => {
  const { children, pool } = world(t, "ready");
  const guests = [guest(), guest()];
  for (const one of guests) pool.take(one);
  await guests[0]?.isReady;
  await pool.close();
  t.deepEqual(
    children.map(({ signalCode }) => signalCode),
    ["SIGKILL", "SIGKILL"],
  );
});

test("WRK-5: isolation is `process` or left out", (t) => {
  const isolation: unknown = "thread";
  const options = { id: "x", run: () => 1, isolation };
  t.throws(() => Reflect.apply(task, undefined, [options]), {
    instanceOf: TypeError,
    message: /isolation of task "x"/,
  });
  t.notThrows(() => task({ id: "x", run: () => 1, isolation: "process" }));
});
