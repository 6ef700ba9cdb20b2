/** Tags of the present run (section 17). */

import { call } from "./call.js";
import { systemClock } from "./clock.js";
import { ApiError } from "./errors.js";
import type { AddRunTagsResponse } from "./gen/hairtrigger/v1/run_service_pb.js";
import { logger } from "./logger.js";
import { newRequestId } from "./request-id.js";
import type { RequestOptions } from "./request-options.js";
import { currentRun } from "./run-context.js";

/** Refusals of the tags themselves: logged, and the run goes on (TAG-2). */
const REFUSED_TAGS: ReadonlySet<string | undefined> = new Set([
  "TOO_MANY_TAGS",
  "INVALID_TAG",
  "RUN_FINAL",
  "STALE_LEASE",
]);

/**
 * Adds tags to the run that calls it: a string or an array; at most 10 in all, of 1 to 128 characters. If the total would exceed that, none is
 * added, an error is logged and the run goes on. Tags are never removed; `ctx.run.tags` keeps the value of the attempt's start.
 * @throws Error outside of a run.
 * @throws ApiError if the server cannot be reached.
 */
async function add(tags: string | readonly string[], requestOptions?: RequestOptions): Promise<void> {
  const run = currentRun();
  if (run === undefined) throw new Error("Can't set tags outside of a run");
  if (!run.isActive()) return;
  const { ctx, sessionId } = run;
  const request = {
    runId: ctx.run.id,
    tags: typeof tags === "string" ? [tags] : [...tags],
    attempt: { sessionId, attempt: ctx.attempt.number },
    requestId: newRequestId(systemClock),
  };
  try {
    const added: AddRunTagsResponse = await call(
      requestOptions,
      () => request,
      ({ runs }, sent, options) => runs.addRunTags(sent, options),
    );
    run.tagsChanged(added.tags);
  } catch (error) {
    if (!(error instanceof ApiError) || !REFUSED_TAGS.has(error.reason)) throw error;
    logger.error(`No tag was added: ${error.message}`, { tags: request.tags });
  }
}

export const tags = { add } as const;
