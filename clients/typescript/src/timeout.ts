/** Limits of active time. */
export const timeout = {
  /** As `maxDuration`: no limit, overriding defaults (DUR-1). */
  None: 2_147_483_647,
} as const;
