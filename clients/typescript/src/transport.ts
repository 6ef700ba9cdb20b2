/** Connections to servers: one for each address, shared by all calls and streams of the process. */

import { type Client, createClient, type Transport } from "@connectrpc/connect";
import { platform } from "#platform";
import { BatchService } from "./gen/hairtrigger/v1/batch_service_pb.js";
import { QueueService } from "./gen/hairtrigger/v1/queue_service_pb.js";
import { RunService } from "./gen/hairtrigger/v1/run_service_pb.js";
import { WaitpointService } from "./gen/hairtrigger/v1/waitpoint_service_pb.js";
import { PROTOCOL_VERSION, SDK_VERSION } from "./version.js";

/** A server, and the services that the SDK calls there. */
export interface Connection {
  readonly transport: Transport;
  readonly runs: Client<typeof RunService>;
  readonly batches: Client<typeof BatchService>;
  readonly queues: Client<typeof QueueService>;
  readonly waitpoints: Client<typeof WaitpointService>;
}

/** Servers that one process talks to: usually one. Above this the oldest connection is forgotten and closes when idle. */
const CONNECTIONS_MAX = 64;

const connections = new Map<string, Connection>();

/** The connection to an address; it connects with its first call and again whenever it has to. An idle one keeps no process alive. */
export function connectionTo(baseURL: string): Connection {
  const known = connections.get(baseURL);
  if (known !== undefined) return known;
  const transport = platform.createTransport(baseURL);
  const made: Connection = {
    transport,
    runs: createClient(RunService, transport),
    batches: createClient(BatchService, transport),
    queues: createClient(QueueService, transport),
    waitpoints: createClient(WaitpointService, transport),
  };
  for (const oldest of connections.keys()) {
    if (connections.size < CONNECTIONS_MAX) break;
    connections.delete(oldest);
  }
  connections.set(baseURL, made);
  return made;
}

/** How this SDK names itself and the contract it speaks (WRK-3). */
export const CLIENT_NAME = `hairtrigger-typescript/${SDK_VERSION} protocol/${PROTOCOL_VERSION}`;

/** Header names that the protocols use themselves. */
const RESERVED =
  /^(?:authorization|hairtrigger-client|content-(?:type|length|encoding)|te|host|grpc-.*|connect-.*|:.*)$/i;

/**
 * Headers of a call, by lower-case name.
 * @throws TypeError for an additional header that the protocol uses itself, or that is none; also for a token that no header can carry.
 */
export function callHeaders(
  accessToken: string,
  additional?: Readonly<Record<string, string>>,
): Readonly<Record<string, string>> {
  if (additional !== undefined) return checkedHeaders(accessToken, additional);
  if (plainHeaders?.accessToken !== accessToken) {
    plainHeaders = { accessToken, headers: checkedHeaders(accessToken, {}) };
  }
  return plainHeaders.headers;
}

/** Those of the last token: nearly all calls of a process have the same, and checking them costs as much as encoding a small call. */
let plainHeaders: { readonly accessToken: string; readonly headers: Readonly<Record<string, string>> } | undefined;

function checkedHeaders(
  accessToken: string,
  additional: Readonly<Record<string, string>>,
): Readonly<Record<string, string>> {
  const headers = new Headers();
  for (const [name, value] of Object.entries(additional)) {
    if (RESERVED.test(name))
      throw new TypeError(`additionalHeaders must not set "${name}", which the protocol uses itself`);
    headers.set(name, value);
  }
  headers.set("authorization", `Bearer ${accessToken}`);
  headers.set("hairtrigger-client", CLIENT_NAME);
  return Object.fromEntries(headers);
}
