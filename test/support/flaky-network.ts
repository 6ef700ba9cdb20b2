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
  /** New connections work again. Frozen ones stay frozen. */
  heal(): void;
  stop(): Promise<void>;
}

type Weather = "fine" | "cut" | "frozen";

export async function flakyNetwork(serverUrl: string): Promise<FlakyNetwork> {
  const { hostname, port } = new URL(serverUrl);
  const sockets = new Set<Socket>();
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
    if (weather !== "fine") return;
    const outer = track(connect(Number(port), hostname));
    inner.pipe(outer).pipe(inner);
    inner.on("close", () => outer.destroy());
    outer.on("close", () => inner.destroy());
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
