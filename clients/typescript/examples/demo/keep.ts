/** What to type next, while the service of the demo goes on. */
import { once } from "node:events";
import { paint, say } from "./screen.js";
import type { Service } from "./service.js";

/** Resolves at the first signal. */
export async function keepServing({ url, accessToken, folder }: Service): Promise<void> {
  const address = url.replace(/^https?:\/\//, "");
  say();
  say(
    `${paint("bold", "Still serving")} at ${paint("cyan", url)}, with its worker; Ctrl-C ends both and removes ${folder}.`,
  );
  const lines: readonly (readonly [title: string, ...commands: readonly string[]])[] = [
    ["The key, for everything below", `export TRIGGER_SECRET_KEY=${accessToken} TRIGGER_API_URL=${url}`],
    ["What there is", `grpcurl -plaintext ${address} list`],
    [
      "By grpcurl",
      `grpcurl -plaintext -H "authorization: Bearer $TRIGGER_SECRET_KEY" -d '{"taskId":"check-links","payload":{"value":{"path":"README.md"}},"options":{"delay":"10s"}}' ${address} hairtrigger.v1.RunService/TriggerTask`,
    ],
    [
      "By curl",
      `curl -H "authorization: Bearer $TRIGGER_SECRET_KEY" -H 'content-type: application/json' -d '{"taskId":"markdown-report","payload":{"value":{"folder":"docs"}}}' ${url}/hairtrigger.v1.RunService/TriggerTask`,
    ],
    [
      "By the command line",
      `node dist/clients/cli/main.js trigger markdown-report '{"folder":"docs"}' --wait`,
      "node dist/clients/cli/main.js runs list",
    ],
    [
      "By the SDK, in a file try.mjs of this folder",
      'import { tasks } from "@hairtrigger/sdk";',
      'const run = await tasks.triggerAndPoll("markdown-report", { folder: "docs" }, { pollIntervalMs: 100 });',
      "console.log(run.status, run.output.words);",
    ],
  ];
  for (const [title, ...commands] of lines) {
    say();
    say(paint("dim", `# ${title}`));
    for (const command of commands) say(command);
  }
  await Promise.race([once(process, "SIGINT"), once(process, "SIGTERM")]);
  say();
  say("stopping");
}
