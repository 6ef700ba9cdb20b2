/** Public names of `@hairtrigger/sdk`: define tasks, trigger them, read and change what came of it. */

export type { ApiAnswer, ApiPromise, ApiResponse } from "./api-promise.js";
export { auth } from "./auth.js";
export { batch } from "./batch.js";
export { BatchTriggerError } from "./batch-error.js";
export type {
  BatchByIdItem,
  BatchByTaskItem,
  BatchItem,
  BatchOptions,
  BatchRunHandle,
  BatchStatus,
  BatchStream,
  RetrievedBatch,
  StreamedBatchHandle,
} from "./batch-handle.js";
export type { BatchResult, TaskRunResultOf, TaskRunResultsOf } from "./batch-result.js";
export type { BulkCancelOptions, BulkOptions, BulkProgress, BulkResult, BulkTarget } from "./bulk.js";
export { type Configuration, configure } from "./configuration.js";
export {
  AbortError,
  AbortTaskRunError,
  ApiClientMissingError,
  ApiConnectionError,
  ApiError,
  type ApiErrorCode,
  AuthenticationError,
  BadRequestError,
  ConflictError,
  InternalServerError,
  NotFoundError,
  PermissionDeniedError,
  RateLimitError,
  SubtaskUnwrapError,
  UnprocessableEntityError,
  WaitpointTimeoutError,
} from "./errors.js";
export type { AnyRunHandle, BatchedRunHandle, RunHandle } from "./handle.js";
export { heartbeats } from "./heartbeats.js";
export type { IdempotencyKey, IdempotencyKeyScope } from "./idempotency-key.js";
export { type CreateKeyOptions, idempotencyKeys, type ResetKeyOptions } from "./idempotency-keys.js";
export { type LocalsKey, locals } from "./locals.js";
export { type LogProperties, logger } from "./logger.js";
export { type AncestorMetadata, type Metadata, type MetadataUpdater, metadata } from "./metadata.js";
export type { Page, PagePromise, Pagination } from "./page.js";
export type { PublicTokenOptions, PublicTokenScopes, ScopeIds, TriggerTokenOptions } from "./public-tokens.js";
export { type Queue, type QueueOptions, queue } from "./queue.js";
export type { QueueItem, QueueSelector, QueueType } from "./queue-item.js";
export { type ListQueuesOptions, type QueuePage, queues } from "./queues.js";
export type { ClientConfig, RequestOptions, RequestRetryOptions } from "./request-options.js";
export { type RetryTry, retry } from "./retry.js";
export type { BackoffStrategy, FetchRetryOptions, FetchRetryStrategy, HeadersStrategy } from "./retry-fetch.js";
export type { RetryOptions } from "./retry-options.js";
export type {
  AttemptOutcome,
  ListedRun,
  RelatedRun,
  RetrievedRun,
  RunAttempt,
  RunData,
  RunError,
  RunLogLine,
  TriggerFunctionName,
  WaitingFor,
} from "./run.js";
export type { ListRunsOptions, QueueReference, RunFilter } from "./run-filter.js";
export type { RunStatus, StatusHelpers } from "./run-status.js";
export type {
  RunPart,
  RunSubscription,
  SingleRunSubscription,
  SkippableColumn,
  SubscribeOptions,
  SubscribeToRunsOptions,
  SubscribeToTagOptions,
} from "./run-subscription.js";
export { type CancelOptions, type PollOptions, type RunReference, runs } from "./runs.js";
export {
  type Schema,
  type SchemaInput,
  type SchemaIssue,
  type SchemaOutput,
  SchemaValidationError,
  type StandardSchema,
} from "./schema.js";
export { tags } from "./tags.js";
export {
  type AnyTask,
  type CancelParams,
  type CatchErrorParams,
  type CatchErrorResult,
  type RealtimeRun,
  type RunParams,
  type SchemaTask,
  type SchemaTaskOptions,
  schemaTask,
  type Task,
  type TaskIdentifier,
  type TaskOptions,
  type TaskOutput,
  type TaskOutputHandle,
  type TaskPayload,
  task,
} from "./task.js";
export type { LogLevel, TaskRunContext, WaitDescription } from "./task-context.js";
export type { CompleteResult, FailedAttempt, HookParams, HookSet, TaskHooks } from "./task-hooks.js";
export { TaskRunPromise, type TaskRunResult } from "./task-run.js";
export { type TriggerAndPollOptions, tasks } from "./tasks.js";
export { timeout } from "./timeout.js";
export {
  type CreatedToken,
  type CreateTokenOptions,
  type ListedToken,
  type ListTokensOptions,
  type RetrievedToken,
  TokenPromise,
  type TokenReference,
  type TokenResult,
  type TokenStatus,
} from "./token.js";
export type { TriggerAndSubscribeOptions, TriggerOptions } from "./trigger-options.js";
export { type WaitKeyOptions, type WaitUntilOptions, wait } from "./wait.js";
export type { WaitDuration } from "./wait-duration.js";
