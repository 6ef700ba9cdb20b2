/** A network between clients and one server, that can be cut. */
import { once } from "node:events";
import { connect, createServer, type Socket } from "node:net";

export interface FlakyNetwork {
  /** The server, through this network. */
  readonly url: string;
  /** Connections break, and new ones are refused by being closed at once. */
  cut(): void;
  /** Nothing passes any more in either direction, and nobody is told; connections are accepted and stay silent. */
  freeze(): void;
  /** Nothing passes in either direction, as when the server's process stands still: all of it arrives after {@link resume}. */
  suspend(): void;
  resume(): void;
  /** New connections work again. Frozen ones stay frozen. */
  heal(): void;
  stop(): Promise<void>;
}

type Weather = "fine" | "cut" | "frozen" | "suspended";

export async function flakyNetwork(serverUrl: string): Promise<FlakyNetwork> {
  const { hostname, port } = new URL(serverUrl);
  const sockets = new Set<Socket>();
  /** Client's end → server's end. */
  const pairs = new Map<Socket, Socket>();
  let weather: Weather = "fine";

  function track(socket: Socket): Socket {
    sockets.add(socket);
    socket.on("error", () => undefined);
    socket.on("close", () => sockets.delete(socket));
    return socket;
  }

  const listener = createServer((inner) => {
    track(inner);
    if (weather === "cut") inner.destroy();
    if (weather === "cut" || weather === "frozen") return;
    const outer = track(connect(Number(port), hostname));
    if (weather === "fine") inner.pipe(outer).pipe(inner);
    pairs.set(inner, outer);
    inner.on("close", () => outer.destroy());
    outer.on("close", () => {
      pairs.delete(inner);
      inner.destroy();
    });
  });
  listener.listen(0, "127.0.0.1");
  await once(listener, "listening");
  const address = listener.address();
  if (address === null || typeof address === "string") throw new Error("a TCP server has a port");

  return {
    url: `http://127.0.0.1:${address.port}`,
    cut() {
      weather = "cut";
      for (const socket of sockets) socket.destroy();
    },
    freeze() {
      weather = "frozen";
      for (const socket of sockets) socket.unpipe().pause();
    },
    suspend() {
      weather = "suspended";
      for (const [inner, outer] of pairs) {
        inner.unpipe().pause();
        outer.unpipe().pause();
      }
    },
    resume() {
      weather = "fine";
      for (const [inner, outer] of pairs) inner.pipe(outer).pipe(inner);
    },
    heal() {
      weather = "fine";
    },
    async stop() {
      for (const socket of sockets) socket.destroy();
      listener.close();
      await once(listener, "close");
    },
  };
}
