/** Somebody who reads a page and does what it says: saves files, starts programs, types into a shell. */
import type { ChildProcess } from "node:child_process";
import { delimiter, join } from "node:path";
import { findProgram } from "../support/available.js";
import { endChild } from "../support/children.js";
import { type Block, missingLines } from "./page.js";
import { run, type Sampler, start, startSampler, type Where } from "./programs.js";

/** What `npx hairtrigger dev` and `serve` say when they are ready, and the worker of `dev` after them. */
const SERVING = /^hairtrigger listening on (?<url>\S+)$/;
const WORKING = /worker .*ready/;
/** The address that pages name. */
const STANDARD_ADDRESS = "127.0.0.1:7470";

export interface Connection {
  readonly baseURL: string;
  readonly accessToken: string;
}

export interface ReaderParams {
  /** The command line of the checkout. */
  readonly command: string;
  readonly binFolder: string;
  /** Where the page's files are, and what was compiled of them. */
  readonly folder: string;
  readonly outFolder: string;
  /** Exports of one block of a shell, for the next. */
  readonly exportsFile: string;
  /** Names of compiled samples. */
  readonly samples: ReadonlyMap<Block, string>;
  readonly server: Connection | undefined;
}

export interface Reader {
  /** @returns what went wrong. */
  follow(blocks: readonly Block[]): Promise<readonly string[]>;
  /** Ends what the page started. Idempotent. */
  stop(): Promise<void>;
}

interface Printed {
  readonly exitCode: number;
  readonly printed: string;
}

export function createReader(params: ReaderParams): Reader {
  const { folder, outFolder, samples } = params;
  const running: ChildProcess[] = [];
  let url = params.server?.baseURL;
  let sampler: Sampler | undefined;

  const where = (): Where => ({ cwd: folder, env: environmentOf(params, url) });

  async function startWorker(): Promise<void> {
    const worker = start(process.execPath, [params.command, "worker", join(outFolder, "tasks.js")], where());
    running.push(worker.child);
    await worker.line(WORKING);
  }

  async function startInBackground(text: string): Promise<void> {
    const command = start("sh", ["-c", `exec env ${text}`], where());
    running.push(command.child);
    url = SERVING.exec(await command.line(SERVING))?.groups?.url;
    if (text.includes(" dev ")) await command.line(WORKING);
  }

  async function runSample(name: string): Promise<Printed> {
    if (sampler === undefined) {
      sampler = startSampler(where());
      running.push(sampler.child);
    }
    return sampler.run(join(outFolder, `${name}.js`));
  }

  /** Undefined: there was nothing to run. */
  async function perform(block: Block): Promise<Printed | undefined> {
    const name = samples.get(block);
    if (name !== undefined) return block.values.has("file") ? undefined : runSample(name);
    if (block.language !== "sh" || block.words.has("checkout") || block.words.has("setup")) return undefined;
    if (lacks(block) !== undefined) return undefined;
    const text = url === undefined ? block.text : block.text.replaceAll(STANDARD_ADDRESS, new URL(url).host);
    if (!block.words.has("background")) return run("sh", ["-c", inOneShell(params.exportsFile, text)], where());
    await startInBackground(text);
    return undefined;
  }

  return {
    async follow(blocks) {
      const mistakes: string[] = [];
      if (params.server !== undefined && [...samples.values()].includes("tasks")) await startWorker();
      let last: Printed | undefined;
      for (const block of blocks) {
        if (block.language === "text" && block.words.has("output")) {
          const { printed = "" } = last ?? {};
          const missing = last === undefined ? [] : missingLines(block.text, printed);
          mistakes.push(...missing.map((line) => `${block.place}: not printed: ${line}\nbut:\n${printed}`));
          continue;
        }
        last = await perform(block);
        if (last !== undefined && last.exitCode !== 0)
          mistakes.push(`${block.place}: exit code ${last.exitCode}\n${last.printed}`);
      }
      return mistakes;
    },

    async stop() {
      for (const child of running.splice(0).toReversed()) await endChild(child, "SIGTERM");
    },
  };
}

/** The program that a block wants and this machine lacks. */
export function lacks(block: Block): string | undefined {
  const program = block.values.get("needs");
  return program === undefined || findProgram(program) !== undefined ? undefined : program;
}

function inOneShell(exportsFile: string, text: string): string {
  return `set -e; if [ -f ${exportsFile} ]; then . ${exportsFile}; fi\n${text}\nexport -p >${exportsFile}`;
}

/** Nothing of what is set up in the shell of whoever tests; a server takes any free port. */
function environmentOf({ binFolder, server }: ReaderParams, url: string | undefined): NodeJS.ProcessEnv {
  const inherited = Object.entries(process.env).filter(([name]) => !/^(?:HAIR)?TRIGGER_|^FORCE_COLOR$/.test(name));
  const go = [join(process.env.HOME ?? "", "go/bin"), process.env.GOBIN];
  return {
    ...Object.fromEntries(inherited),
    PATH: [binFolder, process.env.PATH, ...go].filter((path) => path !== undefined).join(delimiter),
    NO_COLOR: "1",
    HAIRTRIGGER_LISTEN: "127.0.0.1:0",
    HAIRTRIGGER_LOG_LEVEL: "warn",
    ...(url === undefined ? {} : { TRIGGER_API_URL: url }),
    // A page that starts a server says where its key is.
    ...(server === undefined ? {} : { TRIGGER_SECRET_KEY: server.accessToken }),
  };
}
