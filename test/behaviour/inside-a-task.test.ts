/** What is used from inside a task, with real workers of the SDK on a moved clock. */
import { registerHooks } from "./inside/hooks.js";
import { registerMetadata } from "./inside/metadata.js";
import { registerRetries } from "./inside/retries.js";
import { registerSchemas } from "./inside/schemas.js";

registerSchemas();
registerHooks();
registerMetadata();
registerRetries();
