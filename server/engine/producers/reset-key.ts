/** Takes an idempotency key from its run, which is otherwise unaffected (IDM-28…30). */
import { idempotencyKeyNotFound, rejectIfAny, type Violation } from "../../domain/error.js";
import { checkIdempotencyKey, keyRecordHash } from "../../domain/idempotency.js";
import type { EngineDeps } from "../engine.js";
import { requestMark } from "./request.js";

export interface ResetKeyParams {
  readonly environment: string;
  readonly taskId: string;
  readonly key: string;
  readonly requestId: string | undefined;
}

export function createResetKey({ store, clock, limits }: EngineDeps) {
  return async (params: ResetKeyParams): Promise<{ readonly runId: string }> => {
    const { environment, taskId, requestId } = params;
    const nowMs = clock.nowMs();
    const violations: Violation[] = [];
    const key = checkIdempotencyKey({ key: params.key }, "idempotencyKey", limits, violations);
    rejectIfAny(violations);
    if (key === undefined) throw idempotencyKeyNotFound(params.key, taskId);
    const held = await store.resetKey({
      environment,
      recordHash: keyRecordHash("run", environment, taskId, key.hash),
      request: requestMark({ environment, family: "reset", requestId, nowMs }, limits),
      nowMs,
    });
    if (held === undefined) throw idempotencyKeyNotFound(params.key, taskId);
    return held;
  };
}
