/**
 * When a worker must beat, reconnect, and give up its runs by itself (RUN-6, design 8). Pure: times are arguments.
 *
 * A session lapses at the server when nothing has renewed it for 30 s. The worker cannot know when the server received its last heartbeat, only
 * that it was not before it was sent; so everything is counted, by the monotonic clock, from the *sending* of the last heartbeat that was
 * acknowledged (a hello counts as one). At 20 s the stream is taken for dead and replaced; at 28 s the worker fences itself: from then on
 * none of its code may act for those runs, two seconds before anybody else could be given them.
 */
export interface FencePeriods {
  /** Pause between heartbeats. Default 10 s. */
  readonly heartbeatMs: number;
  /** Age of the last acknowledged heartbeat at which the connection is replaced. Default 20 s: two beats unanswered. */
  readonly reconnectMs: number;
  /** Age at which the worker gives up its runs. Default 28 s. */
  readonly selfFenceMs: number;
}

export const DEFAULT_FENCE_PERIODS: FencePeriods = { heartbeatMs: 10_000, reconnectMs: 20_000, selfFenceMs: 28_000 };

export interface FenceState {
  /** When the last acknowledged heartbeat was sent; undefined: never yet, so there is nothing to lose. */
  readonly ackedSentMs: number | undefined;
  /** The open connection: when its hello and its last heartbeat (the hello counts) were sent. Undefined between connections. */
  readonly connection:
    | { readonly helloSentMs: number; readonly beatSentMs: number; readonly isWelcome: boolean }
    | undefined;
  /** How often in a row a hello was not answered in time; each makes the next one's time longer. */
  readonly unansweredHellos: number;
  /** The worker has fenced what it held since the last acknowledgement. */
  readonly isFenced: boolean;
}

export type FenceAction = "none" | "beat" | "reconnect" | "fence";

interface Due {
  readonly fenceMs: number;
  readonly reconnectMs: number;
  readonly beatMs: number;
}

const NEVER = Number.POSITIVE_INFINITY;

function due(periods: FencePeriods, state: FenceState): Due {
  const { ackedSentMs, connection, isFenced, unansweredHellos } = state;
  const fenceMs = ackedSentMs === undefined || isFenced ? NEVER : ackedSentMs + periods.selfFenceMs;
  if (connection === undefined) return { fenceMs, reconnectMs: NEVER, beatMs: NEVER };
  if (!connection.isWelcome) {
    // Half a heartbeat at first: a dead address must not use up the time in which another server could be reached.
    const patienceMs = Math.min(periods.reconnectMs, (periods.heartbeatMs / 2) * 2 ** unansweredHellos);
    return { fenceMs, reconnectMs: connection.helloSentMs + patienceMs, beatMs: NEVER };
  }
  const heardMs = Math.max(ackedSentMs ?? connection.helloSentMs, connection.helloSentMs);
  return { fenceMs, reconnectMs: heardMs + periods.reconnectMs, beatMs: connection.beatSentMs + periods.heartbeatMs };
}

/** What is due now, the gravest first. */
export function fenceAction(periods: FencePeriods, state: FenceState, nowMs: number): FenceAction {
  const { fenceMs, reconnectMs, beatMs } = due(periods, state);
  if (nowMs >= fenceMs) return "fence";
  if (nowMs >= reconnectMs) return "reconnect";
  return nowMs >= beatMs ? "beat" : "none";
}

/** Milliseconds until {@link fenceAction} answers something else; undefined: not before the state changes. */
export function nextCheckMs(periods: FencePeriods, state: FenceState, nowMs: number): number | undefined {
  const { fenceMs, reconnectMs, beatMs } = due(periods, state);
  const nextMs = Math.min(fenceMs, reconnectMs, beatMs);
  return nextMs === NEVER ? undefined : Math.max(0, nextMs - nowMs);
}
