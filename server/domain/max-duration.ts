/** How long an attempt may be active (section 6.4). */
import { defaultLimits } from "./limits.js";

/** `timeout.None`: no limit, overriding defaults; also the largest value that is accepted (DUR-1). */
export const MAX_DURATION_NONE = 2_147_483_647;

/**
 * Seconds that an attempt of a run may be active, or undefined for no limit (DUR-1, DUR-2).
 * @param layers trigger, task, worker configuration, in this order; 0, null and undefined are "not given".
 * @param minSeconds a shorter limit is raised to this.
 */
export function resolveMaxDuration(
  layers: readonly (number | null | undefined)[],
  minSeconds: number = defaultLimits.maxDurationMinSeconds,
): number | undefined {
  const seconds = layers.find((layer) => layer !== undefined && layer !== null && layer !== 0);
  if (seconds === undefined || seconds === null || seconds >= MAX_DURATION_NONE) {
    return undefined;
  }
  return Math.max(seconds, minSeconds);
}

/** Whether a value can be a maxDuration at all: whole seconds up to {@link MAX_DURATION_NONE}. */
export function isMaxDuration(seconds: number): boolean {
  return Number.isInteger(seconds) && seconds <= MAX_DURATION_NONE;
}
