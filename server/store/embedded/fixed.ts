/** The part of a run that its trigger decides and nothing changes. */
import type { KeyScope, RunState, TriggerFunction } from "../../domain/run.js";

/** What the trigger fixed and no change moves, as one JSON text; NULL where all of it is ordinary. JSON makes null of undefined. */
export type Fixed = readonly [
  prioritySeconds: number,
  concurrencyKey: string | null | undefined,
  ttlMs: number | null | undefined,
  ttlText: string | null | undefined,
  maxAttempts: number | null | undefined,
  maxDurationSeconds: number | null | undefined,
  keyText: string | null | undefined,
  keyScope: KeyScope | null | undefined,
  keyExpiresAtMs: number | null | undefined,
  batchId: string | null | undefined,
  batchIndex: number | null | undefined,
  parentRunId: string | null | undefined,
  rootRunId: string | null | undefined,
  depth: number,
  replayOf: string | null | undefined,
  triggerFunction: TriggerFunction,
  isTest: boolean,
];

const ORDINARY: Fixed = [
  0,
  undefined,
  undefined,
  undefined,
  undefined,
  undefined,
  undefined,
  undefined,
  undefined,
  undefined,
  undefined,
  undefined,
  undefined,
  0,
  undefined,
  "trigger",
  false,
];

/** For the column `fixed`. */
export function fixedText(run: RunState): string | null {
  const fixed: Fixed = [
    run.prioritySeconds,
    run.concurrencyKey,
    run.ttlMs,
    run.ttlText,
    run.maxAttempts,
    run.maxDurationSeconds,
    run.key?.text,
    run.key?.scope,
    run.key?.expiresAtMs,
    run.batchId,
    run.batchIndex,
    run.parentRunId,
    run.rootRunId,
    run.depth,
    run.replayOf,
    run.triggerFunction,
    run.isTest,
  ];
  return fixed.every((value, index) => value === ORDINARY[index]) ? null : JSON.stringify(fixed);
}

export function fixedOf(json: string | undefined): Fixed {
  return json === undefined ? ORDINARY : JSON.parse(json);
}
