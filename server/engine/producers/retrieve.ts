/** Reading runs: one with all it has (RUN-10), and pages of states (RUN-17…20). */
import { appError, runNotFound } from "../../domain/error.js";
import type { RunDetail, RunPage } from "../../store/store.js";
import type { EngineDeps, ListRunsParams } from "../engine.js";

/** @throws AppError RUN_NOT_FOUND */
export async function retrieveRun(
  { store }: Pick<EngineDeps, "store">,
  environment: string,
  runId: string,
): Promise<RunDetail> {
  const [detail] = await store.readRunDetails([{ environment, runId }]);
  if (detail === undefined) throw runNotFound(runId);
  return detail;
}

/** @throws AppError INVALID_PAGE */
export async function listRuns({ store, limits }: EngineDeps, params: ListRunsParams): Promise<RunPage> {
  requirePageSize(params.limit, limits.pageSizeMax);
  return store.listRuns(params);
}

/** RUN-20. @throws AppError INVALID_PAGE */
export function requirePageSize(size: number, max: number): void {
  if (Number.isInteger(size) && size >= 1 && size <= max) return;
  const message = `Page size must be between 1 and ${max}, got ${size}`;
  const metadata = { got: String(size), allowed: `1 to ${max}` };
  throw appError("INVALID_PAGE", message, {
    metadata,
    violations: [{ field: "pageSize", reason: "INVALID_PAGE", message, metadata }],
  });
}
