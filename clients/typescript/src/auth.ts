/** Credentials. */
import { configure, withAuth } from "./configuration.js";
import {
  createBatchTriggerPublicToken,
  createPublicToken,
  createTriggerPublicToken,
  withBatchTriggerPublicToken,
  withPublicToken,
  withTriggerPublicToken,
} from "./public-tokens.js";

/**
 * `configure` sets credentials and address for the process, `withAuth` for the call tree of a function; the others make public tokens, and
 * run a function with one.
 */
export const auth = {
  configure,
  withAuth,
  createPublicToken,
  createTriggerPublicToken,
  createBatchTriggerPublicToken,
  withPublicToken,
  withTriggerPublicToken,
  withBatchTriggerPublicToken,
} as const;
