/** Where other servers reach this one, as far as it can tell by itself. */
import { networkInterfaces } from "node:os";

/** Addresses that mean every interface of the machine. */
const EVERY: ReadonlySet<string> = new Set(["0.0.0.0", "::"]);

/**
 * The address that is listened on; for every interface, the first that other machines see: of containers that is the address of the
 * container.
 */
export function peerAddressOf(listening: { readonly host: string; readonly port: number }, isTls: boolean): string {
  const host = EVERY.has(listening.host) ? (firstOutside() ?? "127.0.0.1") : listening.host;
  return `${isTls ? "https" : "http"}://${host.includes(":") ? `[${host}]` : host}:${listening.port}`;
}

function firstOutside(): string | undefined {
  const addresses = Object.values(networkInterfaces()).flatMap((list) => list ?? []);
  return addresses.find(({ internal, family }) => !internal && family === "IPv4")?.address;
}
