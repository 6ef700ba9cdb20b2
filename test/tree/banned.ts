/** What our code does not say, where it may, and what files are not called. */
import type { SourceFile } from "./source.js";

interface Ban {
  readonly what: RegExp;
  /** What to do instead. */
  readonly instead: string;
  /** Files, and folders with a slash at the end, where it is right. */
  readonly allowedAt: readonly string[];
}

const CLOCKS = [
  "server/engine/clock.ts",
  "clients/typescript/src/clock.ts",
  "clients/typescript/src/worker/clock.ts",
  "clients/testing/event-loop.ts",
];

export const BANS: readonly Ban[] = [
  {
    what: /\bDate\.now\b|\bnew Date\(\)|\bperformance\.now\b|\bprocess\.hrtime\b/,
    instead: "take the time from the clock port",
    // Agenda lives by the machine's clock, which is translated there.
    allowedAt: [...CLOCKS, "scheduler/agenda-jobs.ts", "clients/cli/", "clients/typescript/examples/", "test/"],
  },
  {
    what: /(?:(?<!\.)|globalThis\.)\b(?:setTimeout|setInterval|setImmediate)\b|\bfrom "node:timers/,
    instead: "take the timer from the clock port",
    // A turn of the event loop after Node's own, no span of time.
    allowedAt: [
      ...CLOCKS,
      "server/rpc/write-answer.ts",
      // Gives away a timer of Agenda's.
      "scheduler/agenda-timer.ts",
      "clients/cli/",
      "clients/typescript/examples/",
      "test/",
    ],
  },
  {
    what: /\bMath\.random\b|\b(?:import\b.*|crypto\.)random(?:Bytes|UUID|FillSync|Int)\b|\bgetRandomValues\b/,
    instead: "take randomness from the entropy port",
    allowedAt: [
      "server/engine/entropy.ts",
      // Ids of a kit's workers: of several kits in one process, none may meet another's.
      "clients/testing/worker-clock.ts",
      // The secret of a store, drawn once in its life by the thread that makes the file.
      "server/store/embedded/writer.ts",
      "clients/typescript/src/clock.ts",
      "clients/typescript/src/worker/clock.ts",
      // Programs of their own, like a user's.
      "clients/typescript/examples/",
      "test/",
    ],
  },
  {
    what: /\bprocess\.env\b/,
    instead: "read settings in the configuration",
    allowedAt: [
      "server/config.ts",
      "clients/cli/environment.ts",
      "clients/typescript/src/configuration.ts",
      // Programs of their own, like a user's.
      "clients/typescript/examples/",
      "test/",
    ],
  },
  {
    what: /\bprocess\.exit\(/,
    instead: "only the process itself ends the process",
    allowedAt: [
      "server/main.ts",
      "clients/cli/",
      // WRK-2: a worker that handles signals ends its process.
      "clients/typescript/src/worker/process-signals.ts",
      // WRK-5: a task process ends with its worker.
      "clients/typescript/src/worker/isolation/orphan.ts",
      "clients/typescript/examples/",
      "test/",
    ],
  },
  {
    what: /\bconsole\.\w+\(/,
    instead: "emit an event, or log through telemetry",
    allowedAt: [
      "clients/typescript/src/logger.ts",
      "clients/typescript/src/worker/worker-log.ts",
      "clients/cli/",
      "clients/typescript/examples/",
      "test/",
    ],
  },
  {
    what: /^\s*(?:export\s+)?(?:declare\s+)?(?:const\s+)?enum\s+\w/,
    instead: "use a union of literals",
    allowedAt: [],
  },
  {
    what: /^\s*(?:export\s+)?(?:declare\s+)?namespace\s+\w|^\s*(?:declare\s+)?module\s+\w/,
    instead: "use a module",
    allowedAt: [],
  },
  {
    what: /\b(?:constructor\(|^\s*)(?:[^)]*,)?\s*(?:public|private|protected)\s+(?:readonly\s+)?\w+\s*[?:][^;=]*[,)]/,
    instead: "declare the field and assign it: no parameter properties",
    allowedAt: [],
  },
  { what: /^\s*export\s+default\b/, instead: "export it by name", allowedAt: [] },
  {
    what: /@ts-(?:ignore|nocheck)|\bas any\b|\bas unknown as\b/,
    instead: "let the compiler check it",
    allowedAt: [],
  },
];

/** One line for each place where code says what it must not. */
export function bannedCode(sources: readonly SourceFile[]): readonly string[] {
  return sources.flatMap(({ path, code, text }) => {
    const written = text.split("\n");
    const bans = BANS.filter(({ allowedAt }) => !allowedAt.some((place) => isAt(path, place)));
    return code
      .split("\n")
      .flatMap((line, index) =>
        bans
          .filter(({ what }) => what.test(line))
          .map(({ instead }) => `${path}:${index + 1}: ${written[index]?.trim()} (${instead})`),
      );
  });
}

function isAt(path: string, place: string): boolean {
  return place.endsWith("/") ? path.startsWith(place) : path === place;
}

const EMPTY_NAMES = /(?:^|[-./])(?:utils?|helpers?|common|misc|shared|types|managers?)(?:[-./]|$)/;

/** Paths with a name that says nothing about what is inside. */
export function emptyNames(paths: readonly string[]): readonly string[] {
  return paths.filter((path) => EMPTY_NAMES.test(path));
}
