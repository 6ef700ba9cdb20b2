/**
 * Streams a batch that a run waits for (BAT-17). Its batch has the name of the wait, so that code that is executed again finds it: a whole one is
 * waited for, and the input is not read. What an attempt left unfinished stays (BAT-18); the input then fills the batch of the next name.
 */

import { fill, iteratorOf, openMessage, Sender, type StreamParams } from "./batch-stream.js";
import { sendOnce } from "./call.js";
import { systemClock } from "./clock.js";
import type { CallSettings } from "./configuration.js";
import { batchOptionsMessage } from "./convert/batch.js";
import type { StreamBatchResponse } from "./gen/hairtrigger/v1/batch_service_pb.js";
import { withRetries } from "./request-retry.js";

/** Between looks at a batch that another caller is still filling. */
const LOOK_MS = 1_000;

/** @returns the sealed batch. */
export async function streamAwaited<TItem>(
  { items, read, options }: StreamParams<TItem>,
  settings: CallSettings,
  { requestId, lease }: { readonly requestId: string; readonly lease: Uint8Array },
): Promise<StreamBatchResponse> {
  const input = iteratorOf(items);
  const batchOptions = await batchOptionsMessage(options);
  for (let unfinished = 0; ; ) {
    const name = unfinished === 0 ? requestId : `${requestId}.${unfinished}`;
    const sender = new Sender(settings, openMessage(batchOptions, name, lease));
    const opened = await opening(sender);
    if (opened.isCached) {
      if (opened.sealed) return opened;
      await systemClock.sleep(LOOK_MS);
    } else if (opened.sealed && !(await endedEarly(settings, opened.batchId))) {
      return opened;
    } else if (opened.sealed || opened.nextChunkIndex > 0n) {
      unfinished += 1;
    } else {
      const last = await fill(sender, input, read);
      sender.warnOfUnknownTasks();
      return last;
    }
  }
}

/** @throws BatchTriggerError */
async function opening(sender: Sender): Promise<StreamBatchResponse> {
  try {
    return await sender.open();
  } catch (error) {
    throw await sender.giveUp(error, 0);
  }
}

async function endedEarly(settings: CallSettings, batchId: string): Promise<boolean> {
  const send = () => sendOnce(settings, ({ batches }, options) => batches.retrieveBatch({ batchId }, options));
  const { data } = await withRetries(send, settings.options.retry, systemClock);
  return (data.batch?.processing?.errors.length ?? 0) > 0;
}
