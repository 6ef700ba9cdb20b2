/** The `seal` duty: ends the input of streamed batches whose caller is gone (BAT-18). */
import { formatSeconds } from "../../domain/duration.js";
import type { EngineDeps } from "../engine.js";
import { abandoned } from "../producers/stream-batch.js";

export function createSeal({ store, clock, limits }: EngineDeps) {
  return async (limit: number): Promise<number> => {
    const nowMs = clock.nowMs();
    const idleSinceMs = nowMs - limits.batchIdleMs;
    const [idle, orphaned] = await Promise.all([
      store.findBatches({ kind: "idle", untilMs: idleSinceMs, limit }),
      store.findBatches({ kind: "orphaned", limit }),
    ]);
    const idleText = `No chunk came for ${formatSeconds(limits.batchIdleMs / 1_000)}`;
    await store.sealBatches([
      ...idle.map(({ environment, id: batchId }) => {
        return { environment, batchId, failure: abandoned(idleText), idleSinceMs, nowMs };
      }),
      ...orphaned.map(({ environment, id: batchId }) => {
        const failure = abandoned("The attempt that streamed the batch is over");
        return { environment, batchId, failure, idleSinceMs: undefined, nowMs };
      }),
    ]);
    return Math.max(idle.length, orphaned.length);
  };
}
