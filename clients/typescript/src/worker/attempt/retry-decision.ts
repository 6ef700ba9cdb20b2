/** Whether a failed attempt is followed by another, and when (RTY-8, RTY-9, RES-11). */

import { type RetryPolicy, resolveRetryPolicy, retryDelayMs } from "../../retry-policy.js";
import { AttemptError, judge } from "./attempt-failure.js";

/** What `catchError` may return (RTY-9). `error` replaces the recorded one. */
export type CatchErrorResult =
  | { readonly skipRetrying: true; readonly error?: unknown }
  | { readonly retryAt: Date; readonly error?: unknown }
  | { readonly retryDelayInMs: number; readonly error?: unknown }
  | { readonly retry: Partial<RetryPolicy>; readonly error?: unknown }
  | { readonly error?: unknown };

export interface CatchErrorInput {
  readonly error: unknown;
  readonly retry: RetryPolicy;
  /** Undefined on the last attempt. */
  readonly retryAt: Date | undefined;
  readonly retryDelayInMs: number | undefined;
}

/** The user's handlers, in the order of RTY-8: the task's own, then the global ones. */
export type ErrorHandler = (input: CatchErrorInput) => unknown;

export interface RetryQuestion {
  readonly error: unknown;
  /** Number of the failed attempt, from 1. */
  readonly attempt: number;
  /** In force for this run: the trigger's `maxAttempts` included. */
  readonly policy: RetryPolicy;
  readonly handlers: readonly ErrorHandler[];
  readonly nowMs: () => number;
  readonly random: () => number;
}

export interface RetryDecision {
  /** What is recorded. */
  readonly error: unknown;
  /** Undefined: no further attempt. */
  readonly delayMs: number | undefined;
}

export async function decideRetry(question: RetryQuestion): Promise<RetryDecision> {
  const { error, attempt, policy } = question;
  const verdict = judge(error);
  if (verdict.retry === "never") return { error, delayMs: undefined };
  const isLast = attempt >= policy.maxAttempts;
  const delayMs =
    typeof verdict.retry === "number" && !isLast ? verdict.retry : retryDelayMs(policy, attempt, question.random());
  if (!verdict.isCaught || question.handlers.length === 0) return { error, delayMs };
  try {
    return await askHandlers(question, delayMs);
  } catch (thrown) {
    const text = thrown instanceof Error ? thrown.message : String(thrown);
    return { error: new AttemptError("HANDLE_ERROR_ERROR", text, { cause: thrown }), delayMs: undefined };
  }
}

async function askHandlers(question: RetryQuestion, delayMs: number | undefined): Promise<RetryDecision> {
  const { error, policy, handlers } = question;
  const retryAt = delayMs === undefined ? undefined : new Date(question.nowMs() + delayMs);
  const input: CatchErrorInput = { error, retry: policy, retryAt, retryDelayInMs: delayMs };
  for (const handler of handlers) {
    const answer = await handler(input);
    if (answer !== undefined) return applyAnswer(question, answer, delayMs);
  }
  return { error, delayMs };
}

/** @throws TypeError for an answer of no known form; the caller takes it for a throw of the handler. */
function applyAnswer(question: RetryQuestion, answer: unknown, delayMs: number | undefined): RetryDecision {
  if (typeof answer !== "object" || answer === null) {
    throw new TypeError(`catchError must return an object or undefined, got ${typeof answer}`);
  }
  const error = "error" in answer && answer.error !== undefined ? answer.error : question.error;
  if ("skipRetrying" in answer && answer.skipRetrying === true) return { error, delayMs: undefined };
  if (question.attempt >= question.policy.maxAttempts) return { error, delayMs: undefined };
  if ("retryAt" in answer && answer.retryAt !== undefined) {
    return { error, delayMs: pause("retryAt", timeOf(answer.retryAt) - question.nowMs()) };
  }
  if ("retryDelayInMs" in answer && answer.retryDelayInMs !== undefined) {
    return { error, delayMs: pause("retryDelayInMs", Number(answer.retryDelayInMs)) };
  }
  if ("retry" in answer && typeof answer.retry === "object" && answer.retry !== null) {
    // It can end the retries earlier, never later (RTY-9).
    const recomputed = resolveRetryPolicy(answer.retry, question.policy);
    return { error, delayMs: retryDelayMs(recomputed, question.attempt, question.random()) };
  }
  return { error, delayMs };
}

function timeOf(value: unknown): number {
  return value instanceof Date ? value.getTime() : Number.NaN;
}

function pause(member: string, delayMs: number): number {
  if (!Number.isFinite(delayMs)) throw new TypeError(`${member} of catchError's answer is not a valid time`);
  return Math.max(0, Math.round(delayMs));
}
