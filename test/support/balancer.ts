/** A load balancer in front of servers, as dull as they come: every connection goes to the next server that takes it. */
import { once } from "node:events";
import { connect, createServer, type Socket } from "node:net";

export interface Balancer {
  readonly url: string;
  /** From now on new connections go to these alone; open ones stay. */
  use(urls: readonly string[]): void;
  stop(): Promise<void>;
}

export async function startBalancer(serverUrls: readonly string[]): Promise<Balancer> {
  const sockets = new Set<Socket>();
  let targets = serverUrls;
  let next = 0;

  function track(socket: Socket): Socket {
    sockets.add(socket);
    socket.on("error", () => undefined);
    socket.on("close", () => sockets.delete(socket));
    return socket;
  }

  function lead(inner: Socket, tries: number): void {
    const target = targets[next++ % targets.length];
    if (target === undefined || tries === 0 || inner.destroyed) return void inner.destroy();
    const { hostname, port } = new URL(target);
    const outer = track(connect(Number(port), hostname));
    let isConnected = false;
    outer.once("connect", () => {
      isConnected = true;
      inner.pipe(outer).pipe(inner);
      inner.on("close", () => outer.destroy());
    });
    outer.on("close", () => {
      if (isConnected) inner.destroy();
      else lead(inner, tries - 1);
    });
  }

  const listener = createServer((inner) => lead(track(inner), targets.length));
  listener.listen(0, "127.0.0.1");
  await once(listener, "listening");
  const address = listener.address();
  if (address === null || typeof address === "string") throw new Error("a TCP server has a port");

  return {
    url: `http://127.0.0.1:${address.port}`,
    use(urls) {
      targets = urls;
    },
    async stop() {
      for (const socket of sockets) socket.destroy();
      listener.close();
      await once(listener, "close");
    },
  };
}
