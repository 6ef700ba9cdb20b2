/**
 * Claims: the best runs that can start now, in a number of steps that does not depend on their number.
 *
 * Runs of queues without a limit are claimed from their index: read the best n, write each guarded by what was read, and where not all
 * guards held, ask which did. Runs of limited partitions are found by their heads: read the best open heads, the slots of their
 * partitions, the best runs behind each; take slots by compare-and-set; claim the runs; then confirm the slots and move the heads on. Both
 * are merged by position. A round may give fewer than asked for (a race was lost, heads were stale or full); then heads are corrected, and
 * the next round looks again, further.
 *
 * The state after a claim is computed by the domain and not by an update of the database, so that there is one machine. Rejected: claiming
 * by `updateMany` with the changes as expressions (a second machine, and the policy differs by task).
 */
import type { ClaimedRun, ClaimRequest } from "../../store.js";
import type { Context } from "../context.js";
import { moveUnderHeads } from "../enter.js";
import { standingSessions } from "../sessions.js";
import { FreeRuns } from "./free.js";
import { readBehind, readHeads } from "./heads-runs.js";
import { type Candidate, least, pick } from "./pick.js";
import type { Round, RoundOutcome } from "./round.js";
import { take } from "./take.js";

/** Rounds of one claim. Each looks at four times as many heads as the one before, so this passes over any number of full ones. */
const CLAIM_ROUNDS_MAX = 12;
const HEADS_FIRST = 64;
const HEADS_MAX = 4_096;
/** Lost races after which a claim gives up; its caller asks again. */
const LOST_MAX = 8;

/** Claims of one server one after the other: all want the best runs, and would only lose races against each other. */
export class Claims {
  #last: Promise<unknown> = Promise.resolve();
  readonly #free = new FreeRuns();

  claim(context: Context, requests: readonly ClaimRequest[]): Promise<readonly (readonly ClaimedRun[])[]> {
    const claims = this.#last.then(() => claimRuns(context, this.#free, requests));
    this.#last = claims.catch(() => undefined);
    return claims;
  }
}

async function claimRuns(
  context: Context,
  free: FreeRuns,
  requests: readonly ClaimRequest[],
): Promise<readonly (readonly ClaimedRun[])[]> {
  const asked = requests.filter(({ places }) => places > 0);
  const standing = await standingSessions(context, asked);
  const results: (readonly ClaimedRun[])[] = [];
  // One after the other: they want the same runs.
  for (const request of requests) {
    results.push(request.places > 0 && standing.has(request) ? await claim(context, free, request) : []);
  }
  return results;
}

async function claim(context: Context, freeRuns: FreeRuns, request: ClaimRequest): Promise<readonly ClaimedRun[]> {
  const given: { readonly pos: string; readonly run: ClaimedRun }[] = [];
  let lost = 0;
  for (let round = 0; round < CLAIM_ROUNDS_MAX && given.length < request.places; round += 1) {
    const snapshot = await context.settings.read(request.environment);
    const headsMax = Math.min(HEADS_MAX, Math.max(HEADS_FIRST, request.places) * 4 ** Math.max(0, round - lost));
    const places = request.places - given.length;
    // Only after a lost race: others want the same runs, so look a little further on.
    const skip = lost === 0 ? 0 : Math.floor(uniform(context) * places * lost);
    const outcome = await claimRound(context, freeRuns, { request, snapshot, places, headsMax, skip });
    given.push(...outcome.given);
    if (outcome.isDone) break;
    if (outcome.isLost && ++lost >= LOST_MAX) break;
  }
  return given.toSorted((a, b) => (a.pos < b.pos ? -1 : 1)).map(({ run }) => run);
}

/** In [0, 1). */
function uniform({ entropy }: Context): number {
  return Buffer.from(entropy.bytes(4)).readUInt32BE(0) / 2 ** 32;
}

async function claimRound(context: Context, freeRuns: FreeRuns, round: Round): Promise<RoundOutcome> {
  const { places, snapshot } = round;
  const [free, heads] = await Promise.all([freeRuns.read(context, round), readHeads(context, round)]);
  const misplaced = free.filter(({ queue = "" }) => snapshot.of(queue).limit !== undefined);
  const behind = await readBehind(context, round, heads);
  const candidates: Candidate[] = [
    ...free
      .filter((doc) => !misplaced.includes(doc))
      .map((doc) => ({ doc, id: doc._id, pos: doc.pos, head: undefined })),
    ...behind.candidates,
  ].toSorted((a, b) => (a.pos < b.pos ? -1 : 1));
  // What lies behind the last of a full page was not read; nothing better than it may be passed over.
  const horizon = least(behind.horizon, misplaced.length > 0 && free.length === places ? free.at(-1)?.pos : undefined);
  const picked = pick(candidates, { places, horizon, rooms: behind.rooms });
  const taken = await take(context, round, picked, behind);
  if (misplaced.length > 0) await moveUnderHeads(context, { ids: misplaced.map(({ _id }) => _id) });
  const isCut = round.skip > 0 || free.length === places || heads.length === round.headsMax || behind.isCut;
  return {
    given: taken.given,
    isLost: taken.isLost,
    isDone: !taken.isLost && misplaced.length === 0 && !behind.isStale && (!isCut || taken.given.length === places),
  };
}
