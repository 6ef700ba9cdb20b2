/** A server that speaks the contract and answers as a test tells it: what callers put on the wire, without an engine behind it. */
import { createServer } from "node:http2";
import type { AddressInfo } from "node:net";
import type { ConnectRouter } from "@connectrpc/connect";
import { connectNodeAdapter } from "@connectrpc/connect-node";

export interface WireServer {
  readonly url: string;
  /** `clientConfig` of a call to it. */
  readonly clientConfig: { readonly accessToken: string; readonly baseURL: string };
  stop(): Promise<void>;
}

export const WIRE_KEY = "tr_dev_0123456789abcdefghij";

/** @param port of a server that has stopped; default: any free one. */
export async function startWireServer(routes: (router: ConnectRouter) => unknown, port = 0): Promise<WireServer> {
  const sessions = new Set<{ destroy(): void }>();
  const server = createServer(connectNodeAdapter({ routes: (router) => void routes(router) }));
  server.on("session", (session) => {
    sessions.add(session);
    session.on("close", () => sessions.delete(session));
  });
  await new Promise<void>((resolve) => {
    server.listen(port, "127.0.0.1", resolve);
  });
  const address: AddressInfo | string | null = server.address();
  if (address === null || typeof address === "string") throw new Error("the server has no port");
  const url = `http://127.0.0.1:${address.port}`;
  return {
    url,
    clientConfig: { accessToken: WIRE_KEY, baseURL: url },
    stop: () =>
      new Promise((resolve) => {
        for (const session of sessions) session.destroy();
        server.close(() => resolve());
      }),
  };
}

/** A promise that the test settles. */
export function gate<T = void>(): { readonly promise: Promise<T>; readonly open: (value: T) => void } {
  let open: (value: T) => void = () => undefined;
  const promise = new Promise<T>((resolve) => {
    open = resolve;
  });
  return { promise, open: (value) => open(value) };
}
