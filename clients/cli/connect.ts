import { configure } from "@hairtrigger/sdk";
import { type ConnectionOptions, readConnection } from "./environment.js";

/** Options of commands that print. */
export interface CommandOptions extends ConnectionOptions {
  readonly json?: boolean;
}

/** A person waits in front of the terminal: three tries within seconds, then the truth. */
const TRIES = { maxAttempts: 3, minTimeoutInMs: 200, maxTimeoutInMs: 1_000 };

/** Makes the SDK call the server that options, variables and the local store name. */
export async function connect(options: ConnectionOptions): Promise<void> {
  configure({ ...(await readConnection(options)), requestOptions: { retry: TRIES } });
}
