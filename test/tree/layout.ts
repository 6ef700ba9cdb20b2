/**
 * THE ROOMS: which folder may import what. The first room whose `at` fits a file is its room; what is not listed there is not allowed.
 * To let something in, add it here with the change that needs it, and ask first whether it belongs.
 */
import type { Import, SourceFile } from "./source.js";

interface Room {
  readonly name: string;
  /** Paths of files, or folders with a slash at the end. */
  readonly at: readonly string[];
  /** Files and folders that it may import, beside its own `at`. */
  readonly imports: readonly string[];
  /** Files and folders of which it may know the types alone. */
  readonly types?: readonly string[];
  /** Packages, or their beginnings with a star at the end. */
  readonly packages: readonly string[];
}

const STORE_PORT = "server/store/store.ts";
const PAYLOADS_PORT = "server/payloads/payloads.ts";
const SIGNALS_PORT = "server/signals/signals.ts";
const PORTS = [STORE_PORT, PAYLOADS_PORT, SIGNALS_PORT];
const SDK = ["@hairtrigger/sdk", "@hairtrigger/sdk/worker"];
const CONNECT = ["@connectrpc/connect", "@connectrpc/connect/*", "@connectrpc/connect-node"];
const PROTO = ["#proto/*", "@bufbuild/protobuf", "@bufbuild/protobuf/*"];

export const ROOMS: readonly Room[] = [
  { name: "domain", at: ["server/domain/"], imports: [], packages: ["node:crypto"] },
  { name: "ports", at: PORTS, imports: ["server/domain/"], packages: [] },
  {
    name: "engine",
    at: ["server/engine/"],
    imports: ["server/domain/", ...PORTS],
    types: ["server/auth/"],
    packages: ["node:crypto"],
  },
  {
    name: "embedded store",
    at: ["server/store/embedded/"],
    imports: ["server/domain/", STORE_PORT],
    packages: ["node:*", "@photostructure/sqlite"],
  },
  {
    name: "MongoDB store",
    at: ["server/store/mongo/"],
    imports: ["server/domain/", STORE_PORT],
    packages: ["node:crypto", "mongodb"],
  },
  {
    name: "payload drivers",
    at: ["server/payloads/"],
    imports: ["server/domain/"],
    packages: ["node:*", "mongodb", "@aws-sdk/*"],
  },
  {
    name: "signal drivers",
    at: ["server/signals/"],
    imports: ["server/domain/"],
    types: ["server/engine/", STORE_PORT],
    packages: ["node:*"],
  },
  {
    name: "auth",
    at: ["server/auth/"],
    imports: ["server/domain/", STORE_PORT],
    packages: ["node:crypto", "node:fs/promises", "node:path", "jose"],
  },
  {
    name: "rpc",
    at: ["server/rpc/"],
    imports: ["server/engine/", "server/auth/", "server/domain/", PAYLOADS_PORT],
    types: [SIGNALS_PORT],
    packages: ["node:*", ...PROTO, ...CONNECT, "@bufbuild/protovalidate"],
  },
  {
    name: "telemetry",
    at: ["server/telemetry/"],
    imports: ["server/engine/events.ts"],
    types: ["server/domain/"],
    packages: ["pino"],
  },
  {
    name: "config",
    at: ["server/config.ts"],
    imports: ["server/domain/", "server/auth/secret-keys.ts", "server/payloads/address.ts"],
    packages: ["node:*"],
  },
  {
    name: "app",
    at: ["server/app.ts", "server/app-mongo.ts", "server/host-keys.ts", "server/main.ts", "server/server-keys.ts"],
    imports: ["server/", "scheduler/"],
    packages: ["node:*", "pino"],
  },
  {
    name: "Agenda",
    at: ["scheduler/agenda.ts", "scheduler/agenda-jobs.ts"],
    imports: ["scheduler/"],
    types: ["server/engine/"],
    packages: ["agenda", "@agendajs/mongo-backend", "mongodb"],
  },
  {
    name: "scheduler",
    at: ["scheduler/"],
    imports: [],
    types: ["server/engine/"],
    packages: [],
  },
  {
    name: "SDK",
    at: ["clients/typescript/src/"],
    imports: [],
    // `#platform`: what differs between Node and browsers, chosen by export conditions.
    packages: [
      "node:*",
      "#platform",
      "jose",
      "@bufbuild/protobuf",
      "@bufbuild/protobuf/*",
      ...CONNECT,
      "@connectrpc/connect-web",
    ],
  },
  {
    name: "examples",
    at: ["clients/typescript/examples/"],
    imports: [],
    packages: ["node:*", "zod", ...SDK],
  },
  {
    name: "test kit",
    at: ["clients/testing/"],
    imports: ["server/app.ts", "server/domain/duration.ts", "server/domain/limits.ts"],
    types: ["server/engine/clock.ts"],
    packages: ["node:*", "@hairtrigger/sdk", "@hairtrigger/sdk/testing", "@hairtrigger/sdk/worker"],
  },
  {
    name: "commands that build the app",
    at: ["clients/cli/serve.ts", "clients/cli/dev.ts", "clients/cli/keys-on-host.ts"],
    imports: ["clients/cli/", "server/app.ts", "server/config.ts", "server/host-keys.ts", "server/main.ts"],
    packages: ["node:*", "commander", "chokidar", "pino", ...SDK],
  },
  {
    name: "command line",
    at: ["clients/cli/"],
    imports: [],
    packages: ["node:*", "commander", "chokidar", "tsx", "tsx/*", ...PROTO, ...CONNECT, ...SDK],
  },
  { name: "domain tests", at: ["test/domain/"], imports: ["server/domain/", "test/support/"], packages: ["*"] },
  {
    name: "store tests",
    at: ["test/store/"],
    imports: ["server/store/", "server/domain/", "test/support/"],
    packages: ["*"],
  },
  {
    name: "store bench",
    at: ["test/bench/store-bench.ts", "test/bench/list-bench.ts"],
    imports: ["server/store/", "server/domain/", "test/bench/", "test/support/"],
    packages: ["*"],
  },
  // Histories need the engine without sockets: a real stream has an order of its own that no seed repeats.
  {
    name: "simulation",
    at: ["test/simulation/"],
    imports: ["server/", "test/support/"],
    packages: ["*"],
  },
  {
    name: "payload store tests",
    at: ["test/payloads/"],
    imports: ["server/payloads/", "server/domain/", "test/support/"],
    packages: ["*"],
  },
  {
    name: "auth tests",
    at: ["test/auth/"],
    imports: ["server/auth/", "server/domain/", "test/support/"],
    packages: ["*"],
  },
  {
    name: "configuration tests",
    at: ["test/config/"],
    imports: ["server/config.ts", "server/telemetry/", "server/engine/", "test/support/"],
    packages: ["*"],
  },
  {
    name: "scheduler tests",
    at: ["test/scheduler/"],
    imports: ["scheduler/", "server/engine/", "test/support/"],
    packages: ["*"],
  },
  // Who may do what is pure too, and its cases are too many to go through the API.
  {
    name: "auth tests",
    at: ["test/auth/"],
    imports: ["server/auth/", "server/domain/", "test/support/"],
    types: [STORE_PORT],
    packages: ["*"],
  },
  { name: "checks of the tree", at: ["test/tree/", "test/tidy.test.ts"], imports: ["server/domain/"], packages: ["*"] },
  {
    name: "test support",
    at: ["test/support/"],
    imports: ["server/", "scheduler/", "clients/testing/"],
    packages: ["*"],
  },
  {
    name: "tests through the API",
    at: ["test/"],
    imports: ["server/app.ts", "server/config.ts", "clients/"],
    types: ["server/"],
    packages: ["*"],
  },
];

