/** A real S3-compatible store for tests: versitygw over a directory. */
import { type ChildProcess, spawn } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import test from "ava";
import { findProgram } from "./available.js";

const PROGRAM = findProgram("versitygw");

/** Why there is none; undefined: there is one. */
export const S3_MISSING = PROGRAM === undefined ? "versitygw is not installed" : undefined;

export interface S3 {
  /** For HAIRTRIGGER_PAYLOADS. */
  readonly address: string;
  readonly endpoint: string;
}

const ACCESS = "hairtriggertest";
const SECRET = "hairtriggertestsecret";

let running: Promise<{ readonly endpoint: string; readonly root: string }> | undefined;
let buckets = 0;
let stop: (() => Promise<void>) | undefined;

test.after.always("the S3 store is stopped", () => stop?.());

/** A bucket of its own in the one store of this test file. The AWS SDK finds the credentials where operators put them. */
export async function startS3(t: { teardown: (done: () => void) => void }): Promise<S3> {
  running ??= start();
  const { endpoint, root } = await running;
  buckets += 1;
  const bucket = `bucket-${buckets}`;
  mkdirSync(join(root, bucket));
  t.teardown(() => rmSync(join(root, bucket), { recursive: true, force: true }));
  return { address: `s3://${bucket}?endpoint=${endpoint}&region=us-east-1`, endpoint };
}

async function start(): Promise<{ readonly endpoint: string; readonly root: string }> {
  if (PROGRAM === undefined) throw new Error("versitygw is not installed");
  process.env.AWS_ACCESS_KEY_ID = ACCESS;
  process.env.AWS_SECRET_ACCESS_KEY = SECRET;
  const directory = mkdtempSync(join(tmpdir(), "s3-"));
  const root = join(directory, "buckets");
  mkdirSync(root);
  const port = await freePort();
  const endpoint = `http://127.0.0.1:${port}`;
  const gateway = spawn(
    PROGRAM,
    [
      "--port",
      `127.0.0.1:${port}`,
      "--access",
      ACCESS,
      "--secret",
      SECRET,
      "--region",
      "us-east-1",
      "--quiet",
      "posix",
      "--sidecar",
      makeFolder(directory, "sidecar"),
      root,
    ],
    { stdio: ["ignore", "ignore", "pipe"] },
  );
  let said = "";
  gateway.stderr.on("data", (chunk: Buffer) => {
    said += chunk.toString();
  });
  stop = async () => {
    await stopped(gateway);
    rmSync(directory, { recursive: true, force: true });
  };
  while (!(await answers(endpoint))) {
    if (gateway.exitCode !== null) throw new Error(`versitygw ended: ${said}`);
  }
  return { endpoint, root };
}

function makeFolder(directory: string, name: string): string {
  const folder = join(directory, name);
  mkdirSync(folder);
  return folder;
}

function stopped(gateway: ChildProcess): Promise<void> {
  return new Promise((resolve) => {
    if (gateway.exitCode !== null) return resolve();
    gateway.once("exit", () => resolve());
    gateway.kill("SIGKILL");
  });
}

async function answers(endpoint: string): Promise<boolean> {
  try {
    await fetch(endpoint);
    return true;
  } catch {
    await new Promise((resolve) => setTimeout(resolve, 50));
    return false;
  }
}

/** The gateway takes no port 0; nobody else is about to take this one. */
function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.once("error", reject);
    server.listen(0, "127.0.0.1", () => {
      const address = server.address();
      server.close(() => resolve(typeof address === "object" && address !== null ? address.port : 0));
    });
  });
}
