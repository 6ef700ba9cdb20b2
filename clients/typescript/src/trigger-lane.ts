/**
 * Coalescing (design 16): triggers made while a call is in flight go out together as one `TriggerTasks`, and each caller gets its own handle or
 * error. Every caller sends through the lane of its server, credentials and headers, so that calls that differ in these never share.
 *
 * A lone call goes at once; there is no timer. At most two calls are in flight: while one is on its way, the next is being gathered and
 * encoded. Each takes about half of what is outstanding; with all of it in one call, the other side would wait for it (design 22).
 * What fails is not tried again here: callers do that one by one, each by its own options, and their tries may share calls again.
 */
import { create } from "@bufbuild/protobuf";
import type { CallOptions } from "@connectrpc/connect";
import type { ApiAnswer, ApiResponse } from "./api-promise.js";
import { sendOnce } from "./call.js";
import type { CallSettings } from "./configuration.js";
import { statusError } from "./convert/error.js";
import { InternalServerError } from "./errors.js";
import {
  type TriggerTaskRequest,
  type TriggerTaskResponse,
  TriggerTasksRequestSchema,
  type TriggerTasksResult,
} from "./gen/hairtrigger/v1/run_service_pb.js";

const CALLS_IN_FLIGHT_MAX = 2;
/** Items of one call: the limit of `TriggerTasks`. */
const ITEMS_MAX = 500;
/** Bytes of one call, a larger single item aside: far below the server's 24 MiB, so that an estimate is good enough. */
const BYTES_MAX = 4 * 1_024 * 1_024;
/** So few are not worth dividing. */
const UNDIVIDED_MAX = 8;

interface Waiting {
  readonly request: TriggerTaskRequest;
  readonly bytes: number;
  resolve(answer: ApiAnswer<TriggerTaskResponse>): void;
  reject(error: unknown): void;
}

interface Lane {
  readonly key: string;
  readonly settings: CallSettings;
  waiting: Waiting[];
  callsInFlight: number;
  itemsInFlight: number;
  isFlushing: boolean;
}

/** Lanes with something under way. */
const lanes = new Map<string, Lane>();

/**
 * Sends one trigger, alone or with others: one try.
 * @throws ApiError of this trigger, or of the call that carried it.
 */
export function sendTrigger(
  settings: CallSettings,
  request: TriggerTaskRequest,
): Promise<ApiAnswer<TriggerTaskResponse>> {
  const lane = laneOf(settings);
  return new Promise((resolve, reject) => {
    lane.waiting.push({ request, bytes: estimatedBytes(request), resolve, reject });
    scheduleFlush(lane);
  });
}

function laneOf(settings: CallSettings): Lane {
  const { accessToken, baseURL, options } = settings;
  const { additionalHeaders } = options;
  // Neither an address nor a token holds a line break.
  const headers = additionalHeaders === undefined ? "" : JSON.stringify(Object.entries(additionalHeaders));
  const key = `${baseURL}\n${accessToken}\n${headers}`;
  let lane = lanes.get(key);
  if (lane === undefined) {
    lane = { key, settings, waiting: [], callsInFlight: 0, itemsInFlight: 0, isFlushing: false };
    lanes.set(key, lane);
  }
  return lane;
}

/** In a microtask, so that triggers of one turn, such as those of a `Promise.all`, are seen together. */
function scheduleFlush(lane: Lane): void {
  if (lane.isFlushing || lane.callsInFlight >= CALLS_IN_FLIGHT_MAX) return;
  lane.isFlushing = true;
  queueMicrotask(() => {
    lane.isFlushing = false;
    flush(lane);
  });
}

function flush(lane: Lane): void {
  while (lane.waiting.length > 0 && lane.callsInFlight < CALLS_IN_FLIGHT_MAX) {
    const items = takeShare(lane);
    lane.callsInFlight += 1;
    lane.itemsInFlight += items.length;
    void sendItems(lane.settings, items).finally(() => {
      lane.callsInFlight -= 1;
      lane.itemsInFlight -= items.length;
      if (lane.waiting.length > 0) scheduleFlush(lane);
      else if (lane.callsInFlight === 0) lanes.delete(lane.key);
    });
  }
}

/** The oldest of those waiting: half of what is outstanding, within the bounds of a call. */
function takeShare(lane: Lane): readonly Waiting[] {
  const { waiting, itemsInFlight } = lane;
  const half = Math.ceil((waiting.length + itemsInFlight) / 2);
  const share = waiting.length <= UNDIVIDED_MAX ? waiting.length : Math.min(half, waiting.length);
  let count = 0;
  let bytes = 0;
  for (const item of waiting) {
    bytes += item.bytes;
    if (count >= Math.min(share, ITEMS_MAX) || (count > 0 && bytes > BYTES_MAX)) break;
    count += 1;
  }
  const items = waiting.slice(0, count);
  lane.waiting = waiting.slice(count);
  return items;
}

/** An upper bound for texts of ordinary languages: three bytes of UTF-8 for each UTF-16 unit, and room for the small members. */
function estimatedBytes({ payload, options }: TriggerTaskRequest): number {
  const json = payload?.data.case === "json" ? payload.data.value.length : 0;
  const metadata = options?.metadataSpec.case === "metadataJson" ? options.metadataSpec.value.length : 0;
  return 3 * (json + (payload?.jsonTypes.length ?? 0) + metadata) + 2_048;
}

async function sendItems(settings: CallSettings, items: readonly Waiting[]): Promise<void> {
  const [first] = items;
  try {
    if (first !== undefined && items.length === 1) {
      first.resolve(
        await sendOnce(settings, ({ runs }, options: CallOptions) => runs.triggerTask(first.request, options)),
      );
    } else {
      await sendTogether(settings, items);
    }
  } catch (error) {
    for (const item of items) item.reject(error);
  }
}

async function sendTogether(settings: CallSettings, items: readonly Waiting[]): Promise<void> {
  const request = create(TriggerTasksRequestSchema, { items: items.map((item) => item.request) });
  const { data, response } = await sendOnce(settings, ({ runs }, options) => runs.triggerTasks(request, options));
  items.forEach((item, index) => {
    settle(item, data.results[index], response, settings.baseURL);
  });
}

function settle(item: Waiting, result: TriggerTasksResult | undefined, response: ApiResponse, baseURL: string): void {
  switch (result?.result.case) {
    case "triggered":
      return item.resolve({ data: result.result.value, response });
    case "error":
      return item.reject(statusError(result.result.value, baseURL));
    case undefined:
      return item.reject(
        new InternalServerError({ code: "internal", message: "The answer has no result for this trigger" }),
      );
  }
}