/** One line for each import that its room does not allow, and for each file without a room. */
export function misplacedImports(sources: readonly SourceFile[]): readonly string[] {
  return sources.flatMap((source) => {
    const room = ROOMS.find(({ at }) => at.some((place) => isAt(source.path, place)));
    if (room === undefined) return [`${source.path}: no room in test/tree/layout.ts`];
    return source.imports
      .filter((item) => !mayImport(room, item))
      .map((item) => `${source.path}:${item.line}: ${room.name} must not import ${item.specifier}`);
  });
}

function mayImport(room: Room, item: Import): boolean {
  const { target } = item;
  if (target === undefined) return room.packages.some((name) => isNamed(item.specifier, name));
  const places = [...room.at, ...room.imports, ...(item.isTypeOnly ? (room.types ?? []) : [])];
  return places.some((place) => isAt(target, place));
}

function isAt(path: string, place: string): boolean {
  return place.endsWith("/") ? path.startsWith(place) : path === place;
}

function isNamed(specifier: string, name: string): boolean {
  return name.endsWith("*") ? specifier.startsWith(name.slice(0, -1)) : specifier === name;
}

/**
 * Groups of files that import each other in a circle when they are loaded, each in path order. Types may: they are gone by then, and a part
 * may know the type of the whole that it is handed.
 */
export function importCycles(sources: readonly SourceFile[]): readonly (readonly string[])[] {
  const edges = new Map(sources.map(({ path, imports }) => [path, loaded(imports)]));
  const reach = new Map([...edges.keys()].map((path) => [path, reachable(edges, path)]));
  const cycles = new Map<string, readonly string[]>();
  for (const [path, seen] of reach) {
    if (!seen.has(path)) continue;
    const circle = [...seen].filter((other) => reach.get(other)?.has(path) === true).toSorted();
    cycles.set(circle.join(" "), circle);
  }
  return [...cycles.values()];
}

function loaded(imports: readonly Import[]): readonly string[] {
  return imports.flatMap(({ target, isTypeOnly }) => (target === undefined || isTypeOnly ? [] : [target]));
}

function reachable(edges: ReadonlyMap<string, readonly string[]>, start: string): ReadonlySet<string> {
  const seen = new Set<string>();
  const open = [...(edges.get(start) ?? [])];
  for (let path = open.pop(); path !== undefined; path = open.pop()) {
    if (seen.has(path)) continue;
    seen.add(path);
    open.push(...(edges.get(path) ?? []));
  }
  return seen;
}
