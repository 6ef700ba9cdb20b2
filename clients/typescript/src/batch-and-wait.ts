/** Triggers a batch and waits for all its runs, inside a task (sections 4.4, 4.5). */
import { create } from "@bufbuild/protobuf";
import type { BatchOptions, BatchStream } from "./batch-handle.js";
import type { BatchResult } from "./batch-result.js";
import { streamAwaited } from "./batch-stream-and-wait.js";
import { batchRequest, isArray, sendBatch } from "./batch-trigger.js";
import { call } from "./call.js";
import { callSettings } from "./configuration.js";
import type { AnyBatchItem } from "./convert/batch.js";
import { payloadMessage } from "./convert/payload.js";
import { WaitingForSchema } from "./gen/hairtrigger/v1/run_pb.js";
import type { RequestOptions } from "./request-options.js";
import type { TaskRunResult } from "./task-run.js";
import { type EndedRun, identityOf, requireRun, retrieveEnded } from "./trigger-and-wait.js";

export interface AwaitedBatchParams<TItem> {
  readonly items: readonly TItem[] | BatchStream<TItem>;
  readonly read: (item: TItem) => AnyBatchItem;
  readonly options: BatchOptions | undefined;
  readonly requestOptions: RequestOptions | undefined;
}

/** @param taskId of the run, as the server says. */
type ResultOf<TResult> = (taskId: string, ended: EndedRun, runId: string) => TResult;

/**
 * @param name of the function that was called, for the error outside of a run (TAW-1).
 * @param resultOf what came of a run, in the caller's types.
 */
export async function triggerBatchAndWait<TItem, TResult extends TaskRunResult>(
  name: string,
  params: AwaitedBatchParams<TItem>,
  resultOf: ResultOf<TResult>,
): Promise<BatchResult<readonly TResult[]>> {
  const run = requireRun(name);
  const { items, read, requestOptions } = params;
  let batchId = "";
  const results = (): Promise<BatchResult<readonly TResult[]>> => readResults(batchId, requestOptions, resultOf);
  // In the turn of the call, so that two calls at once are seen as such.
  return run.wait<BatchResult<readonly TResult[]>>({
    // What a stream holds is not known before it is read.
    identity: isArray(items)
      ? ["batch", ...items.flatMap((item, index) => itemIdentity(read(item), index))]
      : ["batch stream"],
    async begin({ requestId, lease }) {
      const settings = callSettings(requestOptions);
      const data = isArray(items)
        ? await sendBatch(
            settings,
            { ...(await batchRequest({ ...params, items })), requestId, awaitingLease: lease },
            items.length,
          )
        : await streamAwaited({ ...params, items }, settings, { requestId, lease });
      ({ batchId } = data);
      if (data.isDone) return { result: results() };
      return {
        waitingFor: create(WaitingForSchema, { waitpoint: { case: "batchId", value: batchId } }),
        description: { type: "batch", batchId, runCount: Number(data.runCount) },
      };
    },
    finish: results,
  });
}

function itemIdentity({ taskId, payload }: AnyBatchItem, index: number): readonly string[] {
  return [taskId, ...identityOf(payloadMessage(payload, `items[${index}].payload`))];
}

/** All pages of what came of the runs. */
async function readResults<TResult extends TaskRunResult>(
  batchId: string,
  requestOptions: RequestOptions | undefined,
  resultOf: ResultOf<TResult>,
): Promise<BatchResult<readonly TResult[]>> {
  const runs: TResult[] = [];
  for (let pageToken: string | undefined = ""; pageToken !== undefined; ) {
    const asked: string = pageToken;
    const page = await call(
      requestOptions,
      () => ({ batchId, pageToken: asked }),
      ({ batches }, request, options) => batches.listBatchResults(request, options),
    );
    for (const result of page.results) {
      const { runId, taskId, output } = result;
      // Of an output that is kept outside of its run the page has only the reference.
      const ended = output?.data.case === "reference" ? await retrieveEnded(runId, requestOptions) : result;
      runs.push(resultOf(taskId, ended, runId));
    }
    pageToken = page.nextPageToken === "" ? undefined : page.nextPageToken;
  }
  // Not among the members that a copy or a log would list.
  return Object.defineProperty(
    { id: batchId, runs, [Symbol.iterator]: () => runs[Symbol.iterator]() },
    Symbol.iterator,
    { enumerable: false },
  );
}
