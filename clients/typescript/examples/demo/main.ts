/**
 * `npm run demo`: the service and a worker do useful work before your eyes. Exit code 0 if every promise was kept.
 * `npm run demo -- --keep` leaves both running and says what to type next.
 */
import { configure } from "@hairtrigger/sdk";
import { keepServing } from "./keep.js";
import { aDelayedRun, anIdempotentPair, aRun, aRunThatExpires, aRunThatFailsOnce, runsUnderALimit } from "./scenes.js";
import { paint, say } from "./screen.js";
import { CHECKOUT, startService } from "./service.js";
import { type Finding, summarise } from "./summary.js";

const isKept = process.argv.includes("--keep");
process.chdir(CHECKOUT);

const startedMs = performance.now();
const service = await startService({ isStandardPort: isKept });
try {
  say(
    `${paint("bold", "Hairtrigger")}  one process that serves, one that works, ${service.isShared ? "one database" : "one file"} that remembers`,
  );
  say(`   server  ${paint("cyan", service.url)}  ready in ${Math.round(service.serverMs)} ms`);
  say(`   worker  3 tasks, 20 places  ready in ${Math.round(service.workerMs)} ms`);
  say(`   store   ${service.store}`);
  configure({ baseURL: service.url, accessToken: service.accessToken });

  const findings: Finding[] = [
    await aRun(),
    await aDelayedRun(),
    await anIdempotentPair(),
    await aRunThatFailsOnce(),
    await aRunThatExpires(),
    await runsUnderALimit(service.folder),
  ];
  const { lines, exitCode } = summarise(findings, performance.now() - startedMs);
  for (const line of lines) say(line);
  process.exitCode = exitCode;
  if (isKept) await keepServing(service);
} finally {
  await service.stop();
}
