/** Credentials. */
import { configure, withAuth } from "./configuration.js";

/** `configure` sets credentials and address for the process, `withAuth` for the call tree of a function. */
export const auth = { configure, withAuth } as const;
