import type { TestApi } from "../../support/api.js";

/** Triggers a run as a run does that is about to wait for it. */
export async function awaited(
  api: TestApi,
  parent: { readonly runId?: string | undefined; readonly lease: Uint8Array },
  taskId: string,
  options: Parameters<TestApi["runs"]["triggerTask"]>[0]["options"] = {},
  requestId = "",
) {
  const { runId: parentRunId = "", lease: awaitingLease } = parent;
  return api.runs.triggerTask({ taskId, parentRunId, awaitingLease, options, requestId });
}
