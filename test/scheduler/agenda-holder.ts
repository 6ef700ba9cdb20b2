/**
 * A process that shares duties. `hold`: keeps the first one for ever, and says so. `stop`: does every duty once, stops, says so, and has
 * nothing left to do. A number: its machine's clock is ahead by so many milliseconds; it takes its time for the first duty and says when.
 */
import { MongoClient } from "mongodb";
import { createAgendaDriver } from "../../scheduler/agenda.js";
import { DUTIES } from "../../scheduler/duties.js";
import { systemClock } from "../../server/engine/clock.js";

const [, , url = "", name = "", how = ""] = process.argv;
const client = new MongoClient(url);
const passed = new Set<string>();
/** The database's time; made before the machine's is set. */
const clock = systemClock();
if (Number.isFinite(Number(how))) setMachineAhead(Number(how));

function setMachineAhead(aheadMs: number): void {
  const Real = Date;
  globalThis.Date = new Proxy(Real, {
    get: (target, key) => (key === "now" ? () => Real.now() + aheadMs : Reflect.get(target, key)),
    construct: (target, args) => Reflect.construct(target, args.length === 0 ? [Real.now() + aheadMs] : args),
  });
}

async function pass(duty: string): Promise<void> {
  passed.add(duty);
  switch (how) {
    case "hold":
      process.send?.("holding");
      return new Promise(() => {});
    case "stop":
      if (passed.size === DUTIES.length) void end();
      return;
    default:
      process.send?.("begin");
      await new Promise((resolve) => setTimeout(resolve, 2_000));
      process.send?.("end");
  }
}

const driver = createAgendaDriver({
  db: client.db(name),
  clock,
  serverName: `holder ${how}`,
  onError: (error) => process.stderr.write(`${String(error)}\n`),
  rows: DUTIES.slice(0, how === "stop" ? DUTIES.length : 1).map((duty) => ({
    duty,
    async pass() {
      await pass(duty.name);
      return { count: 0, isMore: false };
    },
  })),
});

async function end(): Promise<void> {
  await driver.stop();
  await client.close();
  process.send?.("stopped");
  process.disconnect();
}

driver.start();
