/**
 * A producer process that writes every acknowledged trigger into a ledger: `node ledger-producer.js <LedgerProducerOptions as JSON>`. Each
 * call is repeated by the SDK, with its one request id, until it is acknowledged.
 */
import { idempotencyKeys, tasks } from "@hairtrigger/sdk";
import { appendEntry } from "./ledger.js";
import type { LedgerProducerOptions } from "./ledger-work.js";

const options: LedgerProducerOptions = JSON.parse(process.argv[2] ?? "{}");
const { name, ledger, calls, keys, callers, firstNumber = 0 } = options;

/** An outage of these tests lasts seconds; the pauses of RES-10 are made for longer ones. */
const retry = { maxAttempts: 500, minTimeoutInMs: 20, maxTimeoutInMs: 300 };

process.on("disconnect", () => process.exit(1));

async function trigger(index: number): Promise<void> {
  const number = firstNumber + (keys === undefined ? index : index % keys);
  const idempotencyKey =
    keys === undefined ? undefined : await idempotencyKeys.create(`key-${number}`, { scope: "global" });
  const handle = await tasks.trigger("work", { number }, { idempotencyKey }, { retry });
  appendEntry(ledger, { who: name, what: "ack", number, runId: handle.id, isCached: handle.isCached });
}

let next = 0;
async function call(): Promise<void> {
  while (next < calls) {
    const index = next;
    next += 1;
    try {
      await trigger(index);
    } catch (error) {
      const reason = error instanceof Error ? `${error.name}: ${error.message}` : String(error);
      appendEntry(ledger, { who: name, what: "refused", number: index, reason });
    }
  }
}

appendEntry(ledger, { who: name, what: "ready" });
await Promise.all(Array.from({ length: callers }, call));
process.exit(0);
