/** Marks batches as awaited that were made without anybody who waits (BAT-22): the end of their runs asks for them from now on. */
import type { BatchRef } from "../store.js";
import { filterOf, type Identified } from "./client.js";
import type { Context } from "./context.js";

interface AwaitedDoc extends Identified {
  readonly environment: string;
  readonly awaited: boolean;
}

export async function awaitBatches({ client }: Context, refs: readonly BatchRef[]): Promise<void> {
  const batches = client.table<AwaitedDoc>("batches");
  const byEnvironment = new Map<string, string[]>();
  for (const { environment, batchId } of refs) {
    byEnvironment.set(environment, [...(byEnvironment.get(environment) ?? []), batchId]);
  }
  for (const [environment, ids] of byEnvironment) {
    await batches.updateMany(filterOf<AwaitedDoc>({ _id: { $in: ids }, environment }), { $set: { awaited: true } });
  }
}
