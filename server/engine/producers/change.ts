/** One change of one run, asked by a producer: applied, already so, or refused with a reason the caller understands. */
import { runNotFound } from "../../domain/error.js";
import type { RunChange } from "../../domain/run-change.js";
import type { ChangeResult } from "../../store/store.js";
import type { EngineDeps } from "../engine.js";

/** @throws AppError RUN_NOT_FOUND */
export async function changeRun(
  { store }: Pick<EngineDeps, "store">,
  change: RunChange,
): Promise<ChangeResult & { readonly run: NonNullable<ChangeResult["run"]> }> {
  const [result] = await store.changeRuns([change]);
  if (result?.run === undefined) throw runNotFound(change.runId);
  return { ...result, run: result.run };
}
