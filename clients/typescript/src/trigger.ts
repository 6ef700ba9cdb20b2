/** Triggers one task: options and payload to a request, the answer to a handle (sections 4.1, 4.2). */
import { create } from "@bufbuild/protobuf";
import { type ApiAnswer, ApiPromise } from "./api-promise.js";
import { systemClock } from "./clock.js";
import { type CallSettings, callSettings } from "./configuration.js";
import { payloadMessage } from "./convert/payload.js";
import { triggerOptionsMessage } from "./convert/trigger-options.js";
import { expirationMs } from "./duration.js";
import type { Payload } from "./gen/hairtrigger/v1/payload_pb.js";
import { TriggerFunction } from "./gen/hairtrigger/v1/run_pb.js";
import {
  type TriggerTaskRequest,
  TriggerTaskRequestSchema,
  type TriggerTaskResponse,
} from "./gen/hairtrigger/v1/run_service_pb.js";
import type { RunHandle } from "./handle.js";
import { logger } from "./logger.js";
import { isSecretKey, tokenSigner } from "./public-token.js";
import { newRequestId } from "./request-id.js";
import type { RequestOptions } from "./request-options.js";
import { withRetries } from "./request-retry.js";
import { currentRun } from "./run-context.js";
import type { ParseValue } from "./schema.js";
import { sendTrigger } from "./trigger-lane.js";
import type { TriggerOptions } from "./trigger-options.js";

/** Life of a handle's token (TRG-3). */
const HANDLE_TOKEN_MS = 60 * 60_000;

export interface TriggerParams<TIdentifier extends string> {
  readonly taskId: TIdentifier;
  readonly payload: unknown;
  /** Of the payload, before anything is sent (SCH-2); its error is the caller's. */
  readonly check?: ParseValue | undefined;
  readonly options: TriggerOptions | undefined;
  readonly requestOptions: RequestOptions | undefined;
}

/** Triggers a task. The request id is made once, so that tries never make a second run (TRG-9). */
export function triggerTask<TIdentifier extends string, TPayload, TOutput>(
  params: TriggerParams<TIdentifier>,
): ApiPromise<RunHandle<TIdentifier, TPayload, TOutput>> {
  return new ApiPromise(answerOf<TIdentifier, TPayload, TOutput>(params));
}

async function answerOf<TIdentifier extends string, TPayload, TOutput>(
  params: TriggerParams<TIdentifier>,
): Promise<ApiAnswer<RunHandle<TIdentifier, TPayload, TOutput>>> {
  const { taskId, requestOptions } = params;
  if (params.check !== undefined) await params.check(params.payload);
  const settings = callSettings(requestOptions);
  const issuedAtMs = systemClock.nowMs();
  const expiresAtMs = tokenEndMs(settings, issuedAtMs);
  if (typeof taskId !== "string") throw new TypeError(`A task id is a string, got ${typeof taskId}`);
  const payload = payloadMessage(params.payload, "payload");
  const { options } = params;
  // A token does not act for the run that it is used in.
  const isRoot = !isSecretKey(settings.accessToken);
  const request = await triggerRequest({ taskId, payload, options, isRoot, function: TriggerFunction.TRIGGER });
  const { data, response } = await sendTriggerRequest(settings, request);
  const scope = `read:runs:${data.runId}`;
  const token = { scope, issuedAtMs, expiresAtMs, tokenId: request.requestId };
  const publicAccessToken = await handleToken(settings, data.publicAccessToken, token);
  const handle = {
    id: data.runId,
    taskIdentifier: taskId,
    publicAccessToken,
    isCached: data.isCached,
    ...(data.warnings.length === 0 ? {} : { warnings: data.warnings }),
  };
  return { data: handle, response };
}

/** Sends a trigger, as often as it takes (RES-10). */
export async function sendTriggerRequest(
  settings: CallSettings,
  request: TriggerTaskRequest,
): Promise<ApiAnswer<TriggerTaskResponse>> {
  const send = (): Promise<ApiAnswer<TriggerTaskResponse>> => sendTrigger(settings, request);
  const answer = await withRetries(send, settings.options.retry, systemClock);
  const { taskKnown, similarTaskIds } = answer.data;
  if (!taskKnown) warnUnknownTask(settings, request.taskId, similarTaskIds);
  return answer;
}

/** A trigger as it travels, under a request id of its own. */
export async function triggerRequest(params: {
  readonly taskId: string;
  readonly payload: Payload | undefined;
  readonly options: TriggerOptions | undefined;
  /** Not a child of the run that is under way here. */
  readonly isRoot?: boolean;
  readonly function: TriggerFunction;
}): Promise<TriggerTaskRequest> {
  const { taskId, payload, options } = params;
  const run = currentRun();
  return create(TriggerTaskRequestSchema, {
    taskId,
    payload,
    options: await triggerOptionsMessage(options, run),
    requestId: newRequestId(systemClock),
    parentRunId: params.isRoot === true ? undefined : run?.ctx.run.id,
    triggerFunction: params.function,
  });
}

/** Before anything is sent, so that a malformed time leaves nothing behind. */
export function tokenEndMs(settings: CallSettings, nowMs: number): number {
  const expirationTime = settings.options.publicAccessToken?.expirationTime;
  return expirationTime === undefined ? nowMs + HANDLE_TOKEN_MS : expirationMs(expirationTime, nowMs);
}

/** The token of a handle: the server's, where it made one, else signed here (TRG-3). */
export async function handleToken(
  settings: CallSettings,
  made: string,
  token: {
    readonly scope: string;
    readonly issuedAtMs: number;
    readonly expiresAtMs: number;
    readonly tokenId: string;
  },
): Promise<string> {
  if (made !== "" || !isSecretKey(settings.accessToken)) return made;
  const { scope, ...times } = token;
  const signer = await tokenSigner(settings.accessToken);
  return signer.sign({ scopes: [scope], ...times });
}

/** Ids that were warned about; above this many a process is not mistyping. */
const WARNED_MAX = 1_000;
const warned = new Set<string>();

/** TRG-6a: once per unknown id. */
export function warnUnknownTask(settings: CallSettings, taskId: string, similar: readonly string[]): void {
  const key = JSON.stringify([settings.baseURL, taskId]);
  if (warned.has(key) || warned.size >= WARNED_MAX) return;
  warned.add(key);
  const hint = similar.length === 0 ? "" : ` Did you mean ${similar.map((id) => `"${id}"`).join(", ")}?`;
  logger.warn(`No worker has registered the task "${taskId}"; its run waits until one does.${hint}`);
}
