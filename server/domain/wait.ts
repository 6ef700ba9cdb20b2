/** What a run can wait for, and the one text by which it is recorded and found. */
import { isId } from "./ids.js";

/** A run, a batch, a token, or an instant, which is a waitpoint with its time. */
export type WaitTarget =
  | { readonly kind: "run"; readonly runId: string }
  | { readonly kind: "batch"; readonly batchId: string }
  | { readonly kind: "token"; readonly waitpointId: string }
  | { readonly kind: "time"; readonly waitpointId: string; readonly untilMs: number };

/** Ids tell the kinds apart; an instant carries its time, so that readers see it without another look-up. */
export function waitTarget(target: WaitTarget): string {
  switch (target.kind) {
    case "run":
      return target.runId;
    case "batch":
      return target.batchId;
    case "token":
      return target.waitpointId;
    case "time":
      return `${target.waitpointId}@${target.untilMs}`;
  }
}

/** The inverse of {@link waitTarget}. @throws TypeError for a text that it did not write. */
export function parseWaitTarget(text: string): WaitTarget {
  if (isId("run", text)) return { kind: "run", runId: text };
  if (isId("batch", text)) return { kind: "batch", batchId: text };
  if (isId("waitpoint", text)) return { kind: "token", waitpointId: text };
  const [waitpointId = "", untilMs] = text.split("@");
  if (untilMs === undefined || !isId("waitpoint", waitpointId)) throw new TypeError(`nothing to wait for: ${text}`);
  return { kind: "time", waitpointId, untilMs: Number(untilMs) };
}
