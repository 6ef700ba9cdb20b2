/** Answers to requests that their repeat could not derive (design 6): hits, pushes, resets, and runs made under an id that a key named before. */
import type { Identified } from "./client.js";
import type { Context } from "./context.js";

/** `_id`: hash of the request. */
export interface AnswerDoc extends Identified {
  readonly run: string;
  readonly cached: boolean;
  /** A push (section 9): the answer was remembered before its effect, so whether that came is asked of the run. */
  readonly push?: true;
  /** Until when it is given, Unix ms; decides. {@link expireAt} is for the TTL index. */
  readonly untilMs: number;
  readonly expireAt: Date;
}

export interface Answer {
  readonly requestHash: string;
  readonly runId: string;
  readonly isCached: boolean;
  readonly isPush?: true;
  readonly untilMs: number;
}

export async function answersBefore(
  context: Context,
  requestHashes: readonly string[],
): Promise<ReadonlyMap<string, AnswerDoc>> {
  return context.answers.findByIds(requestHashes);
}

/** The first answer to a request stands while it is remembered; an expired one makes room. */
export async function rememberAnswers(context: Context, answers: readonly Answer[], nowMs: number): Promise<void> {
  const docs = answers.map(({ requestHash, runId, isCached, isPush, untilMs }) => ({
    _id: requestHash,
    run: runId,
    cached: isCached,
    ...(isPush === undefined ? {} : { push: isPush }),
    untilMs,
    expireAt: expiryDate(context, untilMs, nowMs),
  }));
  const duplicates = await context.answers.insertMany(docs);
  await context.answers.bulk(
    docs
      .filter((_, index) => duplicates.has(index))
      .map(({ _id, ...fields }) => ({
        updateOne: { filter: { _id, untilMs: { $lte: nowMs } }, update: { $set: fields } },
      })),
  );
}

/** An hour later than the guards decide: no order of housekeeping may matter (design 6). */
const LATER_MS = 3_600_000;

/** When the database may remove what ends at `untilMs`, by its own clock. */
export function expiryDate({ databaseMs }: Context, untilMs: number, nowMs: number): Date {
  return new Date(databaseMs() + (untilMs - nowMs) + LATER_MS);
}
