/** The example programs, one for each feature of triggering: each runs against a real server, prints what it shows and ends. */
import { readdirSync } from "node:fs";
import { fileURLToPath } from "node:url";
import test from "ava";
import { type ServerPlace, startServer } from "../support/processes.js";
import { missingLines } from "./page.js";
import { run } from "./programs.js";

const FOLDER = fileURLToPath(new URL("../../../clients/typescript/examples/", import.meta.url));
const BUILT = fileURLToPath(new URL("../../clients/typescript/examples/", import.meta.url));

/** What each prints, all of it; `…` stands for anything. */
const PRINTED: Readonly<Record<string, readonly string[]>> = {
  batches: ["100 px wide", "200 px wide", "large: 1", "HOME IS PUBLIC", "2 runs, all created"],
  debounce: ["1 run for 3 calls", "version 3 is indexed"],
  "delays-and-ttl": ["in time", "DELAYED", "moved to now: COMPLETED", "EXPIRED after 0 attempts"],
  idempotency: ["1 run for 20 calls", "after a reset: a new run", "2 attempts, second receipt is the first: true"],
  "large-payloads": ["COMPLETED 2000000 WORD", "200 whole", "PAYLOAD_TOO_LARGE"],
  "public-tokens": ["a.png.small", "SCOPE_MISSING", "b.png.small user-17", "TOKEN_ALREADY_USED"],
  queues: [
    "8 sheets, at most 2 at once",
    "visits of one customer at once: 1",
    "paused: 1 queued",
    "resumed: COMPLETED",
  ],
  "streamed-batch": ["600 runs", "600 completed", "0 errors"],
  subscriptions: ["page 1 as an image", "from DELAYED to COMPLETED", "2 pages of the upload are done"],
  "tags-and-metadata": [
    'acme {"customer":"acme","done":3,"seen":["a","b","c"]}',
    "imported: true",
    "found by its tag: 1",
  ],
  waits: ["COMPLETED in 1 attempt", '{"first":"image 1","third":false,"approved":true}'],
};

let server: ServerPlace;
test.before(async () => {
  server = await startServer();
});
test.after.always(() => server.remove());

test("every example program is run here", (t) => {
  const programs = readdirSync(FOLDER).filter((name) => name.endsWith(".ts"));
  t.deepEqual(
    programs.map((name) => name.slice(0, -3)),
    Object.keys(PRINTED),
  );
});

for (const [name, lines] of Object.entries(PRINTED)) {
  test.serial(`the example ${name} prints what it promises, and ends`, async (t) => {
    t.timeout(60_000);
    const env = { ...process.env, TRIGGER_SECRET_KEY: server.key, TRIGGER_API_URL: server.url };
    const { exitCode, printed } = await run(process.execPath, [`${BUILT}${name}.js`], { cwd: server.directory, env });
    t.is(exitCode, 0, printed);
    t.deepEqual(missingLines(lines.join("\n"), printed), [], printed);
  });
}
